"""Where inputs meet: sorted rows of several inputs become one order, run by run."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from flowedge.compile.kernels.library import ready
from flowedge.compile.memory import address, copy, i32, i64, set_i32, set_i64, set_u8
from flowedge.compile.program import DONE

# ---- words of the context

TIME = 0  # address of int64: of all rows, in their order
PORT = 1  # address of uint8: the input that each came by
ROW = 2  # address of int64: its number among that input's rows
SLOT = 3  # address of int32, or 0
GAP = 4  # address of uint8, or 0
INPUTS = 5
FIRST = 6

# ---- words of each input, in the order in which equal times stand

IN_TIME = 0  # address of int64, sorted
IN_ROWS = 1
IN_PORT = 2
IN_SLOT = 3  # address of int32, or 0: all are 0
IN_GAP = 4  # address of uint8, or 0: all are 0
NEXT = 5  # rows that are taken
WORDS = 6

STEP = 64
"""Rows of each of two inputs that are looked at together, for whether they go in step."""


class Rows(NamedTuple):
    """What the order of an input's rows depends on: int64 ns, int32 slots and uint8 gaps where there are any."""

    port: int
    time: NDArray[np.int64]
    slot: NDArray[np.int32] | None
    gap: NDArray[np.uint8] | None


class Met(NamedTuple):
    """Rows in their common order, and the number of each among those of its input."""

    time: NDArray[np.int64]
    port: NDArray[np.uint8]
    row: NDArray[np.int64]
    slot: NDArray[np.int32] | None
    gap: NDArray[np.uint8] | None


class Space:
    """Memory that is used again, where what was met is not looked at any more when the next rows meet."""

    def __init__(self) -> None:
        self._held = _arrays(0)

    def of(self, rows: int) -> Met:
        """Arrays for so many rows, with anything in them."""
        if rows > len(self._held.time):
            self._held = _arrays(rows + rows // 4)
        time, port, row, slot, gap = self._held
        assert slot is not None
        assert gap is not None
        return Met(time[:rows], port[:rows], row[:rows], slot[:rows], gap[:rows])

    @property
    def nbytes(self) -> int:
        """Bytes of it."""
        return sum(array.nbytes for array in self._held if array is not None)


def _arrays(n: int) -> Met:
    return Met(
        np.empty(n, np.int64), np.empty(n, np.uint8), np.empty(n, np.int64), np.empty(n, np.int32), np.empty(n, np.uint8),
    )  # fmt: skip


def met(
    inputs: Sequence[Rows],
    *,
    has_slots: bool,
    has_gaps: bool,
    space: Space | None = None,
    is_kept: bool = False,
) -> Met:
    """The rows of all inputs in the order of time; of equal times those of an earlier input stand first.

    Parameters
    ----------
    inputs : each sorted by time
    has_slots, has_gaps : whether these are wanted; an input without them has zeros
    space : where the result lies; in arrays of its own by default
    is_kept : times, slots and gaps lie in arrays of their own all the same

    Examples
    --------
    >>> a, b = (Rows(p, np.array(t), None, None) for p, t in enumerate(([1, 5], [1, 2])))
    >>> found = met([a, b], has_slots=False, has_gaps=False)
    >>> found.time, found.port, found.row
    (array([1, 1, 2, 5]), array([0, 1, 1, 0], dtype=uint8), array([0, 0, 1, 1]))
    """
    n = sum(len(one.time) for one in inputs)
    out = (Space() if space is None else space).of(n)
    if is_kept:
        out = out._replace(time=np.empty(n, np.int64), slot=np.empty(n, np.int32), gap=np.empty(n, np.uint8))  # fmt: skip
    out = out._replace(slot=out.slot if has_slots else None, gap=out.gap if has_gaps else None)
    ctx = [0 if array is None else address(array) for array in out]
    ctx.append(len(inputs))
    keeps = []  # arrays that are not as they were given
    for one in inputs:
        arrays = [None if x is None else np.ascontiguousarray(x) for x in (one.time, one.slot, one.gap)]  # fmt: skip
        keeps.append(arrays)
        times, slots, gaps = (0 if x is None else address(x) for x in arrays)
        ctx += [times, len(one.time), one.port, slots, gaps, 0]
    words = np.array(ctx, np.int64)
    ready(interleave)(address(words))
    return out


def interleave(ctx: int) -> int:
    """Take runs: rows of the input whose next one is first, up to where another input's next one stands."""
    count = i64(ctx, INPUTS)
    made = 0
    if count == 2 and i64(ctx, GAP) == 0:
        lead(ctx)
        made = pair(ctx)
    while True:
        first, least = -1, 0
        for number in range(count):
            one = ctx + 8 * (FIRST + WORDS * number)
            at = i64(one, NEXT)
            if at < i64(one, IN_ROWS) and (first < 0 or i64(i64(one, IN_TIME), at) < least):
                first, least = number, i64(i64(one, IN_TIME), at)
        if first < 0:
            return DONE
        is_alone, limit = True, 0
        for number in range(count):
            one = ctx + 8 * (FIRST + WORDS * number)
            at = i64(one, NEXT)
            if number == first or at >= i64(one, IN_ROWS):
                continue
            bound = i64(i64(one, IN_TIME), at)
            if number < first:
                bound -= 1  # it is above `least`, or that input would be the first
            if is_alone or bound < limit:
                is_alone, limit = False, bound
        made += run(ctx, ctx + 8 * (FIRST + WORDS * first), made, is_alone, limit)


def pair(ctx: int) -> int:
    """Rows of two inputs as long as both have some, one by one: runs are short; how many."""
    one, other = ctx + 8 * FIRST, ctx + 8 * (FIRST + WORDS)
    times, ports, rows, slots = i64(ctx, TIME), i64(ctx, PORT), i64(ctx, ROW), i64(ctx, SLOT)
    left, right = i64(one, IN_TIME), i64(other, IN_TIME)
    left_slot, right_slot = i64(one, IN_SLOT), i64(other, IN_SLOT)
    left_port, right_port = i64(one, IN_PORT), i64(other, IN_PORT)
    left_rows, right_rows = i64(one, IN_ROWS), i64(other, IN_ROWS)
    has_slots = slots != 0 and left_slot != 0 and right_slot != 0
    if slots != 0 and not has_slots:
        return 0
    a, b = i64(one, NEXT), i64(other, NEXT)
    while a < left_rows and b < right_rows:
        x, y = i64(left, a), i64(right, b)
        is_left = x <= y
        made = a + b
        set_i64(times, made, x if is_left else y)
        set_u8(ports, made, left_port if is_left else right_port)
        row = a if is_left else b
        set_i64(rows, made, row)
        if has_slots:
            set_i32(slots, made, i32(left_slot if is_left else right_slot, row))
        a += 1 if is_left else 0
        b += 0 if is_left else 1
    set_i64(one, NEXT, a)
    set_i64(other, NEXT, b)
    return a + b


def lead(ctx: int) -> int:
    """Rows of two inputs that go in step, as far as they do from where they stand; how many.

    `pair` has a loop of its own: with this inside, the compiler makes branches of its choices, and rows that go in no step take
    twice as long.
    """
    one, other = ctx + 8 * FIRST, ctx + 8 * (FIRST + WORDS)
    left, right = i64(one, IN_TIME), i64(other, IN_TIME)
    left_rows, right_rows = i64(one, IN_ROWS), i64(other, IN_ROWS)
    has_slots = i64(one, IN_SLOT) != 0 and i64(other, IN_SLOT) != 0
    a, b = i64(one, NEXT), i64(other, NEXT)
    if i64(ctx, SLOT) != 0 and not has_slots:
        return 0
    while go_in_step(left, a, left_rows, right, b, right_rows):
        in_step(ctx, a, b)
        a, b = a + STEP, b + STEP
    set_i64(one, NEXT, a)
    set_i64(other, NEXT, b)
    return a + b


def go_in_step(left: int, a: int, left_rows: int, right: int, b: int, right_rows: int) -> bool:
    """Whether the next `STEP` rows of both have the same times, all of them different: sampled in step."""
    if a + STEP > left_rows or b + STEP > right_rows or i64(left, a) != i64(right, b):
        return False
    apart, least = 0, 1
    for k in range(STEP):
        apart |= i64(left, a + k) ^ i64(right, b + k)
    for k in range(1, STEP):
        least = min(least, i64(left, a + k) - i64(left, a + k - 1))
    # One more row of the left side at the last of these times would stand before the right one's.
    if a + STEP < left_rows:
        least = min(least, i64(left, a + STEP) - i64(left, a + STEP - 1))
    return apart == 0 and least > 0


def in_step(ctx: int, a: int, b: int) -> int:
    """These rows by turns; so they are written without looking which is the next one."""
    one, other = ctx + 8 * FIRST, ctx + 8 * (FIRST + WORDS)
    times, ports = i64(ctx, TIME) + 8 * (a + b), i64(ctx, PORT) + a + b
    rows, left = i64(ctx, ROW) + 8 * (a + b), i64(one, IN_TIME)
    left_port, right_port = i64(one, IN_PORT), i64(other, IN_PORT)
    for k in range(STEP):
        t = i64(left, a + k)
        set_i64(times, 2 * k, t)
        set_i64(times, 2 * k + 1, t)
    for k in range(STEP):
        set_u8(ports, 2 * k, left_port)
        set_u8(ports, 2 * k + 1, right_port)
    for k in range(STEP):
        set_i64(rows, 2 * k, a + k)
        set_i64(rows, 2 * k + 1, b + k)
    if i64(ctx, SLOT) != 0:
        slots = i64(ctx, SLOT) + 4 * (a + b)
        left_slot, right_slot = i64(one, IN_SLOT), i64(other, IN_SLOT)
        for k in range(STEP):
            set_i32(slots, 2 * k, i32(left_slot, a + k))
            set_i32(slots, 2 * k + 1, i32(right_slot, b + k))
    return 0


def run(ctx: int, one: int, made: int, is_alone: bool, limit: int) -> int:
    """The rows of an input up to a time behind those that are made; how many."""
    start, end, times = i64(one, NEXT), i64(one, IN_ROWS), i64(one, IN_TIME)
    stop = end
    if not is_alone:
        stop = start + 1
        while stop < end and i64(times, stop) <= limit:
            stop += 1
    size = stop - start
    copy(i64(ctx, TIME) + 8 * made, times + 8 * start, 8 * size)
    fill(i64(ctx, PORT) + made, i64(one, IN_PORT), size)
    rows = i64(ctx, ROW) + 8 * made
    for k in range(size):
        set_i64(rows, k, start + k)
    if i64(ctx, SLOT) != 0:
        target = i64(ctx, SLOT) + 4 * made
        if i64(one, IN_SLOT) != 0:
            copy(target, i64(one, IN_SLOT) + 4 * start, 4 * size)
        else:
            fill(target, 0, 4 * size)
    if i64(ctx, GAP) != 0:
        target = i64(ctx, GAP) + made
        if i64(one, IN_GAP) != 0:
            copy(target, i64(one, IN_GAP) + start, size)
        else:
            fill(target, 0, size)
    set_i64(one, NEXT, stop)
    return size


def fill(target: int, value: int, size: int) -> int:
    """The same byte `size` times."""
    for k in range(size):
        set_u8(target, k, value)
    return 0
