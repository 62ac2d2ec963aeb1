"""The clock that a window or a grid goes by: event time itself, or local time in a zone."""

from flowedge.compile.emit.kernel import Kernel
from flowedge.operators import grids


class GridClock:
    """Texts that turn event times into readings of the grid's clock, and back.

    Without a zone both are event time, and the texts are what was given.
    """

    def __init__(self, kernel: Kernel, zone: str | None, size_ns: int, hop_ns: int) -> None:
        self.is_local = zone is not None
        self.apart_ns = 0
        """How far readings and event times may lie apart."""
        if zone is not None:
            names = kernel.names
            shifts = grids.table(zone, size_ns, hop_ns).shifts
            self.apart_ns = max(map(abs, shifts)) + grids.DAY_NS  # it may wait for local clocks
            self._reading = names.function(grids.reading(zone, size_ns, hop_ns), "local_time")
            self._instant = names.function(grids.instant(zone, size_ns, hop_ns), "instant_of")

    def reading(self, instant: str) -> str:
        """What the clock reads at an instant [ns]."""
        return f"{self._reading}({instant})" if self.is_local else instant

    def instant(self, reading: str) -> str:
        """When the clock first reads this or more [ns]."""
        return f"{self._instant}({reading})" if self.is_local else reading
