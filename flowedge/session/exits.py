"""The record batches of sinks on the short way: columns of the rows as they came, and others that kernels made.

See `flowedge.session.express`. What only passes is neither copied nor looked at: the rows are taken in again under the names of the sink,
by the Arrow C data interface, and what was made is added. A record batch of columns that are had one by one takes twice as long.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from flowedge.compile.export import Export
from flowedge.session.batch import DTYPES
from flowedge.session.route import LATE, Exit
from flowedge.types.arrays import truths

_ARRAY = pa.Array.from_buffers
_FEW = 64
"""Rows whose labels are looked up one by one."""

Column = Callable[[Any, Sequence[Any], int], Any]
"""Makes a column of a sink of the rows, what the registers keep, and how many rows there are."""


class Ending:
    """How the rows of a sink are had of record batches of one schema.

    Parameters
    ----------
    end : of the way
    schema : of the record batches
    numbers : by register, the column of the rows that it is of

    Attributes
    ----------
    name : of the sink
    """

    def __init__(self, end: Exit, schema: Any, numbers: Mapping[int, int]) -> None:  # noqa: ANN401
        self.name = end.node.spec.name
        self._export = Export()
        wanted = end.node.schema
        self._passes: list[int] = []
        self._made: list[tuple[int, Any, Column]] = []
        fields = []
        for place, (register, kind) in enumerate(end.columns):
            field, number = wanted.field(place), numbers.get(register, -1)
            if number >= 0 and place not in end.made and schema.field(number).type == kind:
                self._passes.append(number)
                fields.append(field)
            else:
                self._made.append((place, field, _column(end, place, numbers.get(register))))
        self._schema = pa.schema(fields, wanted.metadata)

    def batch(self, rows: Any, kept: Sequence[Any], n: int) -> Any:  # noqa: ANN401
        """The rows as the sink has them.

        Parameters
        ----------
        rows : as they came
        kept : by register, what keeps a column that was made
        n : how many
        """
        out = self._export.renamed(rows.select(self._passes), self._schema)
        for place, field, of in self._made:
            out = out.add_column(place, field, of(rows, kept, n))
        return out


def _column(end: Exit, place: int, number: int | None) -> Column:
    """How a column of a sink is had that does not pass as it is."""
    register, kind = end.columns[place]
    field = end.made.get(place)
    if register == LATE:
        return lambda _, __, n: truths(np.zeros(n, np.bool_))
    if number is None and field is None:
        return lambda _, kept, n: _ARRAY(kind, n, [None, kept[register]])
    if field is None:
        return lambda rows, _, __: rows.column(number).dictionary_decode()
    dtype, made, labels = DTYPES[field.store], end.node.column, end.node.few_labels
    if number is None and field.labels is not None and field.store == "string":

        def labelled(_: Any, kept: Sequence[Any], n: int) -> Any:  # noqa: ANN401
            if n <= _FEW:
                found = labels(field, memoryview(kept[register]).cast("q").tolist())
                if found is not None:
                    return found
            return made(field, np.frombuffer(kept[register], dtype, n))

        return labelled
    if number is None:
        return lambda _, kept, n: made(field, np.frombuffer(kept[register], dtype, n))

    def looked_at(rows: Any, _: Sequence[Any], n: int) -> Any:  # noqa: ANN401
        column = rows.column(number)
        skip = column.offset * dtype.itemsize
        return made(field, np.frombuffer(column.buffers()[1], dtype, n, skip))

    return looked_at
