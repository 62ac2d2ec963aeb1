"""A value as a declared type takes it, or why it does not fit; the same for all formats that have values."""

import math
from dataclasses import dataclass
from typing import Any

import msgpack
import numpy as np
import pyarrow as pa

from flowedge.sources.payloads.kernels.layout import F32_MOST
from flowedge.sources.text import convert, nearest, noun

_PER_S = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


class MisfitError(ValueError):
    """A value that the declared type does not hold; says what it is not."""


@dataclass(frozen=True, slots=True)
class Instant:
    """A time that the format itself knows as one [ns since 1970, UTC]."""

    ns: int


@dataclass(frozen=True, slots=True)
class Other:
    """A value of a kind that no declared type takes: harmless where nothing is declared."""

    told: str

    def __repr__(self) -> str:
        """As a quarantined reading shows it."""
        return f"<{self.told}>"


def described(kind: pa.DataType) -> str:
    """A type in words: "a number", "a list of 3, each a number"."""
    if pa.types.is_fixed_size_list(kind):
        return f"a list of {kind.list_size}, each {described(kind.value_type)}"
    return "bytes" if pa.types.is_binary(kind) else noun(kind)


def value_of(value: Any, kind: pa.DataType) -> Any:  # noqa: ANN401
    """A value as the declared type takes it; None is missing.

    Raises
    ------
    MisfitError : it does not fit
    """
    if value is None:
        return None
    if pa.types.is_fixed_size_list(kind):
        if isinstance(value, np.ndarray):
            value = value.tolist()
        if not isinstance(value, list) or len(value) != kind.list_size:
            raise MisfitError(described(kind))
        try:
            return [value_of(v, kind.value_type) for v in value]
        except MisfitError as error:
            raise MisfitError(f"a list of {kind.list_size}, each {error}") from None
    if pa.types.is_timestamp(kind):
        return time_of(value, kind)
    if pa.types.is_boolean(kind):
        if isinstance(value, bool):
            return value
    elif pa.types.is_floating(kind):
        if isinstance(value, int | float) and not isinstance(value, bool):
            return _float(value, kind)
    elif pa.types.is_integer(kind):
        if isinstance(value, int) and not isinstance(value, bool):
            least, most = limits(kind)
            if least <= value <= most:
                return value
    elif pa.types.is_binary(kind):
        if isinstance(value, bytes):
            return value
    elif isinstance(value, str):
        return _text(value)
    raise MisfitError(described(kind))


def nearest_of(value: Any, kind: pa.DataType) -> int | None:  # noqa: ANN401
    """The whole number of a type that is nearest to a value; None where there is none."""
    if not pa.types.is_integer(kind) or isinstance(value, bool):
        return None
    return nearest(str(value)[:400], kind) if isinstance(value, int | float | str) else None


def limits(kind: pa.DataType) -> tuple[int, int]:
    """The smallest and the largest whole number of a type."""
    bits = kind.bit_width
    if pa.types.is_signed_integer(kind):
        return -(1 << bits - 1), (1 << bits - 1) - 1
    return 0, (1 << bits) - 1


def _float(value: float, kind: pa.DataType) -> float:
    try:
        number = float(value)
    except OverflowError:
        raise MisfitError("a number that fits into 64 bits") from None
    if kind.bit_width < 64 and math.isfinite(number) and abs(number) > F32_MOST:
        raise MisfitError("a number that fits into 32 bits")
    return number


def _text(value: str) -> str:
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:  # half of a surrogate pair, which JSON can write
            raise MisfitError("text of whole characters") from None
    return value


def time_of(value: Any, kind: pa.TimestampType) -> int:  # noqa: ANN401
    """An instant [units of the type since 1970]: whole ns, a time of the format, or ISO 8601 text.

    Raises
    ------
    MisfitError : it is none, or lies outside the years 1677 to 2262
    """
    if isinstance(value, str):
        try:
            found, bad = convert(pa.array([value]), kind)
        except UnicodeEncodeError:
            raise MisfitError(described(kind)) from None
        if bad or not found[0].is_valid:
            raise MisfitError(described(kind))
        return int(found.cast(pa.int64())[0].as_py())
    if isinstance(value, msgpack.Timestamp):
        value = value.to_unix_nano()
    elif isinstance(value, Instant):
        value = value.ns
    if isinstance(value, bool) or not isinstance(value, int) or not -(2**63) <= value < 2**63:
        raise MisfitError(described(kind))
    return value // (10**9 // _PER_S[kind.unit])
