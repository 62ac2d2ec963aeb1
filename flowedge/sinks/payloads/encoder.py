"""`Encoder`: rows of one schema to payloads, one a row or one for many."""

from collections.abc import Callable

import pyarrow as pa

from flowedge.sinks.cells import plain
from flowedge.sinks.payloads import cbor, csv, json, msgpack
from flowedge.sinks.payloads.fast import fast_of

FORMATS = ("json", "msgpack", "cbor", "arrow", "csv")
LAYOUTS = ("each", "list", "columns")
MOST_VALUES = 1 << 18
"""Values in a payload, keys included, that the decoder takes; see `flowedge.sources.payloads.bounds`."""

_EACH: dict[str, Callable[[pa.RecordBatch], list[bytes]]] = {
    "json": json.each,
    "msgpack": msgpack.each,
    "cbor": cbor.each,
    "csv": csv.each,
}
_OF_MAPS = ("msgpack", "cbor")
_TOGETHER: dict[tuple[str, str], Callable[[pa.RecordBatch], bytes]] = {
    ("json", "list"): json.listed,
    ("json", "columns"): json.columns,
    ("msgpack", "list"): msgpack.listed,
    ("msgpack", "columns"): msgpack.columns,
    ("cbor", "list"): cbor.listed,
    ("cbor", "columns"): cbor.columns,
}


class Encoder:
    """Makes payloads of rows.

    A missing value is left out of a map, and so is NaN, which is the same to the engine; in columns it is null, or NaN where numbers are
    bytes. Labels are texts. Times are ISO 8601 with nine digits in JSON and CSV, nanoseconds since 1970 in msgpack and CBOR. JSON has
    no infinity: it is missing there. Bytes need msgpack, CBOR or Arrow. In CSV every payload begins with the names, a list takes a
    cell for each element, and an empty text is missing.

    Parameters
    ----------
    schema : of the rows
    format : one of `FORMATS`
    layout : ``each``: a payload for each row; ``list``: a list of maps for many (lines in CSV, a batch in Arrow); ``columns``: a
        list or bytes for each column, little-endian in msgpack, typed arrays (RFC 8746) in CBOR

    Attributes
    ----------
    most_rows : of a payload, so that it can be read back

    Raises
    ------
    ValueError : the format does not hold a column
    """

    def __init__(self, schema: pa.Schema, format: str = "json", layout: str = "each") -> None:  # noqa: A002
        assert format in FORMATS
        assert layout in LAYOUTS
        self.format, self.layout = format, layout
        for field in schema:
            kind = field.type
            while pa.types.is_fixed_size_list(kind) or pa.types.is_list(kind):
                kind = kind.value_type
            if format in ("json", "csv") and (
                pa.types.is_binary(kind) or pa.types.is_fixed_size_binary(kind)
            ):
                raise ValueError(
                    f'`{field.name}` holds bytes, which {format} has not; write `format="msgpack"`'
                )
        self._fast = fast_of(schema) if (format, layout) == ("msgpack", "each") else None
        self.most_rows = 1
        if layout != "each":
            values = sum(1 + _values(field.type) for field in schema)
            self.most_rows = max(1, (MOST_VALUES - 2 * len(schema) - 2) // (values + 1))

    def prepare(self) -> None:
        """Load the kernels now and not with many rows; where they are not in the cache, that takes a second."""
        if self._fast is not None:
            self._fast.prepare()

    def payloads(self, batch: pa.RecordBatch) -> list[bytes]:
        """The payloads of rows: one each, or as few as `most_rows` allows, in the order of the rows."""
        if self.layout == "each" and self.format in _EACH:
            if not batch.num_rows:
                return []
            if self._fast is not None and self._fast.is_worth_it(batch.num_rows):
                return self._fast.payloads(batch)
            # Maps are made of values of Python, which live rows have few of: no kernel of Arrow is worth its call.
            return _EACH[self.format](batch if self.format in _OF_MAPS else _plain(batch))
        return [
            self._one(batch.slice(at, self.most_rows))
            for at in range(0, batch.num_rows, self.most_rows)
        ]

    def _one(self, batch: pa.RecordBatch) -> bytes:
        rows = _plain(batch, keeps_nan=self.format == "arrow")
        if self.format == "csv":
            return csv.together(rows)
        if self.format != "arrow":
            return _TOGETHER[self.format, self.layout](rows)
        out = pa.BufferOutputStream()
        with pa.ipc.new_stream(out, rows.schema) as stream:
            stream.write_batch(rows)
        written: bytes = out.getvalue().to_pybytes()
        return written


def encode(batch: pa.RecordBatch, format: str = "json", layout: str = "each") -> list[bytes]:  # noqa: A002
    r"""Payloads of rows.

    Examples
    --------
    >>> rows = pa.RecordBatch.from_pydict({"device": ["a", "b"], "v": [1.5, None]})
    >>> encode(rows)
    [b'{"device":"a","v":1.5}', b'{"device":"b"}']
    >>> encode(rows, "json", "columns")
    [b'{"device":["a","b"],"v":[1.5,null]}']
    >>> encode(rows, "csv", "list")
    [b'device,v\na,1.5\nb,\n']
    """
    return Encoder(batch.schema, format, layout).payloads(batch)


def _plain(batch: pa.RecordBatch, *, keeps_nan: bool = False) -> pa.RecordBatch:
    """Without dictionaries; NaN as missing."""
    columns, fields = [], []
    for field, column in zip(batch.schema, batch.columns, strict=True):
        if not keeps_nan or pa.types.is_dictionary(field.type):
            column = plain(column)  # noqa: PLW2901
        columns.append(column)
        fields.append(pa.field(field.name, column.type, metadata=field.metadata))
    return pa.RecordBatch.from_arrays(columns, schema=pa.schema(fields))


def _values(kind: pa.DataType) -> int:
    """Values that a cell of this type counts for."""
    if pa.types.is_fixed_size_list(kind):
        return 1 + kind.list_size * _values(kind.value_type)
    return 64 if pa.types.is_list(kind) else 1
