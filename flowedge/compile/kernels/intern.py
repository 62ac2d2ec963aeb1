"""Texts to numbers: each distinct string of bytes gets an id, a free one or the next.

Open addressing with linear probing. A word of the table holds 32 bits of the hash and the id + 1;
the bytes stand one after the other in a heap, where each begins and ends in `SPANS`. Before it changes
anything for a row that lacks room, the kernel returns `GROW`; the host enlarges and calls again.
"""

from flowedge.compile.kernels.hashing import equal_bytes, hash_bytes
from flowedge.compile.memory import copy, i32, i64, prefetch, set_i64, u8
from flowedge.compile.program import DONE, GROW

# Words of the context.
ROW = 0  # the next row to do
ROWS = 1
OFFSETS = 2  # address of the offsets of the rows' bytes, ROWS + 1 of them
IS_WIDE = 3  # 1: they are int64, 0: int32
DATA = 4  # address of the bytes
VALID = 5  # address of the validity bits, 0 where all rows are valid
BIT = 6  # which bit is that of row 0
OUT = 7  # address of int64[ROWS]: ids, -1 for null
TABLE = 8
MASK = 9  # words in the table, less 1
HEAP = 10
HEAP_SIZE = 11
SPANS = 12  # address of int64[ROOM, 2]: where the bytes of each id begin and end
COUNT = 13  # ids given, the free ones among them
ROOM = 14  # ids that the table may hold
SEED = 15
NEED = 16  # bytes that the heap lacks when it returns GROW, 0 where the table is full
OLD = 17  # address of a smaller table to take over first, 0 for none
OLD_WORDS = 18
HASHES = 19  # address of int64[BLOCK], scratch
USED = 20  # bytes of the heap that are taken
FREE = 21  # address of int64[FREE_COUNT]: ids to give again, the last one first
FREE_COUNT = 22
WORDS = 23

BLOCK = 64


def intern(ctx: int) -> int:  # one loop, everything in registers
    """Give every row its id; new strings of bytes are added."""
    table = i64(ctx, TABLE)
    mask = i64(ctx, MASK)
    if i64(ctx, OLD) != 0:
        take_over(i64(ctx, OLD), i64(ctx, OLD_WORDS), table, mask)
        set_i64(ctx, OLD, 0)
    offsets = i64(ctx, OFFSETS)
    is_wide = i64(ctx, IS_WIDE)
    data = i64(ctx, DATA)
    valid = i64(ctx, VALID)
    first_bit = i64(ctx, BIT)
    out = i64(ctx, OUT)
    heap = i64(ctx, HEAP)
    heap_size = i64(ctx, HEAP_SIZE)
    spans = i64(ctx, SPANS)
    count = i64(ctx, COUNT)
    used = i64(ctx, USED)
    free = i64(ctx, FREE)
    free_count = i64(ctx, FREE_COUNT)
    room = i64(ctx, ROOM)
    seed = i64(ctx, SEED)
    hashes = i64(ctx, HASHES)
    row = i64(ctx, ROW)
    rows = i64(ctx, ROWS)
    while row < rows:
        stop = min(row + BLOCK, rows)
        # Hash a block first, so that the table's cache lines are on their way together.
        for q in range(row, stop):
            start = offset(offsets, is_wide, q)
            mixed = hash_bytes(data + start, offset(offsets, is_wide, q + 1) - start, seed) >> 32
            set_i64(hashes, q - row, mixed)
            prefetch(table + 8 * (mixed & mask))
        for q in range(row, stop):
            if valid != 0 and not is_valid(valid, first_bit + q):
                set_i64(out, q, -1)
                continue
            start = offset(offsets, is_wide, q)
            size = offset(offsets, is_wide, q + 1) - start
            mixed = i64(hashes, q - row)
            place = mixed & mask
            found = -1
            entry = i64(table, place)
            while entry != 0:
                if entry >> 32 == mixed:
                    known = (entry & 0xFFFFFFFF) - 1
                    begin = i64(spans, 2 * known)
                    if i64(spans, 2 * known + 1) - begin == size and equal_bytes(
                        heap + begin, data + start, size
                    ):
                        found = known
                        break
                place = (place + 1) & mask
                entry = i64(table, place)
            if found < 0:
                lacks_ids = free_count == 0 and count >= room
                if lacks_ids or used + size > heap_size:
                    set_i64(ctx, NEED, 0 if lacks_ids else used + size - heap_size)
                    set_i64(ctx, ROW, q)
                    set_i64(ctx, COUNT, count)
                    set_i64(ctx, USED, used)
                    set_i64(ctx, FREE_COUNT, free_count)
                    return GROW
                copy(heap + used, data + start, size)
                if free_count > 0:
                    free_count -= 1
                    found = i64(free, free_count)
                else:
                    found = count
                    count += 1
                set_i64(spans, 2 * found, used)
                used += size
                set_i64(spans, 2 * found + 1, used)
                set_i64(table, place, (mixed << 32) | (found + 1))
            set_i64(out, q, found)
        row = stop
    set_i64(ctx, ROW, row)
    set_i64(ctx, COUNT, count)
    set_i64(ctx, USED, used)
    set_i64(ctx, FREE_COUNT, free_count)
    return DONE


def offset(offsets: int, is_wide: int, row: int) -> int:
    """Where the bytes of a row begin."""
    return i64(offsets, row) if is_wide != 0 else i32(offsets, row)


def is_valid(valid: int, bit: int) -> bool:
    """One bit of an Arrow validity bitmap."""
    return (u8(valid, bit >> 3) >> (bit & 7)) & 1 == 1


def take_over(old: int, words: int, table: int, mask: int) -> int:
    """Put the entries of a table into an empty larger one; the hash is in the entry."""
    for q in range(words):
        entry = i64(old, q)
        if entry != 0:
            place = (entry >> 32) & mask
            while i64(table, place) != 0:
                place = (place + 1) & mask
            set_i64(table, place, entry)
    return 0


# ---- ids to texts

SPELL_ROWS = 0
SPELL_IDS = 1  # address of int64[ROWS]; negative ones have no bytes
SPELL_HEAP = 2
SPELL_SPANS = 3
SPELL_OFFSETS = 4  # address of int64[ROWS + 1]: where the bytes of each row go
SPELL_OUT = 5  # address of the bytes
SPELL_WORDS = 6


def spell(ctx: int) -> int:
    """Copy the bytes of each id to its place."""
    rows = i64(ctx, SPELL_ROWS)
    ids = i64(ctx, SPELL_IDS)
    heap = i64(ctx, SPELL_HEAP)
    spans = i64(ctx, SPELL_SPANS)
    offsets = i64(ctx, SPELL_OFFSETS)
    out = i64(ctx, SPELL_OUT)
    for q in range(rows):
        number = i64(ids, q)
        if number >= 0:
            at = i64(offsets, q)
            copy(out + at, heap + i64(spans, 2 * number), i64(offsets, q + 1) - at)
    return DONE
