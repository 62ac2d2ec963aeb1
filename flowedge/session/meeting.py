"""Where inputs meet: rows taken in the order (time, place, sequence)."""

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flowedge.compile.kernels.meet import Met, Rows, Space, met
from flowedge.compile.program import FOREVER, NEVER
from flowedge.session.batch import Batch, Layout
from flowedge.session.held import Held
from flowedge.session.snapshot import whole


class Meeting:
    """Holds the rows of several inputs until it is certain in which order they stand.

    A row is taken once no row of another input can come before it any more, so that the order in
    which the inputs arrive cannot be seen.

    Parameters
    ----------
    order : inputs by place, the one whose rows stand first among equal times first
    """

    def __init__(self, order: Sequence[int]) -> None:
        self.order = tuple(order)
        self.held = [Held(is_sorted=True) for _ in order]
        self.watermarks = [NEVER] * len(order)
        self._space = Space()

    def __len__(self) -> int:
        """How many rows wait."""
        return sum(len(h) for h in self.held)

    @property
    def watermark(self) -> int:
        """No row before it will be taken any more."""
        return min(self.watermarks)

    def add(self, place: int, batch: Batch | None, watermark: int) -> None:
        """Put rows of one input in, in order of time, and raise its watermark.

        A row promises no less than a watermark does: none of its input comes before it any more.
        Frames can run ahead of what their stream promises, as one that is still open may.
        """
        if batch is not None and batch.n:
            self.held[place].add(batch)
            watermark = max(watermark, int(batch.time[-1]))
        self.watermarks[place] = max(self.watermarks[place], watermark)

    def take(self) -> list[Batch | None]:
        """Take out, for each input, the rows whose turn has come."""
        out: list[Batch | None] = [None] * len(self.held)
        limits = turns([self.watermarks[place] for place in self.order])
        for place, limit in zip(self.order, limits, strict=True):
            out[place] = self.held[place].take(limit)
        return out

    def interleave(
        self,
        parts: Sequence[Batch | None],
        *,
        has_slots: bool = False,
        has_gaps: bool = False,
        is_kept: bool = False,
    ) -> Met:
        """The common order of rows taken from several inputs, with their slots and gaps if they are wanted.

        Parameters
        ----------
        is_kept : somebody may look at times, slots and gaps after the next call; else at nothing
        """
        some = [(p, part) for p in self.order if (part := parts[p]) is not None]
        if len(some) == 1:
            place, part = some[0]
            n = part.n
            slot = np.zeros(n, np.int32) if has_slots and part.slot is None else part.slot
            gap = np.zeros(n, np.uint8) if has_gaps and part.gap is None else part.gap
            return Met(
                part.time, np.full(n, place, np.uint8), np.arange(n, dtype=np.int64), slot, gap
            )
        rows = [Rows(p, part.time, part.slot, part.gap) for p, part in some]
        return met(rows, has_slots=has_slots, has_gaps=has_gaps, space=self._space, is_kept=is_kept)

    def mark_slots(self, out: NDArray[np.bool_], place: int | None = None) -> None:
        """Mark the slots of the rows that wait, of one input or of all."""
        for q, held in enumerate(self.held):
            if place is None or place == q:
                held.mark_slots(out)

    @property
    def nbytes(self) -> int:
        """Bytes of the rows that wait, and of the room where they meet."""
        return sum(held.nbytes for held in self.held) + self._space.nbytes

    def state(self) -> dict[str, Any]:
        """Rows and watermarks as plain data."""
        return {"held": [h.state() for h in self.held], "watermarks": self.watermarks}

    def drop(self, place: int, names: Collection[str]) -> None:
        """Do without these columns of the rows of an input that wait."""
        self.held[place].drop(names)

    def load(self, state: dict[str, Any], expected: Sequence[Layout]) -> None:
        """Take them over from a snapshot, with the layout of each input's rows."""
        for held, rows, layout in zip(self.held, state["held"], expected, strict=True):
            held.load(rows, layout)
        watermarks = zip(self.held, state["watermarks"], strict=True)
        self.watermarks = [whole(watermark) for _, watermark in watermarks]


def turns(watermarks: Sequence[int]) -> list[int]:
    """Up to which time rows may be taken from each of several inputs, that time included.

    Another input's watermark must be beyond a row's time, for rows at the watermark may still
    come; of an input whose rows stand behind at equal times it need only have reached it.

    Parameters
    ----------
    watermarks : of the inputs, in the order in which equal times stand

    Examples
    --------
    >>> turns([5, 6]), turns([6, 5]), turns([5, 5])
    ([6, 4], [5, 5], [5, 4])
    """
    n = len(watermarks)
    out = [FOREVER] * n
    lowest = FOREVER
    for i in range(n):  # those that stand before
        out[i] = lowest
        mark = watermarks[i]
        lowest = min(lowest, mark if mark in (FOREVER, NEVER) else mark - 1)
    lowest = FOREVER
    for i in range(n - 1, -1, -1):  # those that stand behind
        out[i] = min(out[i], lowest)
        lowest = min(lowest, watermarks[i])
    return out
