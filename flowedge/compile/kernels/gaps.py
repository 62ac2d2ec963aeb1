"""Samples that are missing: rows are put in where they lack, each column in one pass.

`find` looks at gaps and duplicates and notes what is to be done; `fill` writes the columns, in stretches
between these places; `remember` keeps what the next gap of a key may begin with.
"""

from flowedge.compile.kernels.columns import copy_row
from flowedge.compile.kernels.ingest import DUPLICATE
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

# ---- words of the context; `find` looks at those up to START, `fill` at all

ROWS = 0
FATE = 1  # address of uint8: as `ingest.follow` tells it
PERIOD = 2  # float64, ns
UP_TO = 3  # a gap no longer than so many ns is filled; -1: any
FLAGS = 4  # address of uint8: 1 is written before gaps that stay open
FLAGGED = 5  # out: how many these are
KEPT = 6  # out: how many of the rows stay
PUT_IN = 7  # out: how many are put in, at most LIMIT
PLACES = 8  # how many rows are a GAP or a DUPLICATE; out: those of them with something to do
AT = 9  # address of int64[PLACES]: which these are, in order
COUNT = 10  # address of int64[PLACES]: how many samples lack before each; out: DROPPED where the row is left out
PREVIOUS = 11  # address of int64[PLACES]: the number of the row before of the same key; -1: it came earlier
START = 12  # address of int64[PLACES]: the time of that row
TIME = 13  # address of int64
SLOT = 14  # address of int32; 0: all are 0
NEW_TIME = 15  # address of int64, out: with the rows put in
MARKS = 16  # address of uint8, zeros: 1 is written for rows that are put in; 0: nobody asks
COLUMNS = 17
FIRST = 18

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
    fates, period, up_to = i64(ctx, FATE), f64(ctx, PERIOD), i64(ctx, UP_TO)
    at, counts = i64(ctx, AT), i64(ctx, COUNT)
    previous, starts = i64(ctx, PREVIOUS), i64(ctx, START)
    places, flagged, dropped, total = 0, 0, 0, 0
    for place in range(i64(ctx, PLACES)):
        row, count = i64(at, place), i64(counts, place)
        if u8(fates, row) & DUPLICATE != 0:
            count = DROPPED
            dropped += 1
        elif up_to >= 0 and float(count) * period > float(up_to):
            set_u8(i64(ctx, FLAGS), row, 1)
            flagged += 1
            continue
        else:
            total = min(total + count, LIMIT)
        set_i64(at, places, row)
        set_i64(counts, places, count)
        set_i64(previous, places, i64(previous, place))
        set_i64(starts, places, i64(starts, place))
        places += 1
    set_i64(ctx, PLACES, places)
    set_i64(ctx, FLAGGED, flagged)
    set_i64(ctx, KEPT, i64(ctx, ROWS) - dropped)
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
    source, target, starts = i64(ctx, TIME), i64(ctx, NEW_TIME), i64(ctx, START)
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
        start = 0 if count == 0 else i64(starts, place)
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
                between(ctx, one, place, made, count)
            else:
                repeat(target + width * made, given(ctx, one, place), width, count)
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


def given(ctx: int, one: int, place: int) -> int:
    """Where the row lies that is repeated in a gap."""
    kind, width, row = i64(one, KIND), i64(one, WIDTH), i64(i64(ctx, AT), place)
    if kind == SAME:
        return i64(one, SOURCE) + row * width
    if kind == GIVEN:
        return i64(one, WITH)
    number = i64(i64(ctx, PREVIOUS), place)
    if number >= 0:
        return i64(one, SOURCE) + number * width
    slot = 0 if i64(ctx, SLOT) == 0 else i32(i64(ctx, SLOT), row)
    return i64(one, WITH) + slot * width


def between(ctx: int, one: int, place: int, made: int, count: int) -> int:
    """Put numbers on the line from the row before the gap to the one behind it."""
    numbers, width, row = i64(one, NUMBERS), i64(one, WIDTH), i64(i64(ctx, AT), place)
    left, right = given(ctx, one, place), i64(one, SOURCE) + row * width
    start = i64(i64(ctx, START), place)
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
