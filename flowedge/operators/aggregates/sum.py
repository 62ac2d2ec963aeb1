"""`sum(x)`: the sum of the values."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from flowedge.operators.contract import Aggregate, Context, operator
from flowedge.operators.rules import amount
from flowedge.types.schema import Type


def sum_lift(t: int, x: float) -> tuple[float]:
    """One row."""
    return (x,) if not math.isnan(x) else (0.0,)


def sum_merge(a: tuple[float], b: tuple[float]) -> tuple[float]:
    """Two neighbouring parts, `a` the older."""
    return (a[0] + b[0],)


def sum_result(a: tuple[float]) -> float:
    """The answer."""
    return a[0]


@operator("aggregate", "sum")
@dataclass(frozen=True)
class Sum(Aggregate):
    """The sum of the values.

    Stream
    ------
    in : number [u]
    out : f64 [u]
    missing : skipped; of none it is 0

    Examples
    --------
    >>> flow("aggregate sum(x) as y", x=[1.0, 2.0, nan])
    [3.0]
    """

    inputs: ClassVar[int | tuple[int, int]] = 1
    adds: ClassVar[bool] = True
    zero: ClassVar[tuple[float, ...]] = (0.0,)
    lift = staticmethod(sum_lift)
    merge = staticmethod(sum_merge)
    result = staticmethod(sum_result)

    def out(self, args: Sequence[Type], context: Context) -> Type:
        """An amount; its unit stays."""
        return amount(args[0], "0", "the sum")

    def reference(self, *x: Any, time_ns: Any, rate_hz: float | None) -> Any:  # noqa: ANN401
        """The same by NumPy over the values of one window."""
        v = x[0][~np.isnan(x[0])]
        return float(v.sum())
