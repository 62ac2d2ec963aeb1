"""Columns as kernels want them: missing values in place of validity bits, rows picked by index.

A missing float is NaN, a missing integer or time −2⁶³ after widening, a missing bool 2. NumPy does
the unpacking at about 1 ns a row, which a kernel would not better by much; picking rows by an
int32 index it does by first making an int64 one, so that long columns go through a kernel.
"""  # noqa: RUF002

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flowedge.compile.kernels.arrow import BUFFERS, CHILDREN, NULLS, OFFSET, is_there
from flowedge.compile.kernels.arrow import ROWS as BATCH_ROWS
from flowedge.compile.kernels.library import ready
from flowedge.compile.memory import (
    address,
    copy,
    i32,
    i64,
    set_i16,
    set_i32,
    set_i64,
    set_u8,
    u8,
    u16,
)
from flowedge.compile.program import DONE

MISSING = np.int64(-(2**63))
"""A missing integer, time or text id in a widened column (texts: −1)."""  # noqa: RUF001

_SHORT = 4096
"""Fewer rows than this are picked by NumPy: no kernel need be there for them."""

Bits = NDArray[np.uint8] | None
"""Arrow validity bits, one per row from the lowest of each byte on; None where all are valid."""


def valid(bits: NDArray[np.uint8], rows: int, first: int = 0) -> NDArray[np.bool_]:
    """Validity bits as bools.

    Parameters
    ----------
    bits : bytes of the bitmap
    rows : how many bits
    first : the bit of row 0
    """
    lead = first & 7
    part = bits[first >> 3 : (first + rows + 7) >> 3]
    return np.unpackbits(part, count=lead + rows, bitorder="little")[lead:].view(np.bool_)


def floats(values: NDArray[Any], bits: Bits, first: int = 0) -> NDArray[Any]:
    """float32 or float64 values with NaN where they are missing; without bits, the values themselves."""
    if bits is None:
        return values
    return np.where(valid(bits, len(values), first), values, values.dtype.type(np.nan))


def integers(values: NDArray[Any], bits: Bits, first: int = 0) -> NDArray[np.int64]:
    """Integers of any width as int64, `MISSING` where they are missing."""
    if bits is None:
        return values.astype(np.int64, copy=False)
    return np.where(valid(bits, len(values), first), values, MISSING).astype(np.int64, copy=False)


def bools(
    values: NDArray[np.uint8], rows: int, bits: Bits, first: int = 0, first_value: int | None = None
) -> NDArray[np.uint8]:
    """A bitmap of bools as bytes: 0, 1, or 2 where it is missing.

    Parameters
    ----------
    values, bits : bitmaps of the values and of their validity
    first : the bit of row 0 in `bits`
    first_value : that in `values`, if it is another
    """
    out = valid(values, rows, first if first_value is None else first_value).view(np.uint8)
    if bits is None:
        return out.copy()
    return np.where(valid(bits, rows, first), out, np.uint8(2))


def is_ordered(times: NDArray[np.int64]) -> bool:
    """Whether no time is before the one that it follows.

    Examples
    --------
    >>> is_ordered(np.array([1, 2, 2])), is_ordered(np.array([2, 1]))
    (True, False)
    """
    return bool((times[1:] >= times[:-1]).all())


def take(
    values: NDArray[Any],
    index: NDArray[np.int32] | NDArray[np.int64],
    out: NDArray[Any] | None = None,
) -> NDArray[Any]:
    """Rows of a contiguous column by their numbers; each number must be that of a row.

    Parameters
    ----------
    values : shape ``(rows,)``, or ``(rows, …)`` for lists and tensors
    index : int32 or int64, contiguous
    out : where to put them, shape ``(len(index), …)``; a new array by default

    Examples
    --------
    >>> take(np.array([0.5, 1.5, 2.5]), np.array([2, 0, 0], np.int32))
    array([2.5, 0.5, 0.5])
    """
    if len(index) < _SHORT:
        return values.take(index, axis=0, out=out, mode="raise" if out is None else "clip")
    if out is None:
        out = np.empty((len(index), *values.shape[1:]), values.dtype)
    ctx = np.array(
        [
            len(index),
            address(values),
            address(out),
            address(index),
            index.dtype.itemsize,
            width_of(values),
        ],
        np.int64,
    )
    ready(gather)(address(ctx))
    return out


def width_of(values: NDArray[Any]) -> int:
    """Bytes of a row of a column, shape ``(rows, …)``."""
    return values.itemsize * math.prod(values.shape[1:])


# Words of the context of `gather`.
ROWS = 0
SOURCE = 1
TARGET = 2
INDEX = 3
INDEX_BYTES = 4  # 4 or 8
WIDTH = 5  # bytes of one row


def gather(ctx: int) -> int:
    """Copy the rows that the index names; a loop for each width of item and of index."""
    rows = i64(ctx, ROWS)
    source = i64(ctx, SOURCE)
    target = i64(ctx, TARGET)
    index = i64(ctx, INDEX)
    width = i64(ctx, WIDTH)
    if i64(ctx, INDEX_BYTES) == 4:
        if width == 8:
            for q in range(rows):
                set_i64(target, q, i64(source, i32(index, q)))
        elif width == 4:
            for q in range(rows):
                set_i32(target, q, i32(source, i32(index, q)))
        elif width == 2:
            for q in range(rows):
                set_i16(target, q, u16(source, i32(index, q)))
        elif width == 1:
            for q in range(rows):
                set_u8(target, q, u8(source, i32(index, q)))
        else:
            for q in range(rows):
                copy_row(target + q * width, source + i32(index, q) * width, width)
    elif width == 8:
        for q in range(rows):
            set_i64(target, q, i64(source, i64(index, q)))
    elif width == 4:
        for q in range(rows):
            set_i32(target, q, i32(source, i64(index, q)))
    elif width == 2:
        for q in range(rows):
            set_i16(target, q, u16(source, i64(index, q)))
    elif width == 1:
        for q in range(rows):
            set_u8(target, q, u8(source, i64(index, q)))
    else:
        for q in range(rows):
            copy_row(target + q * width, source + i64(index, q) * width, width)
    return DONE


def copy_row(target: int, source: int, width: int) -> int:
    """Copy one row of any width, by words if it is a whole number of them."""
    if width & 7 == 0:
        for q in range(width >> 3):
            set_i64(target, q, i64(source, q))
    else:
        copy(target, source, width)
    return 0


# ---- where columns lie

LOCATE_BATCH = 0  # address of a struct ArrowArray of the C data interface
LOCATE_COLUMNS = 1  # how many are looked for
LOCATE_LACKING = 2  # 1 where a value of them is missing; out
LOCATE_FIRST = 3  # for each column: its number, bytes of a value, address of its first value (out)
LOCATE_EACH = 3


def locate(ctx: int) -> int:
    """Addresses of columns of fixed width, and whether a value is missing."""
    batch = i64(ctx, LOCATE_BATCH)
    children, first = i64(batch, CHILDREN), i64(batch, OFFSET)
    lacking = 0
    for column in range(i64(ctx, LOCATE_COLUMNS)):
        at = ctx + 8 * (LOCATE_FIRST + LOCATE_EACH * column)
        child = i64(children, i64(at, 0))
        offset = i64(child, OFFSET) + first
        set_i64(at, 2, i64(i64(child, BUFFERS), 1) + offset * i64(at, 1))
        if i64(i64(child, BUFFERS), 0) and i64(child, NULLS):
            for row in range(offset, offset + i64(batch, BATCH_ROWS)):
                lacking |= 1 - is_there(child, row)
    set_i64(ctx, LOCATE_LACKING, lacking)
    return DONE
