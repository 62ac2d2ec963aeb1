"""JSON payloads: texts put together column by column."""

import json

import pyarrow as pa

from flowedge.sinks.cells import as_json
from flowedge.sinks.payloads.trees import whole
from flowedge.types.compute import pc


def each(batch: pa.RecordBatch) -> list[bytes]:
    """A map for each row, without what is missing."""
    pieces = []
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        values = _finite(column)
        text = pc.binary_join_element_wise(f",{_key(name)}:", as_json(values), "")
        pieces.append(pc.if_else(values.is_valid(), text, ""))
    if not pieces:
        return [b"{}"] * batch.num_rows
    inner = pc.utf8_slice_codeunits(pc.binary_join_element_wise(*pieces, ""), 1)
    whole: list[bytes] = (
        pc.binary_join_element_wise("{", inner, "}", "").cast(pa.binary()).to_pylist()
    )
    return whole


def listed(batch: pa.RecordBatch) -> bytes:
    """A list of maps."""
    return b"[" + b",".join(each(batch)) + b"]"


def columns(batch: pa.RecordBatch) -> bytes:
    """A list for each column; what is missing is null."""
    pieces = [
        f"{_key(name)}:[{','.join(as_json(whole(_finite(column))).to_pylist())}]"
        for name, column in zip(batch.schema.names, batch.columns, strict=True)
    ]
    return ("{" + ",".join(pieces) + "}").encode()


def _key(name: str) -> str:
    return json.dumps(name, ensure_ascii=False)


def _finite(column: pa.Array) -> pa.Array:
    """JSON has no infinity."""
    if not pa.types.is_floating(column.type):
        return column
    return pc.if_else(pc.is_finite(column), column, pa.scalar(None, column.type))


__all__ = ["columns", "each", "listed"]
