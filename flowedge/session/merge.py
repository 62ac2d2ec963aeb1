"""The union of streams: rows of all inputs in the order (time, place, sequence)."""

from typing import Any

import numpy as np

from flowedge.compile.program import MergeSpec
from flowedge.session.batch import DTYPES, Array, Batch, missing, restored
from flowedge.session.meeting import Meeting
from flowedge.session.node import Mask, Node, Shared
from flowedge.types.arrays import text_array


class MergeNode(Node):
    """Brings the columns of all inputs to one schema, and their rows into one order."""

    spec: MergeSpec

    def __init__(self, spec: MergeSpec, shared: Shared) -> None:
        super().__init__(spec, shared)
        nodes = {n.id: n for n in shared.program.nodes}
        self._meeting = Meeting(range(len(spec.inputs)))
        self._fields = [{f.name: f for f in nodes[i].fields} for i in spec.inputs]
        self._branches: Array = np.empty(0, np.int64)
        if spec.branches:
            self._branches = shared.pool.pin(text_array(spec.branches))

    def take(self, place: int, batch: Batch | None, watermark: int) -> None:
        """Hold the rows until the other inputs have come as far."""
        meeting = self._meeting
        if batch is not None:
            self.counts.rows_in += batch.n
            batch = self._aligned(place, batch)
        meeting.add(place, batch, watermark)
        parts = meeting.take() if len(self.spec.inputs) > 1 else [batch]
        if all(part is None for part in parts):
            self.give(None, meeting.watermark)
            return
        some = [(q, part) for q, part in enumerate(parts) if part is not None]
        out = some[0][1] if len(some) == 1 else self._joined(some, parts)
        self.counts.used += out.n
        self.give(out, meeting.watermark)

    def _joined(self, some: list[tuple[int, Batch]], parts: list[Batch | None]) -> Batch:
        has_gaps = any(b.gap is not None for _, b in some)
        time, port, _, slot, gap = self._meeting.interleave(
            parts, has_slots=self.spec.table >= 0, has_gaps=has_gaps
        )
        n = len(time)
        columns = {f.name: np.empty((n, *f.shape), DTYPES[f.store]) for f in self.spec.fields}
        for q, part in some:
            mine = np.flatnonzero(port == q)
            for name, column in columns.items():
                column[mine] = part.columns[name]
        return Batch(n, time, slot, gap, columns)

    def _aligned(self, place: int, batch: Batch) -> Batch:
        """The columns of one input as those of the union."""
        columns = {}
        take = {
            here: (name, factor, offset) for here, name, factor, offset in self.spec.take[place]
        }
        for field in self.spec.fields:
            name, factor, offset = take.get(field.name, (None, 1.0, 0.0))
            if field.name == "branch" and len(self._branches):
                columns[field.name] = np.full(batch.n, self._branches[place], np.int64)
            elif name is None:
                columns[field.name] = missing(field, batch.n)
            else:
                old = self._fields[place][name]
                values = restored(batch.columns[name], old, field, factor, offset)
                columns[field.name] = values.astype(DTYPES[field.store], copy=False)
        return Batch(batch.n, batch.time, batch.slot, batch.gap, columns)

    def held(self) -> int:
        """Rows that wait for other inputs."""
        return len(self._meeting)

    def mark_held(self, table: int, held: Mask, late: Mask) -> None:
        """Those of the rows that wait."""
        if table == self.spec.table:
            self._meeting.mark_slots(held)

    @property
    def nbytes(self) -> int:
        """Bytes of the rows that wait."""
        return self._meeting.nbytes

    def state(self) -> dict[str, Any]:
        """The rows that wait."""
        return self._meeting.state()

    def load(self, state: dict[str, Any]) -> None:
        """Take a snapshot over."""
        layout = self.shared.layout(self.spec)
        self._meeting.load(state, [layout for _ in self.spec.inputs])
