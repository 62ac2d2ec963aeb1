"""What stands in the place of an answer that a model did not give: `else` of a deadline."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from flowedge.compile.program import Field, ModelSpec
from flowedge.session.batch import DTYPES, Array, Batch, missing
from flowedge.session.heads import text_of
from flowedge.session.strings import StringPool


class Instead:
    """Fills the rows of frames without an answer, as the policy says.

    Parameters
    ----------
    spec : policy, and the columns that a model fills
    fields : of the rows that come out

    Attributes
    ----------
    last : for ``hold``: by column, the last answer of each key, shape ``(slots, …)``
    has : whether there is one, shape ``(slots,)``
    owed : keys whose dropped row restarted memory, which the next one does in its place, shape ``(slots,)``
    """

    def __init__(self, spec: ModelSpec, fields: Mapping[str, Field], pool: StringPool) -> None:
        self.policy, text = spec.otherwise
        self._pool = pool
        self._fields = {name: fields[name] for name, _, _ in spec.call.made if name in fields}
        self._text = {}
        if self.policy == "label":
            names = [name for name, what, _ in spec.call.made if what == "label"]
            self._text = {name: text_of(fields[name], pool, text) for name in names}
        self.last = {name: missing(f, 0) for name, f in self._fields.items()}
        self.has = np.zeros(0, np.bool_)
        self.owed = np.zeros(0, np.bool_)

    def note(self, batch: Batch, columns: Mapping[str, Array], answered: Array) -> None:
        """Remember the last answer of each key; `answered` are numbers of frames, in order."""
        if self.policy != "hold" or not len(answered):
            return
        slots = _slots(batch)
        self._grow(slots)
        for name, last in self.last.items():
            last[slots[answered]] = columns[name][answered]  # of one key the last one stays
        self.has[slots[answered]] = True

    def fill(
        self, batch: Batch, columns: Mapping[str, Array], answered: Array, lacking: Array
    ) -> None:
        """Fill what stands as missing in the rows of `lacking`; both are numbers of frames, in order."""
        if self.policy == "label":
            for name, text in self._text.items():
                columns[name][lacking] = text
        elif self.policy == "hold":
            self._hold(batch, columns, answered, lacking)

    def _hold(
        self, batch: Batch, columns: Mapping[str, Array], answered: Array, lacking: Array
    ) -> None:
        slots = _slots(batch)
        self._grow(slots)
        good = np.zeros(batch.n, np.bool_)
        good[answered] = True
        newest: dict[int, int] = {}
        waits = np.zeros(batch.n, np.bool_)
        waits[lacking] = True
        for i in range(batch.n):
            slot = int(slots[i])
            if good[i]:
                newest[slot] = i
            elif waits[i]:
                for name, column in columns.items():
                    if name not in self.last:
                        continue
                    if slot in newest:
                        column[i] = column[newest[slot]]
                    elif self.has[slot]:
                        column[i] = self.last[name][slot]

    def kept(self, batch: Batch, lacking: Array) -> tuple[Array, Array | None]:
        """For ``drop``: numbers of the rows that stay, and where memory restarts in all rows."""
        stays = np.ones(batch.n, np.bool_)
        stays[lacking] = False
        gap = batch.gap
        owes = gap is not None and bool(gap[lacking].any())
        if owes or self.owed.any():
            slots = _slots(batch)
            self._grow(slots)
            gap = np.zeros(batch.n, np.uint8) if gap is None else gap.copy()
            for i in range(batch.n):
                if not stays[i]:
                    self.owed[slots[i]] |= bool(gap[i])
                elif self.owed[slots[i]]:
                    gap[i], self.owed[slots[i]] = 1, False
        return np.flatnonzero(stays), gap

    def owes(self, batch: Batch) -> bool:
        """Whether a row of the batch may have to restart memory for one that was dropped."""
        return self.policy == "drop" and batch.n > 0 and bool(self.owed.any())

    def _grow(self, slots: Array) -> None:
        more = int(slots.max(initial=-1)) + 1 - len(self.has)
        if more > 0:
            more = max(more, len(self.has))
            self.has = np.concatenate([self.has, np.zeros(more, np.bool_)])
            self.owed = np.concatenate([self.owed, np.zeros(more, np.bool_)])
            self.last = {
                name: np.concatenate([last, missing(self._fields[name], more)])
                for name, last in self.last.items()
            }

    def forget(self, gone: Array) -> None:
        """Forget slots that are about to be given to other keys."""
        free = np.flatnonzero(gone[: len(self.has)])
        self.has[free] = self.owed[free] = False

    @property
    def nbytes(self) -> int:
        """Bytes that it keeps between pushes."""
        return self.has.nbytes + self.owed.nbytes + sum(x.nbytes for x in self.last.values())

    def state(self) -> dict[str, Any]:
        """Plain data for a snapshot."""
        if self.policy not in ("hold", "drop"):
            return {}
        return {
            "has": self.has.tobytes(),
            "owed": self.owed.tobytes(),
            "last": {name: x.tobytes() for name, x in self.last.items()},
        }

    def load(self, state: Any) -> None:  # noqa: ANN401
        """Take a snapshot over; raises ValueError or KeyError where it does not fit."""
        if not state:
            return
        self.has = np.frombuffer(state["has"], np.uint8) == 1
        self.owed = np.frombuffer(state["owed"], np.uint8) == 1
        for name, field in self._fields.items():
            values = np.frombuffer(state["last"][name], DTYPES[field.store])
            self.last[name] = values.reshape(len(self.has), *field.shape).copy()
            if field.store == "string" and not self._are_texts(field, values):
                message = "a text that is not there"
                raise ValueError(message)
        if len(self.owed) != len(self.has):
            message = "other keys"
            raise ValueError(message)

    def _are_texts(self, field: Field, ids: Array) -> bool:
        most = len(field.labels) if field.literals and field.labels else self._pool.count
        return bool(((ids >= -1) & (ids < most)).all())


def _slots(batch: Batch) -> Array:
    return np.zeros(batch.n, np.int32) if batch.slot is None else batch.slot
