"""A heap of slots by the time at which each is due: what the watermark closes key by key.

The heap lies in `touched`; the due time of a slot is an int64 in its record. Equal times stand by key.
"""

from flowedge.compile.memory import i32, i64, set_i32


def before(a: int, b: int, records: int, record_size: int, due: int, rank: int) -> bool:
    """Whether slot a is due before slot b."""
    x = i64(records + a * record_size + due, 0)
    y = i64(records + b * record_size + due, 0)
    if x != y:
        return x < y
    return i32(rank, a) < i32(rank, b)


def heap_push(
    heap: int, count: int, slot: int, records: int, record_size: int, due: int, rank: int
) -> int:
    """Add a slot whose due time stands in its record; returns the new count."""
    at = count
    while at > 0:
        up = (at - 1) // 2
        other = i32(heap, up)
        if not before(slot, other, records, record_size, due, rank):
            break
        set_i32(heap, at, other)
        at = up
    set_i32(heap, at, slot)
    return count + 1


def heap_sink(heap: int, count: int, records: int, record_size: int, due: int, rank: int) -> int:
    """Put the first slot, whose due time has grown, back into order; returns the count."""
    slot = i32(heap, 0)
    at = 0
    while True:
        child = 2 * at + 1
        if child >= count:
            break
        if child + 1 < count and before(
            i32(heap, child + 1), i32(heap, child), records, record_size, due, rank
        ):
            child += 1
        other = i32(heap, child)
        if not before(other, slot, records, record_size, due, rank):
            break
        set_i32(heap, at, other)
        at = child
    set_i32(heap, at, slot)
    return count


def heap_pop(heap: int, count: int, records: int, record_size: int, due: int, rank: int) -> int:
    """Take the first slot away; returns the new count."""
    count -= 1
    if count > 0:
        set_i32(heap, 0, i32(heap, count))
        heap_sink(heap, count, records, record_size, due, rank)
    return count
