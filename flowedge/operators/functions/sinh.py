"""`sinh(x)`: the hyperbolic sine."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from flowedge.operators.contract import Context, Function, Step, operator
from flowedge.operators.rules import plain
from flowedge.types.schema import Type


def sinh_(x: float) -> float:
    """The hyperbolic sine."""
    if math.fabs(x) > 710.4758600739439:  # Python's own raises there
        return math.copysign(math.inf, x)
    return math.sinh(x)


@operator("function", "sinh")
@dataclass(frozen=True)
class Sinh(Function):
    """The hyperbolic sine.

    Stream
    ------
    in : number without a unit
    out : f64 without a unit
    missing : NaN gives NaN

    References
    ----------
    ISO C17, section 7.12.

    Examples
    --------
    >>> flow("derive y = sinh(x)", x=[0.0, 1.0])
    [0.0, 1.175]
    """

    inputs: ClassVar[int] = 1

    def out(self, args: Sequence[Type], context: Context) -> Type:
        """A plain number gives a plain number."""
        return plain(args[0], "0")

    def steps(self, args: Sequence[Type], context: Context) -> tuple[Step, ...]:
        """One call of the C library."""
        return (Step(sinh_),)

    def reference(self, *x: Any, rate_hz: float | None, time_ns: Any) -> Any:  # noqa: ANN401
        """The same by NumPy."""
        with np.errstate(all="ignore"):
            return np.sinh(x[0])
