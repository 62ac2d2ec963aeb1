"""`sin(x)`: the sine of an angle."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from flowedge.operators.contract import Context, Function, Step, operator
from flowedge.operators.rules import angle
from flowedge.types.schema import Type


def sin_(x: float) -> float:
    """The sine of an angle."""
    return math.sin(x) if math.fabs(x) < math.inf else math.nan


@operator("function", "sin")
@dataclass(frozen=True)
class Sin(Function):
    """The sine of an angle.

    Stream
    ------
    in : angle, brought to radians by the checker
    out : f64 without a unit
    missing : NaN gives NaN

    References
    ----------
    ISO C17, section 7.12.

    Examples
    --------
    >>> flow("derive y = sin(x)", x=[0.0, 1.0])
    [0.0, 0.841]
    """

    inputs: ClassVar[int] = 1

    def out(self, args: Sequence[Type], context: Context) -> Type:
        """An angle or a plain number (radians)."""
        return angle(args[0], "0")

    def steps(self, args: Sequence[Type], context: Context) -> tuple[Step, ...]:
        """One call of the C library."""
        return (Step(sin_),)

    def reference(self, *x: Any, rate_hz: float | None, time_ns: Any) -> Any:  # noqa: ANN401
        """The same by NumPy."""
        with np.errstate(all="ignore"):
            return np.sin(x[0])
