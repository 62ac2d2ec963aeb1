"""Rows shared among threads, by key or as they come, are the rows of one thread."""

import threading

import numpy as np
import pyarrow as pa
import pytest
from support.flow import CATALOG

import flowedge
from flowedge.compile.hands import HANDS, Hands, cuts
from flowedge.session.shards import Shards

KEYED = [
    "derive m = median(v) over 31 samples, e = ema(v, 1 s)",
    "filter bandpass(5 Hz .. 15 Hz, order=4) on v | derive d = diff(v), r = rms(v) over 20 samples",
    "derive a = v * 2, b = k + 1",
]


@pytest.fixture
def shared(monkeypatch):
    """All pushes are worth it; how many rows were shared."""
    counted = [0]
    run = Shards.run

    def count(self, rows, made):
        counted[0] += rows
        run(self, rows, made)

    monkeypatch.setattr(Shards, "are_worth_it", lambda _, __, **___: HANDS.count > 1)
    monkeypatch.setattr(Shards, "run", count)
    return counted


def rows(keys, rounds, *, in_turn):
    rng = np.random.default_rng(4)
    n = keys * rounds
    order = np.tile(np.arange(keys), rounds)
    if not in_turn:
        order = np.concatenate([rng.permutation(keys) for _ in range(rounds)])
    v = rng.normal(size=n)
    v[rng.random(n) < 0.001] = np.nan
    time = np.repeat(np.arange(rounds) * 5_000_000, keys)
    return pa.table({"time": pa.array(time, pa.timestamp("ns", "UTC")), "k": order, "v": v})


def outcome(plan, table, cut, threads):
    session, parts = plan.open(), []
    with HANDS.taken(threads):
        for number, batch in enumerate(table.to_batches(max_chunksize=cut)):
            parts += session.push("s", batch).values()
            if number == 2:
                session = plan.restore(session.snapshot())
        parts += session.finish().values()
    return pa.Table.from_batches(parts)


def same(a, b):
    assert a.schema.equals(b.schema)
    for name in a.schema.names:
        x, y = (t[name].combine_chunks() for t in (a, b))
        if pa.types.is_floating(x.type):
            x, y = (np.asarray(c).view(np.int64) for c in (x, y))
            assert np.array_equal(x, y), name
        else:
            assert x.equals(y), name


@pytest.mark.parametrize("chain", KEYED)
@pytest.mark.parametrize("in_turn", [True, False])
@pytest.mark.parametrize("threads", [2, 3])
def test_keys_on_several_threads(chain, in_turn, threads, shared):
    plan = flowedge.compile(
        text=f"source s (time, k: key i64, v: f64) at 200 Hz from given()\nsink s | {chain} to expected() as o",
        catalog=CATALOG,
    )
    table = rows(16, 400, in_turn=in_turn)
    alone = outcome(plan, table, 1000, 1)
    assert not shared[0]
    same(outcome(plan, table, 1000, threads), alone)
    assert shared[0] >= table.num_rows


def test_rows_without_memory_on_several_threads(shared):
    plan = flowedge.compile(
        text="source s (time, v: f64) at 200 Hz from given()\nsink s | derive y = sin(v) + v ^ 3 to expected() as o",
        catalog=CATALOG,
    )
    table = rows(1, 5000, in_turn=True).drop_columns(["k"])
    alone = outcome(plan, table, 1777, 1)
    same(outcome(plan, table, 1777, 3), alone)
    assert shared[0] == 5000


def test_what_is_cheap_is_not_shared():
    plan = flowedge.compile(
        text="source s (time, k: key i64, v: f64) at 200 Hz from given()\nsink s | derive y = v + lag(v, 1) to expected() as o",
        catalog=CATALOG,
    )
    (node,) = (n for n in plan.open().nodes.values() if getattr(n, "runner", None) is not None)
    shards = Shards(node.runner)
    with HANDS.taken(2):
        shards.note(65_536, 65_536 * 5e-9)
        assert not shards.are_worth_it(65_536, by_key=True)
        shards.note(65_536, 65_536 * 50e-9)
        assert shards.are_worth_it(65_536, by_key=True)
        assert not shards.are_worth_it(1000, by_key=True)
    assert not shards.are_worth_it(65_536, by_key=True)


def test_parts_are_all_done_before_an_error_is_told():
    hands, done = Hands(), []

    def fails():
        raise ValueError("one")

    with hands.taken(3):
        here = threading.get_ident()
        seen = set()
        hands.share([lambda: seen.add(threading.get_ident())] * 3)
        assert here in seen
        with pytest.raises(ValueError, match="one"):
            hands.share([fails, lambda: done.append(1), lambda: done.append(2)])
        with pytest.raises(ValueError, match="one"):
            hands.share([lambda: done.append(3), fails])
    assert sorted(done) == [1, 2, 3]
    assert hands.count == 1


def test_runs_beside_each_other_leave_each_other_their_threads():
    hands, done = Hands(), []
    first, second = hands.taken(2), hands.taken(3)
    first.__enter__()
    second.__enter__()
    assert hands.count == 3
    first.__exit__(None, None, None)
    hands.share([lambda: done.append(1)] * 4)
    assert len(done) == 4
    assert hands.count == 3
    pool = hands._held[0][1]
    pool.shutdown()
    hands.share([lambda: done.append(1)] * 4)
    assert len(done) == 8
    second.__exit__(None, None, None)
    assert hands.count == 1


def test_stretches_cover_all():
    for n in range(40):
        for parts in range(1, 6):
            for multiple in (1, 4):
                found = cuts(n, parts, multiple)
                assert [x for a, b in found for x in range(a, b)] == list(range(n))
                assert len(found) <= parts
                assert all(a % multiple == 0 for a, _ in found)
