"""Samples that are missing: memory starts afresh behind them, or rows are put in their place."""

import math
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from flowedge.compile.kernels import gaps as k
from flowedge.compile.kernels.columns import width_of
from flowedge.compile.kernels.ingest import DUPLICATE, GAP
from flowedge.compile.kernels.library import ready
from flowedge.compile.program import FOREVER, NEVER, SourceSpec
from flowedge.lang.errors import CheckpointError, RunError
from flowedge.session.batch import (
    DTYPES,
    Array,
    Batch,
    Layout,
    missing,
    require_within,
    unpack,
)
from flowedge.session.held import Held
from flowedge.session.node import Mask
from flowedge.session.words import address

_NEW = "\0new"
"""A column beside rows that wait: 1 for rows that were put into a gap."""
_MOST_FILLED = 50_000_000


class Followed(NamedTuple):
    """What `flowedge.compile.kernels.ingest.follow` tells of the rows of a batch; `Gaps.fill` writes into it.

    Attributes
    ----------
    fate : of each row
    at : rows behind gaps and duplicates, in order; of those behind gaps there are, at the same places:
    missed : how many samples lack before it
    previous : number of the row before of the same key in this batch; negative: it came earlier
    start : the time of that row [ns]
    """

    fate: Array
    at: Array
    missed: Array
    previous: Array
    start: Array


class Filled(NamedTuple):
    """Rows of which those that were put in are marked where they have keys, and how many these are.

    Attributes
    ----------
    marks : uint8, 1 for a row that was put in; None: there is none, or there are no keys
    """

    batch: Batch
    marks: Array | None
    put_in: int


class Gaps:
    """What becomes of the gaps of a signal, as ``gaps reset|hold|linear|nan [up to D]`` says.

    Parameters
    ----------
    spec : the source
    fills : whether rows may be put in; else all rows behind gaps are flagged
    period_ns : of its samples

    Attributes
    ----------
    remembers : the last row of each key is kept, to fill a gap that begins there
    waiting : rows that came from outside and wait until the gaps of other keys are filled
    """

    def __init__(self, spec: SourceSpec, period_ns: float, *, fills: bool) -> None:
        self.spec, self.fills, self._period_ns = spec, fills, period_ns
        self.remembers = fills and spec.gaps_policy != "nan"
        self.waiting = 0
        self._held = Held()
        self._last: dict[str, Array] = {}

    def fill(self, batch: Batch, told: Followed) -> Filled:
        """Flag the rows behind gaps, or put rows into them; duplicates are left out.

        Raises
        ------
        RunError
            more rows would be put in than memory takes
        """
        spec = self.spec
        gap = np.zeros(batch.n, np.uint8) if batch.gap is None else batch.gap.copy()
        fate, at = told.fate, told.at
        if not self.fills:
            gap[at] = fate[at] & GAP
            flagged = Batch(batch.n, batch.time, batch.slot, gap, batch.columns)
            good = fate & DUPLICATE == 0
            return Filled(flagged if good.all() else flagged.keep(good), None, 0)
        head = np.zeros(k.FIRST, np.int64)
        head[k.ROWS], head[k.UP_TO] = batch.n, spec.gaps_up_to_ns
        head[k.FATE], head[k.FLAGS] = address(fate), address(gap)
        head[k.AT], head[k.COUNT], head[k.PLACES] = address(at), address(told.missed), len(at)
        head[k.START], head[k.PREVIOUS] = address(told.start), address(told.previous)
        head.view(np.float64)[k.PERIOD] = self._period_ns
        ready(k.find)(address(head))
        total, n = int(head[k.PUT_IN]), int(head[k.KEPT] + head[k.PUT_IN])
        if total > _MOST_FILLED:
            raise RunError(
                f"`{spec.name}`: gaps would be filled with {total} rows; bound them with `gaps {spec.gaps_policy} up to …`"
            )
        is_flagged = batch.gap is not None or head[k.FLAGGED] > 0
        flagged = Batch(batch.n, batch.time, batch.slot, gap if is_flagged else None, batch.columns)
        if not head[k.PLACES]:
            return Filled(flagged, None, 0)
        return self._written(head, flagged, n, total)

    def _written(self, head: Array, batch: Batch, n: int, total: int) -> Filled:
        """All rows that stay and those put in, where `head` tells of the places."""
        words: list[int] = []
        keeps = []  # arrays whose addresses are among the words

        def column(kind: int, values: Array, given: Array | None = None) -> Array:
            values = np.ascontiguousarray(values)
            out = np.empty((n, *values.shape[1:]), values.dtype)
            at = 0 if given is None else address(given)
            words.extend([kind, width_of(values), address(values), address(out), at, math.prod(values.shape[1:])])  # fmt: skip
            keeps.append((values, given))
            return out

        time, marks = np.empty(n, np.int64), None
        old = np.ascontiguousarray(batch.time)
        head[k.TIME], head[k.NEW_TIME] = address(old), address(time)
        slot = gap = None
        if batch.slot is not None:
            slot, marks = column(k.SAME, batch.slot), np.zeros(n, np.uint8)
            head[k.SLOT], head[k.MARKS] = address(keeps[0][0]), address(marks)
        if batch.gap is not None:
            gap = column(k.GIVEN, batch.gap, np.zeros(1, np.uint8))
        columns = {}
        fields = {field.name: field for field in self.spec.fields}
        for name, values in batch.columns.items():
            field = fields.get(name)
            if field is None:
                columns[name] = column(k.SAME, values)
            elif self.spec.gaps_policy == "nan":
                columns[name] = column(k.GIVEN, values, missing(field, 1))
            else:
                is_line = self.spec.gaps_policy == "linear" and field.store in ("f64", "f32")
                columns[name] = column(
                    k.LINEAR if is_line else k.HOLD, values, self._last.get(name)
                )
        head[k.COLUMNS] = len(words) // k.WORDS
        context = np.concatenate([head, np.array(words, np.int64)])
        ready(k.fill)(address(context))
        return Filled(Batch(n, time, slot, gap, columns), marks, total)

    def remember(self, batch: Batch, fate: Array, keys: int) -> None:
        """Keep the last row of each of so many keys, for the gap that may follow it."""
        for field in self.spec.fields:
            last = self._last.get(field.name)
            if last is None or len(last) < keys:
                grown = missing(field, keys)
                if last is not None:
                    grown[: len(last)] = last
                self._last[field.name] = grown
        names = [field.name for field in self.spec.fields]
        if batch.slot is None:  # one key
            kept = np.flatnonzero(fate != DUPLICATE)
            for name in names if len(kept) else ():
                self._last[name][0] = batch.columns[name][kept[-1]]
            return
        slot = np.ascontiguousarray(batch.slot)
        words = [batch.n, address(fate), address(slot), len(names)]
        values = [np.ascontiguousarray(batch.columns[name]) for name in names]
        for name, here in zip(names, values, strict=True):
            words += [width_of(here), address(here), address(self._last[name])]
        context = np.array(words, np.int64)
        ready(k.remember)(address(context))

    def until(self, watermark: int, lasts: Array) -> int:
        """No row will be put into a gap before this time: one begins at a key's last row at the earliest.

        Parameters
        ----------
        lasts : time of each key's last row [ns], `NEVER` where it had none
        """
        if watermark in (FOREVER, NEVER):
            return watermark
        lasts = lasts[lasts != NEVER]
        beyond = min(watermark, int(lasts.min())) if len(lasts) else watermark
        if self.spec.gaps_up_to_ns >= 0:  # and is filled up to its bound only
            reach = self.spec.gaps_up_to_ns + 2 * int(self._period_ns)
            beyond = max(beyond, NEVER, watermark - reach)
        return beyond

    def in_order(
        self, batch: Batch | None, marks: Array | None, watermark: int, lasts: Array
    ) -> tuple[Batch | None, int, int]:
        """Rows put into one key's gap stand before rows of others: all wait until that is done.

        Returns
        -------
        batch, watermark, real
            the rows whose turn it is, the time before which none will follow, and how many of them came from outside
        """
        if batch is not None and batch.n:
            marks = np.zeros(batch.n, np.uint8) if marks is None else marks
            columns = {**batch.columns, _NEW: marks}
            self._held.add(Batch(batch.n, batch.time, batch.slot, batch.gap, columns))
            self.waiting += batch.n - int(marks.sum())
        beyond = self.until(watermark, lasts)
        out = self._held.take(beyond, inclusive=watermark == FOREVER)
        real = 0 if out is None else out.n - int(out.columns.pop(_NEW).sum())
        self.waiting -= real
        return out, beyond, real

    def mark_slots(self, held: Mask) -> None:
        """Mark the slots of the rows that wait."""
        self._held.mark_slots(held)

    @property
    def nbytes(self) -> int:
        """Bytes of the rows that wait, and of the last ones."""
        return self._held.nbytes + sum(column.nbytes for column in self._last.values())

    def state(self) -> dict[str, Any]:
        """What waits, and the last rows, as plain data."""
        return {
            "filled": self._held.state(),
            "real_waiting": self.waiting,
            "store": {n: (c.dtype.str, list(c.shape), c.tobytes()) for n, c in self._last.items()},
        }

    def load(self, state: dict[str, Any], expected: Layout, lasts: Array) -> None:
        """Take a snapshot over; raises CheckpointError.

        Parameters
        ----------
        expected : what rows of the source look like
        lasts : as for `until`
        """
        marks = {**expected.columns, _NEW: (DTYPES["bool"], ())}
        held = unpack(state["filled"], replace(expected, columns=marks))
        if held is not None:
            require_within(held.columns[_NEW], 2, "a flag that is none")
            self._held.add(held)
            self.waiting = held.n - int(held.columns[_NEW].sum())
        if self.waiting != state["real_waiting"]:
            raise CheckpointError("the snapshot's rows are damaged: some are not counted")
        for field in self.spec.fields if state["store"] else ():
            self._last[field.name] = column = missing(field, len(lasts))
            dtype, _, data = state["store"][field.name]
            if dtype != column.dtype.str:
                raise CheckpointError(f"the snapshot's last `{field.name}` is of another type")
            given = np.frombuffer(data, dtype).reshape(-1, *field.shape)
            column[: len(given)] = given
        lacks = bool(self.spec.fields) and not self._last
        if self.remembers and lacks and (lasts != NEVER).any():
            raise CheckpointError("the snapshot lacks the last rows of its keys")
