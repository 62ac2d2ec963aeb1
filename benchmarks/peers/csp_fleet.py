"""The fleet in csp: what `streams_elsewhere.py` asks. `tick` has one tick for a row, `batch` one for the rows of a window.

Rows come as csp's adapters of Arrow bring them: `ParquetReader` over tables in memory, which makes a struct of each row in C++, or
record batches, of which those of one time tick together. What a tick does is a node in Python, as csp has no keyed aggregate.
"""

from datetime import datetime

import csp
import pyarrow as pa
import pyarrow.compute as pc
from csp import ts
from csp.adapters.arrow import RecordBatchPullInputAdapter
from csp.adapters.parquet import ParquetReader
from serving import COLUMNS, WINDOW_NS, add, fleet_checksum, fleet_table, serve, timed, write

FOLDS = [([], "count_all"), *((c, f) for c in ("temperature", "humidity") for f in ("mean", "min", "max"))]  # fmt: skip
FIRST, LAST = datetime(1970, 1, 1), datetime(2100, 1, 1)  # noqa: DTZ001 - csp takes no zone


class Row(csp.Struct):
    """What was measured."""

    ns: int
    device: int
    temperature: float
    humidity: float


@csp.node
def windows(x: ts[Row], made: list) -> None:
    """Sums of each device of the window that is open; rows are in the order of time."""
    with csp.state():
        s_end = 0
        s_open = {}
    with csp.stop():
        made.extend((s_end, device, sums) for device, sums in s_open.items())
    if csp.ticked(x):
        if x.ns >= s_end:
            made.extend((s_end, device, sums) for device, sums in s_open.items())
            s_end = (x.ns // WINDOW_NS + 1) * WINDOW_NS
            s_open = {}
        t, h = x.temperature, x.humidity
        sums = s_open.get(x.device)
        if sums is None:
            s_open[x.device] = [1.0, t, t, t, h, h, h]
        else:
            add(sums, t, h)


@csp.graph(memoize=False)
def by_tick(table: object, made: list) -> None:
    """Rows, those above 20 degrees, their windows."""
    reader = ParquetReader(table, time_column="time", read_from_memory_tables=True)
    x = reader.subscribe_all(Row)
    windows(csp.filter(x.temperature > 20.0, x), made)


@csp.node
def whole_windows(x: ts[[pa.RecordBatch]], made: list) -> None:
    """All rows of a window at once, grouped by Arrow; half of what sorting them in NumPy takes."""
    if csp.ticked(x):
        rows = pa.Table.from_batches(x)
        warm = rows.filter(pc.greater(rows["temperature"], 20.0))
        groups = warm.group_by(["end", "device"], use_threads=False)
        made.append(groups.aggregate(FOLDS).rename_columns(COLUMNS))


@csp.graph(memoize=False)
def by_batch(batches: object, made: list) -> None:
    """Rows of a window, which all bear the time of its end."""
    whole_windows(RecordBatchPullInputAdapter("end", batches), made)


def with_end(batch: pa.RecordBatch) -> pa.RecordBatch:
    """A batch, and the end of the window that each row is in."""
    ns = batch["time"].cast(pa.int64()).to_numpy()
    end = pa.array((ns // WINDOW_NS + 1) * WINDOW_NS).cast(pa.timestamp("ns", "UTC"))
    return batch.append_column("end", end)


def tick(path: str, out: str) -> None:
    """From file to file, row by row."""
    with pa.memory_map(path) as file:
        table = pa.ipc.open_file(file).read_all()
        table = table.append_column("ns", table["time"].cast(pa.int64()))
        made: list = []
        csp.run(by_tick, table, made, starttime=FIRST, endtime=LAST)
    write(out, fleet_table(made))


def batch(path: str, out: str) -> None:
    """From file to file, window by window."""
    with pa.memory_map(path) as file:
        reader = pa.ipc.open_file(file)
        batches = (with_end(reader.get_batch(k)) for k in range(reader.num_record_batches))
        made: list = []
        csp.run(by_batch, batches, made, starttime=FIRST, endtime=LAST)
    write(out, pa.concat_tables(made))


def run(by: str, path: str, out: str) -> dict:
    """What it took, and what came of it."""
    spent, _ = timed(lambda: {"tick": tick, "batch": batch}[by](path, out))
    return {**spent, "checksum": fleet_checksum(out)}


if __name__ == "__main__":
    pa.set_cpu_count(1)
    serve({"run": run}, "csp")
