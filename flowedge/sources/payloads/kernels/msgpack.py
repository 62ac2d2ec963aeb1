"""Readings of msgpack, see https://github.com/msgpack/msgpack/blob/master/spec.md."""

from flowedge.compile.memory import f32, half, i64, real, set_i64, set_u8, set_u32, swap, u8, word
from flowedge.compile.program import DONE, GROW
from flowedge.sources.payloads.kernels.fields import (
    begin,
    end,
    field_of,
    is_new,
    put,
    put_text,
    store,
)
from flowedge.sources.payloads.kernels.layout import (
    BOOLEAN,
    FULL,
    GIVEN_UP,
    HUGE,
    IS_AUTO,
    KIND,
    MESSAGE,
    MESSAGES,
    NOTHING,
    REAL,
    ROOM,
    ROW,
    SCRATCH,
    SEEN,
    SIZE,
    STRANGE,
    STRANGER,
    VALID,
    VALUES,
    WHOLE,
)
from flowedge.sources.payloads.kernels.messages import place_of, settle
from flowedge.sources.payloads.kernels.texts import is_utf8


def msgpack_messages(ctx: int) -> int:
    """Write the rows of the messages from `MESSAGE` on; `GROW` where they have no room."""
    for message in range(i64(ctx, MESSAGE), i64(ctx, MESSAGES)):
        at, stop, most = place_of(ctx, message)
        if most > 0 and (i64(ctx, IS_AUTO) == 0 or is_msgpack(u8(at, 0))):
            rows = rows_of(ctx, at, stop, i64(ctx, ROW), most)
            if rows == FULL:
                return GROW
            settle(ctx, message, rows)
    return DONE


def is_msgpack(first: int) -> bool:
    """Whether a payload that begins with this byte is msgpack, see `formats.format_of`."""
    return (first >= 0x80 and first <= 0x9F) or (first >= 0xDC and first <= 0xDF)


def rows_of(ctx: int, at: int, stop: int, row: int, most: int) -> int:
    """Write the readings of a payload from row `row` on.

    Parameters
    ----------
    at, stop : addresses where it begins and ends
    most : rows that it may give

    Returns
    -------
    int
        how many, `GIVEN_UP` or `FULL`
    """
    items, at = head(at, stop, 0x90, 0xDC)
    if items < 0:
        items = 1
    else:
        set_i64(ctx, VALUES, 1)
    if items > most or items > stop - at:
        return GIVEN_UP
    if row + items > i64(ctx, ROOM):
        return FULL
    for k in range(items):
        at = reading(ctx, at, stop, row + k)
        if at < 0:
            return GIVEN_UP
    return items if at == stop else GIVEN_UP


def head(at: int, stop: int, small: int, large: int) -> tuple[int, int]:
    """How many items the list (or pairs the map) here has, -1 for anything else; and what is behind its head."""
    if at >= stop:
        return -1, at
    first = u8(at, 0)
    if first & 0xF0 == small:
        return first & 15, at + 1
    if first == large and at + 3 <= stop:
        return (u8(at, 1) << 8) | u8(at, 2), at + 3
    if first == large + 1 and at + 5 <= stop:
        return (swap(word(at + 1)) >> 32) & 0xFFFFFFFF, at + 5
    return -1, at


def string(at: int, stop: int) -> tuple[int, int]:
    """How long the text here is, -1 for anything else; and where its bytes begin. It ends within the payload."""
    if at >= stop:
        return -1, at
    first = u8(at, 0)
    size = -1
    if first & 0xE0 == 0xA0:
        size = first & 31
        at += 1
    elif first == 0xD9 and at + 2 <= stop:
        size = u8(at, 1)
        at += 2
    elif first == 0xDA and at + 3 <= stop:
        size = (u8(at, 1) << 8) | u8(at, 2)
        at += 3
    if size > stop - at:
        size = -1
    return size, at


def reading(ctx: int, at: int, stop: int, row: int) -> int:
    """Write a reading to a row; what is behind it, or `GIVEN_UP`."""
    pairs, at = head(at, stop, 0x80, 0xDE)
    if pairs < 0 or pairs > stop - at:
        return GIVEN_UP
    serial = begin(ctx)
    found = 0
    for place in range(pairs):
        size, key = string(at, stop)
        if size < 0:
            return GIVEN_UP
        at = key + size
        record = field_of(ctx, key, size, place)
        if record == 0:
            if not is_new(ctx, key, size, place - found):
                return GIVEN_UP
            at = passed(ctx, at, stop)
        else:
            if i64(record, SEEN) == serial:
                return GIVEN_UP
            set_i64(record, SEEN, serial)
            found += 1
            at = value(ctx, record, at, stop, row)
        if at < 0:
            return GIVEN_UP
    end(ctx, row, serial, found)
    set_i64(ctx, VALUES, i64(ctx, VALUES) + 1 + 2 * pairs)
    return at


def value(ctx: int, record: int, at: int, stop: int, row: int) -> int:
    """Write the value of a field; what is behind it, or `GIVEN_UP`."""
    size = i64(record, SIZE)
    if size > 0 and at < stop and u8(at, 0) != 0xC0:
        items, at = head(at, stop, 0x90, 0xDC)
        if items != size or i64(record, KIND) == STRANGE:
            return GIVEN_UP
        for k in range(size):
            what, at, whole, number = scalar(ctx, at, stop)
            if what == STRANGER or not store(record, size * row + k, what, whole, number):
                return GIVEN_UP
        set_u8(i64(record, VALID), row, 1)
        set_i64(ctx, VALUES, i64(ctx, VALUES) + size)
        return at
    what, behind, whole, number = scalar(ctx, at, stop)
    if what != STRANGER:
        return behind if put(record, row, what, whole, number) else GIVEN_UP
    length, begins = string(at, stop)
    if length < 0 or not put_text(record, row, begins, length):
        return GIVEN_UP
    return begins + length


def passed(ctx: int, at: int, stop: int) -> int:
    """What is behind a value that nobody wants, or `GIVEN_UP`."""
    what, behind, _, _ = scalar(ctx, at, stop)
    if what != STRANGER:
        return behind
    size, begins = string(at, stop)
    if size >= 0:
        return begins + size if is_utf8(begins, size) else GIVEN_UP
    items, at = head(at, stop, 0x90, 0xDC)
    if items < 0 or items > stop - at:
        return GIVEN_UP
    for _k in range(items):
        what, at, _, _ = scalar(ctx, at, stop)
        if what == STRANGER:
            return GIVEN_UP
    set_i64(ctx, VALUES, i64(ctx, VALUES) + items)
    return at


def scalar(ctx: int, at: int, stop: int) -> tuple[int, int, int, float]:
    """A number, truth or nothing: which, what is behind it, and its value; `STRANGER` for anything else."""
    if at >= stop:
        return STRANGER, at, 0, 0.0
    first = u8(at, 0)
    if first < 0x80:
        return WHOLE, at + 1, first, 0.0
    if first >= 0xE0:
        return WHOLE, at + 1, first - 256, 0.0
    if first < 0xC0 or first > 0xD3:
        return STRANGER, at, 0, 0.0
    if first == 0xCB and at + 9 <= stop:
        return REAL, at + 9, 0, real(swap(word(at + 1)))
    if first == 0xCA and at + 5 <= stop:
        scratch = i64(ctx, SCRATCH)
        set_u32(scratch, 0, swap(half(at + 1)) >> 32)
        return REAL, at + 5, 0, f32(scratch, 0)
    if first == 0xC0:
        return NOTHING, at + 1, 0, 0.0
    if first & 0xFE == 0xC2:
        return BOOLEAN, at + 1, first & 1, 0.0
    if first < 0xCC:
        return STRANGER, at, 0, 0.0
    width = 1 << (first & 3)
    if at + 1 + width > stop:
        return STRANGER, at, 0, 0.0
    bits = swap(word(at + 1))
    if width == 8:
        return HUGE if first == 0xCF and bits < 0 else WHOLE, at + 9, bits, 0.0
    whole = bits >> 64 - 8 * width
    if first < 0xD0:
        whole &= (1 << 8 * width) - 1
    return WHOLE, at + 1 + width, whole, 0.0


__all__ = ["msgpack_messages"]
