"""The one clock of a run: how much time has passed, and waiting; and the time of day, for what comes live."""

import time


class Clock:
    """The system's monotonic clock, which nobody can set; a simulation has one of its own."""

    def ns(self) -> int:
        """Time since some instant of no meaning [ns]; it never goes back."""
        return time.monotonic_ns()

    def s(self) -> float:
        """The same [s]."""
        return self.ns() * 1e-9

    def wall_ns(self) -> int:
        """The time of day [ns since 1970, UTC]: when a row was received. Nothing is measured by it, for it may be set."""
        return time.time_ns()

    def sleep(self, span_s: float) -> None:
        """Let so much time pass [s]."""
        time.sleep(span_s)


SYSTEM = Clock()
