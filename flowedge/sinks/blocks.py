"""Blocks of exactly so many rows, whatever the size of the batches that come in."""

import io
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from flowedge.types.arrays import nullable, places, text_array
from flowedge.types.metadata import LABELS

_FAN = 32
"""Parts of rows that become one."""
_WHOLE = 512
"""So many values of any width, from a bit on, fill whole runs of 64 bytes, which is as far as Arrow aligns."""


class Blocks:
    """Cuts a stream of batches into blocks of exactly `rows` rows.

    So files do not depend on how the rows were pushed.

    A text column that comes as a dictionary gets the block's own: first the known labels of the
    field, then texts in the order in which they first appear, growing from block to block.
    """

    def __init__(self, schema: pa.Schema, rows: int) -> None:
        self.schema = pa.schema(
            [f.with_type(_own(f.type)) for f in schema], metadata=schema.metadata
        )
        self.rows = rows
        self.pending_rows = 0
        self._pending = _Pending()
        self._texts = {i: _Texts(f) for i, f in enumerate(schema) if pa.types.is_dictionary(f.type)}

    @property
    def pending_bytes(self) -> int:
        """Bytes of the rows that wait."""
        return sum(column.nbytes for part in self._pending.parts() for column in part)

    def push(self, batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
        """Take rows, give all blocks that are full."""
        at = 0
        while at < batch.num_rows:
            take = min(batch.num_rows - at, self.rows - self.pending_rows)
            part = batch.slice(at, take)
            # The dictionary grows with the rows of this block alone, not with those behind it.
            self._pending.add(
                [
                    self._texts[i].codes(column) if i in self._texts else column
                    for i, column in enumerate(part.columns)
                ]
            )
            self.pending_rows += take
            at += take
            if self.pending_rows == self.rows:
                yield self._block()

    def rest(self) -> pa.RecordBatch | None:
        """The last, shorter block; None if nothing is left."""
        return self._block() if self.pending_rows else None

    def state(self) -> bytes:
        """The rows that wait and the texts so far, as an Arrow IPC stream of one batch."""
        out = io.BytesIO()
        with pa.ipc.new_stream(out, self.schema) as writer:
            writer.write_batch(self._waiting())
        return out.getvalue()

    def load(self, state: bytes) -> None:
        """Go on where `state` was taken."""
        with pa.ipc.open_stream(state) as stream:
            batch = stream.read_next_batch()
        row = []
        for i, column in enumerate(batch.columns):
            if i in self._texts:
                self._texts[i].load(column.dictionary)
            row.append(column.indices if i in self._texts else column)
        self._pending, self.pending_rows = _Pending(), batch.num_rows
        if batch.num_rows:
            self._pending.add(row)

    def _block(self) -> pa.RecordBatch:
        block = self._waiting()
        self._pending, self.pending_rows = _Pending(), 0
        return block

    def _waiting(self) -> pa.RecordBatch:
        arrays, waiting = [], self._pending.parts()
        for i, field in enumerate(self.schema):
            parts = [part[i] for part in waiting]
            kind = pa.int32() if i in self._texts else field.type
            whole = _joined(parts) if parts else pa.array([], kind)
            if i in self._texts:
                whole = pa.DictionaryArray.from_arrays(whole, self._texts[i].dictionary(field.type))
            arrays.append(whole)
        return pa.RecordBatch.from_arrays(arrays, schema=self.schema)


class _Pending:
    """Rows in order, in parts; many small parts become one, and many of those again.

    A part of a few rows may keep the memory of a whole batch, and costs more than its rows. Each row is
    copied once per level, as in a log-structured merge tree (O'Neil et al., Acta Informatica 33, 1996).
    """

    def __init__(self) -> None:
        self._levels: list[list[list[pa.Array]]] = [[]]

    def parts(self) -> list[list[pa.Array]]:
        """The columns of each part."""
        return [part for level in reversed(list(self._levels)) for part in list(level)]

    def add(self, part: list[pa.Array]) -> None:
        """Take rows that come behind all others."""
        for level in self._levels:
            level.append(part)
            if len(level) < _FAN:
                return
            part = [pa.concat_arrays(columns) for columns in zip(*level, strict=True)]
            level.clear()
        self._levels.append([part])


class _Texts:
    """The dictionary of one column, in order of first appearance."""

    def __init__(self, field: pa.Field) -> None:
        known = json.loads((field.metadata or {}).get(LABELS, b"[]"))
        self._place: dict[Any, int] = {text: i for i, text in enumerate(known)}
        self._last: pa.Array | None = None
        self._map: npt.NDArray[np.int32] = np.empty(0, np.int32)

    def load(self, texts: pa.Array) -> None:
        """Go on with these texts."""
        self._place = {text: i for i, text in enumerate(texts.to_pylist())}
        self._last = None

    def codes(self, column: pa.DictionaryArray) -> pa.Array:
        """Places in the own dictionary, int32; null stays null."""
        if self._last is None or not column.dictionary.equals(self._last):
            self._last = column.dictionary
            self._map = np.full(len(column.dictionary) + 1, -1, np.int32)
        indices = (
            column.indices if column.indices.type == pa.int32() else column.indices.cast(pa.int32())
        )
        foreign = places(indices)
        own = self._map[foreign]  # the last place is that of -1
        if np.any((own < 0) & (foreign >= 0)):
            fresh = foreign[(own < 0) & (foreign >= 0)]
            _, first = np.unique(fresh, return_index=True)
            for code in fresh[np.sort(first)]:
                text = column.dictionary[int(code)].as_py()
                if text is None:
                    continue
                self._map[code] = self._place.setdefault(text, len(self._place))
            own = self._map[foreign]
        return nullable(own, pa.int32())

    def dictionary(self, kind: pa.DictionaryType) -> pa.Array:
        """All texts so far."""
        texts = list(self._place)
        return (
            text_array(texts)
            if kind.value_type == pa.string()
            else pa.array(texts, kind.value_type)
        )


def _joined(parts: list[pa.Array]) -> pa.Array:
    """One array of them all. It is a copy, unless no byte of what stands beside a single part could come along.

    Arrow's writer fills the last 8 bytes of a column with what lies behind a view.
    """
    only = parts[0]
    is_alone = len(parts) == 1 and pa.types.is_primitive(only.type) and len(only) % _WHOLE == 0
    return only if is_alone else pa.concat_arrays(parts)


def _own(kind: pa.DataType) -> pa.DataType:
    return pa.dictionary(pa.int32(), kind.value_type) if pa.types.is_dictionary(kind) else kind
