"""How the columns of a Parquet file are stored: whichever way takes the least room in its first rows."""

from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

_LOOKED_AT = 16_384
"""Rows that are encoded to find out."""
_FEWEST = 4_096
"""Below so many it is not worth the time: many files that are small would take twice as long."""


@dataclass
class Encodings:
    """For `pq.ParquetWriter`: which columns have a dictionary, and how the others are encoded.

    Times are told by their distances [1]_: rows of a regular signal take no room for theirs. Whole numbers may be,
    or have a dictionary; floats have one, are stored plainly, or by planes of bytes [2]_.

    References
    ----------
    .. [1] Apache Parquet, Encodings, DELTA_BINARY_PACKED; D. Lemire, L. Boytsov, Decoding billions of integers
       per second through vectorization, Software: Practice and Experience, 45(1), 2015, 1-29.
    .. [2] Apache Parquet, Encodings, BYTE_STREAM_SPLIT.
    """

    use_dictionary: list[str] = field(default_factory=list)
    column_encoding: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, schema: pa.Schema, block: pa.RecordBatch | None, compression: str) -> "Encodings":
        """Those that take the least room for the first rows of a file; None: it will have no rows."""
        out = cls()
        for number, column in enumerate(schema):
            ways = _ways(column.type)
            way = ways[0]
            if len(ways) > 1 and block is not None and block.num_rows >= _FEWEST:
                values = block.column(number).slice(0, _LOOKED_AT)
                way = min(ways, key=lambda w, v=values: _size(v, w, compression))  # type: ignore[misc]
            if way == "DICTIONARY":
                out.use_dictionary.append(_path(column))
            else:
                out.column_encoding[_path(column)] = way
        return out

    @property
    def options(self) -> dict[str, Any]:
        """As `pq.ParquetWriter` takes them."""
        return {
            "use_dictionary": self.use_dictionary or False,
            "column_encoding": self.column_encoding or None,
        }


def _ways(type_: pa.DataType) -> tuple[str, ...]:
    """What there is to choose from; the first where nothing is known."""
    if pa.types.is_temporal(type_):
        return ("DELTA_BINARY_PACKED", "DICTIONARY")
    if pa.types.is_integer(type_):
        return ("DICTIONARY", "DELTA_BINARY_PACKED")
    if pa.types.is_float32(type_) or pa.types.is_float64(type_):
        return ("DICTIONARY", "PLAIN", "BYTE_STREAM_SPLIT")
    if pa.types.is_boolean(type_):
        return ("PLAIN",)
    return ("DICTIONARY",)


def _size(values: pa.Array, way: str, compression: str) -> int:
    out = pa.BufferOutputStream()
    has_dictionary = way == "DICTIONARY"
    pq.write_table(
        pa.table({"x": values}), out, compression=compression, write_statistics=False, store_schema=False,
        use_dictionary=has_dictionary, column_encoding=None if has_dictionary else {"x": way},
    )  # fmt: skip
    return out.tell()


def _path(column: pa.Field) -> str:
    """The name of its values in the file; those of lists lie deeper."""
    name, type_ = column.name, column.type
    while (
        pa.types.is_list(type_)
        or pa.types.is_fixed_size_list(type_)
        or pa.types.is_large_list(type_)
    ):
        name, type_ = f"{name}.list.element", type_.value_type
    return name
