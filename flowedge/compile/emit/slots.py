"""Helpers that kernels call to leave in the order of their keys."""

from flowedge.compile.memory import i32, i64, set_i32


def in_key_order(
    touched: int,
    count: int,
    order: int,
    rank: int,
    keys: int,
    records: int,
    record_size: int,
    flag_offset: int,
) -> int:
    """Put the first `count` slots of `touched` into the order of their keys; returns `count`.

    Many: read all slots in key order and keep the flagged ones. Few: heap sort by rank, in place.
    Addresses of int32 arrays; the flag is an int64 in each slot's record.
    """
    if count * 8 > keys:
        k = 0
        for q in range(keys):
            slot = i32(order, q)
            if i64(records + slot * record_size + flag_offset, 0) != 0:
                set_i32(touched, k, slot)
                k += 1
        return k
    for start in range(count // 2 - 1, -1, -1):
        sink(touched, rank, start, count)
    for end in range(count - 1, 0, -1):
        top = i32(touched, 0)
        set_i32(touched, 0, i32(touched, end))
        set_i32(touched, end, top)
        sink(touched, rank, 0, end)
    return count


def sink(touched: int, rank: int, root: int, count: int) -> int:
    """Let one slot sink to its place in a heap ordered by rank."""
    while True:
        child = 2 * root + 1
        if child >= count:
            return root
        if child + 1 < count and i32(rank, i32(touched, child)) < i32(
            rank, i32(touched, child + 1)
        ):
            child += 1
        a, b = i32(touched, root), i32(touched, child)
        if i32(rank, a) >= i32(rank, b):
            return root
        set_i32(touched, root, b)
        set_i32(touched, child, a)
        root = child
