"""Rows given to other keys: `key a, b` and `key none`."""

import numpy as np

from flowedge.compile.kernels.columns import take
from flowedge.compile.program import RekeySpec
from flowedge.session.batch import DTYPES, Array, Batch
from flowedge.session.lives import longer
from flowedge.session.node import Mask, Node, Shared


class RekeyNode(Node):
    """Finds the slot of each row's new key; the order of rows stays.

    Where the new key is made of parts of the old one, slots are looked up once per old slot.
    """

    spec: RekeySpec

    def __init__(self, spec: RekeySpec, shared: Shared) -> None:
        super().__init__(spec, shared)
        nodes = {n.id: n for n in shared.program.nodes}
        source = nodes[spec.inputs[0]]
        self._table = source.table
        self._stores = {f.name: f.store for f in source.fields}
        self._only_keys = bool(spec.keys) and all(
            name not in self._stores and shared.key_column(self._table, name) >= 0
            for name in spec.keys
        )
        self._map = np.empty(0, np.int32)
        stores = {f.name: f.store for f in spec.fields}
        self._kept = {there: stores[here] for here, there in spec.keep if here in stores}

    def take(self, place: int, batch: Batch | None, watermark: int) -> None:
        """Give the rows on under their new keys."""
        if batch is None:
            self.give(None, watermark)
            return
        self.counts.rows_in += batch.n
        self.counts.used += batch.n
        columns = {here: self._values(name, batch) for here, name in self.spec.keep}
        self.give(Batch(batch.n, batch.time, self._slots(batch), batch.gap, columns), watermark)

    def _slots(self, batch: Batch) -> Array | None:
        spec, tables = self.spec, self.shared.tables
        if spec.table < 0:
            return None
        if not self._only_keys:
            return tables[spec.table].slots(
                [_whole(self._values(n, batch), self._stores.get(n)) for n in spec.keys]
            )
        old = tables[self._table]
        self._map = longer(self._map, old.count, -1)
        assert batch.slot is not None
        out = self._map[batch.slot]
        if len(out) and out.min() < 0:
            fresh = np.unique(batch.slot[out < 0])
            columns = [self.shared.key_column(self._table, n) for n in spec.keys]
            self._map[fresh] = tables[spec.table].slots([old.values(c)[fresh] for c in columns])
            out = self._map[batch.slot]
        return out

    def forget_slots(self, table: int, gone: Mask) -> None:
        """Slots that are given to other keys are looked up again."""
        if table == self._table:
            known = self._map[: len(gone)]
            known[gone[: len(known)]] = -1

    @property
    def nbytes(self) -> int:
        """Bytes of the map."""
        return self._map.nbytes

    def _values(self, name: str, batch: Batch) -> Array:
        """A column of the input, or an old key column by row."""
        if name in batch.columns:
            return batch.columns[name]
        key = self.shared.key_column(self._table, name)
        assert batch.slot is not None
        values = take(self.shared.tables[self._table].values(key), batch.slot)
        store = self._kept.get(name)
        return values if store is None else values.astype(DTYPES[store], copy=False)


def _whole(values: Array, store: str | None) -> Array:
    if store == "bool":
        return np.where(values == 2, -(2**63), values.astype(np.int64))
    return np.ascontiguousarray(values, np.int64)
