"""Rows of an Arrow dictionary to ids of texts: one look into a table of its entries."""

from flowedge.compile.kernels.intern import is_valid
from flowedge.compile.memory import i32, i64, set_i32, set_i64, u8, u16, u32
from flowedge.compile.program import DONE

# Words of the context.
ROW = 0  # the next row to do
ROWS = 1
PLACES = 2  # address of the entry of each row
WIDTH = 3  # bytes of each
VALID = 4  # address of the validity bits, 0 where all rows are valid
BIT = 5  # which bit is that of row 0
IDS = 6  # address of int32[ENTRIES]: id + `KNOWN` of each entry, 0 where nobody has looked it up
ENTRIES = 7  # how many there are, as far as signed places of that width go
OUT = 8  # address of int64[ROWS]: ids, -1 for null
ASKED = 9  # address of int64[ROWS]: entries to be looked up, each once
ASKED_COUNT = 10
WAITING = 11  # the first row of one of these, `ROWS` if there is none
WRONG = 12  # 1 where a row is of no entry; it and the rows behind it are not done
WORDS = 13

KNOWN = 2
"""So that a missing entry, whose id is -1, is known as well."""
_ASKED = -1


def ids(ctx: int) -> int:
    """Give every row the id of its entry, and list the entries that are not known."""
    rows = i64(ctx, ROWS)
    places = i64(ctx, PLACES)
    width = i64(ctx, WIDTH)
    valid = i64(ctx, VALID)
    first_bit = i64(ctx, BIT)
    known = i64(ctx, IDS)
    entries = i64(ctx, ENTRIES)
    out = i64(ctx, OUT)
    asked = i64(ctx, ASKED)
    count = 0
    waiting = rows
    start = i64(ctx, ROW)
    # As rows come most often, up to the first that needs a closer look.
    if valid == 0 and width == 4:
        while start < rows:
            entry = u32(places, start)
            if entry >= entries:
                break
            found = i32(known, entry)
            if found <= 0:
                break
            set_i64(out, start, found - KNOWN)
            start += 1
    for row in range(start, rows):
        if valid != 0 and not is_valid(valid, first_bit + row):
            set_i64(out, row, -1)
            continue
        entry = place_of(places, width, row)
        if not 0 <= entry < entries:
            set_i64(ctx, WRONG, 1)
            break
        found = i32(known, entry)
        if found <= 0:
            if found == 0:
                set_i32(known, entry, _ASKED)
                set_i64(asked, count, entry)
                count += 1
            waiting = min(waiting, row)
        set_i64(out, row, found - KNOWN)
    set_i64(ctx, ASKED_COUNT, count)
    set_i64(ctx, WAITING, waiting)
    return DONE


def place_of(places: int, width: int, row: int) -> int:
    """The entry of a row; a negative one comes out as one that is not there."""
    if width == 4:
        return u32(places, row)
    if width == 2:
        return u16(places, row)
    if width == 1:
        return u8(places, row)
    return i64(places, row)
