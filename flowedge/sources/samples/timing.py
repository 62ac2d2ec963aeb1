"""Finds out when samples were taken that come through a pipe: at once, late, or not at all for a while."""

from typing import Literal

from flowedge.sources.samples.intake import Intake

STALL_NS = 500_000_000
"""Nothing came for so long, though it should have: samples may be missing."""
JUDGE_NS = 500_000_000
"""At the start, and behind a stall, samples are held back for so long at most, until it is clear when they were taken."""
LEAST_GAP_NS = 100_000_000
"""A stall that leaves less than this behind was one of the sender's, not of what it hears."""
MOST_AHEAD_NS = 1_000_000_000
"""Samples that come faster than they can have been taken wait, once they are so far ahead."""
_MOST_HELD = 1 << 20
"""Bytes that are held back, at most."""


class Timing:
    """Hands samples on, with the time at which they were taken.

    What comes at the first moment at which all is read was taken just before. Behind a stall either all comes that was
    late, and nothing is missing; or the samples stay behind the time of day by as much more than before as nobody took.

    Parameters
    ----------
    intake : where samples go
    """

    def __init__(self, intake: Intake) -> None:
        self._intake, self._clock = intake, intake.clock
        self._held: list[tuple[bytes, int]] = []
        self._state: Literal["new", "stalled", "known"] = "new"
        self._until = self._size = self._samples = 0
        self._delay = self._before = 0
        self._least: int | None = None

    def begin(self) -> None:
        """Somebody else sends from now on."""
        self._state, self._until = "new", 0

    def feed(
        self, data: bytes, now_ns: int, received_ns: int, *, silent_ns: int, is_all: bool
    ) -> None:
        """Whole samples have come.

        Parameters
        ----------
        now_ns : by a clock that began as the time of day, and that nobody sets
        received_ns : time of day
        silent_ns : how long nothing came before
        is_all : nothing else is there to be read
        """
        if self._clock.is_free:
            self._intake.put(data, received_ns)
            return
        if self._state == "known" and silent_ns >= STALL_NS:
            self._state, self._until, self._least = "stalled", now_ns + JUDGE_NS, None
            self._before = self._delay
        elif self._state == "new" and not self._until:
            self._until = now_ns + JUDGE_NS
        if self._state == "known":
            self._intake.put(data, received_ns)
        else:
            self._held.append((data, received_ns))
            self._size += len(data)
            self._samples += len(data) // self._intake.form.width
        if is_all:
            self._heard(now_ns)
        self.settle(now_ns)

    def _heard(self, now_ns: int) -> None:
        if self._state == "new":
            self._until = now_ns
            return
        delay = now_ns - self._clock.end_ns - self._clock.lasting(self._samples)
        if self._state == "stalled":
            self._least = delay if self._least is None else min(self._least, delay)
            if self._least - self._before < LEAST_GAP_NS:
                self._until = now_ns  # all that was late has come
            return
        self._delay = delay
        self._clock.heard(now_ns)

    def settle(self, now_ns: int, *, is_end: bool = False) -> None:
        """Let go of what is held back, if it is time to; `is_end`: nothing comes behind it."""
        if not self._held or not (is_end or now_ns >= self._until or self._size >= _MOST_HELD):
            return
        if self._state == "new":
            self._intake.place(now_ns - self._clock.lasting(self._samples))
        elif self._least is not None and self._least - self._before >= LEAST_GAP_NS:
            self._intake.place(self._clock.end_ns + self._least - self._before)
        for data, received_ns in self._held:
            self._intake.put(data, received_ns)
        self._held = []
        self._size = self._samples = 0
        self._state = "known"
        self._delay = now_ns - self._clock.end_ns

    def ahead_ns(self, now_ns: int) -> int:
        """By how much the newest sample is too far ahead of the clock; 0 and below: it is not [ns]."""
        if self._clock.is_free or self._state != "known":
            return 0
        return self._clock.end_ns - now_ns - MOST_AHEAD_NS
