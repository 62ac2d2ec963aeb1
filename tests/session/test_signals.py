"""Section 2 of the language, sentence by sentence: duplicates, and the samples of a signal."""

import numpy as np
import pyarrow as pa
import pytest

from flowedge.lang.errors import RunError


def signal(plan, rate=10.0, **options):
    options = {"duplicates": "first", "is_signal": True, "rate_hz": rate, **options}
    return plan.source(**options)


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


@pytest.mark.parametrize(
    "odd", ["nothing", "a gap", "a duplicate", "jitter", "another order", "a leap", "a new key"]
)
def test_keys_in_turn_are_told_what_they_are_told_one_by_one(plan, h, odd):
    """Long pushes are looked at as a whole; what is odd anywhere in one is found as in short ones."""
    keys, rounds = 5, 60
    time = np.repeat(np.arange(rounds) * 0.1, keys)
    k = np.tile([3, 1, 4, 0, 9], rounds)
    place = 40 * keys + 2
    if odd == "a gap":
        time, k = np.delete(time, place), np.delete(k, place)
    elif odd == "a duplicate":
        time, k = np.insert(time, place, time[place]), np.insert(k, place, k[place])
    elif odd == "jitter":
        time[place] += 0.03
        time[place + 1 : 41 * keys] = time[place]
    elif odd == "another order":
        k[50 * keys :] = np.tile([9, 0, 3, 4, 1], 10)
    elif odd == "a leap":
        time[30 * keys :] += 5.0
    elif odd == "a new key":
        time, k = np.append(time, time[-1]), np.append(k, 7)
    batch = h.rows(time, k0=k)
    told = []
    plan.sink(signal(plan, keys=("i64",), jitter=0.1))
    for size in (keys * 31, 7):
        session = plan.session()
        cuts = [batch.slice(a, size) for a in range(0, batch.num_rows, size)]
        values = h.whole(session, [("s", c) for c in cuts], "v")
        told.append((values, session.ledger()["s"]))
    assert told[0] == told[1]
    assert (told[0][1]["gaps"] > 0) == (odd in ("a gap", "a leap"))
