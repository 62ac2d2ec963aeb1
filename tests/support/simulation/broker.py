"""A simulated broker: logs with offsets that are delivered at least once, until they are acknowledged.

Beside it recordings, whose files are read from wherever one asks.
"""

import contextlib
import random
import signal
from pathlib import Path

from support.faults import Killed

from flowedge.runtime.checkpoint import checkpoints_in, read_checkpoint
from flowedge.sources.contract import Position, Source, connector

BROKER, RECORDING = "simulated", "recorded"
UNREADABLE = "cut short"
"""Why a row cannot be read."""


class Topic:
    """One log, and the offset before which it has forgotten all.

    Parameters
    ----------
    name : the source that reads it
    log : `support.simulation.rows.Log`
    state : the directory in which the run keeps its checkpoints
    """

    def __init__(self, name, log, state):
        self.name, self.log, self.state = name, log, state
        self.forgotten = 0
        self.wrong = []

    def acknowledge(self, offset):
        """Forget what stands before; nothing that a checkpoint on the disk still asks for."""
        asked = []
        for _, path in checkpoints_in(self.state):
            position = read_checkpoint(path).sources[self.name]["position"]
            asked.append(0 if position is None else position[1])
        if not asked:
            self.wrong.append(f"`{self.name}`: {offset} acknowledged before any checkpoint")
        elif offset > min(asked):
            self.wrong.append(
                f"`{self.name}`: {offset} acknowledged, {min(asked)} may be asked for"
            )
        self.forgotten = max(self.forgotten, offset)

    def read(self, offset):
        """Where delivery begins: behind what is forgotten, never behind what is asked for."""
        if offset < self.forgotten:
            self.wrong.append(f"`{self.name}`: {offset} asked for, {self.forgotten} acknowledged")
        return self.forgotten


class Broker:
    """All topics and recordings, and what happens to a process while it reads them.

    Parameters
    ----------
    topics, recordings : by name, those of `Topic` and logs that stand in files
    events : drawn anew for each life of a process: what happens at which delivery
    disk : that of the process; a dead one lets nothing happen
    """

    def __init__(self, topics, recordings):
        self.topics, self.recordings = topics, recordings
        self.begin(random.Random(0), None, {}, 1)

    def begin(self, rng, clock, events, most, disk=None):
        """A new process: `events` by the number of the delivery, batches of at most `most` rows."""
        self.random, self.clock, self.events, self.most = rng, clock, events, most
        self.disk = disk
        self.deliveries = 0
        self.trace = []

    def deliver(self, name, first, last):
        """Note a delivery; time passes, and the process may be stopped or killed by it."""
        self.disk.pause()
        if self.disk.is_dead:
            raise Killed
        number = self.deliveries
        self.deliveries += 1
        self.trace.append((name, first, last))
        if self.clock is not None:
            self.clock.pass_by(self.random)
        event = self.events.get(number)
        if event is not None:
            self.trace.append(event)
        if event == "kill":
            self.disk.is_dead = True
            raise Killed
        if event in ("stop", "stop twice"):
            signal.raise_signal(signal.SIGTERM)
        if event == "stop twice":
            signal.raise_signal(signal.SIGINT)


BROKERS: list[Broker] = []
"""The one that sources read from: the last."""


class Simulated(Source):
    """Read a log of the simulated broker; what is delivered twice is known by its offset."""

    def schema(self):
        return None

    def paths(self):
        return []

    @property
    def _topic(self):
        return BROKERS[-1].topics[self.address]

    def acknowledge(self, position):
        if BROKERS[-1].disk.is_dead:
            raise Killed
        BROKERS[-1].trace.append(("acknowledged", self.address, position.row))
        self._topic.acknowledge(position.row)

    def batches(self, columns=None, predicate=None, start=None):
        broker, topic = BROKERS[-1], self._topic
        wanted = 0 if start is None else start.row
        at = topic.read(wanted)
        while at < len(topic.log):
            if broker.random.random() < 0.15:  # delivered again, as brokers do
                at = broker.random.randint(min(at, topic.forgotten), at)
            behind = min(len(topic.log), at + broker.random.randint(0, broker.most))
            broker.deliver(self.address, at, behind)
            fresh = max(at, wanted)
            if behind > fresh or broker.random.random() < 0.1:
                rows, bad = topic.log.between(fresh, behind)
                for number in bad:
                    self.rejects.add(self.address, number + 1, UNREADABLE, "")
                wanted = max(wanted, behind)
                yield rows if columns is None else rows.select(list(columns)), Position(0, wanted)
            at = behind


class Recorded(Source):
    """Read files one after the other; a position counts the rows of a file that could be read."""

    def schema(self):
        return None

    def paths(self):
        if not BROKERS:  # it is compiled
            return []
        return files_of(self.address, BROKERS[-1].recordings[self.address])

    def batches(self, columns=None, predicate=None, start=None):
        broker = BROKERS[-1]
        log, paths, start = broker.recordings[self.address], self.paths(), start or Position()
        waiting = []  # a row that cannot be read is noted with the next one that can: a position says which
        for file in range(start.file, len(paths)):
            begin = log.ends[file - 1] if file else 0
            at, passed = begin, 0
            while file == start.file and passed < start.row:  # handed out by the earlier reading
                passed += at not in log.unreadable
                at += 1
            while at < log.ends[file]:
                behind = min(log.ends[file], at + broker.random.randint(1, broker.most))
                broker.deliver(paths[file], at, behind)
                rows, bad = log.between(at, behind)
                waiting += [(paths[file], number - begin + 1) for number in bad]
                at, passed = behind, passed + rows.num_rows
                if rows.num_rows:
                    while behind - 1 in log.unreadable:
                        behind -= 1
                    last = paths[file], behind - begin
                    self._note([w for w in waiting if w < last])
                    waiting = [w for w in waiting if w > last]
                    found = rows if columns is None else rows.select(list(columns))
                    yield found, Position(file, passed)
        self._note(waiting)

    def _note(self, found):
        for path, row in found:
            self.rejects.add(path, row, UNREADABLE, "")


def files_of(name, log):
    """The files of a recording."""
    return [f"in/{name}{k}" for k in range(len(log.ends))]


def lay_out(recordings):
    """Make the files of all recordings here."""
    Path("in").mkdir()
    for name, log in recordings.items():
        for path in files_of(name, log):
            Path(path).write_text(name)


@contextlib.contextmanager
def connected():
    """The connectors exist in here, registered as all are, and nowhere else."""
    connector(BROKER)(Simulated)
    connector(RECORDING)(Recorded)
    try:
        yield
    finally:
        del connector._known[BROKER], connector._known[RECORDING]


@contextlib.contextmanager
def serving(broker):
    """Sources read from this broker."""
    BROKERS.append(broker)
    try:
        yield broker
    finally:
        BROKERS.pop()
