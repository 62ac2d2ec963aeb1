"""`energy(x)`: the sum of the squares."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from flowedge.operators.contract import Aggregate, Context, operator
from flowedge.operators.rules import amount, square
from flowedge.types.schema import Type


def energy_lift(t: int, x: float) -> tuple[float]:
    """One row."""
    return (x * x,) if not math.isnan(x) else (0.0,)


def energy_merge(a: tuple[float], b: tuple[float]) -> tuple[float]:
    """Two neighbouring parts, `a` the older."""
    return (a[0] + b[0],)


def energy_result(a: tuple[float]) -> float:
    """The answer."""
    return a[0]


@operator("aggregate", "energy")
@dataclass(frozen=True)
class Energy(Aggregate):
    """The sum of the squares.

    Stream
    ------
    in : number [u]
    out : f64 [u^2]
    missing : skipped; of none it is 0

    Examples
    --------
    >>> flow("aggregate energy(x) as y", x=[3.0, 4.0])
    [25.0]
    """

    inputs: ClassVar[int | tuple[int, int]] = 1
    adds: ClassVar[bool] = True
    zero: ClassVar[tuple[float, ...]] = (0.0,)
    lift = staticmethod(energy_lift)
    merge = staticmethod(energy_merge)
    result = staticmethod(energy_result)

    def out(self, args: Sequence[Type], context: Context) -> Type:
        """The unit is squared."""
        return square(amount(args[0], "0", "the energy"))

    def reference(self, *x: Any, time_ns: Any, rate_hz: float | None) -> Any:  # noqa: ANN401
        """The same by NumPy over the values of one window."""
        v = x[0][~np.isnan(x[0])]
        return float((v**2).sum())
