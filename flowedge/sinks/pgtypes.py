"""Types of PostgreSQL: which a column can have, and its values as COPY takes them."""

import pyarrow as pa

from flowedge.sinks.cells import plain
from flowedge.sinks.tables import Kinds, as_texts, microseconds, signed

_WHOLE = ("smallint", "integer", "bigint")
_ARROW = {
    "smallint": pa.int16(), "integer": pa.int32(), "bigint": pa.int64(), "real": pa.float32(), "double precision": pa.float64(),
    "boolean": pa.bool_(), "text": pa.string(), "character varying": pa.string(), "bytea": pa.binary(),
}  # fmt: skip


def kinds_of(kind: pa.DataType) -> Kinds:
    """Types that a column of this Arrow type can have, the one of a new table first.

    Examples
    --------
    >>> kinds_of(pa.int32()), kinds_of(pa.list_(pa.float32(), 3))
    (('integer', 'bigint'), ('real[]', 'double precision[]'))
    """
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind):
        inner = kind.value_type
        if pa.types.is_nested(inner) or pa.types.is_timestamp(inner) or pa.types.is_uint64(inner):
            return ("json",)
        return tuple(f"{one}[]" for one in kinds_of(inner) if one != "character varying")
    if pa.types.is_timestamp(kind):
        return "timestamp with time zone", "timestamp without time zone", "bigint"
    if pa.types.is_integer(kind):
        bits = kind.bit_width + pa.types.is_unsigned_integer(kind)
        return _WHOLE[0 if bits <= 16 else 1 if bits <= 32 else 2 :]
    if pa.types.is_floating(kind):
        return ("double precision",) if kind == pa.float64() else ("real", "double precision")
    if pa.types.is_boolean(kind):
        return ("boolean",)
    if pa.types.is_binary(kind):
        return ("bytea",)
    return "text", "character varying"


def as_stored(column: pa.Array, name: str, kind: str) -> pa.Array:
    """The values in the Arrow type that COPY writes as this type of a column; raises SinkError: a number is too large."""
    column = plain(column)
    if pa.types.is_timestamp(column.type):
        if kind == "bigint":
            return column.cast(pa.int64())
        zone = "UTC" if kind == "timestamp with time zone" else None
        return microseconds(column).cast(pa.timestamp("us", zone))
    if kind == "json":
        return as_texts(column)
    if kind.endswith("[]"):
        return column.cast(pa.list_(_ARROW[kind.removesuffix("[]")]))
    if pa.types.is_uint64(column.type):
        column = signed(column, name)
    return column.cast(_ARROW[kind])
