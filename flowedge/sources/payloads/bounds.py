"""How much a payload may ask for, whatever its format; each bound holds before anything is made of it."""

import pyarrow as pa

LONGEST = 64 << 20
"""Bytes of a payload."""
DEEPEST = 8
"""Levels of lists and maps in a payload; what is declared needs four."""
MOST_VALUES = 1 << 18
"""Values in a payload, keys included: more have to come as columns of bytes."""
MOST_DIGITS = 1000
"""Characters of a number."""
TIMES, FREE = 16, 16 << 20
"""Rows may take so many times the bytes of their payload, and so many bytes besides."""


class PayloadError(ValueError):
    """Bytes that are no payload, or one beyond the bounds; where the next would begin is unknown."""


class CutShortError(PayloadError):
    """The payload goes on behind the bytes that are there."""


def check_size(payload: bytes) -> None:
    """Not longer than `LONGEST`, and not empty; raises PayloadError."""
    if len(payload) > LONGEST:
        raise too_long()
    if not payload:
        raise CutShortError("it is empty")


def too_long() -> PayloadError:
    """It has more than `LONGEST` bytes."""
    return PayloadError(f"it is longer than {LONGEST >> 20} MiB")


def too_many() -> PayloadError:
    """It has more than `MOST_VALUES` values."""
    return PayloadError(f"it has more than {MOST_VALUES} values; send columns as bytes")


def too_deep() -> PayloadError:
    """It has more levels than `DEEPEST`."""
    return PayloadError(f"it is nested more than {DEEPEST} deep")


def most_rows(size: int, width: int) -> int:
    """Rows that a payload of so many bytes may give.

    A row takes its whole width though most of its fields are absent: lists of empty maps, or one column of
    bytes among a hundred declared ones, would else cost a thousand times what they are.

    Parameters
    ----------
    size : of the payload [bytes]
    width : of a row, see `width_of` [bytes]
    """
    return (TIMES * size + FREE) // max(1, width)


def check_rows(rows: int, size: int, width: int) -> None:
    """Not more rows than `most_rows`; raises PayloadError."""
    if rows > most_rows(size, width):
        raise PayloadError(f"its {rows} rows would take {rows * width >> 20} MiB")


def width_of(schema: pa.Schema) -> int:
    """Bytes that a row of these fields takes at least."""
    return sum(_width(f.type) for f in schema)


def _width(kind: pa.DataType) -> int:
    if pa.types.is_fixed_size_list(kind):
        return kind.list_size * _width(kind.value_type)
    if pa.types.is_primitive(kind) and not pa.types.is_boolean(kind):
        return kind.bit_width // 8
    return 4 if not pa.types.is_boolean(kind) else 1
