"""What comes live: taken as it arrives, and the marks that only a clock can make."""

import math
import select
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pyarrow as pa

from flowedge.compile.program import FOREVER, NEVER
from flowedge.links.turns import Turns
from flowedge.runtime.clock import Clock
from flowedge.runtime.feeds import Feed, Feeds
from flowedge.sources.live import Arrival, Bell, Shell

if TYPE_CHECKING:
    from flowedge.session.session import Session

_LONGEST_WAIT_S = 0.1
"""So long the run waits for a row at most, before it looks at all else: signals, checkpoints, marks."""
_MARKS_EACH = 10
"""Marks in the span of ``idle after``: what waits for one waits a tenth of it longer."""


_NOBODY = ""
"""The partition of a source that has only one, or none yet."""


@dataclass
class _Partition:
    """When the last row of a partition came, by the clock that nobody sets, and what was marked since [ns]."""

    heard: int
    marked: int = NEVER


@dataclass
class Live:
    """The live sources of a run.

    A partition that has sent nothing for `idle after D` is taken to have moved on with the clock: of a row that it
    sent last at event time t, heard s ago, the mark says that none before t + s - D will come (D no less than
    the source's ``late``). One that has sent nothing at all follows the furthest of the other sources.

    Parameters
    ----------
    feeds : all sources; those that are recordings are left alone
    clock : says how much time has passed, and what time of day it is
    covers : the run keeps checkpoints
    """

    feeds: Feeds
    clock: Clock
    covers: bool = False
    bell: Bell = field(default_factory=Bell)
    _partitions: dict[str, dict[str, _Partition]] = field(default_factory=dict)
    _next_mark: int = 0
    _began: int = 0
    _poll: select.poll = field(default_factory=select.poll)
    _polled: list[Turns] = field(default_factory=list)

    def begin(self) -> None:
        """Start to listen; raises SourceError."""
        pa.array([0])  # looks for pandas once, which takes a quarter of a second where it is there
        self._began = self.clock.ns()
        shell = Shell(self.bell, self.clock.wall_ns, self.covers)
        for feed in self.feeds.live:
            if feed.done or feed.live is None or feed.listens:  # the last: it was taken over
                continue
            self._partitions[feed.name] = {}
            feed.live.begin(shell, feed.kept)
            feed.listens = True

    def take(self) -> Iterator[tuple[Feed, Arrival]]:
        """What has come since the last call, source by source; raises SourceError."""
        self.bell.hush()  # before, so that what comes meanwhile is not missed
        found = [(f, f.live.take()) for f in self.feeds.live if not f.done and f.live is not None]
        for feed, arrivals in found:
            known = self._partitions[feed.name]
            for arrival in arrivals:
                if arrival.ends:
                    known.pop(arrival.partition, None)
                    if not known:  # until another begins
                        known[_NOBODY] = _Partition(self.clock.ns())
                else:
                    known[arrival.partition] = _Partition(self.clock.ns())
                yield feed, arrival

    def marks(self, session: "Session") -> Iterator[tuple[Feed, str, int]]:
        """(source, partition, time) of the marks that are due."""
        now = self.clock.ns()
        if now < self._next_mark:
            return
        spans = []
        for feed in self.feeds.live:
            if feed.idle_ns < 0 or feed.done:
                continue
            spans.append(feed.idle_ns)
            source = session.sources[feed.name]
            least = max(feed.idle_ns, source.spec.late_ns)
            known = self._partitions[feed.name]
            if (
                not known
            ):  # nothing has come yet; whatever does ends the partition that stands for it
                known[_NOBODY] = _Partition(self._began)
            elif len(known) > 1 and _NOBODY in known:
                stands_in = source.partitions.get(_NOBODY)
                if stands_in is None or not stands_in.rows:
                    del known[_NOBODY]
                    if stands_in is not None:
                        yield feed, _NOBODY, FOREVER
            for name, part in known.items():
                elapsed = now - part.heard
                if elapsed < feed.idle_ns:
                    continue
                there = source.partitions.get(name)
                newest = NEVER if there is None else there.newest
                if (
                    name == _NOBODY and newest == NEVER
                ):  # all that came is of others, which have ended
                    newest = source.newest
                if newest != NEVER:
                    time = newest + elapsed - least
                else:
                    others = [s.watermark for n, s in session.sources.items() if n != feed.name]
                    time = max((w for w in others if w != FOREVER), default=NEVER) - least
                if time > max(part.marked, NEVER + least):
                    part.marked = time
                    yield feed, name, time
        self._next_mark = now + min(spans, default=10**9) // _MARKS_EACH

    def over(self) -> Iterator[Feed]:
        """Sources of which nothing will come any more; each is given once."""
        for feed in self.feeds.live:
            if not feed.done and feed.live is not None and feed.live.is_over:
                feed.done = True
                yield feed

    def wait(self, most_s: float) -> None:
        """Wait until something comes, so long at most; sockets that may be served from here are."""
        due_s = max(0, self._next_mark - self.clock.ns()) * 1e-9 if self._next_mark else most_s
        span_s = max(0.001, min(most_s, due_s, _LONGEST_WAIT_S))
        turns = [t for f in self.feeds.live if f.live is not None and (t := f.live.turns) is not None]  # fmt: skip
        if not turns:
            self.bell.wait(span_s)
            return
        if turns != self._polled:
            self._poll = select.poll()
            self._poll.register(self.bell, select.POLLIN)
            for one in turns:
                self._poll.register(one, select.POLLIN)
            self._polled = turns
        for one in turns:
            one.borrow(span_s)
        with self.bell.awaiting() as has_rung:
            if not has_rung:
                self._poll.poll(math.ceil(min(span_s, *(t.tick_s for t in turns)) * 1000))
        for one in turns:
            one.serve()

    @property
    def sees_all(self) -> bool:
        """Whether whatever can come ends a `wait` at once: all sources lent their sockets at the last one."""
        return len(self._polled) == len(self.feeds.live)

    @property
    def is_pressing(self) -> bool:
        """Whether a source waits for a checkpoint."""
        return any(f.live.is_pressing for f in self.feeds.live if f.live is not None)


def listen(feeds: Feeds, clock: Clock, *, covers: bool, before: Live | None = None) -> Live | None:
    """The live sources of a run, begun; None if there are none; raises SourceError.

    Parameters
    ----------
    before : of the pipeline that the run had before, some of whose sources may listen on
    """
    if not feeds.live:
        return None
    live = Live(feeds, clock, covers)
    if before is not None:
        live.bell = before.bell
        live._partitions = {f.name: before._partitions[f.name] for f in feeds.live if f.listens}  # noqa: SLF001  # of its own kind
    live.begin()
    return live
