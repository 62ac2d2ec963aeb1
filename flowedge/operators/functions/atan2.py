"""`atan2(x, z)`: the angle of the point (z, x) seen from the origin."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from flowedge.operators.contract import Context, Function, Step, operator
from flowedge.operators.rules import amount, radians, same_unit
from flowedge.types.schema import Type


def atan2_(x: float, z: float) -> float:
    """The angle of the point (z, x) seen from the origin."""
    return math.atan2(x, z)


@operator("function", "atan2")
@dataclass(frozen=True)
class Atan2(Function):
    """The angle of the point (z, x) seen from the origin.

    Stream
    ------
    in : two numbers [u]
    out : f64 [rad], above -pi to pi
    missing : NaN where a part is missing

    Examples
    --------
    >>> flow("derive y = atan2(x, z)", x=[0.0, 1.0], z=[1.0, 0.0])
    [0.0, 1.571]
    """

    inputs: ClassVar[int] = 2

    def out(self, args: Sequence[Type], context: Context) -> Type:
        """Two amounts of one unit."""
        return radians(amount(same_unit(args), "0", "the angle"))

    def steps(self, args: Sequence[Type], context: Context) -> tuple[Step, ...]:
        """One comparison or call."""
        return (Step(atan2_),)

    def reference(self, *x: Any, rate_hz: float | None, time_ns: Any) -> Any:  # noqa: ANN401
        """The same by NumPy."""
        return np.arctan2(x[0], x[1])
