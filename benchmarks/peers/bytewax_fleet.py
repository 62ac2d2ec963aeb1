"""The fleet in Bytewax: what `streams_elsewhere.py` asks. One worker; a source that hands on a record batch at a time, `fold_window` for each device.

The clock of the system stands still, so that event time alone closes windows: where it runs, Bytewax moves the watermark on
between two batches of a replay, and drops what then is late, without an error.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import bytewax.operators as op
import pyarrow as pa
from bytewax.dataflow import Dataflow
from bytewax.inputs import DynamicSource, StatelessSourcePartition
from bytewax.operators.windowing import EventClock, TumblingWindower, fold_window
from bytewax.outputs import DynamicSink, StatelessSinkPartition
from bytewax.testing import run_main
from serving import WINDOW_NS, add, fleet_checksum, fleet_table, serve, timed, write

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SECONDS = WINDOW_NS // 10**9
Row = tuple[int, int, float, float]


class Batches(StatelessSourcePartition):
    """Rows of a file, batch by batch."""

    def __init__(self, file: pa.NativeFile) -> None:
        self._rows = self._read(pa.ipc.open_file(file))

    def _read(self, reader: pa.RecordBatchFileReader) -> Iterator[list[Row]]:
        for k in range(reader.num_record_batches):
            time, *columns = reader.get_batch(k).columns
            columns = [time.cast(pa.int64()), *columns]
            yield list(zip(*(c.to_pylist() for c in columns), strict=True))

    def next_batch(self) -> list[Row]:
        """The next batch; its end ends the stream."""
        return next(self._rows)


class Source(DynamicSource):
    """The file."""

    def __init__(self, file: pa.NativeFile) -> None:
        self._file = file

    def build(self, _step: str, _worker: int, _workers: int) -> Batches:
        """For the only worker."""
        return Batches(self._file)


class Kept(StatelessSinkPartition):
    """A list that all windows go to."""

    def __init__(self, made: list) -> None:
        self._made = made

    def write_batch(self, items: list) -> None:
        """Take them."""
        self._made.extend(items)


class Sink(DynamicSink):
    """The list."""

    def __init__(self, made: list) -> None:
        self._made = made

    def build(self, _step: str, _worker: int, _workers: int) -> Kept:
        """For the only worker."""
        return Kept(self._made)


def merged(a: list[float], b: list[float]) -> list[float]:
    """Sums of two windows; tumbling ones are never merged."""
    folds = (float.__add__, float.__add__, min, max, float.__add__, min, max)
    return [fold(x, y) for fold, x, y in zip(folds, a, b, strict=True)]


def fleet(path: str, out: str) -> None:
    """From file to file."""
    made: list = []
    no_sums = (0.0, 0.0, float("inf"), -float("inf"), 0.0, float("inf"), -float("inf"))
    clock = EventClock(
        ts_getter=lambda row: EPOCH + timedelta(microseconds=row[0] // 1000),
        wait_for_system_duration=timedelta(0),
        now_getter=lambda: EPOCH,
    )
    tumbling = TumblingWindower(length=timedelta(seconds=SECONDS), align_to=EPOCH)
    with pa.memory_map(path) as file:
        flow = Dataflow("fleet")
        warm = op.filter("warm", op.input("rows", flow, Source(file)), lambda row: row[2] > 20)
        keyed = op.key_on("device", warm, lambda row: str(row[1]))
        windows = fold_window(
            "windows", keyed, clock, tumbling, lambda: list(no_sums), lambda sums, row: add(sums, row[2], row[3]), merged
        )  # fmt: skip
        op.output("made", windows.down, Sink(made))
        run_main(flow)
    # A window is known by its number from `align_to`.
    write(
        out, fleet_table([((k + 1) * WINDOW_NS, int(device), sums) for device, (k, sums) in made])
    )


def run(path: str, out: str) -> dict:
    """What it took, and what came of it."""
    spent, _ = timed(lambda: fleet(path, out))
    return {**spent, "checksum": fleet_checksum(out)}


if __name__ == "__main__":
    serve({"run": run}, "bytewax")
