"""CSV payloads: a line of names, and a line for each row (RFC 4180)."""

import re

import pyarrow as pa

from flowedge.sinks.cells import flat
from flowedge.types.compute import pc

_QUOTED = re.compile(r'[",\s\x00-\x1f\x85\u2028\u2029]')


def each(batch: pa.RecordBatch) -> list[bytes]:
    """The names and a line, for each row."""
    names, lines = _lines(batch)
    return [(names + line).encode() for line in lines]


def together(batch: pa.RecordBatch) -> bytes:
    """The names and all lines."""
    names, lines = _lines(batch)
    return (names + "".join(lines)).encode()


def _lines(batch: pa.RecordBatch) -> tuple[str, list[str]]:
    rows = flat(_spread(batch))
    names = ",".join(_cell(name) for name in rows.schema.names) + "\n"
    columns = [_texts(column) for column in rows.columns]
    if not columns:
        return names, ["\n"] * rows.num_rows
    return names, pc.binary_join_element_wise(
        pc.binary_join_element_wise(*columns, ",") if len(columns) > 1 else _never_blank(columns[0]), "\n", ""
    ).to_pylist()  # fmt: skip


def _spread(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Fixed lists of fixed lists as columns ``x_0, x_1, …`` of their elements, the last index the fastest."""
    names: list[str] = []
    columns: list[pa.Array] = []
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        parts = [column]
        is_nested = pa.types.is_fixed_size_list(column.type)
        if is_nested and pa.types.is_fixed_size_list(column.type.value_type):
            while pa.types.is_fixed_size_list(parts[0].type):
                size = parts[0].type.list_size
                parts = [pc.list_element(part, k) for part in parts for k in range(size)]
            names += [f"{name}_{k}" for k in range(len(parts))]
        else:
            names.append(name)
        columns += parts
    return pa.RecordBatch.from_arrays(columns, names=names)


def _texts(column: pa.Array) -> pa.Array:
    """A column as cells; those missing are empty."""
    if not pa.types.is_string(column.type):
        return pc.fill_null(column.cast(pa.string()), "")
    coded = column.dictionary_encode()
    cells = pa.array([_cell(text) for text in coded.dictionary.to_pylist()], pa.string())
    return pc.fill_null(cells.take(coded.indices), "")


def _never_blank(column: pa.Array) -> pa.Array:
    """A row that is missing in its only column, as a line that is not blank: readers skip these."""
    return pc.if_else(pc.equal(column, ""), '""', column)


def _cell(text: str) -> str:
    """A text as a cell, in quotes where it needs them.

    Examples
    --------
    >>> _cell('a "b", c')
    '"a ""b"", c"'
    """
    if text and not _QUOTED.search(text):
        return text
    return '"' + text.replace('"', '""') + '"'


__all__ = ["each", "together"]
