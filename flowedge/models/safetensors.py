"""Weights in a `.safetensors` file: a header of JSON and raw bytes, read with limits; nothing in it can run.

The format (github.com/huggingface/safetensors, *Format*): the length of the header in 8 bytes, the header, and the
tensors, which fill the rest without a gap and without sharing a byte.
"""

import json
from typing import Any

import numpy as np

from flowedge.lang.errors import ModelError

LARGEST_HEADER = 2**24
"""Bytes of the header, at most."""
LARGEST = 2**28
"""Elements of one tensor, at most."""
DTYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1", "U8": "u1", "BOOL": "?",
}  # fmt: skip


def tensors(data: bytes, name: str) -> dict[str, np.ndarray[Any, Any]]:
    """The tensors of a file by name, as views into its bytes.

    Parameters
    ----------
    data : the bytes of the file
    name : what to call it in errors

    Raises
    ------
    ModelError
        it is none, or its tensors overlap, leave gaps, do not fit their shapes, or are not finite
    """
    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 or length > min(LARGEST_HEADER, len(data) - 8):
        raise ModelError(
            f"model `{name}` is truncated or no safetensors file: its header should have {length} bytes"
        )
    try:
        header = json.loads(data[8 : 8 + length], object_pairs_hook=_once)
        header.pop("__metadata__", None)
        places = sorted(
            (*(int(x) for x in told["data_offsets"]), key, told) for key, told in header.items()
        )
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise ModelError(
            f"model `{name}` has a header that is not that of a safetensors file; save it again"
        ) from None
    body, at = memoryview(data)[8 + length :], 0
    out: dict[str, np.ndarray[Any, Any]] = {}
    for start, end, key, told in places:
        if start != at or end < start or end > len(body):
            raise ModelError(
                f"model `{name}`: the weight `{key}` overlaps another, leaves a gap, or lies outside the file"
            )
        at = end
        out[key] = _tensor(body[start:end], told, f"model `{name}`: the weight `{key}`")
    if at != len(body):
        raise ModelError(f"model `{name}` has {len(body) - at} bytes that belong to no weight")
    return out


def _tensor(body: memoryview, told: dict[str, Any], what: str) -> np.ndarray[Any, Any]:
    dtype, shape = DTYPES.get(str(told.get("dtype"))), told.get("shape")
    if dtype is None:
        raise ModelError(f"{what} has an element type that is not read")
    if not isinstance(shape, list) or not all(type(n) is int for n in shape):
        raise ModelError(f"{what} has no shape")
    total = 1
    for n in shape:
        total *= n
        if n < 0 or total > LARGEST:
            raise ModelError(f"{what} has the shape {shape}, more than {LARGEST} elements")
    if total * np.dtype(dtype).itemsize != len(body):
        raise ModelError(f"{what} has {len(body)} bytes for the shape {shape}")
    values = np.frombuffer(body, dtype).reshape(shape)
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise ModelError(f"{what} is not finite; train it again")
    return values


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({key for key, _ in pairs}) < len(pairs):
        message = "a key comes twice"
        raise ValueError(message)
    return dict(pairs)
