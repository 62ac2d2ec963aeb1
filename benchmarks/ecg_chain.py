"""W1: the ECG chain over samples in memory, in pushes of 4,096, beside a C loop and chunked SciPy.

Run:  python benchmarks/ecg_chain.py [--rows 20000000] [--push 4096] [--rounds 5]
"""

import argparse
import ctypes

import numpy as np
import pyarrow as pa
from common import compiled, machine, rounds, table
from scipy.signal import butter, lfilter, sosfilt

import flowedge
from flowedge.graph.catalog import PlainCatalog
from flowedge.types.connectors import ConnectorInfo

TEXT = """
source s (v: f64 [mV]) at 360 Hz from given()
stream o = s
    | filter bandpass(5 Hz .. 15 Hz, order=4)
    | derive dv = 45 * (v + 2 * lag(v, 1) - 2 * lag(v, 3) - lag(v, 4))
    | derive p = mean(dv ^ 2) over 54 samples
    | select p
sink o to expected()
"""
PLAIN = PlainCatalog(
    {
        "given": ConnectorInfo(
            "given", "source", needs_address=False, describes_itself=False, writes_files=False
        )
    },
    {"expected": ConnectorInfo("expected", "sink", needs_address=False, writes_files=False)},
)


def by_hand(
    library: ctypes.CDLL, x: np.ndarray, block: np.ndarray, sos: np.ndarray, keep: np.ndarray | None = None
) -> None:  # fmt: skip
    """The C loop over pieces as long as `block`, which it writes; they are kept where there is room for them."""
    state, chunk = np.zeros(256), len(block)
    for a in range(0, len(x), chunk):
        size = min(chunk, len(x) - a)
        library.ecg_chain(_p(x, a), _p(block), ctypes.c_long(size), _p(state), _p(sos))
        if keep is not None:
            keep[a : a + size] = block[:size]


def by_us(
    plan: "flowedge.Plan", batches: list[pa.RecordBatch], keep: np.ndarray | None = None
) -> None:
    """A session that gets the batches; its means are kept where there is room for them."""
    session, at = plan.open(), 0
    for batch in batches:
        for out in session.push("s", batch).values():
            if keep is not None:
                keep[at : at + out.num_rows] = out["p"].to_numpy()
            at += out.num_rows
    session.finish()


def main(push: int = 4096) -> list[str]:
    """Print the table; returns its lines."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=20_000_000)
    parser.add_argument("--push", type=int, default=push)
    parser.add_argument("--rounds", type=int, default=5)
    given, _ = parser.parse_known_args()
    n, chunk = given.rows, given.push
    x = np.random.default_rng(7).normal(size=n)
    sos = butter(4, [5, 15], "bandpass", fs=360, output="sos")
    library = compiled("ecg_chain")
    flat = np.ascontiguousarray(sos.ravel())
    plan = flowedge.compile(text=TEXT, catalog=PLAIN)
    batches = pa.table({"v": x}).to_batches(max_chunksize=chunk)
    block = np.zeros(chunk)

    def c(keep: np.ndarray | None = None) -> None:
        by_hand(library, x, block, flat, keep)

    def us(keep: np.ndarray | None = None) -> None:
        by_us(plan, batches, keep)

    def scipy() -> None:
        z, d, m, tail = np.zeros((4, 2)), np.zeros(4), np.zeros(53), np.ones(54) / 54
        for a in range(0, n, chunk):
            y, z = sosfilt(sos, x[a : a + chunk], zi=z)
            s, d = lfilter([45.0, 90.0, 0.0, -90.0, -45.0], [1.0], y, zi=d)
            _, m = lfilter(tail, [1.0], s * s, zi=m)

    # All hand their results on in pieces; only here, outside the measurement, are they kept.
    theirs, ours = np.zeros(n), np.zeros(n)
    c(theirs)
    us(ours)
    found = rounds({"FlowEdge": us, "C by hand": c, "SciPy in chunks": scipy}, given.rounds)
    # The first 58 means differ by definition: ours leaves out the slopes that have no past yet.
    error = np.nanmax(np.abs(ours[64:] - theirs[64:]) / np.abs(theirs[64:]).max())
    lines = [
        f"W1, ECG chain, {n:,} samples in pushes of {chunk:,}; largest difference from C {error:.1e}",
        "",
        *table(found, n, "C by hand"),
    ]
    print(machine(), *lines, sep="\n")
    return lines


def _p(array: np.ndarray, at: int = 0) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data + at * array.itemsize)


if __name__ == "__main__":
    main()
