"""Readings of JSON (RFC 8259): texts without escapes, numbers of up to 19 digits, no maps in maps.

A zero byte stands behind each payload, at which everything here stops by itself.
"""

import math

from flowedge.compile.memory import i64, set_i64, set_u8, u8, word, wrap
from flowedge.compile.program import DONE, GROW
from flowedge.sources.payloads.kernels.decimal import nearest
from flowedge.sources.payloads.kernels.fields import (
    begin,
    end,
    expected,
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
    IS_AUTO,
    KIND,
    LENGTH,
    MESSAGE,
    MESSAGES,
    NOTHING,
    POWERS,
    REAL,
    ROOM,
    ROW,
    SEEN,
    SIZE,
    STRANGE,
    STRANGER,
    VALID,
    VALUES,
    WHOLE,
)
from flowedge.sources.payloads.kernels.messages import place_of, settle

_QUOTE, _COMMA, _COLON, _OPEN, _CLOSE, _MAP, _END = 34, 44, 58, 91, 93, 123, 125
_BLANKS = 1 << 32 | 1 << 13 | 1 << 10 | 1 << 9
_FALSE = int.from_bytes(b"false"[:4], "little")
_TRUE = int.from_bytes(b"true", "little")
_NULL = int.from_bytes(b"null", "little")
_MOST_DIGITS = 19
_MOST_CHARACTERS = 64
_MOST_WHOLE = 2**63 - 1
_UPPER, _LOWER = -0x0F0F0F0F0F0F0F10, 0x0F0F0F0F0F0F0F0F
"""The upper and the lower four bits of each of eight bytes."""
_SIXES, _THREES = 0x0606060606060606, 0x3333333333333333


def blank(at: int) -> int:
    """The first byte that is no blank."""
    first = u8(at, 0)
    while first <= 32 and (_BLANKS >> first) & 1:
        at += 1
        first = u8(at, 0)
    return at


def json_messages(ctx: int) -> int:
    """Write the rows of the messages from `MESSAGE` on; `GROW` where they have no room."""
    for message in range(i64(ctx, MESSAGE), i64(ctx, MESSAGES)):
        at, stop, most = place_of(ctx, message)
        if most > 0 and (i64(ctx, IS_AUTO) == 0 or u8(at, 0) == _MAP or u8(at, 0) == _OPEN):
            rows = rows_of(ctx, at, stop, i64(ctx, ROW), most)
            if rows == FULL:
                return GROW
            settle(ctx, message, rows)
    return DONE


def rows_of(ctx: int, at: int, stop: int, row: int, most: int) -> int:
    """Write the readings of a payload from row `row` on; how many, `GIVEN_UP` or `FULL`.

    Parameters
    ----------
    at, stop : addresses where it begins and ends
    most : rows that it may give
    """
    at = blank(at)
    is_list = u8(at, 0) == _OPEN
    if is_list:
        at = blank(at + 1)
    room = i64(ctx, ROOM) - row
    rows = 0
    while u8(at, 0) == _MAP:
        if rows >= room:
            return FULL
        if rows >= most:
            return GIVEN_UP
        at = reading(ctx, at, row + rows)
        if at < 0:
            return GIVEN_UP
        rows += 1
        at = blank(at)
        if not is_list or u8(at, 0) != _COMMA:
            break
        at = blank(at + 1)
        if u8(at, 0) != _MAP:
            return GIVEN_UP
    if is_list:
        if u8(at, 0) != _CLOSE:
            return GIVEN_UP
        at = blank(at + 1)
    elif rows == 0:
        return GIVEN_UP
    set_i64(ctx, VALUES, i64(ctx, VALUES) + 1 + rows)
    return rows if at == stop else GIVEN_UP


def reading(ctx: int, at: int, row: int) -> int:
    """Write the map here to a row; what is behind it, or `GIVEN_UP`."""
    serial = begin(ctx)
    found = 0
    place = 0
    at = blank(at + 1)
    while u8(at, 0) == _QUOTE:
        key = at + 1
        record = expected(ctx, key, place)
        if record != 0:
            size = i64(record, LENGTH)
        else:
            size = length(key)
            if size < 0:
                return GIVEN_UP
            record = field_of(ctx, key, size, place)
        at = blank(key + size + 1)
        if u8(at, 0) != _COLON:
            return GIVEN_UP
        at = blank(at + 1)
        if record == 0:
            if not is_new(ctx, key, size, place - found):
                return GIVEN_UP
            at = passed(ctx, at)
        else:
            if i64(record, SEEN) == serial:
                return GIVEN_UP
            set_i64(record, SEEN, serial)
            found += 1
            at = value(ctx, record, at, row)
        if at < 0:
            return GIVEN_UP
        place += 1
        at = blank(at)
        if u8(at, 0) != _COMMA:
            break
        at = blank(at + 1)
        if u8(at, 0) != _QUOTE:
            return GIVEN_UP
    if u8(at, 0) != _END:
        return GIVEN_UP
    end(ctx, row, serial, found)
    set_i64(ctx, VALUES, i64(ctx, VALUES) + 1 + 2 * place)
    return at + 1


def length(at: int) -> int:
    """Bytes up to the quotation mark; -1 where an escape or a control character comes before."""
    size = 0
    first = u8(at, 0)
    while first != _QUOTE:
        if first < 32 or first == 92:
            return -1
        size += 1
        first = u8(at, size)
    return size


def value(ctx: int, record: int, at: int, row: int) -> int:
    """Write the value of a field; what is behind it, or `GIVEN_UP`."""
    first = u8(at, 0)
    if first == _QUOTE:
        size = length(at + 1)
        if size < 0 or i64(record, SIZE) > 0 or not put_text(record, row, at + 1, size):
            return GIVEN_UP
        return at + size + 2
    items = i64(record, SIZE)
    if first == _OPEN:
        if items == 0 or i64(record, KIND) == STRANGE:
            return GIVEN_UP
        for k in range(items):
            if u8(at, 0) != (_OPEN if k == 0 else _COMMA):
                return GIVEN_UP
            what, at, whole, number = scalar(ctx, blank(at + 1))
            if what == STRANGER or not store(record, items * row + k, what, whole, number):
                return GIVEN_UP
            at = blank(at)
        if u8(at, 0) != _CLOSE:
            return GIVEN_UP
        set_u8(i64(record, VALID), row, 1)
        set_i64(ctx, VALUES, i64(ctx, VALUES) + items)
        return at + 1
    what, at, whole, number = scalar(ctx, at)
    if what == STRANGER or (items > 0 and what != NOTHING):
        return GIVEN_UP
    return at if put(record, row, what, whole, number) else GIVEN_UP


def passed(ctx: int, at: int) -> int:
    """What is behind a value that nobody wants, or `GIVEN_UP`."""
    first = u8(at, 0)
    if first == _QUOTE:
        size = length(at + 1)
        for k in range(size):
            if u8(at, 1 + k) >= 0x80:
                return GIVEN_UP
        return at + size + 2 if size >= 0 else GIVEN_UP
    if first != _OPEN:
        what, at, _, _ = scalar(ctx, at)
        return GIVEN_UP if what == STRANGER else at
    at = blank(at + 1)
    items = 0
    while u8(at, 0) != _CLOSE:
        if items > 0:
            if u8(at, 0) != _COMMA:
                return GIVEN_UP
            at = blank(at + 1)
        what, at, _, _ = scalar(ctx, at)
        if what == STRANGER:
            return GIVEN_UP
        items += 1
        at = blank(at)
    set_i64(ctx, VALUES, i64(ctx, VALUES) + items + 1)
    return at + 1


def scalar(ctx: int, at: int) -> tuple[int, int, int, float]:
    """A number, truth or nothing: which, what is behind it, and its value; `STRANGER` for anything else."""
    first = u8(at, 0)
    if first == 45 or (first >= 48 and first <= 57):
        return number(ctx, at)
    front = word(at) & 0xFFFFFFFF
    if front == _TRUE:
        return BOOLEAN, at + 4, 1, 0.0
    if front == _NULL:
        return NOTHING, at + 4, 0, 0.0
    if front == _FALSE and u8(at, 4) == 101:
        return BOOLEAN, at + 5, 0, 0.0
    return STRANGER, at, 0, 0.0


def number(ctx: int, at: int) -> tuple[int, int, int, float]:
    """A number, as `scalar` says it; one that is long, large or small is a stranger."""
    start = at
    is_negative = u8(at, 0) == 45
    if is_negative:
        at += 1
    begins = at
    whole, at = digits_from(at, 0)
    count = at - begins  # of digits
    if count == 0 or (count > 1 and u8(begins, 0) == 48):
        return STRANGER, at, 0, 0.0
    exponent = 0
    is_real = u8(at, 0) == 46
    if is_real:
        at += 1
        point = at
        is_small = whole == 0
        whole, at = digits_from(at, whole)
        exponent = point - at
        if exponent == 0:
            return STRANGER, at, 0, 0.0
        count += at - point
        if is_small and count > _MOST_DIGITS:  # zeros in front do not count
            count -= 1
            while u8(point, 0) == 48:
                point += 1
                count -= 1
    if u8(at, 0) | 32 == 101:
        is_real = True
        at += 1
        is_down = u8(at, 0) == 45
        if is_down or u8(at, 0) == 43:
            at += 1
        begins = at
        power, at = digits_from(at, 0)
        if at == begins or at - begins > 4:
            return STRANGER, at, 0, 0.0
        exponent += -power if is_down else power
    if count > _MOST_DIGITS or whole < 0 or whole > _MOST_WHOLE or at - start > _MOST_CHARACTERS:
        return STRANGER, at, 0, 0.0
    if not is_real:
        return WHOLE, at, -whole if is_negative else whole, 0.0
    value = nearest(whole, exponent, i64(ctx, POWERS))
    if math.isnan(value):
        return STRANGER, at, 0, 0.0
    return REAL, at, 0, -value if is_negative else value


def digits_from(at: int, whole: int) -> tuple[int, int]:
    """A whole number with the digits that stand here behind its own, and what is behind them.

    Eight at a time: all are digits if their upper halves are 3, and are so still with 6 added. Then neighbours are put
    together, to 2, 4 and 8 digits (D. Lemire, https://lemire.me/blog/2022/01/21/swar-explained-parsing-eight-digits/).
    """
    eight = word(at)
    while (eight & _UPPER) | (((eight + _SIXES) & _UPPER) >> 4) == _THREES:
        eight = ((eight & _LOWER) * 2561) >> 8
        eight = ((eight & 0x00FF00FF00FF00FF) * 6553601) >> 16
        eight = (wrap((eight & 0x0000FFFF0000FFFF) * 42949672960001) >> 32) & 0xFFFFFFFF
        whole = wrap(100_000_000 * whole + eight)
        at += 8
        eight = word(at)
    digit = u8(at, 0) - 48
    while digit >= 0 and digit <= 9:
        whole = wrap(10 * whole + digit)
        at += 1
        digit = u8(at, 0) - 48
    return whole, at


__all__ = ["json_messages"]
