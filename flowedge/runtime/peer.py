"""One output of a run whose rows go to a peer that may be away."""

import secrets
from collections.abc import Callable
from typing import Any

import pyarrow as pa

from flowedge.lang.errors import SinkError
from flowedge.runtime.clock import SYSTEM, Clock
from flowedge.runtime.delivery import Delivery
from flowedge.runtime.outlet import Outlet
from flowedge.runtime.punctual import Punctual
from flowedge.runtime.report import PeerReport
from flowedge.runtime.rowlog import RowLog
from flowedge.runtime.spool import Spool
from flowedge.runtime.threads import SYSTEM as SYSTEM_THREADS
from flowedge.runtime.threads import Workers
from flowedge.runtime.waiting import Waiting
from flowedge.sinks.remote import RemoteSink

_FIRST_PATIENCE_S = 5.0
"""So long a run waits at its beginning for what the first attempt gives: wrong credentials show before the work."""
_SEGMENTS = 8
"""A buffer is made of so many segments at least, so that its beginning can be given back."""
_LEAST_SEGMENT = 1 << 20


class PeerOutlet(Outlet):
    """Rows that wait for a peer, in memory, in the log of the state, or in a buffer on the disk.

    With checkpoints all rows go to a log, and a checkpoint says how long it was, and how many rows the peer had then. A peer
    that keeps its place with the rows (``exactly once``) is given only rows that a checkpoint covers: whatever is
    computed again after a kill comes behind them. Without checkpoints rows go to the disk only when there is a `buffer` and no
    more room in memory.

    Parameters
    ----------
    log : of the state; None without checkpoints
    buffer_bytes : of the rows that may wait on the disk; 0: as many as there is memory for
    memory_bytes : of the rows that may wait in memory
    told : where the delivery is counted
    delivered : called with each batch that is safe, on another thread
    asks_again : all sources of its rows give the same rows again
    punctual : the deadline of its rows; None: they have none
    may_shed : its oldest rows may go where no more may wait; never those of a peer that has them exactly once
    """

    def __init__(
        self,
        name: str,
        sink: RemoteSink,
        told: PeerReport,
        log: RowLog | None = None,
        mark: str = "",
        *,
        buffer_bytes: int = 0,
        memory_bytes: int,
        delivered: Callable[[pa.RecordBatch], None] = lambda _: None,
        asks_again: bool = True,
        punctual: Punctual | None = None,
        may_shed: bool = False,
        clock: Clock = SYSTEM,
        workers: Workers = SYSTEM_THREADS,
    ) -> None:
        super().__init__(name, sink, log, mark)
        self.peer = sink
        self._told, self._delivered = told, delivered
        self._asks_again, self._clock, self._workers = asks_again, clock, workers
        self._punctual = punctual
        self.may_shed = may_shed and sink.promised != "exactly once"
        self._spool: Spool | None = None
        self._buffer_bytes = buffer_bytes
        sink.stream = f"{name}-{secrets.token_hex(8)}"
        self.waiting = Waiting(
            log,
            keeps_all=log is not None,
            holds_back=log is not None and sink.promised == "exactly once",
            repeats=sink.repeats,
            most_bytes=buffer_bytes or memory_bytes,
            memory_bytes=memory_bytes,
            workers=workers,
        )
        self._known_safe = 0
        self._delivery: Delivery | None = None

    @property
    def nbytes(self) -> int:
        """Bytes of memory that the rows hold which wait."""
        return self.waiting.nbytes

    # ---- the beginning

    def holds(self, kept: dict[str, Any]) -> bool:
        """Whether the log is as long as a checkpoint says."""
        return self.log is None or self.log.holds(kept["log"])

    def recover(self, kept: dict[str, Any], *, is_finished: bool) -> None:
        """Take over the rows that wait; raises SinkError, CheckpointError."""
        del is_finished  # what waits is delivered after the end, too
        assert self.log is not None
        self.resumed = kept
        self._restore(self.log, kept["log"])
        self.peer.stream = kept["state"]["stream"]
        self.waiting.go_on(kept["from"], kept["state"].get("cuts", ()))

    def open(self, schema: pa.Schema) -> None:
        """Begin to deliver; raises SinkError where that will never work."""
        if self.resumed is None and self.log is not None:
            self.log.clear()
        if self.log is None and self._buffer_bytes:
            self.waiting.log = self._spooled()
        self._delivery = Delivery(
            self.peer, schema, self.waiting, self._told, self._delivered, self._asks_again, self._punctual, self._clock, self._workers,
        )  # fmt: skip
        self._delivery.start(_FIRST_PATIENCE_S)

    def _spooled(self) -> RowLog:
        """A log for the rows that memory has no room for, which ends with the run."""
        try:
            self._spool = Spool()
        except OSError as error:
            raise SinkError(f"cannot make a buffer for `{self.name}`: {error.strerror}") from None
        segment = max(_LEAST_SEGMENT, self._buffer_bytes // _SEGMENTS)
        return RowLog(self._spool.folder, float("inf"), segment_bytes=segment)

    # ---- rows

    def write(self, batch: pa.RecordBatch) -> None:
        """Let rows wait for the peer, or go to it; raises SinkError, CheckpointError."""
        self.check()
        if self._delivery is None:
            self.waiting.put(batch)
        else:
            self._delivery.put(batch)

    def check(self) -> None:
        """Raise what has gone wrong with the peer for good: SinkError, CheckpointError."""
        if self._delivery is not None:
            self._delivery.check()

    def hurry(self) -> None:
        """No row waits for others any more, to be delivered with them."""
        if self._delivery is not None:
            self._delivery.hurry()

    @property
    def is_away(self) -> bool:
        """Whether the peer cannot be reached now."""
        return self._delivery is not None and self._delivery.is_away

    # ---- checkpoints

    def prepare(self) -> dict[str, Any]:
        """Make all rows so far last; what the checkpoint says. Raises SinkError, CheckpointError."""
        self.check()
        self._mark = self.waiting.mark()
        safe = self._known_safe = self.waiting.safe  # no sooner: cuts before it are forgotten
        state: dict[str, Any] = {"stream": self.peer.stream}
        if self.peer.repeats:
            state["cuts"] = list(self.waiting.cuts)
        told = {"log": self._mark, "committed": 0, "print": self.print, "ready": []}
        return {**told, "state": state, "from": min(safe, self._mark["rows"])}

    def commit(self) -> None:
        """A checkpoint is on the disk: the rows that it covers may go."""
        self.waiting.release(self._mark["rows"])

    def forget(self, before: int) -> None:
        """No checkpoint needs rows before this one; raises SinkError."""
        self.waiting.forget(before)

    @property
    def has_moved(self) -> bool:
        """Whether only this run knows what the peer has: `prepare` did not, and the peer does not say."""
        tells = self.peer.promised == "exactly once" and not self.peer.repeats
        return not tells and self.waiting.safe > self._known_safe

    # ---- the end

    def finish(self, stop: Callable[[], bool]) -> bool:
        """All rows are made; they are delivered while the run waits."""
        del stop
        return True

    def farewell(self) -> None:
        """All rows are there, and nobody will go on from here: the peer may forget about it."""
        self._end(forget=True)

    def abort(self) -> None:
        """Deliver no more; what is delivered stays."""
        self._end()

    def rest(self, *, forget: bool = False) -> None:
        """Deliver no more; the rows wait on, for a checkpoint to speak of."""
        delivery, self._delivery = self._delivery, None
        if delivery is not None:
            delivery.close(forget=forget)

    def _end(self, *, forget: bool = False) -> None:
        self.rest(forget=forget)
        self.waiting.clear()
        if self._spool is not None:
            self._spool.remove()
            self._spool = None
