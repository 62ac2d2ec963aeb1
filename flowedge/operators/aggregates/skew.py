"""`skew(x)`: the skewness of the values."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from flowedge.operators.contract import Aggregate, Context, operator
from flowedge.operators.rules import number
from flowedge.types.schema import Type


def skew_lift(t: int, x: float) -> tuple[float, float, float, float]:
    """One row; an infinite one leaves NaN."""
    return (1.0, x, x - x, 0.0) if not math.isnan(x) else (0.0, 0.0, 0.0, 0.0)


def skew_merge(
    a: tuple[float, float, float, float], b: tuple[float, float, float, float]
) -> tuple[float, float, float, float]:
    """Two neighbouring parts, `a` the older."""
    if b[0] == 0.0:
        return a
    if a[0] == 0.0:
        return b
    n = a[0] + b[0]
    d = b[1] - a[1]
    e = d / n
    m2 = a[2] + b[2] + d * e * a[0] * b[0]
    m3 = (
        a[3]
        + b[3]
        + d * e * e * a[0] * b[0] * (a[0] - b[0])
        + 3.0 * e * (a[0] * b[2] - b[0] * a[2])
    )
    return (n, a[1] + e * b[0], m2, m3)


def skew_result(a: tuple[float, float, float, float]) -> float:
    """The answer."""
    return math.sqrt(a[0]) * a[3] / (a[2] * math.sqrt(a[2])) if a[2] > 0.0 else math.nan


@operator("aggregate", "skew")
@dataclass(frozen=True)
class Skew(Aggregate):
    """The skewness of the values.

    The third standardised moment of the population, merged as in [1]_.

    Stream
    ------
    in : number [u]
    out : f64 without a unit
    missing : skipped; of equal values it is missing

    References
    ----------
    .. [1] P. Pébay, Sandia report SAND2008-6212, 2008, equations 2.1 to 3.1.

    Examples
    --------
    >>> flow("aggregate skew(x) as y", x=[0.0, 0.0, 3.0])
    [0.707]
    """

    inputs: ClassVar[int | tuple[int, int]] = 1
    moments: ClassVar[int] = 3
    zero: ClassVar[tuple[float, ...]] = (0.0, 0.0, 0.0, 0.0)
    lift = staticmethod(skew_lift)
    merge = staticmethod(skew_merge)
    result = staticmethod(skew_result)

    def out(self, args: Sequence[Type], context: Context) -> Type:
        """A plain number."""
        return replace(number(args[0], "0"), unit=None)

    def reference(self, *x: Any, time_ns: Any, rate_hz: float | None) -> Any:  # noqa: ANN401
        """The same by NumPy over the values of one window."""
        v = x[0][~np.isnan(x[0])]
        if len(v) == 0 or np.ptp(v) == 0:
            return np.nan
        return float((((v - v.mean()) / v.std()) ** 3).mean())
