"""Rows of a record batch whose memory stands ready before they come.

To make four Arrow arrays and a record batch of them takes as long as a small network; a slice of a batch
that is there already takes a fortieth of it.
"""

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from flowedge.types.arrays import text_array

ROWS = 64
"""A reader that keeps one row keeps the memory of so many: some 2 kB, what a record batch itself takes."""


class Ahead:
    """Gives out parts of a record batch, each row once; what was given out is never written again.

    Parameters
    ----------
    schema : of columns without missing values: numbers of 4 or 8 bytes, instants, or labels (a dictionary of texts)
    labels : by column, the texts of its dictionary
    most : rows that are asked for at once at most

    """

    def __init__(self, schema: pa.Schema, labels: Mapping[str, tuple[str, ...]], most: int) -> None:
        self._schema, self._rows = schema, max(ROWS, most)
        self._texts = {name: text_array(texts) for name, texts in labels.items()}
        self._at = self._rows
        self._batch: Any = None
        self._columns: list[tuple[int, int]] = []

    def room(self, rows: int) -> list[int]:
        """For each column the address that the next rows are to be written to; of a label its number, as int32."""
        if self._at + rows > self._rows:
            self._renew()
        at = self._at
        return [first + at * width for first, width in self._columns]

    def take(self, rows: int) -> Any:  # noqa: ANN401
        """The rows that were written, as a record batch."""
        at, self._at = self._at, self._at + rows
        return self._batch.slice(at, rows)

    def _renew(self) -> None:
        self._at, self._columns = 0, []
        arrays = []
        for field in self._schema:
            is_label = pa.types.is_dictionary(field.type)
            kind = field.type.index_type if is_label else field.type
            width = kind.bit_width // 8
            values = pa.py_buffer(bytearray(self._rows * width))
            array = pa.Array.from_buffers(kind, self._rows, [None, values])
            if is_label:
                array = pa.DictionaryArray.from_arrays(array, self._texts[field.name])
            self._columns.append((values.address, width))
            arrays.append(array)
        self._batch = pa.RecordBatch.from_arrays(arrays, schema=self._schema)
