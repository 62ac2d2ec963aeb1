"""`min(x, z, …)`: the smallest of two to four values of a row."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from flowedge.operators.contract import Context, Function, Step, operator
from flowedge.operators.rules import same_unit
from flowedge.types.schema import Type


def min_(x: float, z: float) -> float:
    """The smaller of two values; the other one where one is missing."""
    if math.isnan(x):
        return z
    return min(x, z)


def min_3(x: float, y: float, z: float) -> float:
    """Of three."""
    return min_(min_(x, y), z)


def min_4(x: float, y: float, z: float, w: float) -> float:
    """Of four."""
    return min_(min_(x, y), min_(z, w))


@operator("function", "min")
@dataclass(frozen=True)
class Min(Function):
    """The smallest of two to four values of a row; with one value it is the aggregate.

    Stream
    ------
    in : two to four numbers [u]
    out : f64 [u]
    missing : left out; NaN where all are missing

    Examples
    --------
    >>> flow("derive y = min(x, z)", x=[1.0, 5.0], z=[2.0, 3.0])
    [1.0, 3.0]
    """

    inputs: ClassVar[int | tuple[int, int]] = (2, 4)

    def out(self, args: Sequence[Type], context: Context) -> Type:
        """Numbers of one unit."""
        return same_unit(args)

    def steps(self, args: Sequence[Type], context: Context) -> tuple[Step, ...]:
        """One comparison less than there are values."""
        return (Step((min_, min_3, min_4)[len(args) - 2]),)

    def reference(self, *x: Any, rate_hz: float | None, time_ns: Any) -> Any:  # noqa: ANN401
        """The same by NumPy."""
        return np.fmin.reduce(x)
