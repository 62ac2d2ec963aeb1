"""The union of streams: rows of all inputs in the order (time, place, sequence)."""

from typing import Any

import numpy as np

from flowedge.compile.kernels.weave import Part, woven
from flowedge.compile.program import MergeSpec
from flowedge.session.batch import DTYPES, Array, Batch, missing, restored
from flowedge.session.meeting import Meeting
from flowedge.session.node import Mask, Node, Shared
from flowedge.types.arrays import text_array

_BRANCH = "branch"


class MergeNode(Node):
    """Brings the columns of all inputs to one schema, and their rows into one order."""

    spec: MergeSpec

    def __init__(self, spec: MergeSpec, shared: Shared) -> None:
        super().__init__(spec, shared)
        nodes = {n.id: n for n in shared.program.nodes}
        self._meeting = Meeting(range(len(spec.inputs)))
        self._fields = [{f.name: f for f in nodes[i].fields} for i in spec.inputs]
        self._same = self._columns_of_one_value()
        self._take = [
            {
                here: (name, factor, offset)
                for here, name, factor, offset in take
                if name is not None
            }
            for take in spec.take
        ]

    def _columns_of_one_value(self) -> list[dict[str, Array]]:
        """By input, the columns that have one value in all its rows, as one row: ``branch``, and what it lacks."""
        spec = self.spec
        branches: Array = np.empty(0, np.int64)
        if spec.branches:
            branches = self.shared.pool.pin(text_array(spec.branches))
        out = []
        for place, take in enumerate(spec.take):
            there = {here for here, name, _, _ in take if name is not None}
            mine = {f.name: missing(f, 1) for f in spec.fields if f.name not in there}
            if len(branches) and any(f.name == _BRANCH for f in spec.fields):
                mine[_BRANCH] = branches[place : place + 1].astype(np.int64)
            out.append(mine)
        return out

    def take(self, place: int, batch: Batch | None, watermark: int) -> None:
        """Hold the rows until the other inputs have come as far."""
        meeting = self._meeting
        if batch is not None:
            self.counts.rows_in += batch.n
            batch = self._aligned(place, batch)
        meeting.add(place, batch, watermark)
        parts = meeting.take() if len(self.spec.inputs) > 1 else [batch]
        some = [(q, part) for q, part in enumerate(parts) if part is not None]
        if not some:
            self.give(None, meeting.watermark)
            return
        out = self._whole(*some[0]) if len(some) == 1 else self._joined(some, parts)
        self.counts.used += out.n
        self.give(out, meeting.watermark)

    def _joined(self, some: list[tuple[int, Batch]], parts: list[Batch | None]) -> Batch:
        """Rows of several inputs."""
        has_gaps = any(b.gap is not None for _, b in some)
        time, port, row, slot, gap = self._meeting.interleave(
            parts, has_slots=self.spec.table >= 0, has_gaps=has_gaps, is_kept=True
        )
        names = [field.name for field in self.spec.fields]
        each = [[self._part(q, part, name) for q, part in enumerate(parts)] for name in names]
        columns = dict(zip(names, woven(each, port, row), strict=True))
        return Batch(len(time), time, slot, gap, columns)

    def _part(self, place: int, batch: Batch | None, name: str) -> Part | None:
        if batch is None:
            return None
        same = self._same[place].get(name)
        return Part(batch.columns[name]) if same is None else Part(same, is_same=True)

    def _whole(self, place: int, batch: Batch) -> Batch:
        """Rows of one input, with all columns."""
        same = self._same[place]
        columns = {
            f.name: np.repeat(same[f.name], batch.n, axis=0)
            if f.name in same
            else batch.columns[f.name]
            for f in self.spec.fields
        }
        return Batch(batch.n, batch.time, batch.slot, batch.gap, columns)

    def _aligned(self, place: int, batch: Batch) -> Batch:
        """The columns of one input as those of the union, without those of one value."""
        columns = {}
        for field in self.spec.fields:
            if field.name in self._same[place]:
                continue
            name, factor, offset = self._take[place][field.name]
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
        """The rows that wait, with all columns."""
        out = self._meeting.state()
        for same, held in zip(self._same, out["held"], strict=True):
            if held is not None:
                columns = {name: _packed(one, held["n"]) for name, one in same.items()}
                columns.update(held["columns"])
                held["columns"] = {field.name: columns[field.name] for field in self.spec.fields}
        return out

    def load(self, state: dict[str, Any]) -> None:
        """Take a snapshot over."""
        layout = self.shared.layout(self.spec)
        self._meeting.load(state, [layout for _ in self.spec.inputs])
        for place, same in enumerate(self._same):
            self._meeting.drop(place, same)


def _packed(one: Array, rows: int) -> tuple[str, list[int], bytes]:
    """A column of one value as `flowedge.session.batch.pack` has it."""
    values = np.repeat(one, rows, axis=0)
    return values.dtype.str, list(values.shape), values.tobytes()
