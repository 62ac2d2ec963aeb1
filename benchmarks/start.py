"""How soon the first row comes, and how much memory is taken.

Each figure is of a process of its own: the first time ever (an empty cache), and again; peak memory over
a file much larger than a chunk; bytes of state for a million keys.

Run:  python benchmarks/start.py [--rows 143000000]
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
from common import machine
from fleet import TEXT, generate

import flowedge

ROOT = Path(__file__).parent.parent
FIRST = """
import sys, time
start = float(sys.argv[1])
from flowedge.runtime import outlets, run
class Shown(Exception): pass
def write(self, out):
    if any(b.num_rows for b in out.values()):
        raise Shown
outlets.Outlets.write = write
import flowedge
plan = flowedge.compile(sys.argv[2])
try:
    run.Run(plan)()
except Shown:
    print(time.time() - start)
"""
PEAK = """
import resource, sys
from flowedge.cli import main
try:
    main()
except SystemExit as end:
    assert not end.code
own = next(x for x in open("/proc/self/status") if x.startswith("VmHWM")).split()[1]
print(max(int(own), resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss))
"""
"""Peak of the process itself, and of those that it starts: its own from the system, for getrusage is handed down at exec."""


def first_row(flow: Path, cache: str) -> float:
    """Seconds from the start of a process to the first row that a sink is given."""
    command = [sys.executable, "-c", FIRST, str(time.time()), str(flow)]
    found = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        env={**os.environ, "FLOWEDGE_CACHE": cache},
    )
    return float(found.stdout)


def peak(flow: Path, cache: str) -> float:
    """The most memory [MB] that a process took over a whole run."""
    found = subprocess.run(
        [sys.executable, "-c", PEAK, "run", "-q", str(flow)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "FLOWEDGE_CACHE": cache},
    )
    return float(found.stdout) * 1024 / 1e6


def state_of(keys: int) -> int:
    """Bytes of a session after it has seen so many keys in the fleet pipeline."""
    from ecg_chain import PLAIN

    text = TEXT.replace('arrow("{path}")', "given()").replace('arrow("{out}")', "expected()")
    session = flowedge.compile(text=text, catalog=PLAIN).open()
    time_ns = pa.array(np.arange(keys, dtype=np.int64)).cast(pa.timestamp("ns", "UTC"))
    value = np.full(keys, 25.0)
    session.push(
        "fleet",
        pa.record_batch(
            {
                "time": time_ns,
                "device": np.arange(keys, dtype=np.int32),
                "temperature": value,
                "humidity": value,
            }
        ),
    )
    return session.nbytes


def main() -> list[str]:
    """Print the figures; returns the lines."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=143_000_000)
    given, _ = parser.parse_known_args()
    lines = ["| | figure |", "|---|---|"]
    with tempfile.TemporaryDirectory() as folder:
        flow = ROOT / "pipelines" / "ecg.flow"
        lines.append(
            f"| first row of ecg.flow, first time ever | {first_row(flow, folder + '/cache'):.2f} s |"
        )
        again = [first_row(flow, folder + "/cache") for _ in range(5)]
        lines.append(
            f"| first row of ecg.flow, again | {statistics.median(again):.2f} s (fastest {min(again):.2f}) |"
        )
        path, out = Path(folder) / "fleet.arrow", Path(folder) / "out.arrow"
        generate(path, given.rows)
        (Path(folder) / "f.flow").write_text(TEXT.format(path=path, out=out))
        first, again = (peak(Path(folder) / "f.flow", folder + "/other") for _ in range(2))
        lines.append(
            f"| peak memory over a file of {path.stat().st_size / 1e9:.1f} GB | {again:.0f} MB (first time ever: {first:.0f}) |"
        )
    lines.append(
        f"| state for 1,000,000 keys in the fleet pipeline | {state_of(1_000_000) / 1e6:.0f} MB |"
    )
    print(machine(), *lines, sep="\n")
    return lines


if __name__ == "__main__":
    main()
