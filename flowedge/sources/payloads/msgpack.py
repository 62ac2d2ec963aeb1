"""msgpack payloads: walked without making anything of them, then unpacked.

msgpack by itself turns 1 MiB into 68 MB of empty lists, and keeps one of two equal keys without a word.

References
----------
The specification: https://github.com/msgpack/msgpack/blob/master/spec.md
"""

from typing import Any, NoReturn

import msgpack

from flowedge.sources.payloads.bounds import (
    DEEPEST,
    LONGEST,
    MOST_VALUES,
    CutShortError,
    PayloadError,
    too_deep,
    too_long,
    too_many,
)


def _heads() -> list[tuple[int, int, int]]:
    """For each first byte: bytes of its length field, bytes that follow (-1: none such), items a count."""
    out = [(0, 0, 0)] * 256
    for first in range(0xA0, 0xC0):
        out[first] = (0, first & 31, 0)
    for first in range(0x80, 0xA0):
        out[first] = (0, 0, (first & 15) * (2 if first < 0x90 else 1))
    out[0xC1] = (0, -1, 0)
    for first, width in ((0xC4, 1), (0xC5, 2), (0xC6, 4), (0xD9, 1), (0xDA, 2), (0xDB, 4)):
        out[first] = (width, 0, 0)
    for first, width in ((0xC7, 1), (0xC8, 2), (0xC9, 4)):
        out[first] = (width, 1, 0)  # one byte for the type of the extension
    for first, width in zip(range(0xCA, 0xD4), (4, 8, 1, 2, 4, 8, 1, 2, 4, 8), strict=True):
        out[first] = (0, width, 0)
    for first, width in zip(range(0xD4, 0xD9), (1, 2, 4, 8, 16), strict=True):
        out[first] = (0, width + 1, 0)
    for first, width, items in ((0xDC, 2, 1), (0xDD, 4, 1), (0xDE, 2, 2), (0xDF, 4, 2)):
        out[first] = (width, 0, items)
    return out


_HEADS = _heads()


def end_of(data: bytes | bytearray | memoryview, at: int = 0) -> int:
    """Where the payload that begins at `at` ends; nothing of it is unpacked.

    Raises
    ------
    CutShortError : the bytes end before it does
    PayloadError : a byte that begins no value, or more than `LONGEST`, `DEEPEST` or `MOST_VALUES` allow
    """
    begin, size = at, len(data)
    open_: list[int] = []
    """Items still to come of each list or map around this place."""
    values = 0
    while True:
        if at >= size:
            raise CutShortError("it is cut short")
        first = data[at]
        width, more, items = _HEADS[first]
        at += 1
        if more < 0:
            raise PayloadError(f"byte {at} is 0xc1, which begins no value of msgpack")
        if width:
            if at + width > size:
                raise CutShortError("it is cut short")
            count = int.from_bytes(data[at : at + width], "big")
            at += width
            if items:
                items *= count
            else:
                more += count
        at += more
        values += 1
        if at - begin > LONGEST:
            raise too_long()
        if values + items > MOST_VALUES:
            raise too_many()
        if items:
            open_.append(items)
            if len(open_) > DEEPEST:
                raise too_deep()
            continue
        while open_:
            open_[-1] -= 1
            if open_[-1]:
                break
            open_.pop()
        if not open_:
            if at > size:
                raise CutShortError("it is cut short")
            return at


def unpacked(payload: bytes) -> Any:  # noqa: ANN401
    """The value of a payload.

    Raises
    ------
    PayloadError : it is none, or beyond the bounds
    """
    if end_of(payload) != len(payload):
        raise PayloadError("bytes follow the payload")
    try:
        return msgpack.unpackb(
            payload, object_pairs_hook=mapped, ext_hook=_refuse, timestamp=0, strict_map_key=False,
            max_str_len=LONGEST, max_bin_len=LONGEST, max_ext_len=16, max_array_len=MOST_VALUES,
            max_map_len=MOST_VALUES,
        )  # fmt: skip
    except PayloadError:
        raise
    except UnicodeDecodeError:
        raise PayloadError("a text is not UTF-8") from None
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise PayloadError(str(error) or "it is no msgpack") from None


def mapped(pairs: list[tuple[Any, Any]]) -> dict[str, Any]:
    """A map of its pairs; raises PayloadError where a key is no text, or there twice."""
    out: dict[str, Any] = {}
    for key, value in pairs:
        if not isinstance(key, str):
            raise PayloadError("a key of a map is not text")
        if key in out:
            raise PayloadError(f"the key `{key[:40]}` is there twice")
        out[key] = value
    return out


def _refuse(code: int, data: bytes) -> NoReturn:
    raise PayloadError(f"extension type {code} of {len(data)} bytes")


__all__ = ["end_of", "mapped", "unpacked"]
