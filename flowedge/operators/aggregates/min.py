"""`min(x)`: the smallest value."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from flowedge.operators.contract import Aggregate, Context, operator
from flowedge.operators.rules import number
from flowedge.types.schema import Type


def min_lift(t: int, x: float) -> tuple[float]:
    """One row; NaN, which is missing, is the empty fold itself."""
    return (x,)


def min_merge(a: tuple[float], b: tuple[float]) -> tuple[float]:
    """Two neighbouring parts, `a` the older."""
    return (b[0] if b[0] < a[0] or math.isnan(a[0]) else a[0],)


def min_result(a: tuple[float]) -> float:
    """The answer."""
    return a[0]


@operator("aggregate", "min")
@dataclass(frozen=True)
class Min(Aggregate):
    """The smallest value.

    Stream
    ------
    in : number [u]
    out : f64 [u]
    missing : skipped; of none it is missing

    Examples
    --------
    >>> flow("aggregate min(x) as y", x=[3.0, 1.0, nan])
    [1.0]
    """

    inputs: ClassVar[int | tuple[int, int]] = 1
    zero: ClassVar[tuple[float, ...]] = (math.nan,)
    lift = staticmethod(min_lift)
    merge = staticmethod(min_merge)
    result = staticmethod(min_result)

    def out(self, args: Sequence[Type], context: Context) -> Type:
        """The unit stays."""
        return number(args[0], "0")

    def reference(self, *x: Any, time_ns: Any, rate_hz: float | None) -> Any:  # noqa: ANN401
        """The same by NumPy over the values of one window."""
        v = x[0][~np.isnan(x[0])]
        return float(v.min()) if len(v) else np.nan
