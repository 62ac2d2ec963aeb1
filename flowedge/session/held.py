"""Rows that wait until a watermark passes them: in order of time, equal times in order of arrival."""

from collections.abc import Collection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flowedge.compile.program import FOREVER
from flowedge.session.batch import Batch, Layout, concat, pack, unpack


class Held:
    """A buffer of rows that come roughly in order and leave in order of time.

    Rows lie in runs, each sorted by time. Neighbouring runs of like size are merged, so that there
    are about log n of them and each row is moved about log n times.

    Parameters
    ----------
    is_sorted : rows are known to come in order of time, so that nothing needs sorting
    """

    def __init__(self, *, is_sorted: bool = False) -> None:
        self._is_sorted = is_sorted
        self._runs: list[Batch] = []

    def __len__(self) -> int:
        """How many rows wait."""
        return sum(run.n for run in self._runs)

    def __bool__(self) -> bool:
        """Whether any row waits."""
        return bool(self._runs)

    def add(self, batch: Batch) -> None:
        """Put rows in, in order of arrival; the arrays must not change afterwards."""
        if not batch.n:
            return
        runs = self._runs
        runs.append(batch if self._is_sorted else by_time(batch))
        while len(runs) > 1 and (runs[-2].n <= 2 * runs[-1].n or len(runs) > 64):
            last = runs.pop()
            runs[-1] = self._joined([runs[-1], last])

    def take(self, limit: int, *, inclusive: bool = True) -> Batch | None:
        """Take out the rows before a time (and at it), in order; None if there are none.

        Parameters
        ----------
        limit : time [ns]
        inclusive : rows at that very time leave too
        """
        side = "right" if inclusive else "left"
        out, rest = [], []
        for run in self._runs:
            if limit == FOREVER or int(run.time[-1]) < limit:
                cut = run.n
            else:
                cut = int(np.searchsorted(run.time, limit, side))  # type: ignore[call-overload]
            if cut:
                out.append(run.slice(0, cut))
            if cut < run.n:
                rest.append(run.slice(cut, run.n))
        if not out:
            return None
        self._runs = rest
        return self._joined(out)

    def mark_slots(self, out: NDArray[np.bool_]) -> None:
        """Mark the slots of the rows that wait."""
        for run in self._runs:
            if run.slot is not None:
                out[run.slot] = True

    def least(self, name: str) -> int | None:
        """The least value of a column of whole numbers; None if no row waits."""
        return min((int(run.columns[name].min()) for run in self._runs), default=None)

    def drop(self, names: Collection[str]) -> None:
        """Do without these columns."""
        for run in self._runs:
            run.columns = {n: values for n, values in run.columns.items() if n not in names}

    @property
    def nbytes(self) -> int:
        """Bytes of the rows that wait."""
        return sum(run.nbytes for run in self._runs)

    def _joined(self, runs: list[Batch]) -> Batch:
        whole = concat(runs)
        if len(runs) == 1 or self._is_sorted:
            return whole
        return by_time(whole)

    def state(self) -> dict[str, Any] | None:
        """The rows as plain data."""
        if not self._runs:
            return None
        self._runs = [self._joined(self._runs)]
        return pack(self._runs[0])

    def load(self, state: dict[str, Any] | None, expected: Layout) -> None:
        """Put the rows of a snapshot back; raises CheckpointError where they are others than expected."""
        batch = unpack(state, expected)
        self._runs = [] if batch is None else [batch]


def by_time(batch: Batch) -> Batch:
    """Rows in order of time; rows of one time keep their order."""
    time = batch.time
    if batch.n < 2 or bool((time[1:] >= time[:-1]).all()):
        return batch
    return batch.take(np.argsort(time, kind="stable"))
