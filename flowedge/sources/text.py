"""Text to values: whole columns at once, and which cells would not go."""

import math
import re

import numpy as np
import pyarrow as pa

from flowedge.types.compute import pc

_ZONE = re.compile(r"[T ]\d\d.*(Z|[+-]\d\d:?\d\d)$")
_WORDS = {
    "timestamp": "a time", "string": "text", "bool": "true or false", "double": "a number",
    "float": "a number", "halffloat": "a number",
}  # fmt: skip


class TooManyError(Exception):
    """More cells would not go than the caller wants to hear of: each takes some 100 µs to find."""


def convert(
    cells: pa.Array,
    kind: pa.DataType,
    *,
    time_format: str = "",
    decimal: str = ".",
    most: int | None = None,
) -> tuple[pa.Array, list[int]]:
    """Cells of text or bytes as values of a type.

    Parameters
    ----------
    cells : strings or bytes; null is missing
    kind : what they become; times are read as ISO 8601, with or without a zone
    time_format : of `strptime`, in the place of ISO 8601
    decimal : the sign between whole and fraction
    most : cells that may not go; None: any number

    Returns
    -------
    values : of the type `kind`; null where the cell is missing or would not go
    bad : places of the cells that would not go, in order

    Raises
    ------
    TooManyError : more than `most`
    """
    bad: list[int] = []

    def go(part: pa.Array, at: int) -> list[pa.Array]:
        """Convert a stretch; halve it until the cells that would not go stand alone."""
        try:
            return [_cast(part, kind, time_format, decimal)]
        except (pa.ArrowException, ValueError):
            if len(part) == 1:
                bad.append(at)
                if most is not None and len(bad) > most:
                    raise TooManyError from None
                return [pa.nulls(1, kind)]
        middle = len(part) // 2
        return go(part.slice(0, middle), at) + go(part.slice(middle), at + middle)

    if len(cells) == 0:
        return pa.array([], kind), bad
    return pa.concat_arrays(go(cells, 0)), bad


def _cast(cells: pa.Array, kind: pa.DataType, time_format: str, decimal: str) -> pa.Array:
    if pa.types.is_binary(kind):
        return cells.cast(pa.binary())
    text = cells.cast(pa.string())  # checks UTF-8
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return text.cast(kind)
    text = pc.utf8_trim_whitespace(text)
    if pa.types.is_timestamp(kind):
        return _times(text, kind, time_format)
    if decimal != ".":
        text = pc.replace_substring(text, decimal, ".")
    if pa.types.is_dictionary(kind):
        return text.dictionary_encode().cast(kind)
    if pa.types.is_boolean(kind):
        text = pc.utf8_lower(text)
    if pa.types.is_float16(kind):
        return text.cast(pa.float32()).cast(kind)
    return text.cast(kind)


def _times(text: pa.Array, kind: pa.TimestampType, time_format: str) -> pa.Array:
    """Times with a zone become UTC; times without one stay as they stand."""
    naive = pa.timestamp(kind.unit)
    if time_format:
        return pc.strptime(text, time_format, kind.unit).cast(kind)
    first = next((t for t in text.slice(0, 64).to_pylist() if t), "")
    orders = [naive, pa.timestamp(kind.unit, "UTC")]
    if _ZONE.search(first):  # a cast that fails costs ten times one that does not
        orders.reverse()
    try:
        return text.cast(orders[0]).cast(kind)
    except pa.ArrowInvalid:
        return text.cast(orders[1]).cast(kind)


def noun(kind: pa.DataType) -> str:
    """A type in words: "a number", "a whole number"."""
    if pa.types.is_integer(kind):
        return f"a whole number that fits into {kind}"
    if pa.types.is_timestamp(kind):
        return _WORDS["timestamp"]
    return _WORDS.get(str(kind), str(kind))


def nearest(cell: str | bytes, kind: pa.DataType) -> int | None:
    """The whole number of a type that is nearest to what a text says; None where it says no number."""
    try:
        value = float(cell)
    except ValueError:
        return None
    if math.isnan(value):
        return None
    bits = kind.bit_width
    is_signed = pa.types.is_signed_integer(kind)
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if is_signed else (0, 2**bits - 1)
    if math.isinf(value):
        return high if value > 0 else low
    return max(low, min(high, round(value)))


def with_nearest(
    values: pa.Array, cells: pa.Array, bad: list[int], policy: str
) -> tuple[pa.Array, int]:
    """Values with the nearest that the type holds where a cell would not go; and how many those are."""
    if policy != "clamp" or not pa.types.is_integer(values.type):
        return values, 0
    found = {
        place: near
        for place in bad
        if (near := nearest(cells[place].as_py(), values.type)) is not None
    }
    if not found:
        return values, 0
    mask = np.zeros(len(values), bool)
    mask[list(found)] = True
    return pc.replace_with_mask(
        values, pa.array(mask), pa.array([found[p] for p in sorted(found)], values.type)
    ), len(found)


def as_written(cells: pa.Array) -> pa.Array:
    """Cells that were read as Latin-1, as the bytes that stand in the file."""
    ascii_only = pc.fill_null(pc.string_is_ascii(cells.cast(pa.string())), fill_value=True)
    if pc.all(ascii_only).as_py() is not False:
        return cells
    decoded = (None if c is None else c.decode().encode("latin-1") for c in cells.to_pylist())
    return pa.array(decoded, pa.binary())


def nulls_where(cells: pa.Array, texts: tuple[str, ...]) -> pa.Array:
    """Missing where the cell is one of these texts."""
    known = pa.array([t.encode() for t in texts], pa.binary()).cast(cells.type)
    return pc.if_else(pc.is_in(cells, known), pa.scalar(None, cells.type), cells)


def row_number(place: int, ragged: list[int]) -> int:
    """The number in the file, from 1, of a well-formed row, given those that are not."""
    number = place + 1
    for bad in ragged:
        if bad <= number:
            number += 1
    return number
