"""A simulated broker: logs with offsets that are delivered at least once, until they are acknowledged."""

import contextlib
import random
import signal

from support.faults import Killed

from flowedge.runtime.checkpoint import checkpoints_in, read_checkpoint
from flowedge.sources.contract import Position, Source, connector

NAME = "simulated"


class Topic:
    """One log: rows in the order of arrival, and the offset before which it has forgotten all.

    Parameters
    ----------
    name, rows : the source that reads it, and all that will ever stand in it
    state : the directory in which the run keeps its checkpoints
    """

    def __init__(self, name, rows, state):
        self.name, self.rows, self.state = name, rows, state
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
    """All topics, and what happens to a process while it reads them.

    Parameters
    ----------
    topics : by name
    events : drawn anew for each life of a process: what happens at which delivery
    disk : that of the process; a dead one lets nothing happen
    """

    def __init__(self, topics):
        self.topics = topics
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
        while at < topic.rows.num_rows:
            if broker.random.random() < 0.15:  # delivered again, as brokers do
                at = broker.random.randint(min(at, topic.forgotten), at)
            behind = min(topic.rows.num_rows, at + broker.random.randint(0, broker.most))
            broker.deliver(self.address, at, behind)
            fresh = max(at, wanted)
            if behind > fresh or broker.random.random() < 0.1:
                rows = topic.rows.slice(fresh, max(0, behind - fresh))
                wanted = max(wanted, behind)
                yield rows if columns is None else rows.select(list(columns)), Position(0, wanted)
            at = behind


@contextlib.contextmanager
def connected():
    """The connector exists in here, registered as all are, and nowhere else."""
    connector(NAME)(Simulated)
    try:
        yield
    finally:
        del connector._known[NAME]


@contextlib.contextmanager
def serving(broker):
    """Sources read from this broker."""
    BROKERS.append(broker)
    try:
        yield broker
    finally:
        BROKERS.pop()
