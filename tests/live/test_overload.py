"""A run that cannot keep up: the least important work is left out first, oldest first, counted, and again when it is done again."""

import numpy as np
import pyarrow as pa
import pytest

import flowedge
from flowedge.graph.catalog import PlainCatalog
from flowedge.runtime.clock import Clock
from flowedge.runtime.feeds import Feed, Feeds
from flowedge.runtime.intake import Intake
from flowedge.runtime.live import Live
from flowedge.runtime.overload import EVERYTHING, Overload
from flowedge.runtime.reading import Reading
from flowedge.runtime.recording import Player, Recorder
from flowedge.runtime.report import SourceReport
from flowedge.sources.live import Arrival, LiveSource
from flowedge.types.connectors import ConnectorInfo

PLAIN = PlainCatalog(
    {"given": ConnectorInfo("given", "source", needs_address=False, describes_itself=False, writes_files=False, is_live=True)},
    {"kept": ConnectorInfo("kept", "sink", needs_address=False, writes_files=False)},
)  # fmt: skip
MS = 10**6


class Hand(LiveSource):
    """Gives what the test puts into it."""

    name = "given"
    needs_address = False

    def begin(self, shell, state):
        self.waiting = []

    def schema(self):
        return None

    def take(self):
        found, self.waiting = self.waiting, []
        return found

    def close(self):
        pass


class Told(Clock):
    """Time as the test sets it; of the day, too."""

    now = 0

    def ns(self):
        return self.now

    def wall_ns(self):
        return 1_700_000_000 * 10**9 + self.now


class Nowhere:
    """Keeps what comes to the sinks."""

    def __init__(self):
        self.rows, self.receipts = {}, {}

    def write(self, out):
        for name, batch in out.items():
            self.rows.setdefault(name, []).extend(batch.to_pylist())


class Nobody:
    """No models."""

    def came(self, at):
        pass


class World:
    """A live run whose session takes a certain time for each row of each of its open branches."""

    def __init__(self, text, path, cost_ns):
        self.clock, self.out = Told(), Nowhere()
        self.plan = flowedge.compile(text=text, catalog=PLAIN)
        self.session = self.plan.open()
        self.feeds = Feeds({n: Feed(n, Hand(), SourceReport("given", ""), (), None) for n in self.session.sources})  # fmt: skip
        self.live = Live(self.feeds, self.clock)
        self.live.begin()
        self.recorder = Recorder(path, self.plan.program.digest)
        overload = Overload(self.plan.program.nodes)
        self.reading = Reading(Intake(self.session, self.recorder), self.out, Nobody(), self.clock, lambda: None, overload)  # fmt: skip
        push = self.session.push

        def slow(source, rows, *more, **named):
            before = sum(s.counts.rows_in for s in self.session.sinks.values())
            found = push(source, rows, *more, **named)
            after = sum(s.counts.rows_in for s in self.session.sinks.values())
            self.clock.now += (after - before) * cost_ns
            return found

        self.session.push = slow

    def feed(self, name, at_ns, first, count):
        time = pa.array(np.arange(first, first + count) * MS, pa.timestamp("ns", "UTC"))
        batch = pa.record_batch({"time": time, "v": np.arange(first, first + count, dtype=float)})
        stamp = self.clock.wall_ns() - self.clock.now + at_ns
        self.feeds.by_name[name].source.waiting.append(Arrival("", batch, stamp))

    def turn(self):
        return self.reading.all_of(self.live)

    def run(self, blocks):
        """Ten rows each ten milliseconds, taken as they have come; how long each block waited for its turn."""
        waits, push, block = [], self.session.push, 0

        def noted(source, rows, *more, **named):
            waits.append(self.clock.now - int(rows["v"][0].as_py()) * MS)
            return push(source, rows, *more, **named)

        self.session.push = noted
        while block < blocks:
            while block < blocks and block * 10 * MS <= self.clock.now:
                self.feed("s", block * 10 * MS, 10 * block, 10)
                block += 1
            if not self.turn():
                self.clock.now += MS
        self.turn()
        return waits

    def finish(self):
        self.recorder.close()
        self.out.write(self.session.finish())
        return self.session.ledger()


def again(world, path):
    """The rows of the recorded run done again."""
    session, out = world.plan.open(), Nowhere()
    reading = Reading(Intake(session, None), out, Nobody(), Told(), lambda: None)
    feeds = {n: Feed(n, Hand(), SourceReport("given", ""), (), None) for n in session.sources}
    for _, (kind, name, *more) in Player(path).play():
        if kind == "below":
            reading.intake.shed_below(name)
        else:
            reading.again(feeds[name], kind, more)
    out.write(session.finish())
    return out.rows, session.ledger()


TWO = """
source s (time, v: f64) from given() late 0 s
sink s | where v >= 0 deadline 100 ms else {policy} to kept() as alarms priority 9
sink s | derive m = mean(v) over 5 samples to kept() as archive
"""


def test_less_important_work_is_left_out_while_rows_wait_and_taken_in_again(tmp_path):
    """Blocks of 10 rows each 10 ms; a row costs 0.6 ms at each of two sinks: 12 ms of work for each 10."""
    world = World(TWO.format(policy="keep"), tmp_path / "r", cost_ns=600_000)
    waits = world.run(200)
    counts = world.finish()
    gate = counts["s: gate of priority 0"]
    assert counts["sink kept"]["used"] == 2000, "what is important is all there"
    assert 0 < gate["shed"] < 1500
    assert gate["shed"] + gate["used"] == 2000
    assert max(waits) < 100 * MS, "in time"
    rows, ledger = again(world, tmp_path / "r")
    assert rows == world.out.rows
    assert ledger == counts


def test_what_could_only_come_too_late_is_turned_away_where_it_would_be_dropped(tmp_path):
    """A row costs 2 ms, and ten come in 10 ms: twice the load that can be served by the important sink alone."""
    world = World(TWO.format(policy="drop"), tmp_path / "r", cost_ns=2_000_000)
    waits = world.run(200)
    counts = world.finish()
    assert counts["s"]["rows_in"] == 2000
    assert 800 < counts["s"]["shed"] < 1200
    assert counts["s"]["used"] + counts["s"]["shed"] == 2000
    assert max(waits) < 100 * MS - 20 * MS
    assert world.feeds.by_name["s"].report.rows_in == 2000
    rows, ledger = again(world, tmp_path / "r")
    assert rows == world.out.rows
    assert ledger == counts


def test_a_batch_that_would_be_too_late_by_its_own_work_is_left_out_before(tmp_path):
    """A row costs 0.6 ms at each sink; 100 that come at once, and have not waited, take 120 ms with both and 60 with one."""
    world = World(TWO.format(policy="keep"), tmp_path / "r", cost_ns=600_000)
    shed = []
    for block, later in enumerate((1, 1, 30)):
        world.clock.now += later * 10**9
        world.turn()
        world.feed("s", world.clock.now, 100 * block, 100)
        world.turn()
        shed.append(world.session.ledger()["s: gate of priority 0"]["shed"])
    world.finish()
    assert shed == [0, 100, 100], "not known yet; known; so long ago that it is tried again"


def test_rows_of_a_sink_that_keeps_them_are_never_turned_away():
    found = Overload(flowedge.compile(text=TWO.format(policy="keep"), catalog=PLAIN).program.nodes)
    assert not found.is_useless("s", 10**12)
    assert found.note(10**12)
    assert found.below == 1


THREE = """
source a (time, v: f64) from given() late 0 s
source b (time, v: f64) from given() late 0 s
source c (time, v: f64) from given() late 0 s
sink a deadline 90 ms else keep to kept() as first priority 5
sink b to kept() as second priority 3
sink c to kept() as third
"""


def test_the_least_important_goes_first_and_comes_back_last():
    found = Overload(flowedge.compile(text=THREE, catalog=PLAIN).program.nodes)
    seen = []
    for age_ms in (1, 14, 16, 29, 31, 16, 14, 8, 7):
        changed = found.note(age_ms * MS)
        seen.append((found.below, changed))
    assert seen == [
        (EVERYTHING, False), (EVERYTHING, False), (1, True), (1, False), (4, True), (4, False), (1, True), (1, False), (EVERYTHING, True),
    ]  # fmt: skip
    found.note(20 * MS)
    assert found.is_useless("c", 0)
    assert not found.is_useless("b", 10**12)


@pytest.mark.parametrize("text", [
    "source a (time, v: f64) from given() late 0 s\nsink a to kept()",
    "source a (time, v: f64) from given() late 0 s\nsink a deadline 1 s else keep to kept()",
])  # fmt: skip
def test_nothing_is_left_out_where_nothing_is_less_important(text):
    found = Overload(flowedge.compile(text=text, catalog=PLAIN).program.nodes)
    assert not found.may_act
    assert not found.note(10**15)
    assert not found.is_useless("a", 10**15)


def test_a_clock_that_is_set_changes_little(tmp_path):
    """The time of day leaps by an hour between receipt and turn: rows have waited no longer than since the last look."""
    world = World(TWO.format(policy="drop"), tmp_path / "r", cost_ns=0)
    world.turn()
    world.clock.now = 5 * MS
    world.feed("s", -3600 * 10**9, 0, 10)
    world.turn()
    assert world.finish()["s"]["shed"] == 0
