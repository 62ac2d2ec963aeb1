"""Where blocks of samples wait for the run, with their times."""

from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

from flowedge.sources.inbox import Inbox
from flowedge.sources.samples.clock import SampleClock, Stamp
from flowedge.sources.samples.pcm import Form

MOST_BYTES = 8 << 20
"""Of samples that wait, as they came."""
_OVERHEAD = 200


class Block(NamedTuple):
    """Whole samples as they came, their times, and when they came [ns since 1970, UTC]."""

    data: bytes
    samples: int
    stamp: Stamp
    received_ns: int


class Intake:
    """What a thread hands to the run.

    Attributes
    ----------
    counts : what is told of the source
    """

    def __init__(self, form: Form, clock: SampleClock, ring: Callable[[], None]) -> None:
        self.form, self.clock = form, clock
        self.inbox: Inbox[Block | BaseException] = Inbox(ring, MOST_BYTES)
        self.counts: Counter[str] = Counter()
        self._is_broken = True  # the first samples are placed by their instant

    def place(self, taken_ns: int) -> None:
        """The next sample was taken at this instant; a gap is counted."""
        gap = self.clock.place(taken_ns)
        if gap > 0:
            self.counts["gaps"] += 1
            self.counts["missing_ms"] += round(gap / 1e6)

    def put(self, data: bytes, received_ns: int) -> None:
        """Let whole samples wait."""
        samples = len(data) // self.form.width
        block = Block(data, samples, self.clock.stamp(samples), received_ns)
        self.inbox.put(block, len(data) + _OVERHEAD)

    def put_taken(self, data: bytes, taken_ns: int, received_ns: int, *, has_lost: bool) -> None:
        """Let samples wait whose instant the device tells; where nobody makes room, they are lost.

        Parameters
        ----------
        taken_ns : when the first of them was taken [ns since 1970, UTC]
        has_lost : the device had no room for those before
        """
        samples = len(data) // self.form.width
        self.counts["overruns"] += has_lost
        if not self.inbox.has_room:
            self.counts["lost_samples"] += samples
            self._is_broken = True
            return
        if self._is_broken or has_lost:
            self.place(taken_ns)
            self._is_broken = False
        self.put(data, received_ns)
        self.clock.heard(taken_ns + self.clock.lasting(samples))

    def break_off(self) -> None:
        """What comes next does not follow what came before."""
        self._is_broken = True
