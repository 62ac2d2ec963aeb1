"""`atan(x)`: the angle with this tangent."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from flowedge.operators.contract import Context, Function, Step, operator
from flowedge.operators.rules import plain, radians
from flowedge.types.schema import Type


def atan_(x: float) -> float:
    """The angle with this tangent."""
    return math.atan(x)


@operator("function", "atan")
@dataclass(frozen=True)
class Atan(Function):
    """The angle with this tangent.

    Stream
    ------
    in : number without a unit
    out : f64 [rad]
    missing : NaN gives NaN

    References
    ----------
    ISO C17, section 7.12.

    Examples
    --------
    >>> flow("derive y = atan(x)", x=[0.0, 1.0])
    [0.0, 0.785]
    """

    inputs: ClassVar[int] = 1

    def out(self, args: Sequence[Type], context: Context) -> Type:
        """A plain number gives an angle."""
        return radians(plain(args[0], "0"))

    def steps(self, args: Sequence[Type], context: Context) -> tuple[Step, ...]:
        """One call of the C library."""
        return (Step(atan_),)

    def reference(self, *x: Any, rate_hz: float | None, time_ns: Any) -> Any:  # noqa: ANN401
        """The same by NumPy."""
        with np.errstate(all="ignore"):
            return np.arctan(x[0])
