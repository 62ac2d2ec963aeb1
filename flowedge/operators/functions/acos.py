"""`acos(x)`: the angle with this cosine."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from flowedge.operators.contract import Context, Function, Step, operator
from flowedge.operators.rules import plain, radians
from flowedge.types.schema import Type


def acos_(x: float) -> float:
    """The angle with this cosine."""
    return math.acos(x) if math.fabs(x) <= 1.0 else math.nan


@operator("function", "acos")
@dataclass(frozen=True)
class Acos(Function):
    """The angle with this cosine.

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
    >>> flow("derive y = acos(x)", x=[0.0, 1.0])
    [1.571, 0.0]
    """

    inputs: ClassVar[int] = 1

    def out(self, args: Sequence[Type], context: Context) -> Type:
        """A plain number gives an angle."""
        return radians(plain(args[0], "0"))

    def steps(self, args: Sequence[Type], context: Context) -> tuple[Step, ...]:
        """One call of the C library."""
        return (Step(acos_),)

    def reference(self, *x: Any, rate_hz: float | None, time_ns: Any) -> Any:  # noqa: ANN401
        """The same by NumPy."""
        with np.errstate(all="ignore"):
            return np.arccos(x[0])
