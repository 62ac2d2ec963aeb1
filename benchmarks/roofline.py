"""How close each work comes to what one core of the machine can do: bytes and operations a row, and two ceilings [1]_.

The ceilings are measured in the same rounds: what a copy of a large array reads and writes in a second, and fused
multiply-adds of vectors that do not wait for each other, two operations each. Bytes are those that any engine has to move: the
columns that are read once, and the rows that come out. Operations are counted in the definition of the work, additions,
multiplications, divisions and comparisons of numbers alike; recurrences cannot use vectors along time, so that W1
comes nowhere near the second ceiling by its nature.

.. [1] S. Williams, A. Waterman, D. Patterson, Roofline: an insightful visual performance model for multicore
   architectures, Communications of the ACM, 52(4), 2009, 65-76.

Run:  python benchmarks/roofline.py [--rows 10000000] [--rounds 5]
"""

import argparse
import ctypes
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import asof
import compress_series
import ecg_chain
import fleet
import numpy as np
import pyarrow as pa
import tilt
from common import compiled, machine, rounds

import flowedge
from flowedge.runtime.run import Run

PUSH, COPY, ADDS = 65_536, 1 << 26, 200_000


class Work(NamedTuple):
    """One work: a job over so many rows, and what each row needs at least."""

    name: str
    job: Callable[[], object]
    rows: int
    nbytes: float
    operations: float
    counted: str


def in_memory(text: str, source: str, table: pa.Table) -> Callable[[], None]:
    """Rows pushed into a plan; what comes out is let go."""
    plan = flowedge.compile(text=text, catalog=ecg_chain.PLAIN)
    batches = table.to_batches(max_chunksize=PUSH)

    def run() -> None:
        session = plan.open()
        for batch in batches:
            session.push(source, batch)
        session.finish()

    return run


def works(rows: int, folder: Path) -> list[Work]:
    """Those whose bytes and operations are known from their definitions."""
    draw = np.random.default_rng(7)
    instant = pa.timestamp("ns", "UTC")
    time = pa.array((1 + np.arange(rows)) * tilt.TICK).cast(instant)
    x = pa.array(draw.uniform(-50, 50, rows).astype(np.float32))
    ticks = pa.table({"time": time, "x": x})
    (full, _), *_ = (
        s for n, s in compress_series.series(rows).items() if n == "temperature (float64)"
    )
    error = 0.01 * float(full.max() - full.min())
    paths = {n: folder / f"{n}.arrow" for n in ("fleet", "slow", "fast", "out")}
    fleet.generate(paths["fleet"], rows)
    asof.generate(paths["slow"], rows // 10, 10**7, "a", 1)
    asof.generate(paths["fast"], rows, 10**6, "b", 0)
    w2 = Run(flowedge.compile(text=fleet.TEXT.format(path=paths["fleet"], out=paths["out"])))
    w5 = Run(flowedge.compile(text=asof.TEXT.format(slow=paths["slow"], fast=paths["fast"], out=paths["out"])))  # fmt: skip
    tiny = "source s (v: f64) at 1 Hz from given()\n"
    return [
        Work("W1 ECG chain", in_memory(ecg_chain.TEXT, "s", pa.table({"v": draw.normal(size=rows)})), rows, 16, 49,
             "4 sections of 9, a slope of 7, a square, a mean of 5 that does not drift"),
        Work("W2 fleet, file to file", w2, rows, 28 + 7.6, 1 + 0.625 * 7, "a comparison, and for 5 of 8 rows a count, two sums, minima and maxima; a row of 76 bytes out for ten in"),
        Work("W4 swing", in_memory(f"{tiny}sink s | compress swing({error!r}) to expected()", "s", pa.table({"v": full})), rows, 8, 10,
             "a slope and two bounds: 3 differences, 3 divisions, 4 comparisons"),
        Work("W4 quantize", in_memory(f"{tiny}sink s | compress quantize({error!r}) to expected()", "s", pa.table({"v": full})), rows, 8, 5,
             "a division, a rounding, a product, two comparisons"),
        Work("W5 as-of join, file to file", w5, rows + rows // 10, 20 + 3.6 / 1.1, 2, "two comparisons of times"),
        Work("T1 select", in_memory(tilt.QUERIES["T1"].text, "s", ticks), rows, 12 + 16, 1, "an addition; times are read and written"),
        Work("T3 window sum", in_memory(tilt.QUERIES["T3"].text, "s", ticks), rows, 12, 1, "an addition; times are read"),
        Work("T10 trading", in_memory(tilt.QUERIES["T10"].text, "s", ticks), rows, 12 + 9, 11, "two means of 5 that do not drift, a comparison"),
    ]  # fmt: skip


def main() -> list[str]:
    """Print the table; returns its lines."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    given, _ = parser.parse_known_args()
    library = compiled("ceilings")
    library.multiply_add.restype = ctypes.c_double
    source, target = np.ones(COPY // 8), np.ones(COPY // 8)

    def copy() -> None:
        for _ in range(4):
            np.copyto(target, source)

    def add() -> None:
        library.multiply_add(ctypes.c_long(ADDS), ctypes.c_double(0.5), ctypes.c_double(1.0))

    with tempfile.TemporaryDirectory() as folder:
        todo = works(given.rows, Path(folder))
        jobs = {"copy": copy, "adds": add, **{w.name: w.job for w in todo}}
        found = rounds(jobs, given.rounds)
    cpu = {name: statistics.median(c for _, c in times) for name, times in found.items()}
    nbytes = 4 * 2 * COPY / cpu["copy"]
    flops = 2.0 * library.multiply_add_width() * ADDS / cpu["adds"]
    lines = [
        f"Roofline, one core: a copy moves {nbytes / 1e9:.1f} GB/s, multiply-adds of vectors do {flops / 1e9:.0f} G operations/s; medians of {given.rounds} rounds by CPU time",
        "",
        "| work | bytes a row | operations a row | ceiling: memory, M rows/s | ceiling: arithmetic, M rows/s | got, M rows/s | of the lower ceiling | operations counted |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for work in todo:
        by_memory, by_adds = nbytes / work.nbytes / 1e6, flops / work.operations / 1e6
        got = work.rows / cpu[work.name] / 1e6
        lines.append(
            f"| {work.name} | {work.nbytes:.1f} | {work.operations:.1f} | {by_memory:,.0f} | {by_adds:,.0f} | {got:,.0f} | {got / min(by_memory, by_adds):.0%} | {work.counted} |"
        )
    print(machine(), *lines, sep="\n")
    return lines


if __name__ == "__main__":
    main()
