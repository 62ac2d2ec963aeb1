"""Keys to slots: each distinct key of k int64 columns gets a free number, or the next one.

Numbers of devices and texts lie close together. So a key of one column that lies in a window of whole numbers
(`flowedge.session.dense`) has a place of its own, which holds its slot + 1: one look, and no hash. All other
keys stand in a hash table, the same as in `intern`: a word holds 32 bits of the hash and the slot + 1; the
values of a slot stand in one array per column. A key stands in one of the two, as the window says.
"""

from collections.abc import Callable, Sequence

from flowedge.compile.kernels.hashing import hash_word
from flowedge.compile.kernels.intern import take_over
from flowedge.compile.memory import i32, i64, prefetch, set_i32, set_i64
from flowedge.compile.program import DONE, GROW

# Words of the context.
ROW = 0  # the next row to do
ROWS = 1
COLUMNS = 2  # how many there are
OUT = 3  # address of int32[ROWS]
TABLE = 4
MASK = 5
COUNT = 6  # slots given, those free again among them
ROOM = 7  # slots that the values have room for
SEED = 8
LIMIT = 9  # keys that there may be; a further one gets -1
HASHED = 10  # keys in the hash table, which holds at most half as many as it has words
REFUSED = 11  # rows that got -1
HASHES = 12  # address of int64[BLOCK], scratch
FREE = 13  # address of int32[FREE_COUNT]: slots to give again, the last one first
FREE_COUNT = 14
PLACES = 15  # address of int32[SPAN]: the slot + 1 of each key of the window, 0 for none
# Where it spans none, of a small table int32[MASK + 1]: the slot + 1 of the key last seen with these low bits.
LOW = 16  # the first key of the window
SPAN = 17  # how many keys the window spans, a power of two; 0 for none
LIVE = 18  # address of int32[LIVE_COUNT]: slots that have a key, for `fill`; 0: they are 0, 1, 2, …
LIVE_COUNT = 19
OLD = 20  # address of a smaller table for `fill` to take over, 0 for none
OLD_WORDS = 21
IS_NARROW = 22  # 1: the column is of int32, for `one_column_dense` alone
FIRST = 23  # addresses of the key columns int64[ROWS], then of the values int64[ROOM] by slot

BLOCK = 64
CACHED = 2**15
"""Tables up to this many words lie in the near caches; asking for their lines early costs more."""


def choose(columns: int, words: int, span: int) -> Callable[[int], int]:
    """The kernel for so many key columns, words of table, and keys of the window: each is compiled only where needed."""
    if columns > 1:
        return many_columns
    if span:
        return one_column_dense
    return one_column if words <= CACHED else one_column_far


def usual(is_text: Sequence[bool]) -> tuple[Callable[[int], int], ...]:
    """The kernels that almost any table of such key columns calls: ids of texts lie close together, numbers may not."""
    if len(is_text) > 1:
        return many_columns, fill
    return (one_column_dense, fill) if is_text[0] else (one_column_dense, one_column, fill)


def one_column_dense(ctx: int) -> int:
    """Give every row the slot of its key of one column, most of them from the window."""
    row = i64(ctx, ROW)
    rows = i64(ctx, ROWS)
    keys = i64(ctx, FIRST)
    out = i64(ctx, OUT)
    places = i64(ctx, PLACES)
    low = i64(ctx, LOW)
    span = i64(ctx, SPAN)
    mask = span - 1
    is_narrow = i64(ctx, IS_NARROW)
    while row < rows:
        stop = min(row + BLOCK, rows)
        beside = 0
        signs = 0
        for q in range(row, stop):
            place = (i32(keys, q) if is_narrow != 0 else i64(keys, q)) - low
            beside |= place & ~mask
            slot = i32(places, place & mask) - 1
            signs |= slot
            set_i32(out, q, slot)
        if beside != 0 or signs < 0:  # a key beside the window, or a new one
            for q in range(row, stop):
                key = i32(keys, q) if is_narrow != 0 else i64(keys, q)
                place = key - low
                if 0 <= place < span:
                    slot = i32(places, place) - 1
                    if slot < 0:
                        slot = fresh(ctx)
                        if slot >= 0:
                            set_i32(places, place, slot + 1)
                            set_i64(i64(ctx, FIRST + 1), slot, key)
                else:
                    slot = hashed(ctx, key)
                if slot == FULL:
                    set_i64(ctx, ROW, q)
                    return GROW
                set_i32(out, q, slot)
        row = stop
    set_i64(ctx, ROW, row)
    return DONE


def one_column(ctx: int) -> int:
    """The same without a window, the table in the near caches: the low bits of a key say where it was last."""
    row = i64(ctx, ROW)
    rows = i64(ctx, ROWS)
    keys = i64(ctx, FIRST)
    values = i64(ctx, FIRST + 1)
    out = i64(ctx, OUT)
    near = i64(ctx, PLACES)
    table = i64(ctx, TABLE)
    mask = i64(ctx, MASK)
    seed = i64(ctx, SEED)
    while row < rows:
        key = i64(keys, row)
        slot = i32(near, key & mask) - 1
        if slot >= 0 and i64(values, slot) == key:
            set_i32(out, row, slot)
            row += 1
            continue
        mixed = hash_word(key, seed) >> 32
        place = mixed & mask
        entry = i64(table, place)
        while entry != 0:
            slot = (entry & 0xFFFFFFFF) - 1
            if i64(values, slot) == key:
                break
            place = (place + 1) & mask
            entry = i64(table, place)
        if entry == 0:
            slot = entered(ctx, place, mixed)
            if slot == FULL:
                set_i64(ctx, ROW, row)
                return GROW
            if slot >= 0:
                set_i64(values, slot, key)
        set_i32(near, key & mask, slot + 1)
        set_i32(out, row, slot)
        row += 1
    set_i64(ctx, ROW, row)
    return DONE


def one_column_far(ctx: int) -> int:
    """The same for a large table: a block's cache lines are asked for together."""
    row = i64(ctx, ROW)
    rows = i64(ctx, ROWS)
    keys = i64(ctx, FIRST)
    values = i64(ctx, FIRST + 1)
    out = i64(ctx, OUT)
    table = i64(ctx, TABLE)
    mask = i64(ctx, MASK)
    seed = i64(ctx, SEED)
    hashes = i64(ctx, HASHES)
    while row < rows:
        stop = min(row + BLOCK, rows)
        for q in range(row, stop):
            mixed = hash_word(i64(keys, q), seed) >> 32
            set_i64(hashes, q - row, mixed)
            prefetch(table + 8 * (mixed & mask))
        for q in range(row, stop):
            entry = i64(table, i64(hashes, q - row) & mask)
            prefetch(values + 8 * ((entry & 0xFFFFFFFF) - 1))
        for q in range(row, stop):
            key = i64(keys, q)
            mixed = i64(hashes, q - row)
            place = mixed & mask
            entry = i64(table, place)
            while entry != 0:
                slot = (entry & 0xFFFFFFFF) - 1
                if entry >> 32 == mixed and i64(values, slot) == key:
                    break
                place = (place + 1) & mask
                entry = i64(table, place)
            if entry == 0:
                slot = entered(ctx, place, mixed)
                if slot == FULL:
                    set_i64(ctx, ROW, q)
                    return GROW
                if slot >= 0:
                    set_i64(values, slot, key)
            set_i32(out, q, slot)
        row = stop
    set_i64(ctx, ROW, row)
    return DONE


def many_columns(ctx: int) -> int:
    """Give every row the slot of its key of several columns."""
    row = i64(ctx, ROW)
    rows = i64(ctx, ROWS)
    columns = i64(ctx, COLUMNS)
    out = i64(ctx, OUT)
    table = i64(ctx, TABLE)
    mask = i64(ctx, MASK)
    seed = i64(ctx, SEED)
    while row < rows:
        mixed = seed
        for c in range(columns):
            mixed = hash_word(i64(i64(ctx, FIRST + c), row), mixed)
        mixed = mixed >> 32
        place = mixed & mask
        entry = i64(table, place)
        while entry != 0:
            slot = (entry & 0xFFFFFFFF) - 1
            if entry >> 32 == mixed and is_key(ctx, columns, FIRST, row, slot):
                break
            place = (place + 1) & mask
            entry = i64(table, place)
        if entry == 0:
            slot = entered(ctx, place, mixed)
            if slot == FULL:
                set_i64(ctx, ROW, row)
                return GROW
            if slot >= 0:
                for c in range(columns):
                    key = i64(i64(ctx, FIRST + c), row)
                    set_i64(i64(ctx, FIRST + columns + c), slot, key)
        set_i32(out, row, slot)
        row += 1
    set_i64(ctx, ROW, row)
    return DONE


def fill(ctx: int) -> int:
    """Enter keys into an empty table, and an empty window; returns how many are there twice.

    They are those of a smaller table, or else those of all live slots, for which there must be room.
    """
    if i64(ctx, OLD) != 0:
        take_over(i64(ctx, OLD), i64(ctx, OLD_WORDS), i64(ctx, TABLE), i64(ctx, MASK))
        set_i64(ctx, OLD, 0)
        return 0
    columns = i64(ctx, COLUMNS)
    live = i64(ctx, LIVE)
    first = FIRST + columns
    table = i64(ctx, TABLE)
    mask = i64(ctx, MASK)
    places = i64(ctx, PLACES)
    low = i64(ctx, LOW)
    span = i64(ctx, SPAN)
    twice = 0
    for q in range(i64(ctx, LIVE_COUNT)):
        slot = i32(live, q) if live != 0 else q
        place = i64(i64(ctx, first), slot) - low
        if 0 <= place < span:
            twice += i32(places, place) != 0
            set_i32(places, place, slot + 1)
            continue
        mixed = i64(ctx, SEED)
        for c in range(columns):
            mixed = hash_word(i64(i64(ctx, first + c), slot), mixed)
        mixed = mixed >> 32
        place = mixed & mask
        entry = i64(table, place)
        while entry != 0:
            if entry >> 32 == mixed:
                twice += is_key(ctx, columns, first, slot, (entry & 0xFFFFFFFF) - 1)
            place = (place + 1) & mask
            entry = i64(table, place)
        set_i64(table, place, (mixed << 32) | (slot + 1))
        set_i64(ctx, HASHED, i64(ctx, HASHED) + 1)
    return twice


FULL = -2


def hashed(ctx: int, key: int) -> int:
    """The slot of a key of one column in the hash table, entered where it is new."""
    table = i64(ctx, TABLE)
    mask = i64(ctx, MASK)
    values = i64(ctx, FIRST + 1)
    mixed = hash_word(key, i64(ctx, SEED)) >> 32
    place = mixed & mask
    entry = i64(table, place)
    while entry != 0:
        slot = (entry & 0xFFFFFFFF) - 1
        if i64(values, slot) == key:
            return slot
        place = (place + 1) & mask
        entry = i64(table, place)
    slot = entered(ctx, place, mixed)
    if slot >= 0:
        set_i64(values, slot, key)
    return slot


def entered(ctx: int, place: int, mixed: int) -> int:
    """A slot for a new key, entered at an empty place of the table; -1 beyond the limit, `FULL` without room."""
    if i64(ctx, HASHED) > i64(ctx, MASK) >> 1:
        return FULL
    slot = fresh(ctx)
    if slot >= 0:
        set_i64(i64(ctx, TABLE), place, (mixed << 32) | (slot + 1))
        set_i64(ctx, HASHED, i64(ctx, HASHED) + 1)
    return slot


def fresh(ctx: int) -> int:
    """A free slot, or the next one; -1 beyond the limit, `FULL` where the values have no room."""
    count = i64(ctx, COUNT)
    free = i64(ctx, FREE_COUNT)
    if count - free >= i64(ctx, LIMIT):
        set_i64(ctx, REFUSED, i64(ctx, REFUSED) + 1)
        return -1
    if free > 0:
        set_i64(ctx, FREE_COUNT, free - 1)
        return i32(i64(ctx, FREE), free - 1)
    if count >= i64(ctx, ROOM):
        return FULL
    set_i64(ctx, COUNT, count + 1)
    return count


def is_key(ctx: int, columns: int, first: int, row: int, slot: int) -> bool:
    """Whether the key of a slot stands in a row of the columns whose addresses begin at word `first`."""
    for c in range(columns):
        if i64(i64(ctx, first + c), row) != i64(i64(ctx, FIRST + columns + c), slot):
            return False
    return True
