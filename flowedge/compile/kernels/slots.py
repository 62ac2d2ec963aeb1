"""Keys to slots: each distinct key of k int64 columns gets a free number, or the next one.

The same table as in `intern`: a word holds 32 bits of the hash and the slot + 1; the values of a
slot stand in one array per column. With one column the comparison is written out, since every row
of every keyed source passes here, and a small table remembers by the low bits of a key where it was last:
numbers of devices and texts lie close together, so that few rows are hashed.
"""

from collections.abc import Callable

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
ROOM = 7  # slots that the table may hold
SEED = 8
LIMIT = 9  # keys that there may be; a further one gets -1
OLD = 10
OLD_WORDS = 11
HASHES = 12  # address of int64[BLOCK], scratch
REFUSED = 13  # rows that got -1
FREE = 14  # address of int32[FREE_COUNT]: slots to give again, the last one first
FREE_COUNT = 15
NEAR = 16  # address of int32[MASK + 1]: the slot + 1 of the key last seen with these low bits
FIRST = 17  # addresses of the key columns int64[ROWS], then of the values int64[ROOM] by slot

BLOCK = 64
CACHED = 2**15
"""Tables up to this many words lie in the near caches; asking for their lines early costs more."""


def choose(columns: int, words: int) -> Callable[[int], int]:
    """The kernel for so many key columns and words of table: each is compiled only where needed."""
    if columns > 1:
        return many_columns
    return one_column if words <= CACHED else one_column_far


def one_column(ctx: int) -> int:
    """Give every row the slot of its key of one column, the table in the near caches."""
    take_over_old(ctx)
    row = i64(ctx, ROW)
    rows = i64(ctx, ROWS)
    keys = i64(ctx, FIRST)
    values = i64(ctx, FIRST + 1)
    out = i64(ctx, OUT)
    table = i64(ctx, TABLE)
    mask = i64(ctx, MASK)
    seed = i64(ctx, SEED)
    near = i64(ctx, NEAR)
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
            slot = add(ctx, place, mixed)
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
    take_over_old(ctx)
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
                slot = add(ctx, place, mixed)
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
    take_over_old(ctx)
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
            if entry >> 32 == mixed and is_key(ctx, columns, row, slot):
                break
            place = (place + 1) & mask
            entry = i64(table, place)
        if entry == 0:
            slot = add(ctx, place, mixed)
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


FULL = -2


def take_over_old(ctx: int) -> int:
    """Bring over the entries of the table before this one, if there is one."""
    if i64(ctx, OLD) != 0:
        take_over(i64(ctx, OLD), i64(ctx, OLD_WORDS), i64(ctx, TABLE), i64(ctx, MASK))
        set_i64(ctx, OLD, 0)
    return 0


def add(ctx: int, place: int, mixed: int) -> int:
    """The next slot, entered at an empty place; -1 beyond the limit, `FULL` without room."""
    count = i64(ctx, COUNT)
    free = i64(ctx, FREE_COUNT)
    if count - free >= i64(ctx, LIMIT):
        set_i64(ctx, REFUSED, i64(ctx, REFUSED) + 1)
        return -1
    if free > 0:
        slot = i32(i64(ctx, FREE), free - 1)
        set_i64(ctx, FREE_COUNT, free - 1)
        set_i64(i64(ctx, TABLE), place, (mixed << 32) | (slot + 1))
        return slot
    if count >= i64(ctx, ROOM):
        return FULL
    set_i64(i64(ctx, TABLE), place, (mixed << 32) | (count + 1))
    set_i64(ctx, COUNT, count + 1)
    return count


def is_key(ctx: int, columns: int, row: int, slot: int) -> bool:
    """Whether the key of a row is that of a slot."""
    for c in range(columns):
        if i64(i64(ctx, FIRST + c), row) != i64(i64(ctx, FIRST + columns + c), slot):
            return False
    return True
