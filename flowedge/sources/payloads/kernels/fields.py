"""Keys to fields, and values into their columns; the same for all formats."""

import math

from flowedge.compile.kernels.hashing import equal_bytes
from flowedge.compile.memory import (
    copy,
    i32,
    i64,
    set_f32,
    set_f64,
    set_i8,
    set_i16,
    set_i32,
    set_i64,
    set_u8,
    u8,
    word,
)
from flowedge.sources.payloads.kernels.layout import (
    BOOLEAN,
    BYTES,
    F32,
    F32_MOST,
    F64,
    FIELD_COUNT,
    FIELDS,
    FRONT,
    GUESSES,
    HAS_MISSING,
    HUGE,
    KIND,
    LEAST,
    LENGTH,
    MOST,
    MOST_OTHERS,
    NAME,
    NOTHING,
    OFFSETS,
    OTHERS,
    PLACES,
    REAL,
    RECORD,
    SEEN,
    SERIAL,
    TEXT,
    TIME,
    TO,
    TRUTH,
    U8,
    U16,
    U32,
    U64,
    VALID,
    WHOLE,
)
from flowedge.sources.payloads.kernels.texts import NO_TIME, instant, is_utf8


def field_of(ctx: int, key: int, size: int, place: int) -> int:
    """Address of the record of the field of this name, 0 if none is declared; `place` of the key in its map."""
    fields = i64(ctx, FIELDS)
    guesses = i64(ctx, GUESSES)
    if place < PLACES:
        guess = i32(guesses, place)
        if guess >= 0:
            record = fields + 8 * RECORD * guess
            if is_named(record, key, size):
                return record
    for k in range(i64(ctx, FIELD_COUNT)):
        record = fields + 8 * RECORD * k
        if is_named(record, key, size):
            if place < PLACES:
                set_i32(guesses, place, k)
            return record
    return 0


def is_named(record: int, key: int, size: int) -> bool:
    """Whether a field has this name."""
    if i64(record, LENGTH) != size:
        return False
    front = word(key)
    if size < 8:
        front &= (1 << 8 * size) - 1
    if front != i64(record, FRONT):
        return False
    return size <= 8 or equal_bytes(i64(record, NAME) + 8, key + 8, size - 8)


def expected(ctx: int, key: int, place: int) -> int:
    """The record of the field that stood here last, if its name and a quotation mark do again; else 0."""
    if place >= PLACES:
        return 0
    guess = i32(i64(ctx, GUESSES), place)
    if guess < 0:
        return 0
    record = i64(ctx, FIELDS) + 8 * RECORD * guess
    size = i64(record, LENGTH)
    if u8(key, size) == 34 and is_named(record, key, size):
        return record
    return 0


def is_new(ctx: int, key: int, size: int, others: int) -> bool:
    """Note a key that is not declared; false where it was there before, is not ASCII, or is one too many."""
    if others >= MOST_OTHERS:
        return False
    for k in range(size):
        if u8(key, k) >= 0x80:
            return False
    noted = i64(ctx, OTHERS)
    for k in range(others):
        if i64(noted, 2 * k + 1) == size and equal_bytes(i64(noted, 2 * k), key, size):
            return False
    set_i64(noted, 2 * others, key)
    set_i64(noted, 2 * others + 1, size)
    return True


def begin(ctx: int) -> int:
    """The number of the reading that begins."""
    serial = i64(ctx, SERIAL) + 1
    set_i64(ctx, SERIAL, serial)
    return serial


def end(ctx: int, row: int, serial: int, found: int) -> int:
    """The fields that the reading lacked are missing."""
    fields = i64(ctx, FIELDS)
    count = i64(ctx, FIELD_COUNT)
    if found < count:
        for k in range(count):
            record = fields + 8 * RECORD * k
            if i64(record, SEEN) != serial:
                miss(record, row)
    return 0


def miss(record: int, row: int) -> int:
    """A value that is missing."""
    set_u8(i64(record, VALID), row, 0)
    set_i64(record, HAS_MISSING, 1)
    size = i64(record, BYTES)
    to = i64(record, TO) + size * row
    for k in range(size):
        set_u8(to, k, 0)
    if i64(record, KIND) == TEXT:
        offsets = i64(record, OFFSETS)
        set_i32(offsets, row + 1, i32(offsets, row))
    return 0


def store(record: int, at: int, what: int, whole: int, real: float) -> bool:
    """A number or truth to place `at` of a column; false where it does not fit, or might not."""
    kind = i64(record, KIND)
    to = i64(record, TO)
    if kind <= F32:
        if what == WHOLE:
            value = float(whole)
        elif what == REAL:
            value = real
        else:
            return False
        if kind == F64:
            set_f64(to, at, value)
            return True
        if abs(value) > F32_MOST and not math.isinf(value):
            return False
        set_f32(to, at, value)
        return True
    if kind == TRUTH:
        if what != BOOLEAN:
            return False
        set_u8(to, at, whole)
        return True
    if what == HUGE and kind == U64:
        set_i64(to, at, whole)
        return True
    if what != WHOLE or whole < i64(record, LEAST) or whole > i64(record, MOST):
        return False
    if kind <= TIME:
        set_i64(to, at, whole)
    elif kind <= U32:
        set_i32(to, at, whole)
    elif kind <= U16:
        set_i16(to, at, whole)
    elif kind <= U8:
        set_i8(to, at, whole)
    else:
        return False
    return True


def put(record: int, row: int, what: int, whole: int, real: float) -> bool:
    """A value that is no text and no list, missing ones included, to a row."""
    if what == NOTHING:
        miss(record, row)
        return True
    kind = i64(record, KIND)
    if kind >= TEXT or not store(record, row, what, whole, real):
        return False
    set_u8(i64(record, VALID), row, 1)
    return True


def put_text(record: int, row: int, at: int, size: int) -> bool:
    """A text, or a time that is one, to a row."""
    kind = i64(record, KIND)
    if kind == TIME:
        ns = instant(at, size)
        if ns == NO_TIME:
            return False
        set_i64(i64(record, TO), row, ns)
    elif kind == TEXT:
        if not is_utf8(at, size):
            return False
        offsets = i64(record, OFFSETS)
        first = i32(offsets, row)
        copy(i64(record, TO) + first, at, size)
        set_i32(offsets, row + 1, first + size)
    else:
        return False
    set_u8(i64(record, VALID), row, 1)
    return True
