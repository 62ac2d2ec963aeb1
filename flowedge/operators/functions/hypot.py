"""`hypot(x, z)`: the length of a vector of two or three parts."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from flowedge.operators.contract import Context, Function, Step, operator
from flowedge.operators.rules import amount, same_unit
from flowedge.types.schema import Type


def hypot_(x: float, z: float) -> float:
    """The length of a vector of two parts."""
    return math.sqrt(x * x + z * z)


def hypot_3(x: float, y: float, z: float) -> float:
    """The length of a vector of three parts."""
    return math.sqrt(x * x + y * y + z * z)


@operator("function", "hypot")
@dataclass(frozen=True)
class Hypot(Function):
    """The length of a vector of two or three parts.

    Stream
    ------
    in : two or three numbers [u], no points on a scale
    out : f64 [u]
    missing : NaN where a part is missing

    Examples
    --------
    >>> flow("derive y = hypot(x, z)", x=[3.0], z=[4.0])
    [5.0]
    """

    inputs: ClassVar[int | tuple[int, int]] = (2, 3)

    def out(self, args: Sequence[Type], context: Context) -> Type:
        """Amounts of one unit."""
        return amount(same_unit(args), "0", "the length")

    def steps(self, args: Sequence[Type], context: Context) -> tuple[Step, ...]:
        """One root."""
        return (Step(hypot_ if len(args) == 2 else hypot_3),)

    def reference(self, *x: Any, rate_hz: float | None, time_ns: Any) -> Any:  # noqa: ANN401
        """The same by NumPy."""
        return np.sqrt(np.sum(np.square(x), axis=0))
