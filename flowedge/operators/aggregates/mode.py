"""`mode(x)`: the most frequent value; of ties the smallest."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from flowedge.operators.contract import Aggregate, Context, operator
from flowedge.operators.rules import as_it_is, require_no_time
from flowedge.operators.selection import sort_values
from flowedge.types.schema import Type


def mode_finish(values: Any, n: int, work: Any, out: Any, by_time: int) -> float:  # noqa: ANN401
    """Sort a copy; the longest run, and of equal ones the least value, or the first one in time."""
    if n == 0:
        return math.nan
    for k in range(n):
        work[k] = values[k]
    sort_values(work, n)
    best, most, count = work[0], 1, 1
    for k in range(1, n):
        count = count + 1 if work[k] == work[k - 1] else 1
        if count > most:
            best, most = work[k], count
    if by_time == 0:
        return best
    for k in range(n):
        low, high = 0, n  # the first place in `work` that is not below values[k]
        while low < high:
            middle = (low + high) // 2
            if work[middle] < values[k]:
                low = middle + 1
            else:
                high = middle
        if low + most <= n and work[low + most - 1] == values[k]:
            return values[k]
    return best


@operator("aggregate", "mode")
@dataclass(frozen=True)
class Mode(Aggregate):
    """The most frequent value; of ties the smallest.

    Stream
    ------
    in : number [u], text or condition
    out : the same type; numbers as f64
    ties : the smallest number; of texts the one that came first in the window
    missing : skipped; of none it is missing

    Examples
    --------
    >>> flow("aggregate mode(x) as y", x=[1.0, 2.0, 2.0])
    [2.0]
    """

    inputs: ClassVar[int | tuple[int, int]] = 1
    collects: ClassVar[bool] = True
    finish = staticmethod(mode_finish)

    def out(self, args: Sequence[Type], context: Context) -> Type:
        """The same type."""
        require_no_time(args[0], "folded", "take a number made of them, such as `clock(time)`")
        return as_it_is(args[0])

    def constants(self, args: Sequence[Type], context: Context) -> tuple[float | int, ...]:
        """Whether ties go by time: the numbers that stand for texts have no order."""
        return (1 if args and args[0].store in ("string", "binary") else 0,)

    def reference(self, *x: Any, time_ns: Any, rate_hz: float | None) -> Any:  # noqa: ANN401
        """The same by NumPy over the values of one window."""
        v = x[0][~np.isnan(x[0])]
        if len(v) == 0:
            return np.nan
        found, counts = np.unique(v, return_counts=True)
        return float(found[counts.argmax()])
