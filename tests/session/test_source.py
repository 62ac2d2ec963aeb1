"""Section 2 of the language, sentence by sentence: what a source does with its rows."""

import numpy as np
import pyarrow as pa
import pytest

from flowedge.compile import program as p
from flowedge.lang.errors import RunError, SourceError

NEVER = p.NEVER


def signal(plan, rate=10.0, **options):
    options = {"duplicates": "first", "is_signal": True, "rate_hz": rate, **options}
    return plan.source(**options)


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


# ---- duplicates


def test_rows_keep_duplicates(plan, h):
    plan.sink(plan.source())
    assert h.whole(plan.session(), [("s", h.rows([1, 1, 1]))], "v") == [0.0, 1.0, 2.0]


def test_duplicates_first_keeps_the_first_of_each_key(plan, h):
    plan.sink(plan.source(keys=("i64",), duplicates="first"))
    session = plan.session()
    batch = h.rows([1, 1, 1, 2, 2], k0=[5, 6, 5, 5, 5])
    assert h.whole(session, [("s", batch)], "v") == [0.0, 1.0, 3.0]
    assert session.ledger()["s"]["duplicate"] == 2


def test_duplicates_last_keeps_the_last_of_each_key(plan, h):
    plan.sink(plan.source(keys=("i64",), duplicates="last"))
    batch = h.rows([1, 1, 1, 2, 2], k0=[5, 6, 5, 5, 5])
    for cuts in ([(0, 5)], [(i, 1) for i in range(5)]):
        session = plan.session()
        got = h.whole(session, [("s", batch.slice(*c)) for c in cuts], "v")
        assert got == [1.0, 2.0, 4.0]
        assert session.ledger()["s"]["duplicate"] == 2


def test_duplicates_last_of_a_signal_takes_the_nearest_sample(plan, h):
    plan.sink(signal(plan, duplicates="last"))
    batch = h.rows([0.0, 0.1, 0.12, 0.2, 0.3])
    for cuts in ([(0, 5)], [(i, 1) for i in range(5)]):
        got = h.whole(plan.session(), [("s", batch.slice(*c)) for c in cuts], "v")
        assert got == [0.0, 2.0, 3.0, 4.0]


# ---- signals: duplicates, jitter, gaps


def test_a_sample_less_than_half_a_period_after_the_last_is_a_duplicate(plan, h):
    plan.sink(signal(plan))
    session = plan.session()
    assert h.whole(session, [("s", h.rows([0.0, 0.1, 0.14, 0.2]))], "v") == [0.0, 1.0, 3.0]
    assert session.ledger()["s"]["duplicate"] == 1


def test_times_of_a_signal_stay_as_they_came(plan, h):
    plan.sink(signal(plan))
    assert h.whole(plan.session(), [("s", h.rows([0.0, 0.11, 0.2]))], "time") == [0.0, 0.11, 0.2]


def test_jitter_beyond_the_bound_is_counted_and_kept(plan, h):
    plan.sink(signal(plan))
    session = plan.session()
    assert len(h.whole(session, [("s", h.rows([0.0, 0.1, 0.23, 0.3, 0.41]))], "v")) == 5
    assert session.ledger()["s"]["jitter"] == 2


def test_a_gap_resets_memory(plan, h):
    plan.sink(plan.running(signal(plan)))
    session = plan.session()
    got = h.whole(session, [("s", h.rows([0.0, 0.1, 0.5, 0.6], [1.0, 2.0, 4.0, 8.0]))], "total")
    assert got == [1.0, 3.0, 4.0, 12.0]
    assert session.ledger()["s"]["gaps"] == 1


def test_a_gap_of_one_key_leaves_the_others_alone(plan, h):
    plan.sink(plan.running(signal(plan, keys=("i64",))))
    batch = h.rows(
        [0.0, 0.0, 0.1, 0.2, 0.3, 0.3], [1.0, 2.0, 4.0, 8.0, 16.0, 32.0], k0=[1, 2, 1, 1, 1, 2]
    )
    for cuts in ([(0, 6)], [(i, 1) for i in range(6)]):
        got = h.whole(plan.session(), [("s", batch.slice(*c)) for c in cuts], "total")
        assert got == [1.0, 2.0, 5.0, 13.0, 29.0, 32.0]


@pytest.mark.parametrize(
    ("policy", "filled"), [("hold", [3.0, 3.0, 3.0]), ("linear", [4.0, 5.0, 6.0]), ("nan", None)]
)
def test_a_gap_is_filled_when_the_next_row_comes(plan, h, policy, filled):
    plan.sink(signal(plan, gaps_policy=policy))
    session = plan.session()
    out = h.Out(session)
    out += session.push("s", h.rows([0.0, 0.1], [1.0, 3.0]))
    out += session.mark("s", h.SECOND // 2 - 1)
    assert out.columns("v") == [1.0, 3.0]
    out += session.push("s", h.rows([0.5], [7.0]))
    time, v = out.columns("time", "v")
    assert time == [0.0, 0.1, 0.2, 0.3, 0.4, 0.5]
    assert v[-1] == 7.0
    if filled is None:
        assert np.isnan(v[2:5]).all()
    else:
        assert v[2:5] == pytest.approx(filled)
    ledger = session.ledger()["s"]
    assert (ledger["filled"], ledger["used"], ledger["rows_out"]) == (3, 3, 6)


def test_a_longer_gap_resets_instead(plan, h):
    plan.sink(plan.running(signal(plan, gaps_policy="hold", gaps_up_to_ns=h.SECOND // 5)))
    got = h.whole(
        plan.session(), [("s", h.rows([0.0, 0.3, 0.7], [1.0, 1.0, 1.0]))], "time", "total"
    )
    assert got[0] == [0.0, 0.1, 0.2, 0.3, 0.7]
    assert got[1] == [1.0, 2.0, 3.0, 4.0, 1.0]


def test_rows_put_into_the_gap_of_one_key_stand_in_order_among_those_of_others(plan, h):
    plan.sink(signal(plan, keys=("i64",), gaps_policy="hold", gaps_up_to_ns=h.SECOND))
    times = [0.0, 0.0, 0.1, 0.2, 0.3, 0.3, 0.4, 0.4]
    batch = h.rows(times, k0=[1, 2, 1, 1, 1, 2, 1, 2])
    expected = [0.0, 0.0, 0.1, 0.1, 0.2, 0.2, 0.3, 0.3, 0.4, 0.4]
    results = []
    for cuts in ([(0, 8)], [(i, 1) for i in range(8)], [(0, 3), (3, 5)]):
        session = plan.session()
        results.append(h.whole(session, [("s", batch.slice(*c)) for c in cuts], "time", "k0", "v"))
        assert session.ledger()["s"]["filled"] == 2
    assert all(r == results[0] for r in results)
    assert results[0][0] == expected


def test_a_gap_is_filled_across_pushes_and_linear_rows_lie_on_the_line(plan, h):
    plan.sink(signal(plan, keys=("i64",), gaps_policy="linear", gaps_up_to_ns=h.SECOND))
    session = plan.session()
    pushes = [("s", h.rows([0.0], [10.0], k0=[1])), ("s", h.rows([0.4], [18.0], k0=[1]))]
    assert h.whole(session, pushes, "v") == pytest.approx([10.0, 12.0, 14.0, 16.0, 18.0])


def test_an_endless_gap_is_not_filled_without_a_bound(plan, h):
    plan.sink(signal(plan, rate=1000.0, gaps_policy="hold"))
    session = plan.session()
    session.push("s", h.rows([0.0, 0.001]))
    with pytest.raises(RunError, match=r"would be filled with .* rows"):
        session.push("s", h.rows([1e6]))


def test_a_rate_that_is_off_by_more_than_a_percent_stops(plan, h):
    plan.sink(signal(plan))
    session = plan.session()
    session.push("s", h.rows((np.arange(500) * 0.104).tolist()))
    with pytest.raises(RunError, match=r"said to be sampled at 10 Hz, but its rows come at 9\.6"):
        session.finish()


def test_a_rate_of_which_half_is_missing_stops(plan, h):
    plan.sink(signal(plan))
    session = plan.session()
    session.push("s", h.rows((np.arange(500) * 0.2).tolist()))
    with pytest.raises(RunError, match="499 of 499 steps are longer than one sample"):
        session.finish()


@pytest.mark.parametrize("factor", [2, 3, 10])
def test_a_rate_that_is_several_times_too_low_stops(plan, h, factor):
    plan.sink(signal(plan))
    session = plan.session()
    session.push("s", h.rows((np.arange(2000) * 0.1 / factor).tolist()))
    with pytest.raises(RunError, match="said to be sampled at 10 Hz, but its rows come at"):
        session.finish()


def test_a_recording_in_which_every_row_stands_twice_passes(plan, h):
    plan.sink(signal(plan))
    times = np.repeat(np.arange(500) * 0.1, 2).tolist()
    assert len(h.whole(plan.session(), [("s", h.rows(times))], "v")) == 500


def test_a_rate_within_a_percent_passes(plan, h):
    plan.sink(signal(plan))
    assert (
        len(h.whole(plan.session(), [("s", h.rows((np.arange(500) * 0.1005).tolist()))], "v"))
        == 500
    )


def test_a_signal_without_a_time_is_counted_from_its_rate(plan, h):
    plan.sink(
        plan.source(
            time="", rate_hz=360.0, is_signal=True, start_ns=5 * h.SECOND, duplicates="first"
        )
    )
    batch = pa.RecordBatch.from_pydict({"v": np.zeros(1000)})
    pushes = [("s", batch.slice(0, 1)), ("s", batch.slice(1, 399)), ("s", batch.slice(400))]
    out = h.Out(session := plan.session())
    for name, part in pushes:
        out += session.push(name, part)
    got = np.array(out.table()["time"].cast(pa.int64()).to_pylist())
    exact = [5 * h.SECOND + round(i * h.SECOND / 360) for i in range(1000)]
    assert got.tolist() == exact


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


# ---- times


def read(plan, h, values, kind=None, **options):
    plan.sink(plan.source(**options))
    batch = pa.RecordBatch.from_pydict({"time": pa.array(values, kind), "v": np.zeros(len(values))})
    session = plan.session()
    out = h.Out(session)
    out += session.push("s", batch)
    out += session.finish()
    return out.columns("time"), session


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("zone", [None, "UTC", "Europe/Brussels"])
def test_timestamps_of_any_unit_and_zone_are_instants(plan, h, unit, zone):
    got, _ = read(plan, h, [1, 2], pa.timestamp(unit, zone))
    scale = {"s": 1, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}[unit]
    assert got == pytest.approx([1 * scale, 2 * scale])


@pytest.mark.parametrize("store", ["f64", "i64", "u32"])
def test_a_number_with_a_time_unit_counts_from_1970(plan, h, store):
    kind = {"f64": pa.float64(), "i64": pa.int64(), "u32": pa.uint32()}[store]
    got, _ = read(plan, h, [1500, 2500], kind, time_store=store, time_scale_ns=1e6)
    assert got == [1.5, 2.5]


def test_a_text_is_iso_8601(plan, h):
    texts = ["1970-01-01T00:00:01Z", "1970-01-01T00:00:02.5Z"]
    assert read(plan, h, texts, time_store="string")[0] == [1.0, 2.5]


def test_a_text_without_a_zone_is_utc(plan, h):
    assert read(plan, h, ["1970-01-01 00:00:01"], time_store="string")[0] == [1.0]


def test_a_text_is_read_by_a_layout_in_a_zone(plan, h):
    got, _ = read(
        plan, h, ["01.07.2024 12:00:00"], time_store="string", time_parse=("%d.%m.%Y %H:%M:%S", "Europe/Brussels")
    )  # fmt: skip
    assert got == [1719828000.0]


def test_a_layout_may_have_fractions_and_zones(plan, h):
    got, _ = read(
        plan, h, ["1970-01-01 01:00:00.25 +0100"], time_store="string", time_parse=("%Y-%m-%d %H:%M:%S.%f %z", "")
    )  # fmt: skip
    assert got == [0.25]


def test_a_text_that_is_no_time_stops_with_its_row(plan, h):
    with pytest.raises(SourceError, match="row 2 has `soon`, which is no time in `time`"):
        read(plan, h, ["1970-01-01", "soon"], time_store="string")


def test_a_row_without_a_time_stops(plan, h):
    with pytest.raises(SourceError, match="`s`: row 2 has no time in `time`"):
        read(plan, h, [0, None], h.UTC)


def test_rows_without_a_time_are_skipped_if_the_user_says_so(plan, h):
    got, session = read(plan, h, ["1970-01-01", "soon", None], time_store="string", on_error="skip")
    assert got == [0.0]
    assert session.ledger()["s"]["rejected"] == 2
    assert session.rejected("s") == [("", 1, "`soon` is no time"), ("", 2, "no time")]


def test_a_table_without_time_is_there_from_the_start(plan, h):
    left = plan.source("left", keys=("i64",))
    right = plan.source("limits", keys=("i64",), time="", always=True, table=left.table)
    plan.sink(plan.latest(left, right))
    session = plan.session()
    out = h.Out(session)
    out += session.push("left", h.rows([-5, 1], k0=[1, 2]))
    limits = pa.RecordBatch.from_pydict({"v": [10.0, 20.0], "k0": [1, 2]})
    out += session.push("limits", limits)
    assert out.batches["out"] == []
    out += session.end("limits")
    out += session.finish()
    assert out.columns("right") == [10.0, 20.0]


# ---- columns


STORES = {
    "f64": (pa.float64(), [1.5, None]), "f32": (pa.float32(), [1.5, None]), "i64": (pa.int64(), [2**60, None]),
    "i32": (pa.int32(), [-7, None]), "i16": (pa.int16(), [-7, None]), "i8": (pa.int8(), [-7, None]),
    "u64": (pa.uint64(), [7, 8]), "u32": (pa.uint32(), [7, 8]), "u16": (pa.uint16(), [7, 8]), "u8": (pa.uint8(), [7, 255]),
    "bool": (pa.bool_(), [True, None]), "string": (pa.string(), ["ä", None]), "binary": (pa.binary(), [b"\xff", None]),
    "time": (pa.timestamp("ns", "UTC"), [5, None]),
}  # fmt: skip


@pytest.mark.parametrize("store", STORES)
@pytest.mark.parametrize("shape", [(), (3,), (2, 3)])
def test_every_type_goes_in_and_comes_out(plan, h, store, shape):
    kind, values = STORES[store]
    array = pa.array(values, kind)
    size = int(np.prod(shape))
    if shape:
        array = pa.array([x for x in array.to_pylist() for _ in range(size)], kind)
        for length in shape[::-1]:
            array = pa.FixedSizeListArray.from_arrays(array, length)
    plan.sink(plan.source(fields=(p.Field("v", store, shape),)))
    batch = pa.RecordBatch.from_pydict({"time": pa.array([0, 1], h.UTC), "v": array})
    for part in (batch, pa.concat_batches([batch, batch]).slice(2, 2)):
        out = plan.session().push("s", part)["out"]
        out.validate(full=True)
        got = out["v"].to_pylist()
        want = array.to_pylist()
        if store in ("f64", "f32"):  # a missing float is NaN
            got, want = str(got).replace("nan", "None"), str(want)
        assert got == want


def test_a_column_of_another_type_is_cast_where_nothing_is_lost(plan, h):
    plan.sink(plan.source(fields=(p.Field("v", "f64"), p.Field("n", "i64"))))
    batch = pa.RecordBatch.from_pydict({
        "time": pa.array([0], h.UTC), "v": pa.array([7], pa.int16()), "n": pa.array([3.0], pa.float32()),
    })  # fmt: skip
    out = plan.session().push("s", batch)["out"]
    assert out["v"].to_pylist() == [7.0]
    assert out["n"].to_pylist() == [3]


@pytest.mark.parametrize(
    ("store", "values", "says"),
    [
        ("i64", [1.5], "declared i64, but holds double that does not fit"),
        ("u8", [300], "declared u8, but holds int64 that does not fit"),
        ("f64", ["x"], "declared f64, but the rows hold string"),
        ("string", [1], "declared string, but the rows hold int64"),
        ("bool", [1], "declared bool, but the rows hold int64"),
    ],
)
def test_a_column_that_does_not_fit_is_refused_in_one_sentence(plan, h, store, values, says):
    plan.sink(plan.source(fields=(p.Field("v", store),)))
    batch = pa.RecordBatch.from_pydict({"time": pa.array([0], h.UTC), "v": values})
    with pytest.raises(SourceError, match=says) as error:
        plan.session().push("s", batch)
    assert "\n" not in str(error.value)


def test_lists_of_one_length_are_taken_and_others_refused(plan, h):
    plan.sink(plan.source(fields=(p.Field("v", "f32", (2,)),)))
    good = pa.array([[1.0, 2.0], None], pa.list_(pa.float32()))
    batch = pa.RecordBatch.from_pydict({"time": pa.array([0, 1], h.UTC), "v": good})
    got = plan.session().push("s", batch)["out"]["v"].to_pylist()
    assert got[0] == [1.0, 2.0]
    assert np.isnan(got[1]).all()
    bad = pa.array([[1.0, 2.0], [1.0]], pa.list_(pa.float32()))
    batch = pa.RecordBatch.from_pydict({"time": pa.array([0, 1], h.UTC), "v": bad})
    with pytest.raises(SourceError, match="lists of 2, but one of 1 came"):
        plan.session().push("s", batch)


def test_a_missing_column_is_named(plan, h):
    plan.sink(plan.source())
    with pytest.raises(SourceError, match="no column `v`; they have time, w"):
        plan.session().push(
            "s", pa.RecordBatch.from_pydict({"time": pa.array([0], h.UTC), "w": [1.0]})
        )


def test_damaged_rows_are_refused(plan, h):
    broken = pa.Array.from_buffers(
        pa.string(), 1, [None, pa.py_buffer(np.array([0, 1], np.int32)), pa.py_buffer(b"\xff")]
    )
    plan.sink(plan.source(fields=(p.Field("v", "string"),)))
    batch = pa.RecordBatch.from_arrays([pa.array([0], h.UTC), broken], names=["time", "v"])
    with pytest.raises(SourceError, match="rows that came are damaged"):
        plan.session().push("s", batch)


def test_labels_leave_as_a_dictionary(plan, h):
    field = p.Field("v", "string", labels=("cold", "ok"))
    plan.literals = ("ok",)
    plan.sink(plan.source(fields=(field,)))
    batch = pa.RecordBatch.from_pydict(
        {"time": pa.array([0, 1, 2], h.UTC), "v": ["ok", None, "cold"]}
    )
    out = plan.session().push("s", batch)["out"]
    assert out["v"].type == pa.dictionary(pa.int32(), pa.string())
    assert out["v"].to_pylist() == ["ok", None, "cold"]
    assert out["v"].dictionary.to_pylist() == ["cold", "ok"]


def test_columns_that_are_expressions_are_prepared_by_a_kernel(plan, h):
    plan.objects["prep"] = h.code(
        f"""
def kernel(ctx):
    for i in range(i64(ctx, {p.ROW}), i64(ctx, {p.ROWS})):
        set_i64(i64(ctx, {p.COLUMNS + 2}), i, i64(i64(ctx, {p.COLUMNS + 1}), i) * 20000000)
        set_f64(i64(ctx, {p.COLUMNS + 3}), i, f64(i64(ctx, {p.COLUMNS}), i) / 720.0)
    set_i64(ctx, {p.ROW}, i64(ctx, {p.ROWS}))
    return 0
"""
    )
    fields = (p.Field("_time", "time"), p.Field("acc", "f64"))
    prepare = p.KernelSpec(
        id=-1,
        fields=fields,
        object="prep",
        reads=((0, "raw"), (0, "row")),
        writes=("_time", "acc"),
        is_dense=True,
    )
    source = plan.source(
        fields=(p.Field("acc", "f64"),), raw=(p.Field("raw", "f64"),), time="_time", prepare=prepare
    )
    plan.replace(source, raw=(p.Field("raw", "f64"),))
    plan.sink(source)
    batch = pa.RecordBatch.from_pydict({"raw": [720.0, 1440.0, 0.0]})
    got = h.whole(plan.session(), [("s", batch.slice(0, 2)), ("s", batch.slice(2))], "time", "acc")
    assert got == [[0.0, 0.02, 0.04], [1.0, 2.0, 0.0]]
