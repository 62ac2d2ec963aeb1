"""W2 and W1 in the stream processors that a user might take instead: csp, Bytewax, Pathway and GNU Radio, beside FlowEdge and C by hand.

Each peer is in an environment of its own (`python benchmarks/peers/install.py`), and is absent where that was not made; GNU Radio is
looked for in the system's Python. Those that take seconds for a million rows get fewer, the first of the same recording; rows per
CPU second are compared, of all threads of a process. What comes of them is held against the C program over the same rows.

Run:  python benchmarks/streams_elsewhere.py [--rows 20000000] [--rounds 5]
"""

import argparse
import ctypes
import math
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import ecg_chain
import fleet
import numpy as np
import pyarrow as pa
from common import PEERS, Asked, Peer, PeerError, alike, compiled, machine, peer, rounds
from peers.serving import ecg_checksum, fleet_checksum
from scipy.signal import butter

import flowedge
from flowedge.runtime.run import Run

PUSH = 4096
EXACT, SINGLE = 1e-9, 1e-2
"""How far a checksum may lie from that of C, relative: sums in another order; and samples that are float32 between blocks."""
SYSTEM = Path("/usr/bin/python3")


class Way(NamedTuple):
    """A peer, what to tell it, and the most rows that it gets."""

    system: str
    note: str
    peer: Callable[[], Peer]
    about: dict[str, Any]
    most: float = math.inf
    tolerance: float = EXACT


FLEET = (
    Way("csp", "a tick for a row", lambda: peer("csp_fleet", "csp"), {"by": "tick"}, 1_000_000),
    Way("csp", "Arrow's group_by on a window's batches", lambda: peer("csp_fleet", "csp"), {"by": "batch"}),
    Way("Bytewax", "batches in, rows through", lambda: peer("bytewax_fleet", "bytewax"), {}, 200_000),
    Way("Pathway", "connector in Python", lambda: peer("pathway_fleet", "pathway"), {}, 200_000),
)  # fmt: skip
ECG = (
    Way("csp", "a tick for a sample", lambda: peer("csp_ecg", "csp"), {"by": "tick"}, 500_000),
    Way("csp", f"SciPy on arrays of {PUSH:,}", lambda: peer("csp_ecg", "csp"), {"by": "batch"}),
    Way("GNU Radio", "float32, a thread for each block", lambda: Peer(PEERS / "gnuradio_ecg.py", SYSTEM, needs="gnuradio"), {}, tolerance=SINGLE),
)  # fmt: skip


class Entry(NamedTuple):
    """Who takes part: what to call, if anything, how many rows that takes, and, once it was called, what came of it."""

    name: str
    run: Callable[[], object] | None
    rows: int
    result: Callable[[], str]


def entered(way: Way, asked: Peer, rows: int, truth: list[float], **about: object) -> Entry:
    """A peer that is there, by its name and version."""
    try:
        number = next(iter(asked.ask("versions").values()))
    except PeerError as e:
        why = str(e)
        return Entry(f"{way.system}, {way.note}", None, rows, lambda: why)
    job = Asked(asked, truth, way.tolerance, **way.about, **about)
    return Entry(f"{way.system} {number}, {way.note}", job, rows, lambda: job.result)


def table(entries: list[Entry], absent: list[Way], count: int) -> list[str]:
    """Rounds in turn, as lines of Markdown; FlowEdge is the first entry."""
    found = rounds({e.name: e.run for e in entries if e.run}, count)
    lines = [
        "| | rows | M rows/s | M rows per CPU second | FlowEdge does in a CPU second (median of rounds) | spread | result |",
        "|---|---|---|---|---|---|---|",
    ]
    ours = [entries[0].rows / cpu for _, cpu in found[entries[0].name]]
    for entry in entries:
        times = found.get(entry.name, [])
        line = f"| {entry.name} | {entry.rows:,} |"
        if times and all(math.isfinite(cpu) for _, cpu in times):
            speeds = (entry.rows / statistics.median(t) / 1e6 for t in zip(*times, strict=True))
            ratios = [a / (entry.rows / cpu) for a, (_, cpu) in zip(ours, times, strict=True)]
            ratio, least, most = (figure(f(ratios)) for f in (statistics.median, min, max))
            told = f" {' | '.join(map(figure, speeds))} | {ratio} × | {least} – {most}"
        else:
            told = " | | |"
        lines.append(f"{line}{told} | {entry.result()} |")
    return [*lines, *(f"| {way.system}, {way.note} | | | | | | absent |" for way in absent)]


def figure(value: float) -> str:
    """Three digits."""
    return f"{value:#.3g}".rstrip(".") if value < 1000 else f"{value:,.0f}"


def judged(checksum: Callable[[], list[float]], truth: list[float]) -> Callable[[], str]:
    """What came of a run of ours, once it is over."""
    return lambda: "equal" if alike(checksum(), truth, EXACT) else "DIFFERENT"


def of_the_fleet(rows: int, count: int, folder: Path) -> list[str]:
    """The table of W2, from Arrow file to Arrow file."""
    library = compiled("fleet")
    library.fleet.restype = ctypes.c_long
    path, ours, theirs = (folder / f"{name}.arrow" for name in ("fleet", "ours", "theirs"))
    fleet.generate(path, rows)
    paths, truths = {}, {}
    peers = [(way, way.peer()) for way in FLEET]
    for size in {rows, *(int(min(way.most, rows)) for way, p in peers if p.is_there)}:
        paths[size] = path if size == rows else first(path, size, folder / f"fleet-{size}.arrow")
        fleet.by_hand(library, paths[size], theirs)
        truths[size] = fleet_checksum(theirs)
    plan = flowedge.compile(text=fleet.TEXT.format(path=path, out=ours))
    entries = [
        Entry("FlowEdge", Run(plan), rows, judged(lambda: fleet_checksum(ours), truths[rows])),
        Entry("C by hand", lambda: fleet.by_hand(library, path, theirs), rows, lambda: "equal"),
    ]
    for k, (way, asked) in enumerate(peers):
        if asked.is_there:
            size = int(min(way.most, rows))
            about = {"path": str(paths[size]), "out": str(folder / f"peer-{k}.arrow")}
            entries.append(entered(way, asked, size, truths[size], **about))
    lines = table(entries, [way for way, asked in peers if not asked.is_there], count)
    for _, asked in peers:
        asked.close()
    return [f"W2, fleet, {rows:,} rows of {fleet.DEVICES:,} devices, Arrow file to Arrow file", "", *lines]  # fmt: skip


def first(path: Path, rows: int, out: Path) -> Path:
    """The first rows of a recording, as a file."""
    with pa.memory_map(str(path)) as file, pa.OSFile(str(out), "wb") as target:
        table = pa.ipc.open_file(file).read_all().slice(0, rows)
        with pa.ipc.new_file(target, table.schema) as writer:
            writer.write_table(table)
    return out


def of_the_ecg(rows: int, count: int, folder: Path) -> list[str]:
    """The table of W1, from memory to memory; ours and C's hand pieces on, the peers keep what they make."""
    library = compiled("ecg_chain")
    x = np.random.default_rng(7).normal(size=rows)
    sos = butter(4, [5, 15], "bandpass", fs=360, output="sos")
    flat, block = np.ascontiguousarray(sos.ravel()), np.zeros(PUSH)
    paths, truths, means = {}, {}, np.zeros(rows)
    peers = [(way, way.peer()) for way in ECG]
    for size in {rows, *(int(min(way.most, rows)) for way, p in peers if p.is_there)}:
        paths[size] = folder / f"ecg-{size}.npy"
        np.save(paths[size], x[:size])
        ecg_chain.by_hand(library, x[:size], block, flat, means)
        truths[size] = ecg_checksum(means[:size])
    plan = flowedge.compile(text=ecg_chain.TEXT, catalog=ecg_chain.PLAIN)
    batches = pa.table({"v": x}).to_batches(max_chunksize=PUSH)
    ecg_chain.by_us(plan, batches, means)
    ours = ecg_checksum(means)
    entries = [
        Entry("FlowEdge", lambda: ecg_chain.by_us(plan, batches), rows, judged(lambda: ours, truths[rows])),
        Entry("C by hand", lambda: ecg_chain.by_hand(library, x, block, flat), rows, lambda: "equal"),
    ]  # fmt: skip
    for way, asked in peers:
        if asked.is_there:
            size = int(min(way.most, rows))
            entries.append(entered(way, asked, size, truths[size], path=str(paths[size]), sos=sos.tolist()))  # fmt: skip
    lines = table(entries, [way for way, asked in peers if not asked.is_there], count)
    for _, asked in peers:
        asked.close()
    return [f"W1, ECG chain, {rows:,} samples, ours and C's in pushes of {PUSH:,}", "", *lines]


def main() -> list[str]:
    """Print the tables; returns their lines."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=20_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    given, _ = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as name:
        lines = of_the_fleet(given.rows, given.rounds, Path(name))
    with tempfile.TemporaryDirectory() as name:
        lines += ["", *of_the_ecg(given.rows, given.rounds, Path(name))]
    print(machine(), *lines, sep="\n")
    return lines


if __name__ == "__main__":
    main()
