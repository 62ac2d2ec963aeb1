"""Columns of a payload: bytes of the declared type, typed arrays, or lists; to arrays of the declared type."""

from typing import Any

import numpy as np
import pyarrow as pa

from flowedge.sources.payloads.bounds import PayloadError
from flowedge.sources.payloads.kernels.layout import F32_MOST
from flowedge.sources.payloads.values import MisfitError, described, value_of


def is_column(value: Any, kind: pa.DataType) -> bool:  # noqa: ANN401
    """Whether a value is that of many rows: bytes, or a list in which the declared type has none."""
    if isinstance(value, bytes):
        return not pa.types.is_binary(kind)
    if isinstance(value, np.ndarray):
        # As long as a value is, it is that value and a column of one row alike.
        return not pa.types.is_fixed_size_list(kind) or len(value) != kind.list_size
    if not isinstance(value, list):
        return False
    while pa.types.is_fixed_size_list(kind):
        if not value or not isinstance(value[0], list):
            return False
        value, kind = value[0], kind.value_type
    return True


def column_of(given: Any, kind: pa.DataType) -> pa.Array:  # noqa: ANN401
    """A column in the declared type.

    Parameters
    ----------
    given : bytes, little-endian, one value after the other; an array of numbers; or a list of values

    Raises
    ------
    PayloadError : it is none of them, or what it holds does not fit
    """
    if isinstance(given, list):
        return _from_list(given, kind)
    if not isinstance(given, bytes | np.ndarray) or pa.types.is_binary(kind):
        raise PayloadError("neither bytes nor a list")
    if pa.types.is_fixed_size_list(kind):
        values = column_of(given, kind.value_type)
        if len(values) % kind.list_size:
            raise PayloadError(f"{len(values)} values are not {kind.list_size} for each row")
        return pa.FixedSizeListArray.from_arrays(values, type=kind)
    return _from_bytes(given, kind) if isinstance(given, bytes) else _from_array(given, kind)


def array_of(values: list[Any], kind: pa.DataType) -> pa.Array:
    """Values that fit, see `value_of`, as an array."""
    if pa.types.is_timestamp(kind):
        return pa.array(values, pa.int64()).cast(kind)
    return pa.array(values, kind)


def _from_list(given: list[Any], kind: pa.DataType) -> pa.Array:
    """One value after the other, or all at once where they are numbers of one sort."""
    seen = set(map(type, given))
    seen.discard(type(None))
    try:
        if pa.types.is_floating(kind) and seen == {float}:
            return _narrowed(pa.array(given, pa.float64()), kind)
        if pa.types.is_integer(kind) and seen == {int}:
            return pa.array(given, kind)
    except (pa.ArrowException, OverflowError, PayloadError):
        pass  # one of them does not fit; which, is told below
    values = []
    for place, value in enumerate(given, 1):
        try:
            values.append(value_of(value, kind))
        except MisfitError as error:
            raise PayloadError(f"value {place} is not {error}") from None
    return array_of(values, kind)


def _from_bytes(given: bytes, kind: pa.DataType) -> pa.Array:
    if pa.types.is_boolean(kind):
        truth = np.frombuffer(given, np.uint8)
        if len(truth) and truth.max() > 1:
            raise PayloadError("a byte is neither 0 nor 1")
        return pa.array(truth.astype(np.bool_))
    if pa.types.is_timestamp(kind):
        return _instants(_numbers(given, "<i8"), kind)
    if not (pa.types.is_floating(kind) or pa.types.is_integer(kind)):
        raise PayloadError("texts come as a list")
    return pa.array(_numbers(given, np.dtype(kind.to_pandas_dtype()).newbyteorder("<")), kind)


def _numbers(given: bytes, dtype: Any) -> Any:  # noqa: ANN401
    size = np.dtype(dtype).itemsize
    if len(given) % size:
        raise PayloadError(f"{len(given)} bytes are no whole number of values of {size}")
    values = np.frombuffer(given, dtype)
    return values.astype(values.dtype.newbyteorder("="), copy=False)


def _instants(values: Any, kind: pa.TimestampType) -> pa.Array:  # noqa: ANN401
    # Floored to the unit, as single values are.
    per = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}[kind.unit]
    return pa.array(values if per == 1 else values // per, pa.int64()).cast(kind)


def _from_array(given: Any, kind: pa.DataType) -> pa.Array:  # noqa: ANN401
    """Numbers that say their own type: each has to fit, as it would alone."""
    values = given.astype(given.dtype.newbyteorder("="), copy=False)
    is_whole = values.dtype.kind in "iu"
    if pa.types.is_floating(kind):
        return _narrowed(pa.array(values.astype(np.float64)), kind)
    if is_whole and pa.types.is_integer(kind):
        try:
            return pa.array(values).cast(kind)
        except pa.ArrowInvalid:
            raise PayloadError(f"a value is not {described(kind)}") from None
    if is_whole and pa.types.is_timestamp(kind):
        if values.dtype == np.uint64 and len(values) and values.max() >= 2**63:
            raise PayloadError(f"a value is not {described(kind)}")
        return _instants(values.astype(np.int64), kind)
    raise PayloadError(f"numbers of {8 * values.dtype.itemsize} bits are not {described(kind)}")


def _narrowed(values: pa.Array, kind: pa.DataType) -> pa.Array:
    """Float64 in the declared width."""
    if kind.bit_width == 64:
        return values
    plain = np.abs(values.fill_null(0.0).to_numpy())
    if len(plain) and (plain[np.isfinite(plain)] > F32_MOST).any():
        raise PayloadError("a value is not a number that fits into 32 bits")
    with np.errstate(over="ignore"):
        return values.cast(kind, safe=False)


__all__ = ["array_of", "column_of", "is_column"]
