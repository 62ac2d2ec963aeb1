"""Values as text: what `csv` and `jsonl` write, column by column."""

import json
from typing import Any

import numpy as np
import pyarrow as pa

from flowedge.types.compute import pc


def times(column: pa.Array) -> pa.Array:
    """ISO 8601 in UTC with as many digits as the type has: ``2024-05-01T00:00:00.123456789Z``.

    A cast without a zone takes 70 ns a value, `strftime` and a cast with one over a microsecond.
    """
    wall = column.cast(pa.timestamp(column.type.unit)).cast(pa.string())
    text = pc.binary_replace_slice(wall, 10, 11, "T")
    return text if column.type.tz is None else pc.binary_join_element_wise(text, "Z", "")


def plain(column: pa.Array) -> pa.Array:
    """Dictionaries as their texts, NaN as missing."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_floating(column.type):
        if pa.types.is_float16(column.type):
            column = column.cast(pa.float32())
        column = pc.if_else(pc.is_nan(column), pa.scalar(None, column.type), column)
    return column


def as_json(column: pa.Array) -> pa.Array:
    """Each value as JSON text, null included.

    Numbers are written with as many digits as it takes to read them back. JSON has no infinity,
    so it is written ``1e999``, which readers of IEEE numbers take as one. Bytes become hex digits.
    """
    column = plain(column)
    kind = column.type
    if pa.types.is_boolean(kind) or pa.types.is_integer(kind):
        text = column.cast(pa.string())
    elif pa.types.is_floating(kind):
        text = column.cast(pa.string())
        text = pc.if_else(
            pc.is_inf(column), pc.if_else(pc.less(column, 0), "-1e999", "1e999"), text
        )
    elif pa.types.is_timestamp(kind):
        text = pc.binary_join_element_wise('"', times(column), '"', "")
    elif pa.types.is_duration(kind):
        text = column.cast(pa.int64()).cast(pa.string())
    elif pa.types.is_string(kind):
        coded = column.dictionary_encode()  # a text is escaped once, however often it comes
        texts = [json.dumps(v, ensure_ascii=False) for v in coded.dictionary.to_pylist()]
        text = pa.array(texts, pa.string()).take(coded.indices)
    else:
        return pa.array([json.dumps(_value(v), ensure_ascii=False) for v in column.to_pylist()])
    return pc.fill_null(text, "null")


def _value(value: Any) -> Any:  # noqa: ANN401  # whatever Arrow hands back
    """What `json` can write."""
    if isinstance(value, list):
        return [_value(v) for v in value]
    if isinstance(value, dict):
        return {k: _value(v) for k, v in value.items()}
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value if isinstance(value, (int, float, str, bool, type(None))) else str(value)


def flat(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Columns of text cells alone: fixed lists become ``x_0, x_1, …``, other lists JSON."""
    names: list[str] = []
    arrays: list[pa.Array] = []
    for field, column in zip(batch.schema, batch.columns, strict=True):
        if pa.types.is_fixed_size_list(field.type) and not pa.types.is_nested(
            field.type.value_type
        ):
            for i in range(field.type.list_size):
                names.append(f"{field.name}_{i}")
                arrays.append(_cell(pc.list_element(column, i)))
        else:
            names.append(field.name)
            arrays.append(_cell(column))
    return pa.RecordBatch.from_arrays(arrays, names=names)


def _cell(column: pa.Array) -> pa.Array:
    column = plain(column)
    if pa.types.is_timestamp(column.type):
        return times(column)
    if pa.types.is_nested(column.type):
        return pc.if_else(column.is_valid(), as_json(column), pa.scalar(None, pa.string()))
    if pa.types.is_binary(column.type) or pa.types.is_fixed_size_binary(column.type):
        return pa.array([None if v is None else v.hex() for v in column.to_pylist()], pa.string())
    return column.cast(pa.int64()) if pa.types.is_duration(column.type) else column
