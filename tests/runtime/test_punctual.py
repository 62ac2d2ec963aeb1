"""Deadlines of sinks, row by row."""

import numpy as np
import pyarrow as pa
import pytest

from flowedge.runtime.delivery import Delivery
from flowedge.runtime.punctual import Acts, Numbers, Punctual, is_spans, spans
from flowedge.runtime.report import PeerReport
from flowedge.runtime.waiting import Waiting
from flowedge.sinks.remote import RemoteSink, Unreachable


def rows(n, first=0, **more):
    return pa.record_batch({"n": pa.array(range(first, first + n)), "late": [False] * n, **more})


def ages_of(*ages):
    return lambda _: np.array(ages, np.int64)


def test_late_rows_are_marked_or_left_out():
    kept = Punctual(100, drops=False, ages=ages_of(50, 101, 100))
    judged = kept.judge(rows(3), 0)
    assert judged.rows["late"].to_pylist() == [False, True, False]
    kept.settle(judged, 0, 3)
    assert (kept.late, kept.dropped) == (1, 0)
    dropped = Punctual(100, drops=True, ages=ages_of(50, 101, 100))
    judged = dropped.judge(rows(3), 0)
    assert judged.rows["n"].to_pylist() == [0, 2]
    dropped.settle(judged, 0, 3)
    assert (dropped.late, dropped.dropped) == (0, 1)


def test_a_mark_of_a_stage_before_stays():
    kept = Punctual(100, drops=False, ages=ages_of(500, 1, 500, 1))
    batch = pa.record_batch({"late": [True, True, None, False]})
    assert kept.judge(batch, 0).rows["late"].to_pylist() == [True, True, True, False]


def test_nothing_is_late_where_time_is_not_kept_or_not_known():
    for one in (
        Punctual(1, drops=True, ages=ages_of(9, 9), acts=False),
        Punctual(1, drops=True, ages=ages_of()),
    ):
        judged = one.judge(rows(2), 0)
        assert judged.rows.num_rows == 2
        assert judged.missed is None


def test_what_was_late_is_late_again():
    noted = {}
    first = Acts(
        keeps_time=True, note=lambda _, name, found: noted.setdefault(name, []).extend(found)
    )
    one = first.of("s", 10, ages_of(11, 1, 12, 13), drops=True)
    judged = one.judge(rows(4), 100)
    one.settle(judged, 100, 4)
    assert noted == {"s": [100, 101, 102, 104]}
    held = Numbers()
    held.add(noted["s"])
    again = Acts(missed={"s": held}).of("s", 10, ages_of(0, 0, 0, 0), drops=True)
    assert again.judge(rows(4), 100).rows["n"].to_pylist() == [1]
    assert again.judge(rows(4), 98).rows["n"].to_pylist() == [0, 1, 3]
    other = Acts(missed={"s": held}).of("t", 10, ages_of(99), drops=True)
    assert other.judge(rows(1), 100).rows.num_rows == 1


def test_what_a_peer_never_got_it_does_not_get_again():
    held = Numbers()
    held.add([101, 103])
    acts = Acts(missed={}, shed={"s": held})
    for limit in (-1, 10):
        judged = acts.of("s", limit, ages_of(0, 0, 0, 0), drops=False).judge(
            rows(4, late=[False] * 4), 100
        )
        assert judged.rows["n"].to_pylist() == [0, 3]
        assert judged.upto(1, 4) == 3
    assert acts.of("t", -1, ages_of(), drops=False) is None


@pytest.mark.parametrize("seed", range(20))
def test_spans_and_numbers_are_one_another(seed):
    draw = np.random.default_rng(seed)
    held, truth = Numbers(), np.zeros(500, bool)
    for _ in range(draw.integers(0, 9)):
        mask = draw.random(40) < draw.random()
        first = int(draw.integers(0, 460))
        found = spans(mask, first)
        assert is_spans(found)
        held.add(found)
        truth[first : first + 40] |= mask
    for _ in range(5):
        a, b = sorted(draw.integers(0, 500, 2).tolist())
        assert held.within(a, b).tolist() == truth[a:b].tolist()


def test_what_is_no_list_of_spans_is_known():
    for wrong in ([1], [2, 1], [-1, 3], [1, 2, 2, 3], [True, 2], [1.0, 2], ["a", "b"], [0, 2**63]):
        assert not is_spans(wrong)
    assert is_spans([])
    assert is_spans([0, 1, 2, 5])


class Flaky(RemoteSink):
    """Takes so many rows at a time, then is away."""

    name = "flaky"

    def __init__(self, promised, takes):
        super().__init__("")
        self.given["promised"], self.takes, self.have = promised, list(takes), []

    @classmethod
    def promises(cls, options, address=""):
        return options["promised"]

    def schema(self):
        return None

    def connect(self, schema):
        pass

    def deliver(self, batch, first):
        del first
        done = self.takes.pop(0) if self.takes else batch.num_rows
        self.have += batch["n"].to_pylist()[:done]
        if done < batch.num_rows:
            raise Unreachable("away", done)

    def disconnect(self):
        pass


@pytest.mark.parametrize(
    ("promised", "have", "lost"),
    [("at least once", [0, 2, 4, 6, 8], 0), ("at most once", [0, 2], 3)],
)
def test_a_peer_gets_in_order_what_is_in_time(promised, have, lost):
    sink, told = Flaky(promised, [2]), PeerReport(promised)
    waiting = Waiting()
    one = Punctual(10, drops=True, ages=lambda b: np.where(np.array(b["n"]) % 2, 11, 9))
    delivery = Delivery(sink, rows(1).schema, waiting, told, punctual=one)
    delivery.backoff.next_s = lambda: 0.0
    waiting.put(rows(10))
    delivery.start(5)
    with waiting.changed:
        waiting.changed.wait_for(lambda: not waiting.count, 20)
    delivery.close()
    assert sink.have == have
    assert (told.delivered, told.lost, one.dropped) == (len(have), lost, 5)
