"""What enters a session and what comes out of it: batches of recordings, what comes live, and entries of a recorded run."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from flowedge.runtime.clock import Clock
from flowedge.runtime.feeds import Feed
from flowedge.runtime.intake import Intake
from flowedge.runtime.latency import Receipts
from flowedge.runtime.live import Live
from flowedge.runtime.models import Models
from flowedge.runtime.outlets import Outlets
from flowedge.runtime.overload import Overload
from flowedge.runtime.pace import Pace
from flowedge.runtime.quarantine import turned_away
from flowedge.sources.contract import Position
from flowedge.types.arrays import size_of

if TYPE_CHECKING:
    from flowedge.session.session import Session


@dataclass
class Reading:
    """Pushes rows, hands on what became final by them, and keeps what could not be used.

    Parameters
    ----------
    intake : the door of the session
    outlets : where the rows go
    models : which hear when rows come, for their deadlines
    clock : of the run
    tell : lets the terminal know how far the run is
    overload : decides what is left out where live rows wait; None: nothing ever is

    Attributes
    ----------
    nbytes : pushed since somebody looked at it
    """

    intake: Intake
    outlets: Outlets
    models: Models
    clock: Clock
    tell: Callable[[], None]
    overload: Overload | None = None
    nbytes: int = 0
    _looked: int = -1

    @property
    def session(self) -> "Session":
        """Which takes the rows."""
        return self.intake.session

    def next_of(
        self, feed: Feed, pace: Pace, stop: Callable[[], bool], *, stops_inside: bool
    ) -> None:
        """Push what comes next of a recording.

        Parameters
        ----------
        stops_inside : a run that is asked to stop may leave the rest of the batch
        """
        batch, position, rejected = feed.next()
        received = self.clock.ns()
        self._keep_rejected(feed, rejected)
        note_place(feed, rejected, position)
        if batch is None:
            self.models.came(self.clock.ns())
            self.outlets.write(self.intake.end(feed.name))
            self._turned_away(feed, pa.RecordBatch.from_arrays([], names=[]))
            return
        self._count(feed, batch)
        for piece in pace.pieces(batch):
            self.models.came(self.clock.ns())
            out = self.intake.push(feed.name, piece)
            self._note_receipt(feed, received)
            pace.wait(feed.newest, stop)
            self.outlets.write(out)
            self.tell()
            if stops_inside and stop():
                break
        self._turned_away(feed, batch)

    def all_of(self, live: Live) -> bool:
        """Push all that has come live, and the marks that are due; whether anything has come."""
        has_come = False
        began, wall = self.clock.ns(), self.clock.wall_ns()
        since = began - self._looked if self._looked >= 0 else 0
        self._looked = began
        for feed, arrival in live.take():
            has_come = True
            received = self.clock.ns()
            self._keep_rejected(feed, arrival.rejected)
            feed.note_altered(feed.source.rejects.take_altered())
            # It came after the last look; the time of day, which may be set, only says when in between.
            waited = received - began + min(max(0, wall - arrival.since_ns), since)
            count = arrival.rows.num_rows
            if count and not self._is_left_out(feed, count, waited, received):
                self.models.came(received)
                came = received - waited
                self._push(feed, arrival.partition, arrival.received_ns, arrival.rows, came)
                if self.overload is not None:
                    now = self.clock.ns()
                    self.overload.took(feed.name, count, now - received, now)
            if arrival.ends:
                self.outlets.write(self.intake.end(feed.name, arrival.partition))
            self._turned_away(feed, arrival.rows)
        if self.overload is not None and not has_come and self.overload.note(0):
            self.intake.shed_below(self.overload.below)
        for feed, partition, time in live.marks(self.session):
            self._mark(feed, partition, time)
        for feed in live.over():
            self.outlets.write(self.intake.end(feed.name))
        return has_come

    def _is_left_out(self, feed: Feed, rows: int, waited: int, now: int) -> bool:
        """Whether rows whose turn has come after so long [ns] are not taken; it may begin, or end, that others are."""
        if self.overload is None:
            return False
        if self.overload.note(waited, feed.name, rows, now):
            self.intake.shed_below(self.overload.below)
        if not self.overload.is_useless(feed.name, waited):
            return False
        feed.report.rows_in += rows
        self.intake.turn_away(feed.name, rows)
        return True

    def again(self, feed: Feed, kind: str, entry: list[Any]) -> None:
        """Let an entry of a recorded run enter, see `flowedge.runtime.recording`."""
        received = self.clock.ns()
        if kind == "turned":
            (count,) = entry
            feed.report.rows_in += count
            self.intake.turn_away(feed.name, count)
            return
        partition, *more = entry
        if kind == "rows":
            received_ns, rows = more
            self._push(feed, partition or "", received_ns, rows, received)
            self._turned_away(feed, rows)
        elif kind == "mark":
            self._mark(feed, partition or "", more[0])
        else:
            self.outlets.write(self.intake.end(feed.name, partition))
            feed.done = feed.done or partition is None

    def _push(
        self,
        feed: Feed,
        partition: str,
        received_ns: int | None,
        rows: pa.RecordBatch,
        received: int,
    ) -> None:
        self._count(feed, rows)
        watch = feed.watch
        if watch is not None and received_ns is not None:
            watch.received_ns = received_ns
            self.session.sources[feed.name].watch = watch.note if watch.is_due else None
        out = self.intake.push(feed.name, rows, partition, received_ns)
        self._note_receipt(feed, received)
        self.outlets.write(out)

    def _mark(self, feed: Feed, partition: str, time: int) -> None:
        self.outlets.write(self.intake.mark(feed.name, time, partition))
        feed.newest = self.session.sources[feed.name].watermark

    def _count(self, feed: Feed, rows: pa.RecordBatch) -> None:
        feed.report.rows_in += rows.num_rows
        size = size_of(rows)
        feed.report.bytes_in += size
        self.nbytes += size

    def _note_receipt(self, feed: Feed, received: int) -> None:
        """Note how far the source has come, and when by the clock [ns]."""
        source = self.session.sources[feed.name]
        feed.newest = source.watermark
        if source.span is not None:
            self.outlets.receipts.setdefault(feed.name, Receipts()).add(*source.span, received)
            source.span = None

    # ---- what could not be used

    def _turned_away(self, feed: Feed, batch: pa.RecordBatch) -> None:
        """Keep what the session would not have, such as rows without a time."""
        found = self.session.rejected(feed.name)
        first, places = feed.pushed, feed.places
        feed.pushed += batch.num_rows
        if found and feed.quarantine:
            stand = [places.of(row) for _, row, _ in found]
            named = [(feed.file(file), row) for file, row in stand]
            self._keep(feed, turned_away(found, named, batch, first))
        if not places.is_plain:
            waits = self.session.sources[feed.name].waits_from
            places.forget(feed.pushed if waits is None else waits)

    def _keep_rejected(self, feed: Feed, rejected: pa.RecordBatch | None) -> None:
        """Count and keep what a connector could not read."""
        if rejected is not None:
            feed.report.rows_in += rejected.num_rows
            feed.report.rows_unreadable += rejected.num_rows
            self._keep(feed, rejected)

    def _keep(self, feed: Feed, rejected: pa.RecordBatch) -> None:
        if feed.quarantine:
            feed.report.quarantine = feed.quarantine
            self.outlets.keep_bad(feed.quarantine, rejected)


def note_place(feed: Feed, rejected: pa.RecordBatch | None, position: Position) -> None:
    """Remember where the rows stand that come next, and which rows there the connector has left out."""
    is_file = position.file < len(feed.source.paths())
    file = position.file if is_file else 0
    feed.places.begin(file, feed.pushed)
    if rejected is not None:
        here = feed.file(file)
        files, rows = (rejected.column(name).to_pylist() for name in ("file", "row"))
        feed.places.leave_out([row for file, row in zip(files, rows, strict=True) if file == here])
