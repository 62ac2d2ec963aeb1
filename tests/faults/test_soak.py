"""At full speed for as long as it takes: keys, texts and files come and go, and the memory stays what it was.

The run takes what the other tests leave of the machine, so that ten minutes of it cost them little.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

SOAK_S = float(os.environ.get("FLOWEDGE_SOAK_S", "600"))
PARTS = 24
"""Of a run, for each of which the least memory is told."""
OUTLAW_BATCHES = 400
"""Of the run that must be found out: memory grows with what comes, and not with the time."""
SLACK = 2_000
"""Keys that may wait to be forgotten: few, so that all that a run ever needs is soon there."""
ROWS = 20_000
"""Rows of a batch, which spans a second of event time."""
FLOW = """
source s (time, k: key i64, text: string, v: f64) from arrow("in.arrow")
    late 2 s
    on error skip
    {expire}
stream hot = s | where v > 2 | select told = v
stream both = s | join hot latest | derive calm = mean(v) over 3 s, on = latch(v > 1, v < -1)
sink both | window 5 s every 2.5 s | aggregate count() as n, mean(told) as m, median(v) as q, last(text) as t
    | where m > 2.9 and n > 30 to parquet("out/w", roll=1 [MB])
sink s | split gap 4 s | aggregate sum(v) as total, count() as n, last(text) as t | where total > 25 to csv("out/p.csv")
sink s.late | where v > 3 to jsonl("out/late.jsonl")
"""
BOUND = 1.1
"""Of the least memory in the last quarter to what parts of the second needed: what stays between two batches."""


def batch(number):
    """A second of rows: 1,100 keys, a fifth of them new; texts that no other row has; disorder, some of it too much.

    About 90 rows of a key meet in a window: hardly a key needs more than 128 places, and hardly one fewer.
    """
    rng = np.random.default_rng(number)
    ns = number * 10**9 + np.sort(rng.integers(0, 10**9, ROWS))
    late = rng.random(ROWS)
    ns -= np.where(late < 0.002, 9, np.where(late < 0.1, 1, 0)) * 10**9
    key = number * 220 + rng.integers(0, 1100, ROWS)
    text = pa.array(number * ROWS + np.arange(ROWS)).cast(pa.string())
    return pa.record_batch({
        "time": pa.array(ns).cast(pa.timestamp("ns", "UTC")), "k": key, "text": text, "v": rng.normal(size=ROWS),
    })  # fmt: skip


ENDLESS = """
import sys
from itertools import count
from pathlib import Path
sys.path[:0] = sys.argv.pop(1).split(":")
import test_soak
from flowedge.cli import main
from flowedge.session import session
from flowedge.sources.arrow import Arrow
from flowedge.sources.contract import Position

def batches(self, columns=None, predicate=None, start=None):
    for number in count():
        if Path("over").exists():
            return
        with Path("made").open("ab") as made:
            made.write(b".")
        rows = test_soak.batch(number)
        yield rows.select(columns or rows.schema.names), Position(0, (number + 1) * test_soak.ROWS)

Arrow.batches = batches
session.SLACK = test_soak.SLACK
main()
"""
"""A run whose recording has no end: its rows are made as they are read."""


def soak(place, done, expire, *first_words):
    """Memory of the run [MB] over its parts, its exit code, and its report; words may stand before its command.

    What part is done follows from the time [s] since the first checkpoint and the batches since then.
    """
    first = batch(0)
    with pa.OSFile(str(place / "in.arrow"), "wb") as file, pa.ipc.new_file(file, first.schema) as out:  # fmt: skip
        out.write_batch(first)
    (place / "p.flow").write_text(FLOW.format(expire=expire))
    here = Path(__file__).parent
    command = [sys.executable, "-c", ENDLESS, f"{here}:{here.parent}", "run", "-q", "p.flow"]
    more = ["--checkpoint", "state", "--every", "1 s", "--threads", "3", "--report", "r.json"]
    run = subprocess.Popen([*first_words, *command, *more], cwd=place)
    try:
        while run.poll() is None and not any((place / "state").glob("checkpoint-*")):
            time.sleep(0.1)
        sizes, began, batches = [], time.monotonic(), made(place)
        while run.poll() is None and len(sizes) < PARTS:
            least = resident(
                run.pid
            )  # in the middle of a batch or of a checkpoint there is half as much again
            while done(time.monotonic() - began, made(place) - batches) < (len(sizes) + 1) / PARTS:
                if run.poll() is not None:
                    break
                time.sleep(0.02)
                least = min(least, resident(run.pid))
            sizes.append(least)
        (place / "over").touch()
        code = run.wait(300)
    finally:
        run.kill()
    return sizes, code, json.loads((place / "r.json").read_text())


def made(place):
    """Batches that the run has read."""
    path = place / "made"
    return path.stat().st_size if path.exists() else 0


def resident(pid):
    """Memory of a process that is in use [MB]."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def growth(sizes):
    """What stays in the last quarter to what was needed in the second: the first warms up, and memory that is free goes back now and then."""
    quarter = len(sizes) // 4
    assert quarter > 5
    return min(sizes[-quarter:]) / max(sizes[quarter : 2 * quarter])


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from /proc")
def test_memory_stays_flat(tmp_path):
    sizes, code, report = soak(tmp_path, lambda s, _: s / SOAK_S, "expire key after 10 s", "nice", "-n", "19")  # fmt: skip
    assert code == 0
    assert report["checkpoints"] > min(20, SOAK_S / 10)
    assert report["sources"]["s"]["rows_late"] > 0
    assert all(sink["rows"] for sink in report["sinks"].values()), report["sinks"]
    found = growth(sizes)
    rows = report["sources"]["s"]["rows_in"]
    told = f"{rows:,} rows, {sizes[0]:.0f} to {sizes[-1]:.0f} MB, grown by {found:.3f}"
    state = report["state_bytes_by_node"]
    assert found <= BOUND, f"{state} {told}: {sizes}"


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from /proc")
def test_memory_that_grows_is_seen(tmp_path):
    """The outlaw: keys that never go."""
    sizes, code, _ = soak(tmp_path, lambda _, batches: batches / OUTLAW_BATCHES, "")
    assert code == 0
    assert growth(sizes) > BOUND, sizes
