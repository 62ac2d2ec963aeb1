"""W1: the ECG chain over samples in memory, in pushes of 4,096, beside a C loop and chunked SciPy; over eight signals; from file to file.

Run:  python benchmarks/ecg_chain.py [--rows 20000000] [--push 4096] [--rounds 5] [--of one|eight|files]
"""

import argparse
import ctypes
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
from common import compiled, machine, rounds, table
from scipy.signal import butter, lfilter, sosfilt

import flowedge
from flowedge.graph.catalog import PlainCatalog
from flowedge.runtime.run import Run
from flowedge.types.connectors import ConnectorInfo

KEYS = 8
_RATE_HZ = 360

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
    given = _given(push)
    n, chunk = given.rows, given.push
    x = np.random.default_rng(7).normal(size=n)
    library, flat = compiled("ecg_chain"), _sections()
    sos = flat.reshape(-1, 6)
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


def eight(push: int = 65_536) -> list[str]:
    """Print the table for eight signals, a sample of each in turn; returns its lines."""
    given = _given(push)
    n, chunk = given.rows // KEYS * KEYS, given.push // KEYS * KEYS
    x = np.random.default_rng(7).normal(size=n)
    flat = _sections()
    library = compiled("ecg_chain")
    plan = flowedge.compile(text=of_keys(TEXT), catalog=PLAIN)
    time = pa.array(np.repeat(times(n // KEYS), KEYS)).cast(pa.timestamp("ns", "UTC"))
    leads = np.tile(np.arange(KEYS, dtype=np.int32), n // KEYS)
    batches = pa.table({"time": time, "lead": leads, "v": x}).to_batches(max_chunksize=chunk)
    block = np.zeros(chunk)

    def side_by_side(keep: np.ndarray | None = None) -> None:
        state = np.zeros(1024)
        for a in range(0, n, chunk):
            size = min(chunk, n - a)
            rounds_ = ctypes.c_long(size // KEYS)
            library.ecg_chains(_p(x, a), _p(block), rounds_, _p(state), _p(flat))
            if keep is not None:
                keep[a : a + size] = block[:size]

    theirs, ours = np.zeros(n), np.zeros(n)
    side_by_side(theirs)
    by_us(plan, batches, ours)
    jobs = {
        "FlowEdge, eight signals": lambda: by_us(plan, batches),
        "C by hand, one signal": lambda: by_hand(library, x, block, flat),
        "C by hand, eight signals": side_by_side,
    }
    found = rounds(jobs, given.rounds)  # type: ignore[arg-type]
    past = 64 * KEYS
    error = np.nanmax(np.abs(ours[past:] - theirs[past:]) / np.abs(theirs[past:]).max())
    lines = [
        f"W1, ECG chain, {n:,} samples of {KEYS} signals in turn, in pushes of {chunk:,}; largest difference from C {error:.1e}. FlowEdge has times and keys to look at, the C loops have neither.",
        "",
        *table(found, n, "C by hand, one signal"),
    ]
    print(machine(), *lines, sep="\n")
    return lines


def files() -> list[str]:
    """Print the table from Arrow file to Arrow file; returns its lines."""
    given = _given(65_536)
    n, chunk = given.rows, given.push
    x, flat, library = np.random.default_rng(7).normal(size=n), _sections(), compiled("ecg_chain")
    with tempfile.TemporaryDirectory() as name:
        path, ours, theirs = (Path(name) / f"{x}.arrow" for x in ("ecg", "ours", "theirs"))
        signal = pa.table({"time": pa.array(times(n)).cast(pa.timestamp("ns", "UTC")), "v": x})
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, signal.schema) as writer:
            writer.write_table(signal, max_chunksize=chunk)
        text = TEXT.replace("from given()", f'from arrow("{path}")').replace("(v:", "(time, v:")
        plan = flowedge.compile(text=text.replace("to expected()", f'to arrow("{ours}")'))
        jobs = {
            "FlowEdge": Run(plan).__call__,
            "C by hand": lambda: _file_by_hand(library, path, theirs, flat),
        }
        found = rounds(jobs, given.rounds)
        a, b = (pa.ipc.open_file(pa.memory_map(str(p))).read_all() for p in (ours, theirs))
        u, v = a["p"].to_numpy()[64:], b["p"].to_numpy()[64:]
        same = a["time"].equals(b["time"]) and np.allclose(u, v, rtol=1e-9, atol=0)
    lines = [
        f"W1, ECG chain, {n:,} samples, Arrow file to Arrow file; {'equal' if same else 'DIFFERENT'}",
        "",
        *table(found, n, "C by hand"),
    ]
    print(machine(), *lines, sep="\n")
    return lines


def _file_by_hand(library: ctypes.CDLL, path: Path, out: Path, sos: np.ndarray) -> None:
    """The C loop over the batches of a file, its means and their times written to another."""
    state = np.zeros(256)
    with pa.memory_map(str(path)) as file, pa.OSFile(str(out), "wb") as target:
        reader, writer = pa.ipc.open_file(file), None
        for k in range(reader.num_record_batches):
            batch = reader.get_batch(k)
            block = np.empty(batch.num_rows)
            library.ecg_chain(
                _p(batch["v"].to_numpy()), _p(block), ctypes.c_long(len(block)), _p(state), _p(sos)
            )
            made = pa.record_batch({"time": batch["time"], "p": block})
            writer = writer or pa.ipc.new_file(target, made.schema)
            writer.write_batch(made)
        if writer is not None:
            writer.close()


def of_keys(text: str) -> str:
    """The chain over a signal of each lead."""
    return text.replace("s (v: f64 [mV])", "s (time, lead: key i32, v: f64 [mV])")


def times(samples: int) -> np.ndarray:
    """Of samples at 360 Hz [ns]."""
    return np.round(np.arange(samples) * 1e9 / _RATE_HZ).astype(np.int64)


def _sections() -> np.ndarray:
    return np.ascontiguousarray(butter(4, [5, 15], "bandpass", fs=_RATE_HZ, output="sos").ravel())


def _given(push: int) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=20_000_000)
    parser.add_argument("--push", type=int, default=push)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--of", choices=("one", "eight", "files"), default="one")
    return parser.parse_known_args()[0]


def _p(array: np.ndarray, at: int = 0) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data + at * array.itemsize)


if __name__ == "__main__":
    {"one": main, "eight": eight, "files": files}[_given(0).of]()
