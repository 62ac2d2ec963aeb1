"""W5: an as-of join of a fast stream with a slow one, from Arrow files to an Arrow file, beside a C merge and Polars.

Rows of the slow stream (100 Hz) get the newest row of the fast one (1 kHz) with their key that is not behind them.

Run:  python benchmarks/asof.py [--rows 10000000] [--rounds 5]
"""

import argparse
import ctypes
import importlib.util
import os
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
from common import Apart, compiled, machine, rounds, table

import flowedge
from flowedge.runtime.run import Run

KEYS, CHUNK = 1000, 500_000
TEXT = """
source slow (time, k: key i32, a: f64) from arrow("{slow}") time time
source fast (time, k: key i32, b: f64) from arrow("{fast}") time time
sink slow | join fast latest to arrow("{out}")
"""


def generate(path: Path, rows: int, step_ns: int, name: str, seed: int) -> None:
    """Strictly growing times, keys at random."""
    draw = np.random.default_rng(seed)
    writer = None
    with pa.OSFile(str(path), "wb") as file:
        for start in range(0, rows, CHUNK):
            n = min(CHUNK, rows - start)
            time = pa.array((start + np.arange(n, dtype=np.int64)) * step_ns + seed)
            batch = pa.record_batch({
                "time": time.cast(pa.timestamp("ns", "UTC")), "k": draw.integers(0, KEYS, n).astype(np.int32), name: draw.standard_normal(n),
            })  # fmt: skip
            writer = writer or pa.ipc.new_file(file, batch.schema)
            writer.write_batch(batch)
        if writer is not None:
            writer.close()


def by_hand(library: ctypes.CDLL, slow: Path, fast: Path, out: Path) -> None:
    """The C merge over the batches of both files."""
    last_t, last_v = np.full(KEYS, -(2**63), np.int64), np.full(KEYS, np.nan)
    p = ctypes.c_void_p
    with pa.memory_map(str(slow)) as a, pa.memory_map(str(fast)) as b, pa.OSFile(str(out), "wb") as target:  # fmt: skip
        left, right = pa.ipc.open_file(a), pa.ipc.open_file(b)
        writer, number = None, 0
        rt, rk, rv = _columns(right.get_batch(0), "b")
        taken = ctypes.c_long(0)
        for k in range(left.num_record_batches):
            batch = left.get_batch(k)
            lt, lk, _ = _columns(batch, "a")
            at, n = ctypes.c_long(0), batch.num_rows
            out_t, out_v = np.empty(n, np.int64), np.empty(n)
            while True:
                library.asof(
                    p(lt.ctypes.data), p(lk.ctypes.data), ctypes.c_long(n), ctypes.byref(at), p(rt.ctypes.data), p(rk.ctypes.data), p(rv.ctypes.data),
                    ctypes.c_long(len(rt)), ctypes.byref(taken), p(last_t.ctypes.data), p(last_v.ctypes.data), p(out_t.ctypes.data), p(out_v.ctypes.data),
                )  # fmt: skip
                if at.value == n:
                    break
                number += 1
                if number == right.num_record_batches:  # nothing comes any more
                    rt, rk, rv = np.array([2**63 - 1]), np.zeros(1, np.int32), np.zeros(1)
                else:
                    rt, rk, rv = _columns(right.get_batch(number), "b")
                taken = ctypes.c_long(0)
            times = pa.array(out_t, mask=out_t == -(2**63)).cast(batch["time"].type)
            made = pa.record_batch([*batch.columns, times, pa.array(out_v)], names=["time", "k", "a", "fast_time", "b"])  # fmt: skip
            writer = writer or pa.ipc.new_file(target, made.schema)
            writer.write_batch(made)
        if writer is not None:
            writer.close()


def _columns(batch: pa.RecordBatch, name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return batch["time"].cast(pa.int64()).to_numpy(), batch["k"].to_numpy(), batch[name].to_numpy()


def by_polars(slow: Path, fast: Path, out: Path) -> None:
    """The same, on one thread, as its manual advises."""
    os.environ["POLARS_MAX_THREADS"] = "1"  # read when the package is first imported
    import polars as pl

    left, right = (pl.read_ipc(path).set_sorted("time") for path in (slow, fast))
    left.join_asof(right, on="time", by="k", strategy="backward", check_sortedness=False).write_ipc(out)  # fmt: skip


def values(path: Path) -> np.ndarray:
    """What each row of the slow stream was given."""
    return pa.ipc.open_file(pa.memory_map(str(path))).read_all()["b"].to_numpy()


def main() -> list[str]:
    """Print the table; returns its lines."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    given, _ = parser.parse_known_args()
    library = compiled("asof")
    library.asof.restype = ctypes.c_long
    with tempfile.TemporaryDirectory() as folder:
        slow, fast, ours, theirs, third = (
            Path(folder) / f"{n}.arrow" for n in ("slow", "fast", "ours", "theirs", "third")
        )
        generate(slow, given.rows // 10, 10**7, "a", 1)
        generate(fast, given.rows, 10**6, "b", 0)
        plan = flowedge.compile(text=TEXT.format(slow=slow, fast=fast, out=ours))
        jobs = {
            "FlowEdge": Run(plan).__call__,
            "C by hand": lambda: by_hand(library, slow, fast, theirs),
        }
        if importlib.util.find_spec("polars"):
            from importlib.metadata import version

            jobs[f"Polars {version('polars')}"] = Apart(by_polars, slow, fast, third)
        found = rounds(jobs, given.rounds)
        truth = values(theirs)
        same = all(
            np.array_equal(values(path), truth, equal_nan=True)
            for path in (ours, third)
            if path.exists()
        )
    lines = [
        f"W5, as-of join, {given.rows // 10:,} rows with {given.rows:,} of {KEYS:,} keys, Arrow files to Arrow file; {'equal' if same else 'DIFFERENT'}",
        "",
        *table(found, given.rows, "C by hand"),
    ]
    print(machine(), *lines, sep="\n")
    return lines


if __name__ == "__main__":
    main()
