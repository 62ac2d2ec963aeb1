"""Rows and columns as values of Python, for formats that write one value after the other."""

from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from flowedge.types.arrays import to_list


class Numbers(NamedTuple):
    """A column of numbers without a gap: one after the other, little-endian.

    Attributes
    ----------
    values : (rows * size of a list,), of the type that the column has
    """

    values: Any


def maps(batch: pa.RecordBatch) -> list[dict[str, Any]]:
    """A map for each row, without what is missing, NaN included; times are nanoseconds since 1970, labels texts."""
    names = batch.schema.names
    cells = [_cells(column) for column in batch.columns]
    if not cells:
        return [{}] * batch.num_rows
    return [
        {name: value for name, value in zip(names, row, strict=True) if value is not None}
        for row in zip(*cells, strict=True)
    ]


def columns(batch: pa.RecordBatch) -> dict[str, Any]:
    """`Numbers` where a column has only these (a missing float is NaN), else a list; of times nanoseconds since 1970."""
    return {
        name: _column(column)
        for name, column in zip(batch.schema.names, batch.columns, strict=True)
    }


def _cells(column: pa.Array) -> list[Any]:
    if pa.types.is_timestamp(column.type):
        column = nanoseconds(column)
    cells = to_list(column)
    if pa.types.is_floating(column.type):
        return [None if value != value else value for value in cells]  # noqa: PLR0124  # NaN is none
    return cells


def _column(column: pa.Array) -> Any:  # noqa: ANN401
    kind = column.type
    if pa.types.is_timestamp(kind):
        column = nanoseconds(column)
        kind = column.type
    size, leaf = 1, kind
    while pa.types.is_fixed_size_list(leaf):
        size, leaf = size * leaf.list_size, leaf.value_type
    numbers = _flat(column, size * len(column), leaf)
    if numbers is not None:
        return Numbers(numbers.astype(numbers.dtype.newbyteorder("<"), copy=False))
    return whole(column).to_pylist()


def whole(column: pa.Array) -> pa.Array:
    """Fixed lists that are missing as lists of what is missing, so that the first row shows a column of lists for what it is."""
    kind = column.type
    if not pa.types.is_fixed_size_list(kind):
        return column
    if not column.null_count and not pa.types.is_fixed_size_list(kind.value_type):
        return column
    return pa.array([_filled(cell, kind) for cell in column.to_pylist()], kind)


def _filled(cell: Any, kind: pa.DataType) -> Any:  # noqa: ANN401
    if not pa.types.is_fixed_size_list(kind):
        return cell
    cells = [None] * kind.list_size if cell is None else cell
    return [_filled(one, kind.value_type) for one in cells]


def _flat(column: pa.Array, count: int, leaf: pa.DataType) -> Any:  # noqa: ANN401
    """All numbers of a column, (count,); None where it has others, or gaps that no number can fill."""
    is_float = pa.types.is_floating(leaf)
    if not (is_float or pa.types.is_integer(leaf)):
        return None
    while pa.types.is_fixed_size_list(column.type):
        if column.null_count:
            return None
        column = column.flatten()
    if column.null_count and not is_float:
        return None
    if column.null_count:
        column = column.fill_null(float("nan"))
    values = column.to_numpy(zero_copy_only=False)
    assert len(values) == count
    return np.ascontiguousarray(values)


def nanoseconds(column: pa.Array) -> pa.Array:
    """Times as whole nanoseconds since 1970."""
    if column.type.unit != "ns":
        column = column.cast(pa.timestamp("ns", column.type.tz))
    return column.view(pa.int64())


__all__ = ["Numbers", "columns", "maps", "nanoseconds", "whole"]
