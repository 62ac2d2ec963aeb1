"""A partition: rows in the order in which they arrive; which of them are late, and which may leave."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from flowedge.compile.program import FOREVER, NEVER
from flowedge.session.batch import Array, Batch, Layout, concat, pack, unpack
from flowedge.session.held import Held, by_time
from flowedge.session.keys import KeyTable
from flowedge.session.snapshot import tally, whole

LOWEST = NEVER + 2
"""Rows of a table without time stand at -2⁶³ + 1, before all others."""


class Partition:
    """Rows wait here until the partition's watermark passes them.

    The watermark is the newest time less `late_ns`, or a mark if that is further. A row before it
    is late.

    Attributes
    ----------
    rows : how many rows came, rejected ones included
    """

    def __init__(self, late_ns: int, passed_on: int, *, sort_first: bool = False) -> None:
        self.late_ns = late_ns
        self.sort_first = sort_first
        self.rows = 0
        self.newest = NEVER
        self.marked = passed_on
        self.held = Held()

    @property
    def watermark(self) -> int:
        """No row before it will be taken any more."""
        if self.sort_first or self.newest == NEVER:
            return self.marked
        return max(self.newest - self.late_ns, self.marked)

    def mark(self, time: int) -> None:
        """No row before this time will come."""
        self.marked = max(self.marked, time)

    @property
    def has_ended(self) -> bool:
        """Whether no row will come."""
        return self.marked == FOREVER

    def late(self, batch: Batch, is_ordered: bool) -> NDArray[np.bool_] | None:
        """Which rows are late, None if none is; the newest time moves on."""
        time, before = batch.time, self.watermark
        newest = self.newest
        if self.sort_first:
            out = time < self.marked
            self.newest = max(newest, int(time.max()))
            return out if out.any() else None
        if is_ordered:
            self.newest = max(newest, int(time[-1]))
            if int(time[0]) >= before:
                return None
        ahead = np.empty(batch.n, np.int64)
        ahead[0] = newest
        np.maximum.accumulate(time[:-1], out=ahead[1:])
        np.maximum(ahead, newest, out=ahead)
        least = np.maximum(ahead, LOWEST + self.late_ns) - self.late_ns
        out = time < np.maximum(least, self.marked)
        self.newest = max(newest, int(time.max()))
        return out if out.any() else None

    @property
    def waiting(self) -> int:
        """How many rows wait."""
        return len(self.held) if self.held else 0

    def least(self, name: str) -> int | None:
        """The least value of a column in the rows that wait; None if none does."""
        return self.held.least(name)

    @property
    def nbytes(self) -> int:
        """Bytes of the rows that wait."""
        return self.held.nbytes

    def add(self, batch: Batch) -> None:
        """Let rows wait."""
        self.held.add(batch)

    def release(self, limit: int) -> Batch | None:
        """Take out, in order, the rows at or before the watermark and a limit set by others."""
        if not self.held:
            return None
        mark = self.watermark
        return self.held.take(min(mark, limit))

    def state(self) -> dict[str, Any]:
        """All of it as plain data."""
        return {
            "rows": self.rows,
            "newest": self.newest,
            "marked": self.marked,
            "held": self.held.state(),
        }

    def load(self, state: dict[str, Any], expected: Layout) -> None:
        """Take a snapshot over."""
        self.rows = tally(state["rows"])
        self.newest, self.marked = whole(state["newest"]), whole(state["marked"])
        self.held.load(state["held"], expected)


class KeyedPartition(Partition):
    """A partition whose keys are late each for itself: ``late D per key``.

    Rows leave when the watermark of their key passes them, at the row that moved it; so they are
    in order inside a key only, and nothing but a mark says how far the whole has come.

    Parameters
    ----------
    keys : names of the key columns in the batches, and whether they are texts
    """

    def __init__(self, late_ns: int, passed_on: int, keys: dict[str, bool], seed: int = 0) -> None:
        super().__init__(late_ns, passed_on)
        self._names = list(keys)
        self._is_text = list(keys.values())
        self._seed = seed
        self._table = KeyTable(self._is_text, seed=seed)
        self._newest = np.empty(0, np.int64)
        self._waiting: Batch | None = None
        self._out: list[Batch] = []

    @property
    def watermark(self) -> int:
        """That of the last mark."""
        return self.marked

    def late(self, batch: Batch, is_ordered: bool) -> NDArray[np.bool_] | None:
        """Rows before their key's newest time less the bound; those in time leave, or wait."""
        slot = self._table.slots([batch.columns[name] for name in self._names])
        if self._table.count > len(self._newest):
            more = np.full(self._table.count - len(self._newest), NEVER, np.int64)
            self._newest = np.concatenate([self._newest, more])
        newest = self._running(slot, batch.time)
        least = np.maximum(newest, LOWEST + self.late_ns) - self.late_ns
        out = batch.time < np.maximum(least, self.marked)
        np.maximum.at(self._newest, slot, batch.time)
        good = ~out
        rows = batch if good.all() else batch.keep(good)
        self._arrive(rows, slot[good])
        return out if out.any() else None

    def _running(self, slot: Array, time: Array) -> Array:
        """The newest time of each row's key before the row."""
        order = np.argsort(slot, kind="stable")
        s, t = slot[order], time[order]
        starts = np.flatnonzero(np.r_[True, s[1:] != s[:-1]])
        out = np.empty_like(t)
        before = np.empty_like(t)
        before[1:] = t[:-1]
        before[starts] = self._newest[s[starts]]
        # A running maximum inside each key: ranks of times, lifted by the key's number.
        ranks = np.unique(before, return_inverse=True)
        size = len(ranks[0])
        group = np.repeat(np.arange(len(starts)), np.diff(np.r_[starts, len(s)]))
        running = np.maximum.accumulate(ranks[1] + group * size) - group * size
        out[order] = np.maximum(ranks[0][running], self._newest[s])
        return out

    def _arrive(self, batch: Batch, slot: Array) -> None:
        """Let rows wait, and let those leave whose key has come far enough, row by row."""
        if not batch.n:
            return
        if self.late_ns == 0:
            self._out.append(batch)
            return
        old = self._waiting
        whole = batch if old is None else concat([old, batch])
        slots = slot
        if old is not None:
            before = self._table.slots([old.columns[name] for name in self._names])
            slots = np.concatenate([before, slot])
        trigger = _triggers(slots, whole.time, self.late_ns)
        leaves = np.flatnonzero(trigger >= 0)
        order = leaves[np.lexsort((leaves, whole.time[leaves], trigger[leaves]))]
        if len(order):
            self._out.append(whole.take(order))
        rest = np.flatnonzero(trigger < 0)
        self._waiting = whole.take(rest) if len(rest) else None

    @property
    def nbytes(self) -> int:
        """Bytes of what is known of each key, and of the rows that wait."""
        waiting = 0 if self._waiting is None else self._waiting.nbytes
        return self._table.nbytes + self._newest.nbytes + waiting + sum(b.nbytes for b in self._out)

    def least(self, name: str) -> int | None:
        """The least value of a column in the rows that wait; None if none does."""
        return None if self._waiting is None else int(self._waiting.columns[name].min())

    def add(self, batch: Batch) -> None:
        """Rows were put in place by `late` already."""

    def mark(self, time: int) -> None:
        """No row before this time will come: what waits before it leaves, in order."""
        super().mark(time)
        if self._waiting is None:
            return
        waiting = by_time(self._waiting)
        cut = waiting.n
        if time != FOREVER:
            cut = int(np.searchsorted(waiting.time, time, "right"))
        if cut:
            self._out.append(waiting.slice(0, cut))
            keep = np.flatnonzero(self._waiting.time > time)
            self._waiting = self._waiting.take(keep) if len(keep) else None

    def release(self, limit: int) -> Batch | None:
        """The rows that have left since the last call."""
        if not self._out:
            return None
        out, self._out = concat(self._out), []
        return out

    @property
    def waiting(self) -> int:
        """How many rows wait."""
        return 0 if self._waiting is None else self._waiting.n

    def state(self) -> dict[str, Any]:
        """All of it as plain data."""
        return {
            **super().state(),
            "keys": self._table.state(),
            "newest_by_key": self._newest.tobytes(),
            "waiting": pack(self._waiting),
        }

    def load(self, state: dict[str, Any], expected: Layout) -> None:
        """Take a snapshot over."""
        super().load(state, expected)
        self._table = KeyTable.restore(state["keys"], self._is_text, seed=self._seed)
        self._newest = np.frombuffer(state["newest_by_key"], np.int64).copy()
        self._waiting = unpack(state["waiting"], expected, is_ordered=False)


def _triggers(slot: Array, time: Array, late_ns: int) -> Array:
    """For each row the number of the row whose arrival lets it leave, -1 if none has come yet."""
    n = len(time)
    rows = np.arange(n)
    # What is asked for and what is offered, sorted by key, time, and the asking first.
    slots = np.concatenate([slot, slot])
    values = np.concatenate([time + late_ns, time])
    kind = np.repeat(np.array([0, 1]), n)
    order = np.lexsort((kind, values, slots))
    offered = np.where(kind == 1, np.concatenate([rows, rows]), n)[order]
    # The earliest offer from here to the end of the key: minima from the right, keys kept apart.
    apart = slots[order].astype(np.int64) * (n + 1)
    lowest = np.minimum.accumulate((offered + apart)[::-1])[::-1] - apart
    found = np.empty(2 * n, np.int64)
    found[order] = lowest
    out = found[:n]
    return np.where(out >= n, -1, np.maximum(out, rows))
