"""JSON payloads: texts of RFC 8259, counted before they are parsed.

The standard library parses; it alone tells pairs one by one, so that a key that is there twice is seen
(orjson keeps the last one without a word).
"""

import json
import math
import re
from typing import Any, NoReturn

from flowedge.sources.payloads.bounds import (
    DEEPEST,
    MOST_DIGITS,
    MOST_VALUES,
    PayloadError,
    check_size,
    too_deep,
    too_many,
)
from flowedge.sources.payloads.msgpack import mapped

_BOM = "\ufeff"
_TOKEN = re.compile(r'"(?:[^"\\]++|\\.)*+"?|[,:\[\]{}]', re.DOTALL)
"""A text, or a sign outside of texts."""


def unpacked(payload: bytes) -> Any:  # noqa: ANN401
    """The value of a payload.

    Raises
    ------
    PayloadError : it is none, or beyond the bounds
    """
    check_size(payload)
    try:
        text = payload.decode().removeprefix(_BOM)
    except UnicodeDecodeError:
        raise PayloadError("a text is not UTF-8") from None
    _check(text)
    try:
        return _DECODER.decode(text)
    except json.JSONDecodeError as error:
        what = error.msg[:1].lower() + error.msg[1:].split(":")[0]
        raise PayloadError(f"it is no JSON at character {error.pos + 1}: {what}") from None


def _check(text: str) -> None:
    """Neither too many values nor too deep; raises PayloadError."""
    if len(text) <= MOST_VALUES and text.count("[") + text.count("{") <= DEEPEST:
        return
    depth = signs = texts = 0
    for token in _TOKEN.finditer(text):
        sign = token[0][0]
        if sign == '"':
            texts += 1  # each has a sign before it or behind, where this is JSON
            if texts > MOST_VALUES:
                raise too_many()
            continue
        if sign in "]}":
            depth -= 1
            continue
        signs += 1
        if signs > MOST_VALUES:
            raise too_many()
        if sign in "[{":
            depth += 1
            if depth > DEEPEST:
                raise too_deep()


def _whole(digits: str) -> int:
    _check_number(digits)
    return int(digits)


def _real(digits: str) -> float:
    _check_number(digits)
    value = float(digits)
    if math.isinf(value):
        raise PayloadError(f"the number {digits[:40]} does not fit into 64 bits")
    return value


def _check_number(digits: str) -> None:
    if len(digits) > MOST_DIGITS:
        raise PayloadError(f"a number has more than {MOST_DIGITS} characters")


def _constant(word: str) -> NoReturn:
    raise PayloadError(f"`{word}` is no value of JSON")


_DECODER = json.JSONDecoder(
    object_pairs_hook=mapped, parse_float=_real, parse_int=_whole, parse_constant=_constant
)

__all__ = ["unpacked"]
