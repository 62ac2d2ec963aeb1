"""Section 2 of the language, sentence by sentence: in which order rows leave a source, and until when."""

import numpy as np
import pyarrow as pa
import pytest

from flowedge.compile import program as p

NEVER = p.NEVER


# ---- late, marks, order


def test_a_row_before_the_newest_time_less_the_bound_is_late(plan, h):
    plan.sink(plan.source(late_ns=h.SECOND))
    session = plan.session()
    got = h.whole(session, [("s", h.rows([5, 4, 3.9, 6, 4.9]))], "time")
    assert got == [4.0, 5.0, 6.0]
    assert session.ledger()["s"]["late"] == 2


def test_without_late_a_row_that_goes_back_is_late(plan, h):
    plan.sink(plan.source())
    session = plan.session()
    assert h.whole(session, [("s", h.rows([1, 3, 2, 3, 4]))], "time") == [1.0, 3.0, 3.0, 4.0]
    assert session.ledger()["s"]["late"] == 1


def test_rows_at_or_before_the_watermark_leave_in_order_of_time(plan, h):
    plan.sink(plan.source(late_ns=2 * h.SECOND))
    session = plan.session()
    assert session.push("s", h.rows([5, 4, 3])).get("out")["time"].cast(pa.int64()).to_pylist() == [
        3 * h.SECOND
    ]
    out = session.push("s", h.rows([6]))["out"]
    assert out["time"].cast(pa.int64()).to_pylist() == [4 * h.SECOND]


def test_equal_times_leave_in_order_of_arrival(plan, h):
    plan.sink(plan.source(late_ns=h.SECOND))
    got = h.whole(plan.session(), [("s", h.rows([2, 1, 2, 1], [1.0, 2.0, 3.0, 4.0]))], "v")
    assert got == [2.0, 4.0, 1.0, 3.0]


def test_late_rows_go_to_the_late_stream_with_their_keys(plan, h):
    source = plan.source(keys=("string",), wants_late=True)
    part = plan.add(
        p.PartSpec, inputs=(source.id,), part="late", fields=source.fields, table=source.table
    )
    plan.sink(source)
    plan.sink(part, "late")
    session = plan.session()
    out = h.Out(session)
    out += session.push("s", h.rows([1, 3, 2], [1.0, 2.0, 3.0], k0=["a", "a", "b"]))
    out += session.finish()
    assert out.columns("time", "k0", "v", sink="late") == [[2.0], ["b"], [3.0]]
    assert out.columns("v") == [1.0, 2.0]


def test_a_row_before_the_watermark_passed_on_is_late(plan, h):
    plan.sink(plan.source(late_ns=5 * h.SECOND))
    session = plan.session()
    session.push("s", h.rows([4]))
    session.mark("s", 3 * h.SECOND)
    got = session.push("s", h.rows([2, 3]))
    assert session.ledger()["s"]["late"] == 1
    assert got["out"]["time"].cast(pa.int64()).to_pylist() == [3 * h.SECOND]


def test_a_mark_moves_the_watermark_and_nothing_else(plan, h):
    plan.sink(plan.source(late_ns=10 * h.SECOND))
    session = plan.session()
    assert session.push("s", h.rows([1, 3, 2])) == {}
    assert session.mark("s", 2 * h.SECOND)["out"].num_rows == 2
    assert session.mark("s", 2 * h.SECOND) == {}
    assert session.mark("s", 1 * h.SECOND) == {}
    assert session.watermark("out") == 2 * h.SECOND
    assert session.finish()["out"].num_rows == 1


def test_per_key_each_key_has_its_own_watermark(plan, h):
    plan.sink(plan.source(keys=("i64",), late_per_key=True))
    session = plan.session()
    got = h.whole(
        session, [("s", h.rows([10, 1, 11, 2, 10.5, 3], k0=[7, 8, 7, 8, 7, 8]))], "time", "k0"
    )
    assert got == [[10.0, 1.0, 11.0, 2.0, 3.0], [7, 8, 7, 8, 8]]
    assert session.ledger()["s"]["late"] == 1


def test_per_key_rows_wait_for_their_own_key_only(plan, h):
    plan.sink(plan.source(keys=("i64",), late_per_key=True, late_ns=2 * h.SECOND))
    batch = h.rows([10, 9, 1, 2, 12, 7, 4, 0.5], k0=[7, 7, 8, 8, 7, 7, 8, 8])
    expected = h.whole(plan.session(), [("s", batch)], "time", "k0")
    assert expected == [[9.0, 10.0, 1.0, 2.0, 4.0, 12.0], [7, 7, 8, 8, 8, 7]]
    pieces = [("s", batch.slice(i, 1)) for i in range(batch.num_rows)]
    session = plan.session()
    assert h.whole(session, pieces, "time", "k0") == expected
    assert session.ledger()["s"]["late"] == 2


def test_order_time_sorts_a_recording_first(plan, h):
    plan.sink(plan.source(sort_first=True))
    session = plan.session()
    assert session.push("s", h.rows([3, 1, 2, 1], [1.0, 2.0, 3.0, 4.0])) == {}
    assert session.ledger()["s"]["held"] == 4
    assert session.finish()["out"]["v"].to_pylist() == [2.0, 4.0, 3.0, 1.0]
    assert session.ledger()["s"]["late"] == 0


def test_a_row_too_far_ahead_is_rejected_and_does_not_move_the_watermark(plan, h):
    plan.sink(plan.source(ahead_ns=60 * h.SECOND))
    session = plan.session()
    out = h.Out(session)
    out += session.push("s", h.rows([100, 1000, 101]), received_ns=100 * h.SECOND)
    assert out.columns("time") == [100.0, 101.0]
    ledger = session.ledger()["s"]
    assert (ledger["rejected"], ledger["late"]) == (1, 0)
    assert session.rejected("s") == [("", 1, "too far ahead of its receipt")]


# ---- partitions


def test_partitions_are_taken_by_time_then_name_then_sequence(plan, h):
    plan.sink(plan.source())
    session = plan.session()
    out = h.Out(session)
    for name in ("a", "b"):
        out += session.mark("s", NEVER, name)
    out += session.push("s", h.rows([1, 2, 3], [1.0, 2.0, 3.0]), "b")
    assert out.batches["out"] == []
    out += session.push("s", h.rows([2, 2, 4], [4.0, 5.0, 6.0]), "a")
    out += session.finish()
    assert out.columns("v") == [1.0, 4.0, 5.0, 2.0, 3.0, 6.0]


def test_the_arrival_between_partitions_cannot_be_seen(plan, h):
    plan.sink(plan.source(keys=("i64",)))
    rng = np.random.default_rng(5)
    a = h.rows(np.sort(rng.integers(0, 30, 40)).tolist(), k0=rng.integers(0, 3, 40))
    b = h.rows(np.sort(rng.integers(0, 30, 40)).tolist(), k0=rng.integers(0, 3, 40))
    results = []
    for seed in range(5):
        order = np.random.default_rng(seed)
        session = plan.session()
        out = h.Out(session)
        out += session.mark("s", NEVER, "a")
        out += session.mark("s", NEVER, "b")
        places = {"a": 0, "b": 0}
        while min(places.values()) < 40:
            name = str(order.choice([n for n in places if places[n] < 40]))
            size = int(order.integers(1, 6))
            out += session.push("s", {"a": a, "b": b}[name].slice(places[name], size), name)
            places[name] += size
        rest = [n for n in places if places[n] < 40]
        for name in rest:
            out += session.push("s", {"a": a, "b": b}[name].slice(places[name]), name)
        out += session.finish()
        results.append(out.columns("time", "k0", "v"))
    assert all(r == results[0] for r in results)
    assert len(results[0][0]) == 80


def test_a_partition_that_has_ended_waits_for_nobody(plan, h):
    plan.sink(plan.source())
    session = plan.session()
    session.mark("s", NEVER, "a")
    assert session.push("s", h.rows([1, 2]), "b") == {}
    assert session.end("s", "a")["out"].num_rows == 2


# ---- silence, expiry, limits


def silent(plan, h, **options):
    source = plan.source(keys=("i64",), silence_ns=2 * h.SECOND, wants_silent=True, **options)
    fields = (p.Field("silent", "bool"),)
    part = plan.add(
        p.PartSpec, inputs=(source.id,), part="silent", fields=fields, table=source.table
    )
    plan.sink(source)
    plan.sink(part, "silent")


def test_a_key_that_says_nothing_is_reported_when_the_watermark_passes_and_when_it_returns(plan, h):
    silent(plan, h)
    batch = h.rows([0, 0, 1, 2.5, 4, 5, 9], k0=[2, 1, 1, 1, 2, 1, 1])
    results = []
    for cuts in ([(0, 7)], [(i, 1) for i in range(7)], [(0, 4), (4, 3)]):
        session = plan.session()
        out = h.Out(session)
        for c in cuts:
            out += session.push("s", batch.slice(*c))
        out += session.finish()
        results.append(out.columns("time", "k0", "silent", sink="silent"))
    assert all(r == results[0] for r in results)
    assert results[0] == [
        [2.0, 4.0, 4.5, 5.0, 6.0, 7.0, 9.0],
        [2, 2, 1, 1, 2, 1, 1],
        [True, False, True, False, True, True, False],
    ]


def test_silence_is_told_by_a_mark_too(plan, h):
    silent(plan, h)
    session = plan.session()
    session.push("s", h.rows([0], k0=[3]))
    assert "silent" not in session.mark("s", 2 * h.SECOND)
    out = session.mark("s", 2 * h.SECOND + 1)["silent"]
    assert out["k0"].to_pylist() == [3]
    assert out["silent"].to_pylist() == [True]


def test_a_key_away_for_long_enough_comes_back_as_a_new_one(plan, h):
    plan.sink(plan.running(plan.source(keys=("string",), expire_ns=5 * h.SECOND)))
    batch = h.rows([0, 1, 4, 6, 9.5], [1.0, 2.0, 4.0, 8.0, 16.0], k0=["a", "b", "a", "b", "a"])
    for cuts in ([(0, 5)], [(i, 1) for i in range(5)]):
        got = h.whole(plan.session(), [("s", batch.slice(*c)) for c in cuts], "k0", "total")
        assert got == [["a", "b", "a", "b", "a"], [1.0, 2.0, 5.0, 8.0, 16.0]]


@pytest.mark.parametrize("expire", [-1, 1000])
def test_rows_of_more_keys_than_allowed_are_rejected(plan, h, expire):
    expire = expire * h.SECOND if expire > 0 else -1
    plan.sink(plan.source(keys=("i64",), max_keys=2, expire_ns=expire))
    session = plan.session()
    batch = h.rows([0, 1, 2, 3], k0=[1, 2, 3, 1])
    assert h.whole(session, [("s", batch)], "k0") == [1, 2, 1]
    assert session.ledger()["s"]["rejected"] == 1
