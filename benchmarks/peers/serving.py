"""What the scripts of the peers share: they answer JSON lines, and say what a job took and what came of it.

Each question has a ``job``; each answer is one line: ``{"versions": {…}}``, or ``{"wall_s": …, "cpu_s": …, "checksum": […]}``.
Imported in environments that have no FlowEdge; the bare interpreter of the system has no Arrow either.
"""

from __future__ import annotations

import json
import os
import sys
import time
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pyarrow as pa

    Answer = dict[str, Any]

WINDOW_NS = 10_000_000_000
COLUMNS = ("time", "device", "n", "t_mean", "t_min", "t_max", "h_mean", "h_min", "h_max")
"""Of a row of the fleet; `time` is the end of the window [ns]."""
SETTLED = 64
"""Samples of the ECG after which a slope and a mean have all of their past, whatever they say before."""


def serve(jobs: dict[str, Callable[..., Answer]], *packages: str) -> None:
    """Answer until the input ends; what a library prints goes to the errors, for the output is for answers.

    Parameters
    ----------
    jobs : a function for each job, called by what the question says about it
    packages : whose versions are told by the job ``versions``, where no function of `jobs` does
    """
    known = {"versions": lambda: {name: version(name) for name in packages}, **jobs}
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    for line in sys.stdin:
        about = json.loads(line)
        job = about.pop("job")
        answers.write(json.dumps(known[job](**about)) + "\n")


def timed(job: Callable[[], Any]) -> tuple[Answer, Any]:
    """Do a job; seconds of the clock and of all threads of this process, and what it made."""
    wall, cpu = time.perf_counter(), time.process_time()
    made = job()
    return {"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu}, made


def write(out: Path | str, table: pa.Table) -> None:
    """An Arrow file."""
    import pyarrow as pa

    with pa.OSFile(str(out), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)


def fleet_table(rows: list[tuple[int, int, list[float]]]) -> pa.Table:
    """Rows of the fleet, of the end of a window, a device, and what `Sums` has of it."""
    import pyarrow as pa

    ends, devices, sums = zip(*rows, strict=True) if rows else ((), (), ())
    n, t_sum, t_min, t_max, h_sum, h_min, h_max = np.array(sums, float).reshape(-1, 7).T
    time = pa.array(np.array(ends, np.int64)).cast(pa.timestamp("ns", "UTC"))
    device, count = np.array(devices, np.int32), n.astype(np.int64)
    values = [time, device, count, t_sum / n, t_min, t_max, h_sum / n, h_min, h_max]
    return pa.table(values, names=list(COLUMNS))


def add(sums: list[float], temperature: float, humidity: float) -> list[float]:
    """One more row in count, and sum, least and largest of both; what the Python of any peer does for each, without calls."""
    sums[0] += 1
    sums[1] += temperature
    if temperature < sums[2]:  # noqa: PLR1730
        sums[2] = temperature
    if temperature > sums[3]:  # noqa: PLR1730
        sums[3] = temperature
    sums[4] += humidity
    if humidity < sums[5]:  # noqa: PLR1730
        sums[5] = humidity
    if humidity > sums[6]:  # noqa: PLR1730
        sums[6] = humidity
    return sums


def fleet_checksum(path: Path | str) -> list[float]:
    """Rows, and sums of all columns, weighted by window and device, so that rows may stand in any order."""
    import pyarrow as pa

    table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
    end = table["time"].cast(pa.int64()).to_numpy() // WINDOW_NS
    weight = (table["device"].to_numpy() * 1_000_003 + end) % 65_521 + 1.0
    sums = (float(weight @ table[name].to_numpy()) for name in COLUMNS[2:])
    return [table.num_rows, float(weight.sum()), *sums]


def ecg_checksum(y: np.ndarray) -> list[float]:
    """Count, sum, a sample in the middle, the last and the largest, behind the samples that settle."""
    y = y[SETTLED:].astype(np.float64)
    return [len(y), float(y.sum()), float(y[len(y) // 2]), float(y[-1]), float(y.max())]
