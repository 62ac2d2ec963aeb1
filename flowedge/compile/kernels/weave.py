"""Columns of several inputs become one, in the order in which their rows have met."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from flowedge.compile.kernels.columns import copy_row, width_of
from flowedge.compile.kernels.library import ready
from flowedge.compile.memory import address, i32, i64, set_i32, set_i64, set_u8, u8
from flowedge.compile.program import DONE

# ---- words of the context

ROWS = 0
PORT = 1  # address of uint8: the input that each row comes by
ROW = 2  # address of int64: its number among that input's rows
INPUTS = 3
COLUMNS = 4
FIRST = 5

# ---- words of each column, and behind them two of each input

WIDTH = 0  # bytes of a row
TARGET = 1
SOURCES = 2

SOURCE = 0  # address of its rows
MASK = 1  # -1; 0 where its first row stands for all
WORDS = 2


class Part(NamedTuple):
    """A column of one input; where `is_same`, its one row stands for all."""

    values: NDArray[Any]
    is_same: bool = False


def woven(
    columns: Sequence[Sequence[Part | None]], port: NDArray[np.uint8], row: NDArray[np.int64]
) -> list[NDArray[Any]]:
    """Columns with the rows of several inputs.

    Parameters
    ----------
    columns : of each one its parts, by the number of the input; None of one that has no rows here
    port, row : the input that each row comes by, and its number there

    Examples
    --------
    >>> parts = [Part(np.array([1.5, 2.5])), Part(np.array([-1.0]), is_same=True)]
    >>> woven([parts], np.array([0, 1, 1, 0], np.uint8), np.array([0, 0, 1, 1]))
    [array([ 1.5, -1. , -1. ,  2.5])]
    """
    n = len(row)
    words = [n, address(port), address(row), len(columns[0]) if columns else 0, len(columns)]
    keeps = []  # arrays that are not as they were given
    out = []
    for parts in columns:
        first = next(part.values for part in parts if part is not None)
        made = np.empty((n, *first.shape[1:]), first.dtype)
        words += [width_of(first), address(made)]
        for part in parts:
            if part is None:
                words += [0, 0]
                continue
            keeps.append(np.ascontiguousarray(part.values, made.dtype))
            words += [address(keeps[-1]), 0 if part.is_same else -1]
        out.append(made)
    context = np.array(words, np.int64)
    ready(weave)(address(context))
    return out


def weave(ctx: int) -> int:
    """Take each row of each column from its input."""
    for number in range(i64(ctx, COLUMNS)):
        each = SOURCES + WORDS * i64(ctx, INPUTS)
        column(ctx, ctx + 8 * (FIRST + each * number))
    return DONE


def column(ctx: int, one: int) -> int:
    """One column; a loop for each width."""
    ports, numbers = i64(ctx, PORT), i64(ctx, ROW)
    width, target, sources = i64(one, WIDTH), i64(one, TARGET), one + 8 * SOURCES
    if width == 8:
        for k in range(i64(ctx, ROWS)):
            part = sources + 8 * WORDS * u8(ports, k)
            set_i64(target, k, i64(i64(part, SOURCE), i64(numbers, k) & i64(part, MASK)))
    elif width == 4:
        for k in range(i64(ctx, ROWS)):
            part = sources + 8 * WORDS * u8(ports, k)
            set_i32(target, k, i32(i64(part, SOURCE), i64(numbers, k) & i64(part, MASK)))
    elif width == 1:
        for k in range(i64(ctx, ROWS)):
            part = sources + 8 * WORDS * u8(ports, k)
            set_u8(target, k, u8(i64(part, SOURCE), i64(numbers, k) & i64(part, MASK)))
    else:
        for k in range(i64(ctx, ROWS)):
            part = sources + 8 * WORDS * u8(ports, k)
            number = i64(numbers, k) & i64(part, MASK)
            copy_row(target + width * k, i64(part, SOURCE) + width * number, width)
    return 0
