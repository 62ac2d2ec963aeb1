"""Rows as maps of msgpack, see https://github.com/msgpack/msgpack/blob/master/spec.md."""

from flowedge.compile.kernels.arrow import (
    BUFFERS,
    CHILDREN,
    DICTIONARY,
    OFFSET,
    is_there,
)
from flowedge.compile.memory import (
    bits,
    copy,
    f32,
    f64,
    i8,
    i16,
    i32,
    i64,
    set_i64,
    set_u8,
    set_word,
    swap,
    u8,
    u16,
    u32,
)
from flowedge.compile.program import DONE, GROW

# ---- words of the context

BATCH = 0  # address of a struct ArrowArray of the rows
ROW = 1  # the next one to do
STOP = 2  # behind the last one
FIELDS = 3  # address of the records
FIELD_COUNT = 4
AT = 5  # address of the next byte to be written
END = 6  # address behind the room
WIDEST = (
    7  # bytes of a map at most, but for what its texts hold; some more may be written behind it
)
ENDS = 8  # address of int64[rows], out: where each payload ends
WORDS = 9

# ---- words of a field's record

NAME = 0  # address of its name as msgpack
LENGTH = 1  # bytes of that
KIND = 2
RECORD = 3

F64, F32, I64, I32, I16, I8, U64, U32, U16, U8, TRUTH, TEXT, BYTES, LABEL = range(14)
"""Kinds of fields: `TEXT` and `BYTES` with offsets of 32 bits, `LABEL` with numbers of 32 bits into such texts; times are `I64`."""

SLACK = 16
"""Bytes behind a map that may be written before it is known that they are not its own."""


def msgpack_maps(ctx: int) -> int:
    """Write the rows from `ROW` on as maps, without what is missing or NaN; `GROW` where there is no room for the next one."""
    batch = i64(ctx, BATCH)
    children, first = i64(batch, CHILDREN), i64(batch, OFFSET)
    fields, count, widest = i64(ctx, FIELDS), i64(ctx, FIELD_COUNT), i64(ctx, WIDEST)
    at, end = i64(ctx, AT), i64(ctx, END)
    for row in range(i64(ctx, ROW), i64(ctx, STOP)):
        present, size = 0, widest
        for k in range(count):
            here = size_of(i64(children, k), i64(fields, RECORD * k + KIND), first + row)
            if here >= 0:
                present += 1
                size += here
        if at + size > end:
            set_i64(ctx, ROW, row)
            set_i64(ctx, AT, at)
            return GROW
        at = map_head(at, present)
        for k in range(count):
            column, kind = i64(children, k), i64(fields, RECORD * k + KIND)
            if size_of(column, kind, first + row) >= 0:
                length = i64(fields, RECORD * k + LENGTH)
                copy(at, i64(fields, RECORD * k + NAME), length)
                at = value(column, kind, first + row, at + length)
        set_i64(i64(ctx, ENDS), row, at)
    set_i64(ctx, ROW, i64(ctx, STOP))
    set_i64(ctx, AT, at)
    return DONE


def size_of(column: int, kind: int, row: int) -> int:
    """Bytes of the text of a row, 0 of anything else; -1 where it is missing, or NaN."""
    row += i64(column, OFFSET)
    if is_there(column, row) == 0:
        return -1
    values = i64(i64(column, BUFFERS), 1)
    if kind == F64:
        return -1 if f64(values, row) != f64(values, row) else 0
    if kind == F32:
        return -1 if f32(values, row) != f32(values, row) else 0
    if TEXT <= kind <= BYTES:
        return i32(values, row + 1) - i32(values, row)
    if kind == LABEL:
        texts = i64(column, DICTIONARY)
        row = i32(values, row) + i64(texts, OFFSET)
        values = i64(i64(texts, BUFFERS), 1)
        return i32(values, row + 1) - i32(values, row) if is_there(texts, row) == 1 else -1
    return 0


def value(column: int, kind: int, row: int, at: int) -> int:
    """Write the value of a row that is there; what is behind it."""
    row += i64(column, OFFSET)
    values = i64(i64(column, BUFFERS), 1)
    if kind == F64:
        return real_at(at, f64(values, row))
    if kind == F32:
        return real_at(at, f32(values, row))
    if kind == I64:
        return whole_at(at, i64(values, row))
    if kind == I32:
        return whole_at(at, i32(values, row))
    if kind == I16:
        return whole_at(at, i16(values, row))
    if kind == I8:
        return whole_at(at, i8(values, row))
    if kind == U64:
        if i64(values, row) < 0:  # from 2^63 on
            return wide_at(at, 0xCF, i64(values, row))
        return whole_at(at, i64(values, row))
    if kind == U32:
        return whole_at(at, u32(values, row))
    if kind == U16:
        return whole_at(at, u16(values, row))
    if kind == U8:
        return whole_at(at, u8(values, row))
    if kind == TRUTH:
        set_u8(at, 0, 0xC2 + ((u8(values, row >> 3) >> (row & 7)) & 1))
        return at + 1
    if kind == LABEL:
        texts = i64(column, DICTIONARY)
        return text_at(at, texts, i32(values, row) + i64(texts, OFFSET), 1)
    return text_at(at, column, row, 1 if kind == TEXT else 0)


def text_at(at: int, column: int, row: int, is_text: int) -> int:
    """Write a text, or bytes; `row` counts from the beginning of the buffers."""
    buffers = i64(column, BUFFERS)
    start = i32(i64(buffers, 1), row)
    size = i32(i64(buffers, 1), row + 1) - start
    if is_text == 1 and size < 32:
        set_u8(at, 0, 0xA0 + size)
        at += 1
    else:
        at = size_at(at, 0xD9 if is_text == 1 else 0xC4, size)
    if size > 0:
        copy(at, i64(buffers, 2) + start, size)
    return at + size


def map_head(at: int, pairs: int) -> int:
    """Write the head of a map of fewer than 65,536 pairs."""
    if pairs < 16:
        set_u8(at, 0, 0x80 + pairs)
        return at + 1
    return narrow_at(at, 0xDE, pairs)


def size_at(at: int, first: int, size: int) -> int:
    """Write a size behind the head for one byte, or those after it for two and four."""
    if size < 1 << 8:
        set_u8(at, 0, first)
        set_u8(at, 1, size)
        return at + 2
    if size < 1 << 16:
        return narrow_at(at, first + 1, size)
    set_u8(at, 0, first + 2)
    set_word(at + 1, swap(size << 32))
    return at + 5


def narrow_at(at: int, head: int, number: int) -> int:
    """Write a head and a number of two bytes; six behind it are written over."""
    set_u8(at, 0, head)
    set_word(at + 1, swap(number << 48))
    return at + 3


def wide_at(at: int, head: int, pattern: int) -> int:
    """Write a head and eight bytes."""
    set_u8(at, 0, head)
    set_word(at + 1, swap(pattern))
    return at + 9


def real_at(at: int, number: float) -> int:
    """Write a float64."""
    return wide_at(at, 0xCB, bits(number))


def whole_at(at: int, number: int) -> int:
    """Write a whole number in as few bytes as it fits."""
    if number >= -32 and number < 128:
        set_u8(at, 0, number & 0xFF)
        return at + 1
    if number >= 0:
        if number < 1 << 8:
            set_u8(at, 0, 0xCC)
            set_u8(at, 1, number)
            return at + 2
        if number < 1 << 16:
            return narrow_at(at, 0xCD, number)
        if number < 1 << 32:
            set_u8(at, 0, 0xCE)
            set_word(at + 1, swap(number << 32))
            return at + 5
        return wide_at(at, 0xCF, number)
    if number >= -(1 << 7):
        set_u8(at, 0, 0xD0)
        set_u8(at, 1, number & 0xFF)
        return at + 2
    if number >= -(1 << 15):
        return narrow_at(at, 0xD1, number)
    if number >= -(1 << 31):
        set_u8(at, 0, 0xD2)
        set_word(at + 1, swap(number << 32))
        return at + 5
    return wide_at(at, 0xD3, number)
