"""Values of EdgeX readings: their text, by the value type, as a value of Python."""

import base64
import binascii
import json
import re
from typing import Any

import pyarrow as pa

from flowedge.sources.edgex_envelopes import Reading
from flowedge.sources.payloads.values import MisfitError, value_of

_WHOLE = re.compile(r"[+-]?[0-9]{1,20}")
_FLOAT = re.compile(
    r"[+-]?(?:(?:[0-9]{1,400}\.?[0-9]{0,400}|\.[0-9]{1,400})(?:e[+-]?[0-9]{1,4})?|inf|infinity|nan)", re.IGNORECASE
)  # fmt: skip
_TRUTH = {"true": True, "t": True, "1": True, "false": False, "f": False, "0": False}
_RANGES = {
    **{f"int{b}": (-(1 << b - 1), (1 << b - 1) - 1) for b in (8, 16, 32, 64)},
    **{f"uint{b}": (0, (1 << b) - 1) for b in (8, 16, 32, 64)},
}
_SCALARS = frozenset({"bool", "string", "float32", "float64", *_RANGES})
_ARRAYS = {f"{kind}array": kind for kind in _SCALARS}


def value(reading: Reading) -> Any:  # noqa: ANN401
    """What a reading says: truth, number, text, bytes, a list or a map; None: nothing.

    Raises
    ------
    MisfitError : it is not what its value type says

    Examples
    --------
    >>> made = lambda kind, value: Reading("d", "p", "s", "r", 1, kind, value, None, {})
    >>> value(made("float32", "2.35e+01")), value(made("uint64", "18446744073709551615")), value(made("int16array", "[1, -2]"))
    (23.5, 18446744073709551615, [1, -2])
    """
    kind, given = reading.kind, reading.value
    if given is None:
        return None
    if kind in _SCALARS:
        return _scalar(kind, given)
    if kind in _ARRAYS:
        return [_scalar(_ARRAYS[kind], one) for one in _elements(kind, given)]
    if kind == "binary":
        return _bytes(given)
    if kind in ("object", "objectarray"):
        return given
    raise MisfitError(f"of a value type that EdgeX has: `{kind[:40]}`")


def fitted(reading: Reading, kind: pa.DataType) -> Any:  # noqa: ANN401
    """The value as a declared type takes it: a number as it was written, lists and maps as JSON, where that is a text.

    Raises
    ------
    MisfitError : it does not fit
    """
    found = value(reading)
    if found is None:
        return None
    if pa.types.is_string(kind):
        return as_text(reading, found)
    if pa.types.is_timestamp(kind) and not isinstance(found, str | int):
        raise MisfitError("a time")
    return value_of(found, kind)


def as_text(reading: Reading, found: Any) -> str | None:  # noqa: ANN401
    """The value as text; None of bytes."""
    if isinstance(found, str):
        return found
    if isinstance(found, bytes):
        return None
    if isinstance(found, list | dict):
        return json.dumps(found, ensure_ascii=False, separators=(",", ":"), default=str)
    return reading.value if isinstance(reading.value, str) else json.dumps(found)


def _scalar(kind: str, given: Any) -> Any:  # noqa: ANN401
    if kind == "string":
        if isinstance(given, str):
            return given
    elif kind == "bool":
        if isinstance(given, bool):
            return given
        if isinstance(given, str) and given.lower() in _TRUTH:
            return _TRUTH[given.lower()]
    elif kind in _RANGES:
        least, most = _RANGES[kind]
        if isinstance(given, str) and _WHOLE.fullmatch(given):
            given = int(given)
        if isinstance(given, float) and given.is_integer():
            given = int(given)
        if isinstance(given, int) and not isinstance(given, bool) and least <= given <= most:
            return given
    elif isinstance(given, int | float) and not isinstance(given, bool):
        return value_of(given, pa.float64())
    elif isinstance(given, str) and _FLOAT.fullmatch(given):
        return float(given)
    raise MisfitError(f"of the value type {kind}")


def _elements(kind: str, given: Any) -> list[Any]:  # noqa: ANN401
    """An array is one text: JSON of texts, and of numbers a list that may hold NaN, its elements quoted or not."""
    if isinstance(given, list):
        return given
    text = given.strip() if isinstance(given, str) else ""
    if not (text.startswith("[") and text.endswith("]")):
        raise MisfitError(f"of the value type {kind}")
    if kind == "stringarray":
        try:
            found = json.loads(text)
        except (ValueError, RecursionError):
            raise MisfitError("of the value type stringarray") from None
        assert isinstance(found, list)
        return found
    inner = text[1:-1].strip()
    return [part.strip().strip('"') for part in inner.split(",")] if inner else []


def _bytes(given: Any) -> bytes:  # noqa: ANN401
    if isinstance(given, bytes):
        return given
    if isinstance(given, str):
        try:
            return base64.b64decode(given, validate=True)
        except (binascii.Error, ValueError):
            pass
    raise MisfitError("of the value type binary")


__all__ = ["as_text", "fitted", "value"]
