"""A replay at a multiple of real time."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pyarrow as pa

from flowedge.compile.program import NEVER
from flowedge.runtime.clock import SYSTEM, Clock


@dataclass
class Pace:
    """Holds a replay back to a multiple of real time; with `speed` None it does not.

    Only the session knows the event time of a row, so rows are pushed in pieces that grow while
    the replay is behind and shrink while it has to wait: about ten pieces a second.
    """

    speed: float | None
    clock: Clock = SYSTEM
    _first: tuple[int, float] | None = None
    _rows: int = 1

    def pieces(self, batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
        """A batch, whole or cut so that its rows can come when they are due."""
        if self.speed is None:
            yield batch
            return
        at = 0
        while at < batch.num_rows:
            piece = batch.slice(at, self._rows)
            yield piece
            at += piece.num_rows

    def wait(self, newest_ns: int, stop: Callable[[], bool]) -> None:
        """Sleep until the time at which this event time is due, or the run shall stop."""
        if self.speed is None or newest_ns == NEVER:
            return
        if self._first is None:
            self._first = (newest_ns, self.clock.s())
            return
        due = self._first[1] + (newest_ns - self._first[0]) * 1e-9 / self.speed
        ahead = due - self.clock.s()
        self._rows = max(1, self._rows // 2) if ahead > 0.1 else min(2 * self._rows, 1 << 20)
        while not stop() and (left := due - self.clock.s()) > 0:
            self.clock.sleep(min(0.1, left))  # a signal does not end a sleep
