"""What it costs to be able to go on: the fleet with checkpoints beside the fleet without, and how soon it goes on.

At every checkpoint the run syncs what it has written and the state of 10,000 devices. CPU time of the process,
and of the system for it.

Run:  python benchmarks/durability.py [--rows 60000000] [--rounds 5]
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

from common import machine, rounds, table
from fleet import TEXT, generate

import flowedge
from flowedge.runtime.run import Run

INTERRUPTED = 130
KILLED = """
import os, sys
from pathlib import Path
import flowedge
from flowedge.runtime import checkpoint
from flowedge.runtime.run import Run
save = checkpoint.State.save
def and_die(self, saved):
    save(self, saved)
    if saved.epoch == 3:
        os._exit(9)
checkpoint.State.save = and_die
Run(flowedge.compile(sys.argv[1]), checkpoint=Path(sys.argv[2]), every_s=0.1)()
"""
GOES_ON = """
import sys, time
from pathlib import Path
from flowedge.runtime import outlets, run
class Shown(Exception): pass
def write(self, out):
    if any(b.num_rows for b in out.values()):
        raise Shown
outlets.Outlets.write = write
import flowedge
plan = flowedge.compile(sys.argv[1])
ready = time.perf_counter()
try:
    run.Run(plan, checkpoint=Path(sys.argv[2]))()
except Shown:
    print(time.perf_counter() - ready)
"""


def recovery(flow: Path, folder: Path, times: int = 5) -> list[float]:
    """Seconds from a loaded plan to the first new row, after a kill behind the third checkpoint."""
    found = []
    for k in range(times):
        state = folder / f"state-{k}"
        killed = subprocess.run([sys.executable, "-c", KILLED, str(flow), str(state)], check=False)
        assert killed.returncode == 9, "the run was to be killed"
        told = subprocess.run(
            [sys.executable, "-c", GOES_ON, str(flow), str(state)], capture_output=True, text=True, check=True,
        )  # fmt: skip
        found.append(float(told.stdout))
    return found


def stopping(folder: Path, times: int = 5) -> list[float]:
    """Seconds from SIGTERM to the end of the process, at some moment of a run with a million keys."""
    path, flow = folder / "many.arrow", folder / "many.flow"
    generate(path, 20_000_000, 1_000_000)
    flow.write_text(TEXT.format(path=path, out=folder / "many-out.arrow"))
    flowedge.compile(flow)
    found = []
    for k in range(times):
        command = [
            sys.executable,
            "-m",
            "flowedge",
            "run",
            str(flow),
            "--checkpoint",
            str(folder / f"many-state-{k}"),
        ]
        run = subprocess.Popen([*command, "--every", "1 s", "--speed", "2"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
        time.sleep(2.5 + 0.37 * k)
        asked = time.perf_counter()
        run.terminate()
        assert run.wait() == INTERRUPTED, "the run was to be stopped on its way"
        found.append(time.perf_counter() - asked)
    return found


def main() -> list[str]:
    """Print the figures; returns the lines."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=60_000_000)
    parser.add_argument("--rounds", type=int, default=9)
    given, _ = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path, flow = folder / "fleet.arrow", folder / "f.flow"
        generate(path, given.rows)
        path.read_bytes()  # into the page cache, for all alike
        flow.write_text(TEXT.format(path=path, out=folder / "out.arrow"))
        plan = flowedge.compile(flow)
        made: dict[float, list[int]] = {}

        def checkpointed(every_s: float) -> None:
            report = Run(plan, checkpoint=folder / "state", every_s=every_s)()
            made.setdefault(every_s, []).append(report.checkpoints)

        runs = {
            "without checkpoints": lambda: Run(plan)(),  # noqa: PLW0108  # a run is for once
            "every 10 s": partial(checkpointed, 10.0),
            "every 0.5 s": partial(checkpointed, 0.5),
        }
        found = rounds(runs, given.rounds)
        lines = table(found, given.rows, "without checkpoints")
        first, ends = recovery(flow, folder), stopping(folder)
    counts = ", ".join(f"every {k:g} s: {statistics.median(v):.0f}" for k, v in made.items())
    lines += ["", f"Checkpoints made in a run: {counts}.", "", "| | figure |", "|---|---|"]
    for name, label in (("every 10 s", "10 s"), ("every 0.5 s", "0.5 s")):
        pairs = zip(found["without checkpoints"], found[name], strict=True)
        kept = statistics.median(plain / ours for (_, plain), (_, ours) in pairs)
        lines.append(f"| fleet with a checkpoint every {label} | {kept:.2f} × without |")
    lines.append(
        f"| first new row after a kill, without the restart | {statistics.median(first):.2f} s (slowest {max(first):.2f}) |"
    )
    lines.append(
        f"| from SIGTERM to the end of a run with 1,000,000 keys and their checkpoint | {statistics.median(ends):.2f} s (slowest {max(ends):.2f}) |"
    )
    print(machine(), *lines, sep="\n")
    return lines


if __name__ == "__main__":
    start = time.time()
    main()
    print(f"{time.time() - start:.0f} s on {os.cpu_count()} cores", file=sys.stderr)
