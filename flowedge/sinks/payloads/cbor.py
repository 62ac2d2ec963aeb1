"""CBOR payloads (RFC 8949), with columns as typed arrays (RFC 8746).

A list begins with the tag 55799, for its first byte is else that of a list of msgpack.
"""

import struct
from typing import Any

import pyarrow as pa

from flowedge.sinks.payloads import trees

SELF_DESCRIBED = b"\xd9\xd9\xf7"
_TAGS = {
    "u1": 64, "u2": 69, "u4": 70, "u8": 71, "i1": 72, "i2": 77, "i4": 78, "i8": 79, "f2": 84, "f4": 85, "f8": 86,
}  # fmt: skip
"""Of little-endian arrays, by kind and size (RFC 8746, 2.1)."""


def packed(value: Any) -> bytes:  # noqa: ANN401
    """A value of maps, lists, texts, bytes, numbers, truth, None and `trees.Numbers`.

    Floats take 32 bits where these hold them exactly (RFC 8949, 4.2.2).

    Examples
    --------
    >>> packed({"v": [1.5, -1, True, None, "é", 2**64 - 1]}).hex()
    'a1617686fa3fc0000020f5f662c3a91bffffffffffffffff'
    """
    out = bytearray()
    _add(out, value)
    return bytes(out)


def each(batch: pa.RecordBatch) -> list[bytes]:
    """A map for each row, without what is missing."""
    return [packed(row) for row in trees.maps(batch)]


def listed(batch: pa.RecordBatch) -> bytes:
    """A list of maps."""
    return SELF_DESCRIBED + packed(trees.maps(batch))


def columns(batch: pa.RecordBatch) -> bytes:
    """Columns as typed arrays where they are numbers without a gap; as lists elsewhere."""
    return packed(trees.columns(batch))


def _add(out: bytearray, value: Any) -> None:  # noqa: ANN401
    if value is None:
        out.append(0xF6)
    elif value is True or value is False:
        out.append(0xF5 if value else 0xF4)
    elif isinstance(value, str):
        data = value.encode()
        _head(out, 3, len(data))
        out += data
    elif isinstance(value, int):
        _head(out, 0, value) if value >= 0 else _head(out, 1, -1 - value)
    elif isinstance(value, float):
        _float(out, value)
    elif isinstance(value, dict):
        _head(out, 5, len(value))
        for key, one in value.items():
            _add(out, key)
            _add(out, one)
    elif isinstance(value, bytes):
        _head(out, 2, len(value))
        out += value
    elif isinstance(value, trees.Numbers):
        data = value.values.tobytes()
        _head(out, 6, _TAGS[value.values.dtype.str[1:]])
        _head(out, 2, len(data))
        out += data
    else:
        _head(out, 4, len(value))
        for one in value:
            _add(out, one)


def _head(out: bytearray, major: int, argument: int) -> None:
    if argument < 24:
        out.append(major << 5 | argument)
        return
    size = 0 if argument < 1 << 8 else 1 if argument < 1 << 16 else 2 if argument < 1 << 32 else 3
    out.append(major << 5 | 24 + size)
    out += argument.to_bytes(1 << size, "big")


def _float(out: bytearray, value: float) -> None:
    try:
        short = struct.pack(">f", value)
    except OverflowError:
        short = b""
    if short and (struct.unpack(">f", short)[0] == value or value != value):  # noqa: PLR0124  # NaN
        out.append(0xFA)
        out += short
    else:
        out.append(0xFB)
        out += struct.pack(">d", value)


__all__ = ["SELF_DESCRIBED", "columns", "each", "listed", "packed"]
