"""`kurtosis(x)`: the kurtosis of the values."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from flowedge.operators.contract import Aggregate, Context, operator
from flowedge.operators.rules import number
from flowedge.types.schema import Type


def kurtosis_lift(t: int, x: float) -> tuple[float, float, float, float, float]:
    """One row; an infinite one leaves NaN."""
    return (1.0, x, x - x, 0.0, 0.0) if not math.isnan(x) else (0.0, 0.0, 0.0, 0.0, 0.0)


def kurtosis_merge(
    a: tuple[float, float, float, float, float], b: tuple[float, float, float, float, float]
) -> tuple[float, float, float, float, float]:
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
    p = a[0] * b[0]
    m4 = (a[4] + b[4] + d * e * e * e * p * (a[0] * a[0] - p + b[0] * b[0])
          + 6.0 * e * e * (a[0] * a[0] * b[2] + b[0] * b[0] * a[2]) + 4.0 * e * (a[0] * b[3] - b[0] * a[3]))  # fmt: skip
    return (n, a[1] + e * b[0], m2, m3, m4)


def kurtosis_result(a: tuple[float, float, float, float, float]) -> float:
    """The answer."""
    return a[0] * a[4] / (a[2] * a[2]) if a[2] > 0.0 else math.nan


@operator("aggregate", "kurtosis")
@dataclass(frozen=True)
class Kurtosis(Aggregate):
    """The kurtosis of the values.

    The fourth standardised moment of the population (3 for a normal distribution), merged as in [1]_.

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
    >>> flow("aggregate kurtosis(x) as y", x=[0.0, 0.0, 0.0, 4.0])
    [2.333]
    """

    inputs: ClassVar[int | tuple[int, int]] = 1
    moments: ClassVar[int] = 4
    zero: ClassVar[tuple[float, ...]] = (0.0, 0.0, 0.0, 0.0, 0.0)
    lift = staticmethod(kurtosis_lift)
    merge = staticmethod(kurtosis_merge)
    result = staticmethod(kurtosis_result)

    def out(self, args: Sequence[Type], context: Context) -> Type:
        """A plain number."""
        return replace(number(args[0], "0"), unit=None)

    def reference(self, *x: Any, time_ns: Any, rate_hz: float | None) -> Any:  # noqa: ANN401
        """The same by NumPy over the values of one window."""
        v = x[0][~np.isnan(x[0])]
        if len(v) == 0 or np.ptp(v) == 0:
            return np.nan
        return float((((v - v.mean()) / v.std()) ** 4).mean())
