"""Marks: what a clock makes of a partition that sends nothing."""

import numpy as np
import pyarrow as pa
import pytest

import flowedge
from flowedge.graph.catalog import PlainCatalog
from flowedge.runtime.clock import Clock
from flowedge.runtime.feeds import Feed, Feeds
from flowedge.runtime.live import Live
from flowedge.runtime.report import SourceReport
from flowedge.sources.live import Arrival, LiveSource
from flowedge.types.connectors import ConnectorInfo

PLAIN = PlainCatalog(
    {"given": ConnectorInfo("given", "source", needs_address=False, describes_itself=False, writes_files=False, is_live=True)},
    {"kept": ConnectorInfo("kept", "sink", needs_address=False, writes_files=False)},
)  # fmt: skip
S = 10**9


class Hand(LiveSource):
    """Gives what the test puts into it."""

    name = "given"
    needs_address = False

    def begin(self, shell, state):
        self.waiting, self.shell = [], shell

    def schema(self):
        return None

    def take(self):
        found, self.waiting = self.waiting, []
        return found

    def close(self):
        pass


class Told(Clock):
    """Time as the test sets it."""

    now = 0

    def ns(self):
        return self.now


class World:
    """A session with live sources, and the clock in the hand of the test."""

    def __init__(self, text):
        self.clock = Told()
        plan = flowedge.compile(text=text, catalog=PLAIN)
        self.session = plan.open()
        idle = {name: s.spec.idle_ns for name, s in self.session.sources.items()}
        self.feeds = Feeds({n: Feed(n, Hand(), SourceReport("given", ""), (), None, idle_ns=x) for n, x in idle.items()})  # fmt: skip
        self.live = Live(self.feeds, self.clock)
        self.live.begin()

    def at(self, seconds, *rows):
        """Set the clock, let rows (source, partition, time in s) come; rows of the sinks, and the marks made."""
        self.clock.now = round(seconds * S)
        for name, partition, time in rows:
            stamp = pa.array(np.array([round(time * S)]), pa.timestamp("ns", "UTC"))
            batch = pa.record_batch({"time": stamp, "v": pa.array([1.0])})
            self.feeds.by_name[name].source.waiting.append(Arrival(partition, batch, 0))
        out, marks = {}, []
        for feed, arrival in self.live.take():
            self._keep(out, self.session.push(feed.name, arrival.rows, arrival.partition))
        for feed, partition, time in self.live.marks(self.session):
            marks.append((feed.name, partition, time / S))
            self._keep(out, self.session.mark(feed.name, time, partition))
        return out, marks

    @staticmethod
    def _keep(out, found):
        for name, batch in found.items():
            out.setdefault(name, []).extend(batch.to_pylist())


ONE = """
source s (time, v: f64) from given() idle after 2 s {more}
sink s | window 1 s | aggregate count() as n to kept()
"""


def test_a_partition_that_is_idle_moves_on_with_the_clock():
    world = World(ONE.format(more=""))
    assert world.at(0, ("s", "", 100.2)) == ({}, [])
    assert world.at(1.7) == ({}, [])
    out, marks = world.at(2.0)
    assert (out, marks) == ({}, [("s", "", 100.2)])
    out, marks = world.at(3.0)  # it may still send what is two seconds old
    assert marks == [("s", "", pytest.approx(101.2))]
    assert [row["n"] for row in out["s_kept"]] == [1]
    assert world.at(3.01) == ({}, []), "marks are made ten times in the span, not always"
    out, marks = world.at(3.5, ("s", "", 103.6))
    assert not marks


def test_what_is_late_on_purpose_is_not_cut_off():
    world = World(ONE.format(more="late 5 s"))
    world.at(0, ("s", "", 100.0))
    _, marks = world.at(4)
    assert marks == [("s", "", 99.0)]
    _, marks = world.at(7)
    assert marks == [("s", "", 102.0)]


def test_a_partition_that_begins_before_anything_was_marked_is_alone():
    """As a connection that is opened soon after the run has begun to listen."""
    world = World(ONE.format(more=""))
    assert world.at(0.5) == ({}, [])
    assert world.at(0.8, ("s", "peer", 100.2)) == ({}, [])
    assert world.at(3.5)[1] == [("s", "peer", pytest.approx(100.2 + 2.7 - 2.0))]


def test_nothing_is_marked_where_no_idleness_is_declared():
    world = World(ONE.format(more="").replace("idle after 2 s", ""))
    world.at(0, ("s", "", 100.0))
    assert world.at(1000) == ({}, [])


def test_a_silent_device_is_told_of_by_the_clock():
    text = """
    source s (time, v: f64) from given() idle after 1 s on silence 3 s
    sink s.silent to kept()
    """
    world = World(text)
    assert world.at(0, ("s", "", 50.0)) == ({}, [])
    assert world.at(3.5)[0] == {}
    out, _ = world.at(4.2)
    (row,) = out["s_silent"]
    assert row["silent"]
    assert row["time"].timestamp() == 53


TWO = """
source a (time, v: f64) from given() idle after 1 s
source b (time, v: f64) from given() idle after 1 s
sink a | join b latest | select v, b_v to kept()
"""


def test_a_join_does_not_wait_for_a_source_that_never_sent():
    world = World(TWO)
    assert world.at(0.5, ("a", "", 10.0)) == ({}, [])
    out, marks = world.at(
        1.4
    )  # nothing is known of b but that a has come to 10 s: its rows may be a second older
    assert marks == [("b", "", 9.0)]
    assert out == {}
    out, _ = world.at(3.0, ("a", "", 12.5))
    assert [row["time"].timestamp() for row in out["a_kept"]] == [10]
    assert np.isnan(out["a_kept"][0]["b_v"])


def test_the_place_of_a_source_that_has_not_sent_is_given_up_when_it_does():
    world = World(TWO)
    world.at(0.5, ("a", "", 10.0))
    world.at(1.4)
    _, marks = world.at(2.0, ("b", "10.0.0.7:4000#1", 10.5), ("a", "", 11.0))
    assert ("b", "", pytest.approx((2**63 - 1) / S)) in marks
    out, _ = world.at(2.5, ("b", "10.0.0.7:4000#1", 20.0), ("a", "", 21.0))
    assert [row["b_v"] for row in out["a_kept"]][-1] == 1.0
