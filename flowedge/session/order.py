"""Rows that are in order inside each key only, put into the order (time, key value, sequence)."""

from typing import Any

import numpy as np

from flowedge.compile.program import FOREVER, OrderSpec
from flowedge.session.batch import Batch
from flowedge.session.held import Held
from flowedge.session.node import Mask, Node, Shared


class OrderNode(Node):
    """Holds rows until the watermark is beyond their time, then lets them go in order."""

    spec: OrderSpec

    def __init__(self, spec: OrderSpec, shared: Shared) -> None:
        super().__init__(spec, shared)
        self._held = Held()

    def take(self, place: int, batch: Batch | None, watermark: int) -> None:
        """Hold the rows, and give those that nothing can precede any more."""
        if batch is not None:
            self.counts.rows_in += batch.n
            self._held.add(batch)
        if watermark <= self.watermark:
            return
        out = self._held.take(watermark, inclusive=watermark == FOREVER)
        if out is not None:
            self.counts.used += out.n
            if out.slot is not None:
                _, rank = self.shared.tables[self.spec.table].order()
                out = out.take(np.lexsort((rank[out.slot], out.time)))
        self.give(out, watermark)

    def held(self) -> int:
        """Rows that wait."""
        return len(self._held)

    def mark_held(self, table: int, held: Mask, late: Mask) -> None:
        """Those of the rows that wait."""
        if table == self.spec.table:
            self._held.mark_slots(held)

    @property
    def nbytes(self) -> int:
        """Bytes of the rows that wait."""
        return self._held.nbytes

    def state(self) -> dict[str, Any]:
        """The rows that wait."""
        return {"held": self._held.state()}

    def load(self, state: dict[str, Any]) -> None:
        """Take a snapshot over."""
        self._held.load(state["held"], self.shared.layout(self.spec))
