"""Frames give their samples back: the very signal, however rows are pushed, and no row is older than was promised."""

from functools import cache

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from support.flow import CATALOG
from support.simulation.promises import watched

from flowedge.graph import nodes as g
from flowedge.graph.check import check
from flowedge.graph.explain import explain
from flowedge.graph.floors import floors
from flowedge.lang.diagnostics import FlowError
from flowedge.runtime.plan import compile_flow

SIGNAL = "source s (time, {key}v: f64, w: f32<2>) at 10 Hz from given() time time duplicates keep jitter 49 percent\n"
ROWS = "source s (time, {key}v: f64, w: f32<2>) from given() time time duplicates keep\n"
THROUGH = "derive d = v - mean(v) | where cumsum(1) > 0 | select v, w, d"
SINKS = """
sink s | derive n = cumsum(1) to expected() as plain
stream again = s | window {window} | {through} | unnest v, w, d
sink again | derive n = cumsum(1) to expected() as samples
sink again | window 1 s | aggregate count() as n, sum(v) as total to expected() as windows
sink again, s to expected() as both
"""
WINDOWS = {
    "4 samples": (4, 4),
    "1 sample": (1, 1),
    "2 samples": (2, 2),
    "5 samples every 2 samples": (5, 2),
    "3 samples every 7 samples": (3, 7),
}


@cache
def plan_of(source, window, keyed, fuse=True):
    key = "k: key i32, " if keyed else ""
    text = source.format(key=key) + SINKS.format(window=window, through=THROUGH)
    return compile_flow(text=text, catalog=CATALOG, fuse=fuse)


def recorded(rng, keys, rows, *, even):
    """Rows of a few keys; of a signal with jitter, gaps and duplicates, else with times that repeat."""
    parts = []
    for key in range(keys):
        step = rng.choice([1] * 18 + [2, 30], rows)
        at = np.cumsum(step) * 10**8 + rng.choice([-20, 0, 0, 20], rows) * 10**6
        if not even:
            at = np.round(np.cumsum(rng.exponential(0.3, rows)), 1) * 1e9
        at = np.sort(np.r_[at, at[rng.random(rows) < 0.05]])
        parts.append(pd.DataFrame({"time": at.astype(np.int64), "k": key}))
    frame = pd.concat(parts).sort_values("time", kind="stable")
    n = len(frame)
    v = np.where(rng.random(n) < 0.1, np.nan, rng.normal(size=n))
    w = pa.FixedSizeListArray.from_arrays(pa.array(rng.normal(size=2 * n).astype(np.float32)), 2)
    time = pa.array(frame["time"]).cast(pa.timestamp("ns", "UTC"))
    return pa.table({"time": time, "k": pa.array(frame["k"], pa.int32()), "v": v, "w": w})


def run(plan, table, cuts, *, restored=0):
    """Rows by sink, the table pushed in pieces of these lengths in turn, and taken down and restored after every so many of them.

    All promises between nodes are kept.
    """
    wrong = []
    with watched(wrong):
        session = plan.open()
        out = {name: [] for name in session.schemas}

        def keep(found):
            for name, batch in found.items():
                batch.validate(full=True)
                out[name].append(batch)

        at = k = 0
        while at < table.num_rows:
            keep(session.push("s", table.slice(at, cuts[k % len(cuts)])))
            at, k = at + cuts[k % len(cuts)], k + 1
            if restored and k % restored == 0:
                session = plan.restore(session.snapshot())
        keep(session.end("s"))
        keep(session.finish())
    assert not wrong
    return {n: pa.Table.from_batches(b, session.schemas[n]) for n, b in out.items()}


def pieces_of(rows):
    """Rows of one key between gaps: the sum of ones starts afresh there."""
    return [p for _, p in rows.groupby((rows["n"].diff() < 1).cumsum())]


def wanted(plain, keyed, size, hop):
    """The samples that frames hold, key by key, with the sum of ones that starts afresh where samples are left out."""
    out = []
    for _, rows in plain.groupby("k") if keyed else [(0, plain)]:
        for piece in pieces_of(rows):
            starts = range(0, len(piece) - size + 1, hop)
            if hop > size:
                out += [piece.iloc[k : k + size].assign(n=np.arange(1.0, size + 1)) for k in starts]
            elif starts:
                out.append(piece.iloc[: starts[-1] + size])
    return pd.concat(out) if out else plain.iloc[:0]


def by_key(frame):
    """Rows key by key, as bytes that can be compared bit for bit."""
    columns = [c for c in ("k", "time", "v", "w", "n") if c in frame]
    if "k" in frame:
        frame = frame.sort_values("k", kind="stable")
    return [
        tuple(np.asarray(x).tobytes() if np.ndim(x) else repr(x) for x in row)
        for row in frame[columns].itertuples(index=False)
    ]


@pytest.mark.parametrize("keyed", [False, True])
@pytest.mark.parametrize("window", WINDOWS)
def test_a_signal_cut_into_frames_comes_back_bit_for_bit(window, keyed):
    plan, (size, hop) = plan_of(SIGNAL, window, keyed), WINDOWS[window]
    for seed in range(6):
        rng = np.random.default_rng(seed)
        table = recorded(rng, 3 if keyed else 1, 80, even=True)
        cuts = rng.integers(1, 60, 5).tolist()
        got = run(plan, table, cuts, restored=(0, 3, 1)[seed % 3])
        plain, samples = got["plain"].to_pandas(), got["samples"].to_pandas()
        assert by_key(samples) == by_key(wanted(plain, keyed, size, hop)), seed
        assert got["windows"]["n"].to_pylist() == counted(samples, keyed), seed
        assert got["both"].num_rows == len(plain) + len(samples), seed
        assert (np.diff(got["both"]["time"].cast(pa.int64()).to_numpy()) >= 0).all(), seed
        for name, rows in run(plan, table, [1]).items():
            assert by_key(rows.to_pandas()) == by_key(got[name].to_pandas()), seed


def counted(samples, keyed):
    """How many samples windows of a second have, in the order of (time, key)."""
    second = samples["time"].astype("int64") // 10**9
    return samples.groupby([second, "k"] if keyed else second).size().tolist()


@pytest.mark.parametrize("keyed", [False, True])
def test_rows_without_a_rate_come_back_bit_for_bit(keyed):
    plan = plan_of(ROWS, "5 samples every 2 samples", keyed)
    for seed in range(10):
        table = recorded(np.random.default_rng(seed), 3 if keyed else 1, 40, even=False)
        got = run(plan, table, [7, 1, 20], restored=3 * (seed % 2))
        samples = got["samples"].to_pandas()
        plain = got["plain"].to_pandas()
        assert by_key(samples) == by_key(wanted(plain, keyed, 5, 2))
        assert got["windows"]["n"].to_pylist() == counted(samples, keyed)


def test_it_is_the_same_with_every_stage_in_a_kernel_of_its_own():
    table = recorded(np.random.default_rng(5), 3, 60, even=True)
    one, two = (
        run(plan_of(SIGNAL, "5 samples every 2 samples", True, fuse), table, [11])
        for fuse in (True, False)
    )
    assert {n: by_key(t.to_pandas()) for n, t in one.items()} == {n: by_key(t.to_pandas()) for n, t in two.items()}  # fmt: skip


# ---- what the checker knows

PLAIN = "source s (time, k: key, v: f64) at 100 Hz from given() late 1 s\n"


def graph_of(text):
    return check(text, "p.flow", params={}, catalog=CATALOG, imports=lambda path: path)


def taken_apart(text):
    return [n for n in graph_of(text).nodes if isinstance(n, g.Unnest)][-1]


def test_the_frame_is_waited_for_once():
    text = PLAIN + "sink s | window 128 samples | derive v = v - mean(v) | unnest v | filter ema(1 s) on v to expected()"  # fmt: skip
    graph = graph_of(text)
    node = taken_apart(text)
    assert (node.out.shape, node.out.rate_hz, node.out.in_order) == ("signal", 100, False)
    assert node.out.wait_s == pytest.approx(1 + 1.27)
    (sink,) = [n for n in graph.nodes if isinstance(n, g.Sink)]
    assert floors(graph.nodes)[sink.id] == pytest.approx(1 + 1.27)
    assert "deadline 2.27 s or more can be promised" in explain(graph)
    soon = "sink s | window 128 samples | unnest v deadline {} else drop to expected()"
    assert check_codes(PLAIN + soon.format("2.2 s")) == ["FE410"]
    assert check_codes(PLAIN + soon.format("2.3 s")) == []


def check_codes(text):
    try:
        graph_of(text)
    except FlowError as error:
        return [d.code for d in error.diagnostics]
    return []


@pytest.mark.parametrize(
    ("before", "is_known"),
    [
        ("", True), ("filter lowpass(10 Hz) on v |", True), ("resample 50 Hz linear up to 1 s |", True), ('where k == "a" |', True),
        ("compress decimate(2) |", True), ("window 4 samples | unnest v |", True), ("derive i = 3, j = v > 0 | key k, j |", False),
        ("derive w = lead(v, 1) |", True), ("compress swing(0.1) | expand |", False), ("where v > 0 |", False),
    ],
)  # fmt: skip
def test_how_far_samples_reach_back_is_known_where_they_are_even(before, is_known):
    node = taken_apart(PLAIN + f"sink s | {before} window 4 samples | unnest v to expected()")
    assert (node.reach_ns is not None) == is_known
    assert (node.out.wait_s is not None) == is_known
