"""The fleet in Pathway: what `streams_elsewhere.py` asks. A connector in Python, committed once for each record batch; tumbling windows of each device.

Windows may be told before they are whole, and are then told again; the last word counts.
"""

import logging

import pathway as pw
import pyarrow as pa
from pathway.internals.parse_graph import G
from serving import COLUMNS, WINDOW_NS, fleet_checksum, serve, timed, write

TYPES = (pa.int64(), pa.int32(), pa.int64(), *[pa.float64()] * 6)


class Row(pw.Schema):
    """What was measured."""

    ns: int
    device: int
    temperature: float
    humidity: float


class Batches(pw.io.python.ConnectorSubject):
    """Rows of a file."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self._path = path

    def run(self) -> None:
        """Hand them on one by one, as the connector wants them."""
        with pa.memory_map(self._path) as file:
            reader = pa.ipc.open_file(file)
            for k in range(reader.num_record_batches):
                time, *columns = reader.get_batch(k).columns
                columns = [time.cast(pa.int64()), *columns]
                for ns, device, t, h in zip(*(c.to_pylist() for c in columns), strict=True):
                    self.next(ns=ns, device=device, temperature=t, humidity=h)
                self.commit()

    @property
    def _deletions_enabled(self) -> bool:
        return False


def fleet(path: str, out: str) -> None:
    """From file to file."""
    G.clear()  # or the graph of the run before would run again
    rows = pw.io.python.read(Batches(path), schema=Row, autocommit_duration_ms=None)
    t, h, fold = pw.this.temperature, pw.this.humidity, pw.reducers
    windows = (
        rows.filter(t > 20.0)
        .windowby(
            pw.this.ns,
            window=pw.temporal.tumbling(duration=WINDOW_NS, origin=0),
            instance=pw.this.device,
        )
        .reduce(
            time=pw.this._pw_window_end, device=pw.this._pw_instance, n=fold.count(),  # noqa: SLF001 - so they are called
            t_mean=fold.avg(t), t_min=fold.min(t), t_max=fold.max(t),
            h_mean=fold.avg(h), h_min=fold.min(h), h_max=fold.max(h),
        )
    )  # fmt: skip
    made: dict[tuple[int, int], dict] = {}

    def told(key: object, row: dict, time: int, is_addition: bool) -> None:
        if is_addition:
            made[row["time"], row["device"]] = row

    pw.io.subscribe(windows, told)
    pw.run(monitoring_level=pw.MonitoringLevel.NONE)
    columns = [
        pa.array([row[name] for row in made.values()], kind)
        for name, kind in zip(COLUMNS, TYPES, strict=True)
    ]
    table = pa.table(columns, names=list(COLUMNS))
    write(out, table.set_column(0, "time", table["time"].cast(pa.timestamp("ns", "UTC"))))


def run(path: str, out: str) -> dict:
    """What it took, and what came of it."""
    spent, _ = timed(lambda: fleet(path, out))
    return {**spent, "checksum": fleet_checksum(out)}


if __name__ == "__main__":
    logging.disable(logging.WARNING)  # nine lines for a run
    serve({"run": run}, "pathway")
