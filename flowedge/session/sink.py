"""Where rows leave the session: as record batches that explain themselves."""

from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa

from flowedge.compile.kernels.columns import take
from flowedge.compile.program import Field, SinkSpec, SourceSpec
from flowedge.session.arrow import Writer, schema_of
from flowedge.session.batch import DTYPES, MISSING, Array, Batch, concat
from flowedge.session.node import Node, Shared
from flowedge.types.schema import LATE


class SinkNode(Node):
    """Gathers the rows of a push, and hands them out as Arrow.

    Attributes
    ----------
    schema : of all its record batches
    """

    spec: SinkSpec

    def __init__(self, spec: SinkSpec, shared: Shared) -> None:
        super().__init__(spec, shared)
        self.schema = schema_of(shared.program, spec)
        self._writer = Writer(spec, self.schema, shared.pool)
        self._writer.may_lack_time = any(
            isinstance(n, SourceSpec) and n.always for n in shared.program.nodes
        )
        nodes = {n.id: n for n in shared.program.nodes}
        self._table = nodes[spec.inputs[0]].table
        self._keys = [(f.name, shared.key_column(self._table, f.name)) for f in spec.keys]
        self._stores = {f.name: f.store for f in spec.keys}
        self._rows: list[Batch] = []
        self._ready: list[Any] = []

    def take(self, place: int, batch: Batch | None, watermark: int) -> None:
        """Gather rows until the push ends."""
        self.watermark = max(self.watermark, watermark)
        if batch is not None:
            self.counts.rows_in += batch.n
            self.counts.used += batch.n
            self.counts.rows_out += batch.n
            self._rows.append(batch)

    @property
    def has_rows(self) -> bool:
        """Whether rows wait that are no record batch yet; one that came now would stand before them."""
        return bool(self._rows)

    def take_ready(self, batch: Any) -> None:  # noqa: ANN401
        """Take rows that are a record batch of its schema already; see `went_through`."""
        self._ready.append(batch)

    def out(self) -> Any:  # noqa: ANN401
        """The rows gathered as one record batch; None if there are none."""
        if not self._ready:
            return self._written() if self._rows else None
        ready, self._ready = self._ready, []
        if self._rows:
            ready.append(self._written())
        return ready[0] if len(ready) == 1 else pa.concat_batches(ready)

    def column(self, field: Field, values: Array) -> Any:  # noqa: ANN401
        """A column as it leaves, of values that came the short way."""
        return self._writer.column(field, values)

    def few_labels(self, field: Field, values: list[int]) -> Any:  # noqa: ANN401
        """The same of a few texts of a known set; None where one is missing, or not of the set."""
        return self._writer.few_labels(field, values)

    def _written(self) -> Any:  # noqa: ANN401
        rows, self._rows = self._rows, []
        batch = concat(rows)
        if self.spec.adds_late:
            batch = replace(
                batch, columns={**batch.columns, LATE: np.zeros(batch.n, DTYPES["bool"])}
            )
        return self._writer.write(batch, {name: self._key_of_rows(batch, name, place) for name, place in self._keys})  # fmt: skip

    def _key_of_rows(self, batch: Batch, name: str, place: int) -> Array:
        """A key of each row, as its declared store holds it."""
        assert batch.slot is not None
        values = self.shared.tables[self._table].values(place)
        store = self._stores[name]
        if store in ("string", "binary", "i64", "time"):
            return take(values, batch.slot)
        if len(values) <= batch.n:  # few keys are narrowed sooner than many rows
            return take(_narrowed(values, store), batch.slot)
        return _narrowed(take(values, batch.slot), store)


def _narrowed(values: Any, store: str) -> Any:  # noqa: ANN401
    """Key values as their declared store holds them."""
    gone = values == MISSING["i64"]
    out = values.astype(DTYPES[store])
    if gone.any():
        out[gone] = MISSING[store]
    return out
