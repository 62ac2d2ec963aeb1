"""The thread that takes rows to a peer: it connects, delivers in order, and begins again after every outage."""

import contextlib
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

import pyarrow as pa

from flowedge.lang.errors import CheckpointError, SinkError
from flowedge.links.backoff import Backoff
from flowedge.runtime.clock import SYSTEM, Clock
from flowedge.runtime.punctual import Judged, Punctual
from flowedge.runtime.report import PeerReport
from flowedge.runtime.threads import SYSTEM as SYSTEM_THREADS
from flowedge.runtime.threads import Workers
from flowedge.runtime.waiting import Waiting
from flowedge.sinks.remote import RemoteSink, Unreachable
from flowedge.types.arrays import size_of

_FEW_ROWS, _FEW_BYTES = 64, 4096
"""Of what the run hands to a peer itself."""
_GRACE_S = 2.0
"""So long a call to the peer may take to come to its end when the run is over; then it is interrupted, and then left alone."""


@dataclass
class Delivery:
    """Takes what waits to a peer.

    An outage is no error: it is counted, and the peer is tried again after a pause (`Backoff`) until the run ends. An error
    is raised in the thread of the run by `check`.

    Parameters
    ----------
    sink : the peer
    schema : of the rows
    waiting : the rows
    told : where it is counted
    delivered : called with each batch that is safe, on this thread
    asks_again : all sources of the rows give the same rows again, so that those which the peer has beyond the checkpoint
        are the next ones
    punctual : the deadline of the rows; None: there is none, or it has been kept before they came here
    """

    sink: RemoteSink
    schema: pa.Schema
    waiting: Waiting
    told: PeerReport
    delivered: Callable[[pa.RecordBatch], None] = lambda _: None
    asks_again: bool = True
    punctual: Punctual | None = None
    clock: Clock = SYSTEM
    workers: Workers = SYSTEM_THREADS
    backoff: Backoff = field(default_factory=Backoff)
    _thread: threading.Thread | None = None
    _error: BaseException | None = None
    _is_closed: bool = False
    _forgets: bool = False
    _is_known: bool = False
    _is_first: bool = True
    _hurries: bool = False
    _number: int = 0
    _began_with: int = 0
    _is_idle: bool = False
    _problem: Unreachable | None = None
    _turn: threading.Lock = field(default_factory=threading.Lock)

    def start(self, patience_s: float) -> None:
        """Begin, and wait for what the first attempt gives, so long at most; raises SinkError, CheckpointError."""
        self._number = self.waiting.safe
        self._began_with = self.waiting.rows
        self._thread = self.workers.start(self._run, "flowedge-deliver")
        end = self.clock.s() + patience_s
        with self.waiting.changed:
            while not self._is_known and (left := end - self.clock.s()) > 0:
                self.waiting.changed.wait(left)
        self.check()

    def check(self) -> None:
        """Raise what has gone wrong for good: SinkError, CheckpointError."""
        self.told.waiting = self.waiting.count
        if self._error is not None:
            raise self._error

    def put(self, batch: pa.RecordBatch) -> None:
        """Let rows wait for the peer; few go to it at once, where nothing else waits and it takes them without a wait.

        What comes alone then changes threads nowhere: see ``docs/decisions/034-few-rows-stay-on-one-thread.md``.

        Raises
        ------
        SinkError, CheckpointError : something has gone wrong for good
        """
        if not (
            self._is_idle and self._may_go_at_once(batch) and self._turn.acquire(blocking=False)
        ):
            self.waiting.put(batch)
            return
        try:
            first = self.waiting.rows
            is_next = self._is_idle and first == self._number
            self.waiting.put(batch, quietly=is_next)
            if is_next:
                self._deliver_rows(first, batch, quietly=True)
        except Unreachable as problem:
            with self.waiting.changed:
                self._problem = problem
                self.waiting.changed.notify_all()
        finally:
            self._turn.release()

    def _may_go_at_once(self, batch: pa.RecordBatch) -> bool:
        is_small = batch.num_rows <= _FEW_ROWS and size_of(batch) <= _FEW_BYTES
        return is_small and not self.sink.gathers_s and self.sink.takes_at_once

    @property
    def is_away(self) -> bool:
        """Whether the peer cannot be reached now."""
        return bool(self.told.away)

    def hurry(self) -> None:
        """No row waits for others any more."""
        if not self._hurries:
            with self.waiting.changed:
                self._hurries = True
                self.waiting.changed.notify_all()

    def close(self, *, forget: bool = False) -> None:
        """End the thread, after the call at hand; one that does not end is left alone.

        Parameters
        ----------
        forget : the peer shall forget the stream, which is all there
        """
        with self.waiting.changed:
            self._forgets = forget
            self._is_closed = True
            self.waiting.changed.notify_all()
        if self._thread is not None:
            self._thread.join(_GRACE_S)
            if self._thread.is_alive():
                self.sink.interrupt()
                self._thread.join(_GRACE_S)
        self.told.waiting = self.waiting.count

    # ---- on the thread

    def _run(self) -> None:
        while not self._is_closed:
            try:
                self._connect()
                self._deliver()
                self._say_farewell()
            except Unreachable as problem:
                self._is_away(str(problem))
            except BaseException as error:  # noqa: BLE001  # it is raised in the thread of the run
                self._error = error
                break
        self.sink.end()
        with self.waiting.changed:
            self._is_known = True
            self.waiting.changed.notify_all()

    def _connect(self) -> None:
        self.told.attempts += 1
        self.sink.connect(self.schema)
        place = self.sink.place()
        if place is not None:
            self._stand_at(place)
        with self.waiting.changed:
            if self.sink.greets or self._is_first:
                self.told.away = ""
            self._is_known, self._is_first = True, False
            self.waiting.changed.notify_all()

    def _stand_at(self, place: int) -> None:
        """Go on where the peer says that the stream ends there."""
        if place < self._number:
            raise CheckpointError(
                f"DATA LOSS: {self.sink.name} `{self.sink.address}` has {place:,} rows of `{self.sink.stream}` and had {self._number:,}: "
                "it has gone back to an earlier state; start afresh without the state, or bring it back to where it was"
            )
        if self._is_first and place > self._began_with and not self.asks_again:
            return  # what comes now are other rows, though they bear those numbers
        if place > self._number:
            if not self._is_first:
                self.told.delivered += place - self._number
            self._safe(place)

    def _deliver(self) -> None:
        while not self._is_closed:
            self._gather()
            with self._turn:
                has_gone = self._deliver_next()
            if has_gone:
                continue
            with self.waiting.changed:
                self._is_idle = True
                if not (self._is_closed or self._problem or self.waiting.has(self._number)):
                    self.waiting.changed.wait()
                self._is_idle = False
                problem, self._problem = self._problem, None
            if problem is not None:
                raise problem

    def _deliver_next(self) -> bool:
        """Take the next rows that wait to the peer, as the thread whose `_turn` it is; whether there were any."""
        found = self.waiting.take(self._number, self.sink.most_rows)
        if found is not None:
            self._deliver_rows(*found)
        return found is not None

    def _deliver_rows(self, first: int, batch: pa.RecordBatch, *, quietly: bool = False) -> None:
        """Take rows to the peer, the first of which has a number; `quietly`: nobody else need hear that they are there."""
        judged = Judged(batch, None, None)
        if self.punctual is not None:
            judged = self.punctual.judge(batch, first)
        rows = judged.rows
        try:
            if rows.num_rows:
                self.sink.deliver(rows, first)
        except Unreachable as problem:
            done = judged.upto(problem.done, batch.num_rows)
            if self.sink.promised == "at most once":
                begun = rows.num_rows if problem.begun is None else problem.begun
                self.told.lost += begun - problem.done
                done = judged.upto(begun, batch.num_rows)
            self._have_come(judged, first, problem.done, done, quietly=quietly)
            raise
        self.backoff.reset()
        self.told.away = ""
        self._have_come(judged, first, rows.num_rows, batch.num_rows, quietly=quietly)

    def _gather(self) -> None:
        """Let rows wait for others, if there are some that may."""
        if not self.sink.gathers_s:
            return
        end = None
        with self.waiting.changed:
            while not self._is_closed and not self._hurries:
                ready = self.waiting.ready(self._number)
                if ready >= self.sink.most_rows:
                    return
                if ready <= 0:
                    self.waiting.changed.wait()
                    continue
                end = end or self.clock.s() + self.sink.gathers_s
                left = end - self.clock.s()
                if left <= 0:
                    return
                self.waiting.changed.wait(left)

    def _have_come(
        self, judged: Judged, first: int, delivered: int, done: int, *, quietly: bool
    ) -> None:
        """So many of the rows that were sent are there, and so many of those at hand have their fate."""
        if delivered:
            self.told.delivered += delivered
            rows = judged.rows
            self.delivered(rows if delivered == rows.num_rows else rows.slice(0, delivered))
        if self.punctual is not None:
            self.punctual.settle(judged, first, done)
        self._safe(first + done, quietly=quietly)

    def _safe(self, number: int, *, quietly: bool = False) -> None:
        self._number = max(self._number, number)
        self.waiting.is_safe(self._number, quietly=quietly)
        self.told.waiting = self.waiting.count

    def _say_farewell(self) -> None:
        if self._forgets:
            with contextlib.suppress(Unreachable, SinkError):
                self.sink.forget()

    def _is_away(self, why: str) -> None:
        """Let some time pass before the next attempt."""
        self.sink.disconnect()
        with self.waiting.changed:
            self.told.outages += not self.told.away
            self.told.away = why
            self._is_known = True
            self.waiting.changed.notify_all()
            end = self.clock.s() + self.backoff.next_s()
            while not self._is_closed and (left := end - self.clock.s()) > 0:
                self.waiting.changed.wait(left)
