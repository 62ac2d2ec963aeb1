"""A gate: rows pass, or are shed where a run cannot keep up."""

from typing import Any

import numpy as np

from flowedge.compile.program import GateSpec
from flowedge.session.batch import Array, Batch, Flags
from flowedge.session.node import Mask, Node, Shared


class GateNode(Node):
    """Passes rows on; shut, it sheds them, and only the watermark goes on.

    Of a signal the first row of each key that comes behind rows which were shed restarts all memory, as behind a gap.

    Attributes
    ----------
    is_shut : rows are shed
    """

    spec: GateSpec

    def __init__(self, spec: GateSpec, shared: Shared) -> None:
        super().__init__(spec, shared)
        self.is_shut = False
        self._owes: Flags = np.zeros(1, np.uint8)

    def take(self, place: int, batch: Batch | None, watermark: int) -> None:
        """Pass rows on, or shed them."""
        if batch is None:
            self.give(None, watermark)
            return
        self.counts.rows_in += batch.n
        if self.is_shut:
            self.counts.shed += batch.n
            if self.spec.gaps:
                self._make_room()
                self._owes[self._slots(batch)] = 1
            self.give(None, watermark)
            return
        self.counts.used += batch.n
        self.give(self._restarted(batch), watermark)

    def _restarted(self, batch: Batch) -> Batch:
        """The rows, of which the first of a key restarts that has lost some."""
        if not self.spec.gaps or not self._owes.any():
            return batch
        self._make_room()
        slots = self._slots(batch)
        places = np.flatnonzero(self._owes[slots])
        if not len(places):
            return batch
        _, first = np.unique(slots[places], return_index=True)
        gap = np.zeros(batch.n, np.uint8) if batch.gap is None else batch.gap.copy()
        gap[places[first]] = 1
        self._owes[slots[places]] = 0
        return Batch(batch.n, batch.time, batch.slot, gap, batch.columns)

    def _slots(self, batch: Batch) -> Array:
        return np.zeros(batch.n, np.int32) if batch.slot is None else batch.slot

    def _make_room(self) -> None:
        count = 1 if self.spec.table < 0 else self.shared.tables[self.spec.table].count
        if count > len(self._owes):
            grown = np.zeros(max(count, 2 * len(self._owes)), np.uint8)
            grown[: len(self._owes)] = self._owes
            self._owes = grown

    def forget_slots(self, table: int, gone: Mask) -> None:
        """Another key in a slot has lost nothing."""
        if table == self.spec.table:
            count = min(len(gone), len(self._owes))
            self._owes[:count][gone[:count]] = 0

    @property
    def nbytes(self) -> int:
        """Bytes of what is known of keys."""
        return self._owes.nbytes

    def state(self) -> dict[str, Any]:
        """Whether it is shut, and the keys that have lost rows."""
        return {"shut": self.is_shut, "owes": np.flatnonzero(self._owes).tolist()}

    def load(self, state: dict[str, Any]) -> None:
        """Take a snapshot over."""
        self.is_shut = state["shut"] is True
        self._make_room()
        owes = [slot for slot in state["owes"] if 0 <= slot < len(self._owes)]
        self._owes[owes] = 1
