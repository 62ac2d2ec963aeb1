"""`range(x)`: the largest minus the smallest value."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from flowedge.operators.contract import Aggregate, Context, operator
from flowedge.operators.rules import difference, number
from flowedge.types.schema import Type


def range_lift(t: int, x: float) -> tuple[float, float]:
    """One row; NaN, which is missing, is the empty fold itself."""
    return (x, x)


def range_merge(a: tuple[float, float], b: tuple[float, float]) -> tuple[float, float]:
    """Two neighbouring parts, `a` the older."""
    if math.isnan(a[0]):
        return b
    return (min(a[0], b[0]), max(a[1], b[1]))


def range_result(a: tuple[float, float]) -> float:
    """The answer."""
    return a[1] - a[0]


@operator("aggregate", "range")
@dataclass(frozen=True)
class Range(Aggregate):
    """The largest minus the smallest value.

    Stream
    ------
    in : number [u]
    out : f64 [u]
    missing : skipped; of none it is missing

    Examples
    --------
    >>> flow("aggregate range(x) as y", x=[3.0, 1.0, 7.0])
    [6.0]
    """

    inputs: ClassVar[int | tuple[int, int]] = 1
    zero: ClassVar[tuple[float, ...]] = (math.nan, math.nan)
    lift = staticmethod(range_lift)
    merge = staticmethod(range_merge)
    result = staticmethod(range_result)

    def out(self, args: Sequence[Type], context: Context) -> Type:
        """A difference."""
        return difference(number(args[0], "0"))

    def reference(self, *x: Any, time_ns: Any, rate_hz: float | None) -> Any:  # noqa: ANN401
        """The same by NumPy over the values of one window."""
        v = x[0][~np.isnan(x[0])]
        return float(np.ptp(v)) if len(v) else np.nan
