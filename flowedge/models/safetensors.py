"""Weights in a `.safetensors` file: a header of JSON and raw bytes, read with limits; nothing in it can run.

The format (github.com/huggingface/safetensors, *Format*): the length of the header in 8 bytes, the header, and the
tensors, which fill the rest without a gap and without sharing a byte.
"""

import json
from typing import Any, NoReturn

import numpy as np

from flowedge.lang.errors import ModelError
from flowedge.models.magic import is_pickle, kind_of
from flowedge.models.trust import UNREAD

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
        _refuse(name, _no_file(data, length))
    header = _header(data[8 : 8 + length], name)
    try:
        header.pop("__metadata__", None)
        places = sorted(
            (*(int(x) for x in told["data_offsets"]), key, told) for key, told in header.items()
        )
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError):
        _refuse(name, "has a header that does not tell where its weights lie; save it again")
    body, at = memoryview(data)[8 + length :], 0
    out: dict[str, np.ndarray[Any, Any]] = {}
    for start, end, key, told in places:
        what = f"model `{name}`: the weight `{key}`"
        if start < 0 or end < start or end > len(body):
            raise ModelError(f"{what} lies outside the file: bytes {start} to {end} of {len(body)}")
        if start != at:
            beside = "overlaps another" if start < at else "leaves a gap before it"
            raise ModelError(f"{what} {beside}, at byte {start}")
        at = end
        out[key] = _tensor(body[start:end], told, what)
    if at != len(body):
        _refuse(name, f"has {len(body) - at} bytes that belong to no weight")
    return out


def _refuse(name: str, what: str) -> NoReturn:
    raise ModelError(f"model `{name}` {what}") from None


def _no_file(data: bytes, length: int) -> str:
    """What a file is whose header would not fit into it."""
    if is_pickle(data):
        return f"is {kind_of(data)}, and no safetensors file; {UNREAD}"
    kind = kind_of(data) or "truncated"
    return f"is {kind} or no safetensors file: its header should have {length} bytes"


def _header(text: bytes, name: str) -> Any:  # noqa: ANN401  # whatever stands there
    """The JSON of the header; raises ModelError."""
    try:
        return json.loads(text, object_pairs_hook=_once)
    except RecursionError:
        _refuse(name, "has a header that is nested too deeply; save it again")
    except _TwiceError as error:
        _refuse(name, f"has a header in which `{str(error)[:60]}` comes twice; save it again")
    except ValueError:
        if is_pickle(text):
            _refuse(name, f"has a header that is {kind_of(text)}; {UNREAD}")
        _refuse(name, "has a header that is no JSON; save it again")


def _tensor(body: memoryview, told: dict[str, Any], what: str) -> np.ndarray[Any, Any]:
    dtype, shape = DTYPES.get(str(told.get("dtype"))), told.get("shape")
    if dtype is None:
        raise ModelError(f"{what} has an element type that is not read")
    if not isinstance(shape, list) or not all(type(n) is int for n in shape):
        raise ModelError(f"{what} has no shape")
    total = 1
    for n in shape:
        total *= n
        if n < 0:
            raise ModelError(f"{what} has the shape {shape}, with a length below zero")
        if total > LARGEST:
            raise ModelError(f"{what} has the shape {shape}, more than {LARGEST} elements")
    if total * np.dtype(dtype).itemsize != len(body):
        raise ModelError(f"{what} has {len(body)} bytes for the shape {shape}")
    values = np.frombuffer(body, dtype).reshape(shape)
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise ModelError(f"{what} is not finite; train it again")
    return values


class _TwiceError(Exception):
    """A key comes twice: which."""


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for key, value in pairs:
        if key in out:
            raise _TwiceError(key)
        out[key] = value
    return out
