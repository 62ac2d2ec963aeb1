"""What memory a push asks for once everything has found its size: by whom, how often, how much of it comes out as rows, and whether anything grows.

Each work runs in a process of its own, which first gets some pushes that are not counted. Then four things are looked at, push by push:

- *Python*: objects that the interpreter asks for (domains `mem` and `obj`: calls, and bytes asked for), by a hook in its allocator.
- *C*: calls of `malloc` and its like by everybody else: NumPy for its data, Arrow and the C++ library for what they know of arrays, kernels. By a
  library that is loaded before all others. What Python asks `malloc` for on its own behalf counts as Python's.
- *Arrow*: what its memory pool says of buffers.
- *faults*: pages that the system had to find, of the whole process (`ru_minflt`).

*Beside the rows* is the most memory that was in use at any moment of a push beyond what was before it, by `tracemalloc` (Python, NumPy) and by
the pool, without the rows that came out: they are the caller's, and must live somewhere. Rows are let go before the next push, as a caller
does who writes them or passes them on. *Growth* is by how much the most that is left in use after a push is more in the second half of the pushes
than in the first, by the same two: 0 and a few bytes where nothing grows, whatever windows open and close.

Not seen: memory on the stack; what the pool takes from the system and keeps (but its pages are, when they are first touched); what kernels write into
memory that was made at the start, which is the point of it. Other threads are not counted; a session has none.

Run:  python benchmarks/allocations.py [--pushes 200]
"""

import argparse
import ctypes
import gc
import json
import math
import os
import resource
import subprocess
import sys
import tempfile
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import asof
import ecg_chain
import fleet
import numpy as np
import pyarrow as pa
import single_rows
from common import build, machine

import flowedge

WARM, ALONE = 100, 100
"""Pushes that are not counted: tables grow to the keys that there are, caches fill. Of rows that come alone there are `ALONE` times as many of either kind."""
INSTANT = pa.timestamp("ns", "UTC")

Push = dict[str, pa.RecordBatch]
"""Rows for each source."""


class Work(NamedTuple):
    """A pipeline, rows a push, and what makes so many pushes."""

    text: str
    rows: int
    made: Callable[[int, int], Iterator[Push]]

    def times(self, pushes: int) -> int:
        """How many pushes are made where so many are asked for."""
        return pushes * ALONE if self.rows == 1 else pushes


def chain(rows: int, count: int) -> Iterator[Push]:
    """W1: samples."""
    draw = np.random.default_rng(7)
    for _ in range(count):
        yield {"s": pa.record_batch({"v": draw.normal(size=rows)})}


def devices(
    rows: int, count: int, name: str = "fleet", keys: int = fleet.DEVICES
) -> Iterator[Push]:
    """W2: every device once a second, always in the same order, which is a random one."""
    draw, step = np.random.default_rng(7), 10**9 // keys
    order = draw.permutation(keys).astype(np.int32)
    for k in range(count):
        number = np.arange(k * rows, (k + 1) * rows)
        yield {name: pa.record_batch({
            "time": pa.array(number * step).cast(INSTANT), "device": order[number % keys],
            "temperature": draw.normal(22, 6.25, rows).round(2), "humidity": draw.uniform(20, 90, rows).round(2),
        })}  # fmt: skip


def meeting(rows: int, count: int) -> Iterator[Push]:
    """W5: ten fast rows to a slow one, of a thousand keys."""
    draw = np.random.default_rng(7)
    for k in range(count):
        push = {}
        for name, value, step_ns, n in (
            ("fast", "b", 10**6, rows),
            ("slow", "a", 10**7, rows // 10),
        ):
            time = pa.array((k * n + np.arange(n)) * step_ns + (value == "a")).cast(INSTANT)
            keys = draw.integers(0, asof.KEYS, n).astype(np.int32)
            push[name] = pa.record_batch({"time": time, "k": keys, value: draw.normal(size=n)})
        yield push


def single(rows: int, count: int) -> Iterator[Push]:
    """Rows that come alone, of a thousand devices."""
    return devices(rows, count, "s", 1000)


W2 = fleet.TEXT.replace('arrow("{path}") time time', "given()").replace('arrow("{out}")', "expected()")  # fmt: skip
W5 = asof.TEXT
for place in ("slow", "fast"):
    W5 = W5.replace(f'arrow("{{{place}}}") time time', "given()")
W5 = W5.replace('arrow("{out}")', "expected()")
WORKS = {
    "W1, ECG chain": Work(ecg_chain.TEXT, 4096, chain),
    "W1, large pushes": Work(ecg_chain.TEXT, 65_536, chain),
    "W2, fleet": Work(W2, 4096, devices),
    "W2, large pushes": Work(W2, 65_536, devices),
    "W5, as-of join": Work(W5, 4000, meeting),
    "W5, large pushes": Work(W5, 64_000, meeting),
    "W1, a sample alone": Work(ecg_chain.TEXT, 1, chain),
    "W2, a row alone": Work(single_rows.PLANS["W2"].replace("kept()", "expected()"), 1, single),
}


class Seen(NamedTuple):
    """What was seen of one work; per push, unless said otherwise. Bytes are bytes."""

    rows_out: float
    bytes_out: float
    python: float
    python_bytes: float
    c: float
    c_bytes: float
    arrow: float
    arrow_bytes: float
    beside: float
    faults: float
    growth: float
    """Bytes in the second half of all pushes beyond those in the first."""


class Steady:
    """A session that has had its first pushes, and the ones to come."""

    def __init__(self, work: Work, pushes: int) -> None:
        self._session = flowedge.compile(text=work.text, catalog=ecg_chain.PLAIN).open()
        warm = work.times(WARM)
        self._made = list(
            work.made(work.rows, warm + pushes)
        )  # kept, so that no memory is free that was the caller's
        for batch in (b for push in self._made for b in push.values()):
            _ = batch.schema  # which a batch keeps from the first time that anybody asks
        self.pushes = self._made[warm:]
        for push in self._made[:warm]:
            self.give(push)

    def give(self, push: Push) -> list[pa.RecordBatch]:
        """What comes of the rows of all sources."""
        out: list[pa.RecordBatch] = []
        for source, rows in push.items():
            out += self._session.push(source, rows).values()
        return out


def counted(work: Work, pushes: int) -> Seen:
    """Look at one work. The calls of Python and C are unknown (NaN) where the library of C was not loaded before all else."""
    library = ctypes.CDLL(None)
    is_watched = hasattr(library, "watch_python")
    if is_watched:
        library.watch_python()
    pushes = work.times(pushes)
    steady, pool = Steady(work, 3 * pushes), pa.default_memory_pool()
    first, second, third = (steady.pushes[k * pushes : (k + 1) * pushes] for k in range(3))
    calls, rows_out, bytes_out = np.zeros((pushes, 4), np.int64), 0, 0
    gc.collect()
    for k, push in enumerate(first):
        if is_watched:
            library.begin()
        out = steady.give(push)
        if is_watched:
            library.end(ctypes.c_void_p(calls[k].ctypes.data))
        rows_out += sum(b.num_rows for b in out)
        bytes_out += sum(b.get_total_buffer_size() for b in out)
        del out
    arrow, arrow_bytes, faults = pool.num_allocations(), pool.total_bytes_allocated(), faulted()
    for push in second:
        steady.give(push)
    faults = faulted() - faults
    arrow, arrow_bytes = pool.num_allocations() - arrow, pool.total_bytes_allocated() - arrow_bytes
    beside, growth = peaks(steady, third)
    c, c_bytes, python, python_bytes = calls.mean(axis=0) if is_watched else [math.nan] * 4
    return Seen(
        rows_out / pushes, bytes_out / pushes, python, python_bytes, c, c_bytes, arrow / pushes, arrow_bytes / pushes,
        beside, faults / pushes, growth,
    )  # fmt: skip


def peaks(steady: Steady, pushes: list[Push]) -> tuple[float, float]:
    """The most that a push has in use beside its rows (the middle one), and by what more is left in the end."""
    pool = pa.default_memory_pool()
    beside, left = (
        np.zeros(len(pushes)),
        np.zeros(len(pushes)),
    )  # made before, so that it is none of what is seen
    gc.freeze()
    tracemalloc.start()
    for k, push in enumerate(pushes):
        tracemalloc.reset_peak()
        before, arrow = tracemalloc.get_traced_memory()[0], pool.bytes_allocated()
        out = steady.give(push)
        peak = tracemalloc.get_traced_memory()[1] - before + pool.bytes_allocated() - arrow
        beside[k] = peak - sum(b.get_total_buffer_size() for b in out)
        del out
        gc.collect()  # the interpreter keeps some thousands of small objects for itself, too
        left[k] = tracemalloc.get_traced_memory()[0] + pool.bytes_allocated()
    tracemalloc.stop()
    half = len(pushes) // 2
    return float(np.median(beside)), float(left[half:].max() - left[:half].max())


def faulted() -> int:
    """Pages that the process had to be given so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def apart(name: str, pushes: int, library: Path | None = None) -> Seen:
    """A work in a process of its own, with the library of C or without."""
    command = [sys.executable, __file__, "--work", name, "--pushes", str(pushes)]
    env = {**os.environ, "LD_PRELOAD": "" if library is None else str(library)}
    told = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=env)
    return Seen(*json.loads(told.stdout))


def measured(pushes: int) -> dict[str, Seen]:
    """Every work."""
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "allocations.so"
        build("allocations", library, "-O2")
        return {name: apart(name, pushes, library) for name in WORKS}


def main() -> list[str]:
    """Print the table; returns its lines."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("--pushes", type=int, default=200)
    parser.add_argument("--work", choices=WORKS, help=argparse.SUPPRESS)
    given, _ = parser.parse_known_args()
    if given.work is not None:
        print(json.dumps(counted(WORKS[given.work], given.pushes)))
        return []
    lines = [
        f"Memory asked for by a push, after {WARM} others; {given.pushes} pushes each, of rows alone {ALONE} times as many",
        "",
        "| work | rows in | rows out | their bytes | Python: calls | bytes | C: calls | bytes | Arrow: calls | bytes | bytes in use beside the rows | page faults | growth, bytes |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, seen in measured(given.pushes).items():
        cells = [f"{WORKS[name].rows:,}", *(f"{value:,.0f}" for value in seen[:9]), f"{seen.faults:.2f}", f"{seen.growth:,.0f}"]  # fmt: skip
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    print(machine(), *lines, sep="\n")
    return lines


if __name__ == "__main__":
    main()
