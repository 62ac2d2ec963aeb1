"""Where several sources meet nothing about arrival shows: cuts, turns, ends, snapshots, forgotten texts."""

import random

import numpy as np
import pyarrow as pa
import pytest
from support.flow import CATALOG

from flowedge.runtime.plan import compile_flow

SOURCES = """
source s (time, k: key string, v: f64, w: string) from given() late 3 s duplicates keep
source r (time, k: key string, b: key i32, x: f64, m: string) from given() late 1 s duplicates keep
source e (time, k: key string, z: i32) from given() duplicates keep
"""
CHAINS = [
    'sink s | join r within 5 s | derive c = cumsum(v), p = prev(m, "none")',
    "sink s | join r latest | key k | window 4 s | aggregate count() as n, last(m) as l, max(x) as x",
    "sink s | split at e from -3 s to 2 s | derive d = v - mean(v) | aggregate max(d) as a, last(w) as l",
    "sink s | split at e from 1 s to 4 s | aggregate median(v) as a, first(w) as f",
    "sink s | resample 1 s hold | derive c = cumsum(v)",
    "stream a = s | where v > 0\nstream b = s | where v < 0.5\nstream u = a, b\nsink u | derive c = lag(w, 2)",
]
ROWS = 200


def times(rng, n, late_ms):
    ms = np.sort(rng.integers(0, 40_000, n)) - rng.integers(0, late_ms + 1, n)
    return pa.array(ms * 10**6, pa.timestamp("ns", "UTC"))


def recordings(rng):
    def keys(n):
        return [f"k{i}" for i in rng.integers(0, 4, n)]

    return {
        "s": {"time": times(rng, ROWS, 2900), "k": keys(ROWS), "v": rng.normal(size=ROWS), "w": [f"w{i}" for i in range(ROWS)]},
        "r": {
            "time": times(rng, ROWS, 900), "k": keys(ROWS), "b": pa.array(rng.integers(-3, 4, ROWS), pa.int32()),
            "x": rng.normal(size=ROWS), "m": [f"m{i}" for i in rng.integers(0, 90, ROWS)],
        },
        "e": {"time": times(rng, 40, 0), "k": keys(40), "z": pa.array(range(40), pa.int32())},
    }  # fmt: skip


def arrived(plan, batches, turn, *, is_cut):
    """All rows of a session whose rows arrive by chance, or source by source."""
    session, out = plan.open(), []

    def keep(found):
        for name, batch in sorted(found.items()):
            batch.validate(full=True)
            out.extend((name, *row.values()) for row in batch.to_pylist())

    at = dict.fromkeys(session.sources, 0)
    left = list(at)
    while left:
        name = turn.choice(left) if is_cut else left[0]
        rows = batches[name].slice(at[name], turn.randint(1, 50) if is_cut else ROWS)
        at[name] += rows.num_rows
        keep(session.push(name, rows))
        if at[name] == batches[name].num_rows:
            left.remove(name)
            if turn.random() < 0.5:
                keep(session.end(name))
        if is_cut and turn.random() < 0.3:
            session = plan.restore(session.snapshot())
            session._shared.pool.slack = turn.choice([(-1, 0), session._shared.pool.slack])
    keep(session.finish())
    session.ledger()
    return out


@pytest.mark.parametrize("chain", CHAINS)
def test_nothing_about_arrival_shows(chain):
    plan = compile_flow(text=f"{SOURCES}{chain} to expected()", catalog=CATALOG)
    for seed in (1, 2):
        rng = np.random.default_rng(seed)
        batches = {k: pa.record_batch(v) for k, v in recordings(rng).items()}
        truth = arrived(plan, batches, random.Random(seed), is_cut=False)
        assert len(truth) > 20
        for again in range(3):
            found = arrived(plan, batches, random.Random(f"{seed} {again}"), is_cut=True)
            assert repr(found) == repr(truth), f"seed {seed}, turn {again}"
