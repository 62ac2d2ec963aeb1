"""What the benchmarks share: C by hand, rounds in turn, medians and ratios, the table of the README."""

import ctypes
import platform
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

C = Path(__file__).parent / "c"


def compiled(name: str) -> ctypes.CDLL:
    """A C file of this folder as a library: ``gcc -O3 -march=native``, without contraction."""
    out = Path(tempfile.mkdtemp(prefix="flowedge-bench-")) / f"{name}.so"
    command = [
        "gcc",
        "-O3",
        "-march=native",
        "-ffp-contract=off",
        "-shared",
        "-fPIC",
        "-o",
        str(out),
        str(C / f"{name}.c"),
        "-lm",
    ]
    subprocess.run(command, check=True)
    return ctypes.CDLL(str(out))


def rounds(
    runs: dict[str, Callable[[], object]], count: int
) -> dict[str, list[tuple[float, float]]]:
    """Wall and CPU seconds of each run, all in turn, round after round, after one untimed round.

    What is done once for a process (imports, object code, first touches of the file) is start-up, which
    `start.py` measures.
    """
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in runs}
    for run in runs.values():
        run()
    for _ in range(count):
        for name, run in runs.items():
            wall, cpu = time.perf_counter(), time.process_time()
            run()
            found[name].append((time.perf_counter() - wall, time.process_time() - cpu))
    return found


def table(found: dict[str, list[tuple[float, float]]], rows: int, against: str) -> list[str]:
    """Lines of Markdown: medians, and ratios to one of them, round by round."""
    lines = [
        "| | M rows/s | M rows per CPU second | ratio (median of rounds) | spread |",
        "|---|---|---|---|---|",
    ]
    for name, times in found.items():
        wall, cpu = statistics.median(w for w, _ in times), statistics.median(c for _, c in times)
        ratios = [b[1] / a[1] for a, b in zip(times, found[against], strict=True)]
        lines.append(
            f"| {name} | {rows / wall / 1e6:.1f} | {rows / cpu / 1e6:.1f} | {statistics.median(ratios):.2f} | {min(ratios):.2f} – {max(ratios):.2f} |"
        )
    return lines


def machine() -> str:
    """One line: processor, Python, versions."""
    import llvmlite
    import numba
    import numpy as np
    import pyarrow as pa

    model = next(
        (
            x.split(":")[1].strip()
            for x in Path("/proc/cpuinfo").read_text().splitlines()
            if x.startswith("model name")
        ),
        platform.machine(),
    )
    return f"{model}; Python {platform.python_version()}, numpy {np.__version__}, numba {numba.__version__}, llvmlite {llvmlite.__version__}, pyarrow {pa.__version__}"


def summary(results: str) -> list[str]:
    """The table of the README out of the text of `RESULTS.md`: FlowEdge beside each of the others."""
    lines = ["| work | FlowEdge, by CPU time |", "|---|---|"]
    for section in results.split("\n## ")[1:]:
        _, *body = section.splitlines()
        rows = [[c.strip() for c in x.strip("| ").split("|")] for x in body if x.startswith("| ")]
        ratios = {row[0]: float(row[3]) for row in rows if len(row) == 5 and row[3][:1].isdigit()}
        if "FlowEdge" in ratios:
            ours = ratios.pop("FlowEdge")
            work = next(x for x in body if x.startswith("W")).split(";")[0].partition(", ")[2]
            beside = ", ".join(f"{ours / other:.2f} × {name}" for name, other in ratios.items())
            lines.append(f"| {work} | {beside} |")
        else:
            lines += [
                f"| {row[0]} | {row[1]} |" for row in rows if len(row) == 2 and row[1] != "figure"
            ]
    return lines
