"""`var(x)`: the variance of the values."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from flowedge.operators.contract import Aggregate, Context, Parameter, Refused, operator
from flowedge.operators.rules import difference, number, square
from flowedge.types.schema import Type


def var_lift(t: int, x: float, ddof: float) -> tuple[float, float, float]:
    """One row; an infinite one leaves NaN, not a spread of zero."""
    return (1.0, x, x - x) if not math.isnan(x) else (0.0, 0.0, 0.0)


def var_merge(
    a: tuple[float, float, float], b: tuple[float, float, float]
) -> tuple[float, float, float]:
    """Two neighbouring parts, `a` the older."""
    if b[0] == 0.0:
        return a
    if a[0] == 0.0:
        return b
    n = a[0] + b[0]
    d = b[1] - a[1]
    return (n, a[1] + d * b[0] / n, a[2] + b[2] + d * d * a[0] * b[0] / n)


def var_result(a: tuple[float, float, float], ddof: float) -> float:
    """The answer; missing where no freedom is left."""
    d = a[0] - ddof
    return a[2] / d if d > 0.0 else math.nan


@operator("aggregate", "var")
@dataclass(frozen=True)
class Var(Aggregate):
    """The variance of the values.

    Of the population by default; partial results merge without loss [1]_.

    Parameters
    ----------
    ddof : integer, 0 for the population, 1 for the sample

    Stream
    ------
    in : number [u]
    out : f64 [u^2]
    missing : skipped; of none, or of as many as `ddof`, it is missing

    Raises
    ------
    FE408 : `ddof` is neither 0 nor 1

    References
    ----------
    .. [1] T. F. Chan, G. H. Golub, R. J. LeVeque, The American Statistician 37(3), 1983, 242-247.
       https://doi.org/10.1080/00031305.1983.10483115

    Examples
    --------
    >>> flow("aggregate var(x) as y", x=[1.0, 2.0, 3.0])
    [0.667]
    """

    inputs: ClassVar[int | tuple[int, int]] = 1
    zero: ClassVar[tuple[float, ...]] = (0.0, 0.0, 0.0)
    lift = staticmethod(var_lift)
    merge = staticmethod(var_merge)
    result = staticmethod(var_result)

    parameters: ClassVar[tuple[Parameter, ...]] = (
        Parameter("ddof", "integer", 0, "0: population, 1: sample"),
    )

    ddof: int = 0

    def constants(self, args: Sequence[Type], context: Context) -> tuple[float | int, ...]:
        """Degrees of freedom taken off."""
        return (float(self.ddof),)

    def out(self, args: Sequence[Type], context: Context) -> Type:
        """A squared difference."""
        if self.ddof not in (0, 1):
            raise Refused(
                "FE408",
                f"ddof={self.ddof}",
                at="ddof",
                fix="take 0 for the population, 1 for the sample",
            )
        return square(difference(number(args[0], "0")))

    def reference(self, *x: Any, time_ns: Any, rate_hz: float | None) -> Any:  # noqa: ANN401
        """The same by NumPy over the values of one window."""
        v = x[0][~np.isnan(x[0])]
        return float(np.var(v, ddof=self.ddof)) if len(v) > self.ddof else np.nan
