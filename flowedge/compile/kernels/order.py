"""The order of keys: new slots are sorted and merged into the slots sorted before.

Columns decide one after the other, integers by value, texts by their bytes, a missing value first.
Merge sort, bottom up: it needs no recursion, and never more than n log n comparisons.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from flowedge.compile.kernels.hashing import compare_bytes
from flowedge.compile.kernels.library import ready
from flowedge.compile.memory import address, copy, i32, i64, set_i32
from flowedge.compile.program import DONE

# Words of the context.
KNOWN = 0  # slots that stand in ORDER already, sorted
COUNT = 1  # slots to be sorted in all
ORDER = 2  # address of int32[COUNT]
RANK = 3  # address of int32 by slot
SCRATCH = 4  # address of int32[2 * COUNT]; the new slots stand at its beginning
HEAP = 5  # the pool's bytes
SPANS = 6  # where each text begins and ends, see `intern`
COLUMNS = 7
FIRST = (
    8  # for each column: address of its values int64[COUNT] by slot, and 1 for text, 0 for integers
)


def sorted_slots(
    known: NDArray[np.int32],
    columns: Sequence[NDArray[np.int64]],
    is_text: Sequence[bool],
    heap: int = 0,
    spans: int = 0,
    fresh: NDArray[np.int32] | None = None,
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Slots in the order of their keys, and the place of each slot in it.

    Parameters
    ----------
    known : slots sorted before
    columns : values by slot, shape ``(slots,)`` each, contiguous
    is_text : which columns are ids of texts
    heap, spans : addresses of the texts, see `flowedge.compile.kernels.intern`
    fresh : the other slots that have a key; None: all from ``len(known)`` on. Slots in neither have
        none, and stand at the end

    Examples
    --------
    >>> order, rank = sorted_slots(np.empty(0, np.int32), [np.array([30, 10, 20])], [False])
    >>> order, rank
    (array([1, 2, 0], dtype=int32), array([2, 0, 1], dtype=int32))
    """
    slots = len(columns[0])
    if fresh is None:
        fresh = np.arange(len(known), slots, dtype=np.int32)
    count = len(known) + len(fresh)
    order, rank = np.empty(slots, np.int32), np.empty(slots, np.int32)
    if count < slots:
        without = np.ones(slots, np.bool_)
        without[known], without[fresh] = False, False
        order[count:] = np.flatnonzero(without)
        rank[order[count:]] = np.arange(count, slots, dtype=np.int32)
    if not len(known) and len(columns) == 1 and not is_text[0]:
        order[:count] = fresh[np.argsort(columns[0][fresh], kind="stable")]
        rank[order[:count]] = np.arange(count, dtype=np.int32)
        return order, rank
    order[: len(known)] = known
    scratch = np.empty(2 * count, np.int32)
    scratch[: len(fresh)] = fresh
    ctx = np.zeros(FIRST + 2 * len(columns), np.int64)
    ctx[KNOWN], ctx[COUNT], ctx[COLUMNS] = len(known), count, len(columns)
    ctx[ORDER], ctx[RANK], ctx[SCRATCH] = address(order), address(rank), address(scratch)
    ctx[HEAP], ctx[SPANS] = heap, spans
    ctx[FIRST::2] = [address(c) for c in columns]
    ctx[FIRST + 1 :: 2] = is_text
    ready(merge_in)(address(ctx))
    return order, rank


def merge_in(ctx: int) -> int:
    """Bring ORDER and RANK up to date."""
    known = i64(ctx, KNOWN)
    count = i64(ctx, COUNT)
    here = i64(ctx, ORDER)
    rank = i64(ctx, RANK)
    fresh = count - known
    a = i64(ctx, SCRATCH)
    b = a + 4 * count
    width = 1
    while width < fresh:
        start = 0
        while start < fresh:
            middle = min(start + width, fresh)
            stop = min(start + 2 * width, fresh)
            merge(ctx, a + 4 * start, middle - start, a + 4 * middle, stop - middle, b + 4 * start)
            start = stop
        a, b = b, a
        width *= 2
    # The larger half moves out of the way, into the scratch that is free.
    copy(b, here, 4 * known)
    merge(ctx, b, known, a, fresh, here)
    for q in range(count):
        set_i32(rank, i32(here, q), q)
    return DONE


def merge(ctx: int, a: int, size_a: int, b: int, size_b: int, out: int) -> int:
    """Merge two sorted lists of slots; those of the first stand first among equals."""
    p = 0
    q = 0
    while p < size_a and q < size_b:
        if compare(ctx, i32(b, q), i32(a, p)) < 0:
            set_i32(out, p + q, i32(b, q))
            q += 1
        else:
            set_i32(out, p + q, i32(a, p))
            p += 1
    copy(out + 4 * (p + q), a + 4 * p, 4 * (size_a - p))
    copy(out + 4 * (size_a + q), b + 4 * q, 4 * (size_b - q))
    return 0


def compare(ctx: int, a: int, b: int) -> int:
    """Negative, zero or positive as the key of one slot stands before that of the other."""
    for c in range(i64(ctx, COLUMNS)):
        values = i64(ctx, FIRST + 2 * c)
        x = i64(values, a)
        y = i64(values, b)
        if x == y:
            continue
        if i64(ctx, FIRST + 2 * c + 1) == 0 or x < 0 or y < 0:
            return -1 if x < y else 1
        heap = i64(ctx, HEAP)
        spans = i64(ctx, SPANS)
        start_x = i64(spans, 2 * x)
        start_y = i64(spans, 2 * y)
        found = compare_bytes(
            heap + start_x, i64(spans, 2 * x + 1) - start_x, heap + start_y, i64(spans, 2 * y + 1) - start_y
        )  # fmt: skip
        if found != 0:
            return found
    return 0
