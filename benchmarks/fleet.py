"""W2: the fleet from Arrow file to Arrow file, beside a C program with direct-index state, DuckDB and Polars.

All read the same file of 20 M rows, 10,000 devices in random order, and write an Arrow file.

Run:  python benchmarks/fleet.py [--rows 20000000] [--rounds 5]
"""

import argparse
import ctypes
import tempfile
from pathlib import Path

import fleet_peers
import numpy as np
import pyarrow as pa
from common import Apart, compiled, machine, rounds, table

import flowedge
from flowedge.runtime.run import Run

DEVICES = 10_000
TEXT = """
source fleet (time, device: key i32, temperature: f64, humidity: f64) from arrow("{path}") time time
sink fleet
    | where temperature > 20
    | window 10 s
    | aggregate count() as n, mean(temperature) as t_mean, min(temperature) as t_min, max(temperature) as t_max,
        mean(humidity) as h_mean, min(humidity) as h_min, max(humidity) as h_max
    to arrow("{out}")
"""


def generate(path: Path, rows: int, devices: int = DEVICES) -> None:
    """The recording: strictly growing times, every device once a second, in another order each time."""
    draw = np.random.default_rng(7)
    step = 10**9 // devices
    chunk = devices * max(1, 500_000 // devices)
    schema = None
    with pa.OSFile(str(path), "wb") as file:
        writer = None
        for start in range(0, rows, chunk):
            n = min(chunk, rows - start)
            batch = pa.record_batch({
                "time": pa.array((start + np.arange(n, dtype=np.int64)) * step).cast(pa.timestamp("ns", "UTC")),
                "device": np.concatenate([draw.permutation(devices) for _ in range(-(-n // devices))])[:n].astype(np.int32),
                "temperature": np.round(draw.normal(22, 6.25, n), 2), "humidity": np.round(draw.uniform(20, 90, n), 2),
            })  # fmt: skip
            schema = batch.schema
            writer = writer or pa.ipc.new_file(file, schema)
            writer.write_batch(batch)
        if writer is not None:
            writer.close()


def by_hand(library: ctypes.CDLL, path: Path, out: Path) -> None:
    """The C loop over the batches of the file, its rows written to an Arrow file."""
    cells, end = np.zeros(DEVICES * 7), np.zeros(1, np.int64)
    room = 200 * DEVICES
    ot, ok, on, ov = (
        np.zeros(room, np.int64),
        np.zeros(room, np.int32),
        np.zeros(room, np.int64),
        np.zeros((room, 6)),
    )
    names = ["time", "device", "n", "t_mean", "t_min", "t_max", "h_mean", "h_min", "h_max"]
    p = ctypes.c_void_p
    with pa.memory_map(str(path)) as file, pa.OSFile(str(out), "wb") as target:
        reader, writer = pa.ipc.open_file(file), None
        for k in range(reader.num_record_batches):
            b = reader.get_batch(k)
            columns = [
                b[c].cast(pa.int64()).to_numpy() if c == "time" else b[c].to_numpy()
                for c in ("time", "device", "temperature", "humidity")
            ]
            m = library.fleet(
                *(p(c.ctypes.data) for c in columns), ctypes.c_long(b.num_rows), ctypes.c_long(DEVICES), p(cells.ctypes.data), p(end.ctypes.data),
                int(k == reader.num_record_batches - 1), p(ot.ctypes.data), p(ok.ctypes.data), p(on.ctypes.data), p(ov.ctypes.data),
            )  # fmt: skip
            made = pa.record_batch(
                [
                    pa.array(ot[:m]).cast(pa.timestamp("ns", "UTC")),
                    pa.array(ok[:m]),
                    pa.array(on[:m]),
                    *(pa.array(np.ascontiguousarray(ov[:m, j])) for j in range(6)),
                ],
                names=names,
            )
            writer = writer or pa.ipc.new_file(target, made.schema)
            writer.write_batch(made)
        if writer is not None:
            writer.close()


def _table(path: Path) -> pa.Table:
    """A whole Arrow file."""
    return pa.ipc.open_file(pa.memory_map(str(path))).read_all()


def _equal(table: pa.Table, truth: pa.Table) -> bool:
    """The same rows; means may be summed in another order."""
    a, b = fleet_peers.sorted_rows(table), fleet_peers.sorted_rows(truth)
    return a.num_rows == b.num_rows and all(
        np.allclose(a[n].to_numpy(), b[n].to_numpy(), rtol=1e-11, atol=0) for n in b.column_names
    )


def main() -> list[str]:
    """Print the table; returns its lines."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=20_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    given, _ = parser.parse_known_args()
    library = compiled("fleet")
    library.fleet.restype = ctypes.c_long
    with tempfile.TemporaryDirectory() as folder:
        path, ours, theirs = (
            Path(folder) / name for name in ("fleet.arrow", "ours.arrow", "theirs.arrow")
        )
        generate(path, given.rows)
        plan = flowedge.compile(text=TEXT.format(path=path, out=ours))
        jobs = {
            name: (job, Path(folder) / f"{k}.arrow")
            for k, (name, job) in enumerate(fleet_peers.installed().items())
        }
        found = rounds(
            {
                "FlowEdge": Run(plan).__call__,
                "C by hand": lambda: by_hand(library, path, theirs),
                **{name: Apart(job, path, out) for name, (job, out) in jobs.items()},
            },
            given.rounds,
        )
        b = _table(theirs)
        same = _table(ours)["time"].equals(b["time"]) and all(
            _equal(_table(out), b) for out in (ours, *(out for _, out in jobs.values()))
        )
    lines = [
        f"W2, fleet, {given.rows:,} rows of {DEVICES:,} devices, Arrow file to Arrow file; {b.num_rows:,} rows out, {'equal' if same else 'DIFFERENT'}",
        "",
        *table(found, given.rows, "C by hand"),
    ]
    print(machine(), *lines, sep="\n")
    return lines


if __name__ == "__main__":
    main()
