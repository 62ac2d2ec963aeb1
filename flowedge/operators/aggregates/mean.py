"""`mean(x)`: the arithmetic mean of the values."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from flowedge.operators.contract import Aggregate, Context, operator
from flowedge.operators.rules import number
from flowedge.types.schema import F64, Type


def mean_lift(t: int, x: float) -> tuple[float, float]:
    """One row."""
    return (x, 1.0) if not math.isnan(x) else (0.0, 0.0)


def mean_merge(a: tuple[float, float], b: tuple[float, float]) -> tuple[float, float]:
    """Two neighbouring parts, `a` the older."""
    return (a[0] + b[0], a[1] + b[1])


def mean_result(a: tuple[float, float]) -> float:
    """The answer."""
    return a[0] / a[1] if a[1] > 0.0 else math.nan


def mean_lift_sound(t: int, x: float) -> tuple[float, float]:
    """One row, with a value."""
    return (x, 1.0)


def mean_result_sound(a: tuple[float, float]) -> float:
    """The answer where there is a value."""
    return a[0] / a[1]


@operator("aggregate", "mean")
@dataclass(frozen=True)
class Mean(Aggregate):
    """The arithmetic mean of the values.

    Stream
    ------
    in : number [u], point or amount, or a condition (its share)
    out : f64 [u]
    missing : skipped; of none it is missing

    Examples
    --------
    >>> flow("aggregate mean(x) as y", x=[1.0, 2.0, 6.0])
    [3.0]
    """

    inputs: ClassVar[int | tuple[int, int]] = 1
    counts_last: ClassVar[bool] = True
    adds: ClassVar[bool] = True
    zero: ClassVar[tuple[float, ...]] = (0.0, 0.0)
    lift = staticmethod(mean_lift)
    merge = staticmethod(mean_merge)
    result = staticmethod(mean_result)
    sound = (mean_lift_sound, mean_result_sound)

    def out(self, args: Sequence[Type], context: Context) -> Type:
        """The unit stays; of a condition a plain share."""
        if args[0].store == "bool":
            return F64
        return number(args[0], "0")

    def reference(self, *x: Any, time_ns: Any, rate_hz: float | None) -> Any:  # noqa: ANN401
        """The same by NumPy over the values of one window."""
        v = x[0][~np.isnan(x[0])]
        return float(v.mean()) if len(v) else np.nan
