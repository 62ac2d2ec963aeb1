"""A breaker: a model that fails again and again is left alone for a while.

After Nygard, Release It! (Pragmatic Bookshelf, 2007), chapter 5: closed while answers come, open after some failures
in a row, half open when the rest is over: one frame is tried, and what becomes of it decides.
"""

from dataclasses import dataclass
from typing import Any

from flowedge.compile.program import FOREVER, NEVER
from flowedge.session.snapshot import tally, whole


@dataclass(slots=True)
class Breaker:
    """Counts failures in a row, in event time, so that it acts alike however the rows are cut.

    Parameters
    ----------
    most : failures in a row that open it
    rest_ns : so long it stays open

    Attributes
    ----------
    until : while the time of a frame is before this, the model is not asked [ns]
    opened : how often it opened
    first : when it opened first [ns]

    Examples
    --------
    >>> breaker = Breaker(2, 100)
    >>> for time in (0, 10): breaker.note(False, time)
    >>> breaker.rests(20), breaker.rests(110), breaker.is_trying, breaker.opened
    (True, False, True, 1)
    >>> breaker.note(True, 110); breaker.is_trying
    False
    """

    most: int
    rest_ns: int
    failures: int = 0
    until: int = NEVER
    opened: int = 0
    first: int = NEVER

    def rests(self, time: int) -> bool:
        """Whether the model is left alone at a time."""
        return time < self.until

    @property
    def is_trying(self) -> bool:
        """Whether the next frame decides if it closes."""
        return self.failures >= self.most

    def note(self, good: bool, time: int) -> None:
        """Take what became of the frame at `time`."""
        if good:
            self.failures, self.until = 0, NEVER
            return
        self.failures += 1
        if self.failures >= self.most:
            self.until = min(time + self.rest_ns, FOREVER)
            self.opened += 1
            self.first = time if self.opened == 1 else self.first

    def state(self) -> list[int]:
        """Plain data for a snapshot."""
        return [self.failures, self.until, self.opened, self.first]

    def load(self, state: Any) -> None:  # noqa: ANN401
        """Take a snapshot over."""
        failures, until, opened, first = state
        self.failures, self.opened = tally(failures), tally(opened)
        self.until, self.first = whole(until), whole(first)
