"""`std(x)`: the standard deviation of the values."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from flowedge.operators.aggregates.spread import Spread, Squares
from flowedge.operators.contract import operator


def std_result(a: Squares, ddof: float) -> float:
    """The answer; missing where no freedom is left."""
    d = a[0] - ddof
    return math.sqrt(a[2] / d) if d > 0.0 else math.nan


@operator("aggregate", "std")
@dataclass(frozen=True)
class Std(Spread):
    """The standard deviation of the values.

    Of the population by default; partial results merge without loss [1]_.

    Parameters
    ----------
    ddof : integer, 0 for the population, 1 for the sample

    Stream
    ------
    in : number [u]
    out : f64 [u]
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
    >>> flow("aggregate std(x) as y", x=[1.0, 2.0, 3.0])
    [0.816]
    """

    result = staticmethod(std_result)

    def reference(self, *x: Any, time_ns: Any, rate_hz: float | None) -> Any:  # noqa: ANN401
        """The same by NumPy over the values of one window."""
        v = x[0][~np.isnan(x[0])]
        return float(np.std(v, ddof=self.ddof)) if len(v) > self.ddof else np.nan
