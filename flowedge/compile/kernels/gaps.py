"""Samples that are missing: rows are put in where they lack, each column in one pass.

`find` goes over the rows and notes where anything is to be done; `fill` writes the columns, in stretches
between these places; `remember` keeps what the next gap of a key may begin with.
"""

from flowedge.compile.kernels.columns import copy_row
from flowedge.compile.kernels.ingest import DUPLICATE, GAP
from flowedge.compile.memory import (
    copy,
    f32,
    f64,
    i32,
    i64,
    set_f32,
    set_f64,
    set_i32,
    set_i64,
    set_u8,
    u8,
)
from flowedge.compile.program import DONE

# ---- words of the context; `find` looks at those up to PUT_IN, `fill` at all

ROWS = 0
FATE = 1  # address of uint8: as `ingest.follow` tells it
MISSED = 2  # address of int64: how many samples lack before a row, where its fate is GAP
PERIOD = 3  # float64, ns
UP_TO = 4  # a gap no longer than so many ns is filled; -1: any
FLAGS = 5  # address of uint8: 1 is written before gaps that stay open
AT = 6  # address of int64, out: rows with something to do, in order
COUNT = (
    7  # address of int64, out: how many rows to put in before each; DROPPED: it is left out itself
)
PLACES = 8  # out: how many these are
FLAGGED = 9  # out: how many gaps stay open
KEPT = 10  # out: how many of the rows stay
PUT_IN = 11  # out: how many are put in, at most LIMIT
TIME = 12  # address of int64
BEFORE = 13  # address of int64: the time of the row before of the same key, where the fate is GAP
PREVIOUS = 14  # address of int64: its number; -1: it came earlier
SLOT = 15  # address of int32; 0: all are 0
NEW_TIME = 16  # address of int64, out: with the rows put in
MARKS = 17  # address of uint8, zeros: 1 is written for rows that are put in; 0: nobody asks
COLUMNS = 18
FIRST = 19

DROPPED = -1
LIMIT = 2**62

# ---- words of each column

KIND = 0
WIDTH = 1  # bytes of a row
SOURCE = 2
TARGET = 3
WITH = 4  # GIVEN: address of a row of it; others: address of the last row of each slot
NUMBERS = 5  # LINEAR: how many a row has
WORDS = 6

SAME = 0  # what the row behind the gap has
GIVEN = 1
HOLD = 2  # what the row before the gap has
LINEAR = 3  # between both: float64 or float32, by its width

_WHOLE = 4503599627370496.0  # 2**52: above it a float64 has no fraction


def find(ctx: int) -> int:
    """Note which gaps are filled with how many rows, which stay open, and which rows are left out."""
    rows, fates, missed = i64(ctx, ROWS), i64(ctx, FATE), i64(ctx, MISSED)
    period, up_to = f64(ctx, PERIOD), i64(ctx, UP_TO)
    flags, at, counts = i64(ctx, FLAGS), i64(ctx, AT), i64(ctx, COUNT)
    places, flagged, dropped, total = 0, 0, 0, 0
    for i in range(rows):
        fate = u8(fates, i)
        if fate & (GAP | DUPLICATE) == 0:
            continue
        if fate & DUPLICATE != 0:
            count = DROPPED
            dropped += 1
        else:
            count = i64(missed, i)
            if up_to >= 0 and float(count) * period > float(up_to):
                set_u8(flags, i, 1)
                flagged += 1
                continue
            total = min(total + count, LIMIT)
        set_i64(at, places, i)
        set_i64(counts, places, count)
        places += 1
    set_i64(ctx, PLACES, places)
    set_i64(ctx, FLAGGED, flagged)
    set_i64(ctx, KEPT, rows - dropped)
    set_i64(ctx, PUT_IN, total)
    return DONE


def fill(ctx: int) -> int:
    """Write the times, the marks and every column, with what is put in."""
    times(ctx)
    for number in range(i64(ctx, COLUMNS)):
        column(ctx, ctx + 8 * (FIRST + WORDS * number))
    return DONE


def times(ctx: int) -> int:
    """The times: those put in stand whole samples behind the row before the gap."""
    source, target, before = i64(ctx, TIME), i64(ctx, NEW_TIME), i64(ctx, BEFORE)
    period, marks = f64(ctx, PERIOD), i64(ctx, MARKS)
    row, made = 0, 0
    for place in range(i64(ctx, PLACES) + 1):
        stop, count = bounds(ctx, place)
        copy(target + 8 * made, source + 8 * row, 8 * (stop - row))
        made += stop - row
        row = stop
        if count == DROPPED:
            row += 1
            continue
        start = 0 if count == 0 else i64(before, stop)
        for k in range(count):
            set_i64(target, made + k, start + nearest(float(k + 1) * period))
            if marks != 0:
                set_u8(marks, made + k, 1)
        made += count
    return 0


def nearest(x: float) -> int:
    """The nearest whole number, of two the even one; `x` is not negative.

    Examples
    --------
    >>> nearest(0.5), nearest(1.5), nearest(2.4), nearest(2.0**60)
    (0, 2, 2, 1152921504606846976)
    """
    return int((x + _WHOLE) - _WHOLE) if x < _WHOLE else int(x)


def bounds(ctx: int, place: int) -> tuple[int, int]:
    """The row up to which nothing is done, and how many are put in before it; behind the last place, all rows and none."""
    if place == i64(ctx, PLACES):
        return i64(ctx, ROWS), 0
    return i64(i64(ctx, AT), place), i64(i64(ctx, COUNT), place)


def column(ctx: int, one: int) -> int:
    """One column: stretches of rows as they are, and between them what is put in."""
    source, target, width, kind = (
        i64(one, SOURCE),
        i64(one, TARGET),
        i64(one, WIDTH),
        i64(one, KIND),
    )
    row, made = 0, 0
    for place in range(i64(ctx, PLACES) + 1):
        stop, count = bounds(ctx, place)
        copy(target + width * made, source + width * row, width * (stop - row))
        made += stop - row
        row = stop
        if count == DROPPED:
            row += 1
        elif count > 0:
            if kind == LINEAR:
                between(ctx, one, stop, made, count)
            else:
                repeat(target + width * made, given(ctx, one, stop), width, count)
            made += count
    return 0


def repeat(target: int, source: int, width: int, count: int) -> int:
    """The same row so many times."""
    if width == 4:
        value = i32(source, 0)
        for k in range(count):
            set_i32(target, k, value)
    else:
        for k in range(count):
            copy_row(target + width * k, source, width)
    return 0


def given(ctx: int, one: int, row: int) -> int:
    """Where the row lies that is repeated in the gap before a row."""
    kind, width = i64(one, KIND), i64(one, WIDTH)
    if kind == SAME:
        return i64(one, SOURCE) + row * width
    if kind == GIVEN:
        return i64(one, WITH)
    number = i64(i64(ctx, PREVIOUS), row)
    if number >= 0:
        return i64(one, SOURCE) + number * width
    slot = 0 if i64(ctx, SLOT) == 0 else i32(i64(ctx, SLOT), row)
    return i64(one, WITH) + slot * width


def between(ctx: int, one: int, row: int, made: int, count: int) -> int:
    """Put numbers on the line from the row before the gap to the one behind it."""
    numbers, width = i64(one, NUMBERS), i64(one, WIDTH)
    left, right = given(ctx, one, row), i64(one, SOURCE) + row * width
    start = i64(i64(ctx, BEFORE), row)
    whole = float(i64(i64(ctx, TIME), row) - start)
    for k in range(made, made + count):
        share = float(i64(i64(ctx, NEW_TIME), k) - start) / whole
        target = i64(one, TARGET) + k * width
        if width == 8 * numbers:
            for q in range(numbers):
                a = f64(left, q)
                set_f64(target, q, a + (f64(right, q) - a) * share)
        else:
            for q in range(numbers):
                a = f32(left, q)
                set_f32(target, q, a + (f32(right, q) - a) * share)
    return 0


# ---- the last row of each key

R_ROWS = 0
R_FATE = 1
R_SLOT = 2
R_COLUMNS = 3
R_FIRST = 4  # for each column: WIDTH, SOURCE, TARGET
R_WORDS = 3


def remember(ctx: int) -> int:
    """Write each row that is kept to the place of its key, where the last one stays."""
    rows, fates, slots = i64(ctx, R_ROWS), i64(ctx, R_FATE), i64(ctx, R_SLOT)
    for column in range(i64(ctx, R_COLUMNS)):
        one = ctx + 8 * (R_FIRST + R_WORDS * column)
        width, source, target = i64(one, 0), i64(one, 1), i64(one, 2)
        for i in range(rows):
            if u8(fates, i) & DUPLICATE == 0:
                copy_row(target + i32(slots, i) * width, source + i * width, width)
    return DONE
