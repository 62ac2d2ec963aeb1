"""Samples that are missing: memory starts afresh behind them, or rows are put in their place."""

from dataclasses import replace
from typing import Any

import numpy as np

from flowedge.compile.kernels import ingest as k
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

_NEW = "\0new"
"""A column beside rows that wait: 1 for rows that were put into a gap."""
_MOST_FILLED = 50_000_000


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

    def fill(
        self, batch: Batch, fate: Array, missed: Array, previous: Array, before: Array
    ) -> tuple[Batch, Array | None]:
        """Flag the rows behind gaps, or put rows into them.

        Parameters
        ----------
        fate : of each row, as `flowedge.compile.kernels.ingest.follow` tells it
        missed : how many samples lack before each row
        previous : number of the row before of the same key in this batch; negative: it came earlier
        before : the time of that row [ns]

        Returns
        -------
        batch, is_new
            all rows but duplicates, and which of them were put in; None: none

        Raises
        ------
        RunError
            more rows would be put in than memory takes
        """
        spec = self.spec
        at = np.flatnonzero(fate & k.GAP)
        fillable = np.zeros(len(at), bool)
        if self.fills:
            length = missed[at] * self._period_ns
            fillable = (length <= spec.gaps_up_to_ns) if spec.gaps_up_to_ns >= 0 else length >= 0
        gap = np.zeros(batch.n, np.uint8) if batch.gap is None else batch.gap.copy()
        gap[at[~fillable]] = 1
        good = (fate & k.DUPLICATE) == 0
        count = np.zeros(batch.n, np.int64)
        count[at[fillable]] = missed[at[fillable]]
        total = int(count.sum())
        if total > _MOST_FILLED:
            raise RunError(
                f"`{spec.name}`: gaps would be filled with {total} rows; bound them with `gaps {spec.gaps_policy} up to …`"
            )
        flagged = Batch(batch.n, batch.time, batch.slot, gap, batch.columns)
        if not total:
            return (flagged if good.all() else flagged.keep(good)), None
        # Each row, with the rows put in before it; the row itself is the last of its group.
        size = count + good
        index = np.repeat(np.arange(batch.n), size)
        ends = np.cumsum(size)
        nth = np.arange(len(index)) - np.repeat(ends - size, size)
        is_new = nth < count[index]
        out = flagged.take(index)
        row, step = index[is_new], nth[is_new] + 1
        start = before[row]
        out.time[is_new] = start + np.rint(step * self._period_ns).astype(np.int64)
        assert out.gap is not None
        out.gap[is_new] = 0
        whole = (out.time[is_new] - start) / (batch.time[row] - start)
        slot = np.zeros(len(row), np.int64) if batch.slot is None else batch.slot[row]
        for field in spec.fields:
            column = out.columns[field.name]
            if spec.gaps_policy == "nan":
                column[is_new] = missing(field, len(row))
                continue
            here = previous[row]
            left = batch.columns[field.name][np.maximum(here, 0)]
            old = here < 0
            if old.any():
                left[old] = self._last[field.name][slot[old]]
            if spec.gaps_policy == "linear" and field.store in ("f64", "f32"):
                right = batch.columns[field.name][row]
                share = whole.reshape(-1, *[1] * len(field.shape))
                with np.errstate(all="ignore"):  # between infinities there is no number
                    left = (left + (right.astype(np.float64) - left) * share).astype(left.dtype)
            column[is_new] = left
        return out, is_new

    def remember(self, batch: Batch, fate: Array, keys: int) -> None:
        """Keep the last row of each of so many keys, for the gap that may follow it."""
        good = fate != k.DUPLICATE
        slot = np.zeros(batch.n, np.int64) if batch.slot is None else batch.slot
        for field in self.spec.fields:
            last = self._last.get(field.name)
            if last is None or len(last) < keys:
                grown = missing(field, keys)
                if last is not None:
                    grown[: len(last)] = last
                self._last[field.name] = last = grown
            last[slot[good]] = batch.columns[field.name][good]  # the last of a key stays

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
        self, batch: Batch | None, is_new: Array | None, watermark: int, lasts: Array
    ) -> tuple[Batch | None, int, int]:
        """Rows put into one key's gap stand before rows of others: all wait until that is done.

        Returns
        -------
        batch, watermark, real
            the rows whose turn it is, the time before which none will follow, and how many of them came from outside
        """
        if batch is not None and batch.n:
            marks = np.zeros(batch.n, np.uint8) if is_new is None else is_new.view(np.uint8)
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
