"""`corr(x, z)`: the correlation of two columns."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from flowedge.operators.contract import Aggregate, Context, operator
from flowedge.operators.rules import number
from flowedge.types.schema import Type


def corr_lift(t: int, x: float, z: float) -> tuple[float, float, float, float, float, float]:
    """One row."""
    return (
        (1.0, x, z, x - x, z - z, 0.0)
        if not math.isnan(x) and not math.isnan(z)
        else (0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    )


def corr_merge(
    a: tuple[float, float, float, float, float, float],
    b: tuple[float, float, float, float, float, float],
) -> tuple[float, float, float, float, float, float]:
    """Two neighbouring parts, `a` the older."""
    if b[0] == 0.0:
        return a
    if a[0] == 0.0:
        return b
    n = a[0] + b[0]
    dx = b[1] - a[1]
    dz = b[2] - a[2]
    w = a[0] * b[0] / n
    return (
        n,
        a[1] + dx * b[0] / n,
        a[2] + dz * b[0] / n,
        a[3] + b[3] + dx * dx * w,
        a[4] + b[4] + dz * dz * w,
        a[5] + b[5] + dx * dz * w,
    )


def corr_result(a: tuple[float, float, float, float, float, float]) -> float:
    """The answer."""
    return a[5] / (math.sqrt(a[3]) * math.sqrt(a[4])) if a[3] > 0.0 and a[4] > 0.0 else math.nan


@operator("aggregate", "corr")
@dataclass(frozen=True)
class Corr(Aggregate):
    """The correlation of two columns.

    Stream
    ------
    in : two numbers
    out : f64 without a unit, -1 to 1
    missing : rows where either is missing are skipped; of equal values it is missing

    Examples
    --------
    >>> flow("aggregate corr(x, z) as y", x=[0.0, 1.0, 2.0], z=[0.0, 1.0, 3.0])
    [0.982]
    """

    inputs: ClassVar[int | tuple[int, int]] = 2
    zero: ClassVar[tuple[float, ...]] = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    lift = staticmethod(corr_lift)
    merge = staticmethod(corr_merge)
    result = staticmethod(corr_result)

    def out(self, args: Sequence[Type], context: Context) -> Type:
        """A plain number."""
        number(args[1], "1")
        return replace(number(args[0], "0"), unit=None)

    def reference(self, *x: Any, time_ns: Any, rate_hz: float | None) -> Any:  # noqa: ANN401
        """The same by NumPy over the values of one window."""
        ok = ~(np.isnan(x[0]) | np.isnan(x[1]))
        a, b = x[0][ok], x[1][ok]
        if len(a) == 0 or np.ptp(a) == 0 or np.ptp(b) == 0:
            return np.nan
        return float(np.corrcoef(a, b)[0, 1])
