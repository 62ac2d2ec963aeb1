"""What the kernels of all formats do around each message."""

from flowedge.compile.memory import i64, set_i64
from flowedge.sources.payloads.bounds import FREE, LONGEST, MOST_VALUES, TIMES
from flowedge.sources.payloads.kernels.layout import (
    COUNTS,
    DATA,
    HOW_MANY_DONE,
    IS_DONE,
    MESSAGE,
    ROW,
    STARTS,
    VALUES,
    WIDTH,
)


def place_of(ctx: int, message: int) -> tuple[int, int, int]:
    """Where a message begins and ends, and how many rows it may give; none where it is empty or too long."""
    starts = i64(ctx, STARTS)
    at = i64(ctx, DATA) + i64(starts, message)
    stop = i64(ctx, DATA) + i64(starts, message + 1) - 1
    size = stop - at
    set_i64(ctx, VALUES, 0)
    set_i64(ctx, MESSAGE, message)
    if size <= 0 or size > LONGEST:
        return at, stop, 0
    return at, stop, (TIMES * size + FREE) // i64(ctx, WIDTH)


def settle(ctx: int, message: int, rows: int) -> int:
    """Keep the rows of a message, unless it was given up."""
    if rows >= 0 and i64(ctx, VALUES) <= MOST_VALUES:
        set_i64(i64(ctx, COUNTS), message, rows)
        set_i64(i64(ctx, IS_DONE), message, 1)
        set_i64(ctx, HOW_MANY_DONE, i64(ctx, HOW_MANY_DONE) + 1)
        set_i64(ctx, ROW, i64(ctx, ROW) + rows)
    return 0


__all__ = ["place_of", "settle"]
