"""CBOR payloads: maps, lists, and numbers in arrays (RFC 8949 and RFC 8746).

Read by a decoder of our own, for no library bounds what it makes before it makes it, tells keys that are there
twice, and leaves alone the tags that mean code or shared values. It takes what `docs/payloads.md` lists.
"""

import struct
from fractions import Fraction
from typing import Any

import numpy as np
import pyarrow as pa

from flowedge.sources.payloads.bounds import (
    DEEPEST,
    MOST_VALUES,
    CutShortError,
    PayloadError,
    check_size,
    too_deep,
    too_many,
)
from flowedge.sources.payloads.msgpack import mapped
from flowedge.sources.payloads.values import Instant, MisfitError, Other, time_of

_BREAK = object()
_SELF_DESCRIBED = 55799
_MOST_BIGNUM = 128
"""Bytes of a bignum: 10^308, the largest that fits a float, has these."""
_FLOATS = {25: ">e", 26: ">f", 27: ">d"}
_SIMPLE = {20: False, 21: True, 22: None, 23: None}
_ARRAYS = {
    64: "u1", 65: ">u2", 66: ">u4", 67: ">u8", 68: "u1", 69: "<u2", 70: "<u4", 71: "<u8", 72: "i1", 73: ">i2", 74: ">i4", 75: ">i8",
    77: "<i2", 78: "<i4", 79: "<i8", 80: ">f2", 81: ">f4", 82: ">f8", 84: "<f2", 85: "<f4", 86: "<f8",
}  # fmt: skip
"""Tags of typed arrays by RFC 8746, 2.1; floats of 128 bits are not among them."""
_NS = pa.timestamp("ns", "UTC")


def unpacked(payload: bytes) -> Any:  # noqa: ANN401
    """The value of a payload.

    Raises
    ------
    PayloadError : it is none, or beyond the bounds
    """
    check_size(payload)
    reader = _Reader(payload)
    value = reader.value(0)
    if value is _BREAK:
        raise PayloadError("a break stands where nothing is open")
    if reader.at != len(payload):
        raise PayloadError("bytes follow the payload")
    return value


class _Reader:
    """Reads one data item after the other."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at, self.values = data, 0, 0

    def value(self, depth: int) -> Any:  # noqa: ANN401
        """The item here; `_BREAK` for the end of an indefinite one."""
        self.values += 1
        if self.values > MOST_VALUES:
            raise too_many()
        first = self._bytes(1)[0]
        major, info = first >> 5, first & 31
        if major == 7:
            return self._simple(info)
        count = self._argument(info)
        match major:
            case 0:
                return self._definite(count)
            case 1:
                return -1 - self._definite(count)
            case 2:
                return self._bytes(count) if count is not None else self._chunks(2)
            case 3:
                return self._text(self._bytes(count) if count is not None else self._chunks(3))
            case 6:
                if depth >= DEEPEST:
                    raise too_deep()
                return self._tagged(self._definite(count), depth + 1)
        if depth >= DEEPEST:
            raise too_deep()
        items = self._items(count, 1 if major == 4 else 2, depth + 1)
        return items if major == 4 else mapped(list(zip(items[::2], items[1::2], strict=True)))

    def _items(self, count: int | None, each: int, depth: int) -> list[Any]:
        """The items of a list, or keys and values of a map in turn."""
        out: list[Any] = []
        if count is not None:
            if self.values + each * count > MOST_VALUES:
                raise too_many()
            if each * count > len(self.data) - self.at:  # an item has a byte at least
                raise CutShortError("it is cut short")
        while count is None or len(out) < each * count:
            one = self.value(depth)
            if one is _BREAK:
                if count is not None or len(out) % each:
                    raise PayloadError("a break stands where none may")
                break
            out.append(one)
        return out

    def _argument(self, info: int) -> int | None:
        """The argument of a head, None where the item is indefinite."""
        if info < 24:
            return info
        if info == 31:
            return None
        if info > 27:
            raise PayloadError(f"byte {self.at} is no head of CBOR")
        return int.from_bytes(self._bytes(1 << info - 24), "big")

    def _definite(self, count: int | None) -> int:
        if count is None:
            raise PayloadError(f"byte {self.at} is no head of CBOR")
        return count

    def _bytes(self, count: int) -> bytes:
        end = self.at + count
        if end > len(self.data):
            raise CutShortError("it is cut short")
        out = self.data[self.at : end]
        self.at = end
        return out

    def _chunks(self, major: int) -> bytes:
        """The bytes of an indefinite string; each chunk of a text is UTF-8 by itself."""
        out: list[bytes] = []
        while True:
            self.values += 1
            if self.values > MOST_VALUES:
                raise too_many()
            first = self._bytes(1)[0]
            if first == 0xFF:
                return b"".join(out)
            if first >> 5 != major:
                raise PayloadError("a string has chunks of another kind")
            part = self._bytes(self._definite(self._argument(first & 31)))
            if major == 3:
                self._text(part)
            out.append(part)

    @staticmethod
    def _text(data: bytes) -> str:
        try:
            return data.decode()
        except UnicodeDecodeError:
            raise PayloadError("a text is not UTF-8") from None

    def _simple(self, info: int) -> Any:  # noqa: ANN401
        if info in _FLOATS:
            return struct.unpack(_FLOATS[info], self._bytes(1 << info - 24))[0]
        if info in _SIMPLE:
            return _SIMPLE[info]
        if info == 31:
            return _BREAK
        number = info
        if info == 24:
            number = self._bytes(1)[0]
            if number < 32:
                raise PayloadError(f"the simple value {number} takes two bytes, where it has one")
        elif info > 27:
            raise PayloadError(f"byte {self.at} is no head of CBOR")
        return Other(f"simple value {number}")

    def _tagged(self, tag: int, depth: int) -> Any:  # noqa: ANN401
        """What a tag makes of the item behind it."""
        value = self.value(depth)
        if value is _BREAK:
            raise PayloadError("a break stands where none may")
        if tag == _SELF_DESCRIBED:
            return value
        if tag == 0 and isinstance(value, str):
            try:
                return Instant(time_of(value, _NS))
            except MisfitError:
                raise PayloadError(f"the tag of a time stands before `{value[:40]}`") from None
        if tag == 1 and isinstance(value, int | float) and not isinstance(value, bool):
            return Instant(_nanoseconds(value))
        if tag in (2, 3) and isinstance(value, bytes):
            if len(value) > _MOST_BIGNUM:
                raise PayloadError(f"a number has {len(value)} bytes")
            number = int.from_bytes(value, "big")
            return number if tag == 2 else -1 - number
        if tag in _ARRAYS and isinstance(value, bytes):
            return _array(tag, value)
        if tag <= 3 or tag in _ARRAYS:
            raise PayloadError(f"the tag {tag} stands before what it does not go with")
        return Other(f"tag {tag}")


def _nanoseconds(seconds: float) -> int:
    """Seconds since 1970 in ns, to the nearest."""
    try:
        return round(Fraction(seconds) * 10**9)
    except (ValueError, OverflowError):
        raise PayloadError("a time is not finite") from None


def _array(tag: int, data: bytes) -> Any:  # noqa: ANN401
    dtype = np.dtype(_ARRAYS[tag])
    if len(data) % dtype.itemsize:
        raise PayloadError(f"{len(data)} bytes are no whole number of values of {dtype.itemsize}")
    return np.frombuffer(data, dtype)


__all__ = ["unpacked"]
