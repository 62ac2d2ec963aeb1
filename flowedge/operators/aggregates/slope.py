"""`slope(x)`: the slope of the line through the values, by least squares."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from flowedge.operators.contract import Aggregate, Context, operator
from flowedge.operators.rules import difference, number, per_second
from flowedge.types.schema import Type


def slope_lift(t: int, x: float) -> tuple[float, float, float, float, float, float]:
    """One row."""
    if math.isnan(x):
        return (0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    whole = t // 1000000000
    return (1.0, float(whole), (t - whole * 1000000000) * 1e-9, x, 0.0, 0.0)


def slope_merge(
    a: tuple[float, float, float, float, float, float],
    b: tuple[float, float, float, float, float, float],
) -> tuple[float, float, float, float, float, float]:
    """Two neighbouring parts, `a` the older."""
    if b[0] == 0.0:
        return a
    if a[0] == 0.0:
        return b
    n = a[0] + b[0]
    dt = (b[1] - a[1]) + (b[2] - a[2])
    dx = b[3] - a[3]
    w = a[0] * b[0] / n
    return (
        n,
        a[1],
        a[2] + dt * b[0] / n,
        a[3] + dx * b[0] / n,
        a[4] + b[4] + dt * dt * w,
        a[5] + b[5] + dt * dx * w,
    )


def slope_result(a: tuple[float, float, float, float, float, float]) -> float:
    """The answer."""
    return a[5] / a[4] if a[4] > 0.0 else math.nan


@operator("aggregate", "slope")
@dataclass(frozen=True)
class Slope(Aggregate):
    """The slope of the line through the values, by least squares.

    Times are kept in two parts, whole seconds and the rest, so that nanoseconds count.

    Stream
    ------
    in : number [u]
    out : f64 [u/s]
    missing : skipped; of fewer than two times it is missing

    Examples
    --------
    >>> flow("aggregate slope(x) as y", x=[0.0, 1.0, 2.0], rate="2 Hz")
    [2.0]
    """

    inputs: ClassVar[int | tuple[int, int]] = 1
    needs_time: ClassVar[bool] = True
    zero: ClassVar[tuple[float, ...]] = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    lift = staticmethod(slope_lift)
    merge = staticmethod(slope_merge)
    result = staticmethod(slope_result)

    def out(self, args: Sequence[Type], context: Context) -> Type:
        """Per second."""
        return per_second(difference(number(args[0], "0")))

    def reference(self, *x: Any, time_ns: Any, rate_hz: float | None) -> Any:  # noqa: ANN401
        """The same by NumPy over the values of one window."""
        ok = ~np.isnan(x[0])
        t = (time_ns[ok] - time_ns[0]) * 1e-9 if len(time_ns) else np.empty(0)
        if len(t) < 2 or np.ptp(t) == 0:
            return np.nan
        return float(np.polyfit(t, x[0][ok], 1)[0])
