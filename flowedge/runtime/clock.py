"""The one clock of a run: how much time has passed, and waiting. It never asks what time of day it is."""

import time


class Clock:
    """The system's monotonic clock, which nobody can set; a simulation has one of its own."""

    def ns(self) -> int:
        """Time since some instant of no meaning [ns]; it never goes back."""
        return time.monotonic_ns()

    def s(self) -> float:
        """The same [s]."""
        return self.ns() * 1e-9

    def sleep(self, span_s: float) -> None:
        """Let so much time pass [s]."""
        time.sleep(span_s)


SYSTEM = Clock()
