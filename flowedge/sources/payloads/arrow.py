"""Arrow payloads: a whole stream of Arrow IPC, its columns cast to the declared types.

What the messages say of themselves is looked at first (`flowedge.sources.arrow_messages`), then every batch is
validated in full; a cast changes no value but by rounding to a float, as in the engine.
"""

from collections import Counter

import numpy as np
import pyarrow as pa

from flowedge.lang.errors import SourceError
from flowedge.sources.arrow_messages import Messages
from flowedge.sources.files import first_line
from flowedge.sources.payloads.bounds import (
    LONGEST,
    CutShortError,
    PayloadError,
    check_rows,
    check_size,
)
from flowedge.sources.payloads.kernels.layout import F32_MOST
from flowedge.sources.payloads.values import described

_END = b"\xff\xff\xff\xff\0\0\0\0"
_PLACE = "`payload` "


def unpacked(payload: bytes, schema: pa.Schema, width: int) -> pa.RecordBatch:
    """The rows of a stream in the declared fields; those that it lacks are missing.

    Parameters
    ----------
    schema : declared fields
    width : bytes of a row, see `flowedge.sources.payloads.bounds.width_of`

    Raises
    ------
    PayloadError : it is none, beyond the bounds, or a column does not fit
    """
    check_size(payload)
    if not payload.endswith(_END):
        raise CutShortError("it is cut short: its stream has no end mark, or bytes follow it")
    try:
        _check(payload, width)
        with pa.ipc.open_stream(payload) as reader:
            batches = list(reader)
            for batch in batches:
                batch.validate(full=True)
            table = pa.Table.from_batches(batches, reader.schema)
    except SourceError as error:
        told = str(error).removeprefix(_PLACE).partition("; if the file")[0]
        raise PayloadError(f"it {told}") from None
    except (pa.ArrowException, OSError, ValueError) as error:
        if isinstance(error, PayloadError):
            raise
        raise PayloadError(f"it is no stream of Arrow ({first_line(error)})") from None
    return fitted(table, schema)


def fitted(table: pa.Table | pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """Valid columns as the declared fields, as they are where the types are the same; raises PayloadError."""
    names = Counter(table.schema.names)
    columns = []
    for field in schema:
        if names[field.name] > 1:
            raise PayloadError(f"two columns are named `{field.name}`")
        if not names[field.name]:
            columns.append(pa.nulls(table.num_rows, field.type))
            continue
        column = table.column(field.name)
        if isinstance(column, pa.ChunkedArray):
            column = column.combine_chunks()
        if isinstance(column, pa.ChunkedArray):
            column = column.chunk(0) if column.num_chunks else pa.array([], column.type)
        columns.append(_cast(column, field))
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _check(payload: bytes, width: int) -> None:
    """What its messages say of themselves, before Arrow believes it."""
    rows = total = 0
    for piece in Messages("payload", payload, trusted=False).pieces(is_file=False):
        total += piece.unpacked
        rows += piece.rows
        if total > LONGEST:
            raise PayloadError(f"it unpacks to more than {LONGEST >> 20} MiB")
        check_rows(rows, len(payload) + total, width)


def _cast(column: pa.Array, field: pa.Field) -> pa.Array:
    """A column in the declared type; raises PayloadError where it does not go into it."""
    kind, target = column.type, field.type
    refused = PayloadError(f"`{field.name}` holds {kind}, which is not {described(target)}")
    if isinstance(column, pa.ExtensionArray):
        column, kind = column.storage, column.type.storage_type
    if pa.types.is_dictionary(kind):
        column = column.dictionary_decode()
        kind = column.type
    if kind == target:
        return column
    if not (pa.types.is_null(kind) or _goes(kind, target)):
        raise refused
    try:
        if pa.types.is_timestamp(target) and pa.types.is_integer(kind):
            column = column.cast(pa.int64()).cast(pa.timestamp("ns", target.tz))
        out = column.cast(target)
    except (pa.ArrowException, ValueError) as error:
        raise PayloadError(
            f"`{field.name}` holds {kind}, and a value is not {described(target)} ({first_line(error)})"
        ) from None
    if pa.types.is_float32(target) and not pa.types.is_float16(kind):
        plain = np.abs(column.cast(pa.float64()).fill_null(0.0).to_numpy(zero_copy_only=False))
        if (plain[np.isfinite(plain)] > F32_MOST).any():
            raise PayloadError(f"a value of `{field.name}` is not a number that fits into 32 bits")
    return out


def _goes(kind: pa.DataType, target: pa.DataType) -> bool:
    """Whether a column of one type may hold values of another."""
    t = pa.types
    if t.is_fixed_size_list(target):
        is_list = t.is_fixed_size_list(kind) or t.is_list(kind) or t.is_large_list(kind)
        return is_list and (
            kind.value_type == target.value_type or _goes(kind.value_type, target.value_type)
        )
    if t.is_timestamp(target):
        return (
            t.is_timestamp(kind) or t.is_date(kind) or (t.is_integer(kind) and kind.bit_width == 64)
        )
    if t.is_integer(target) or t.is_floating(target):
        return t.is_integer(kind) or t.is_floating(kind) or t.is_decimal(kind)
    if t.is_boolean(target):
        return t.is_boolean(kind)
    if t.is_binary(target):
        return t.is_large_binary(kind) or t.is_binary_view(kind) or t.is_fixed_size_binary(kind)
    return t.is_large_string(kind) or t.is_string_view(kind)


__all__ = ["fitted", "unpacked"]
