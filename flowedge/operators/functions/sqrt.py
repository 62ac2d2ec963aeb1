"""`sqrt(x)`: the square root; NaN below zero."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from flowedge.operators.contract import Context, Function, Step, operator
from flowedge.operators.rules import amount, root
from flowedge.types.schema import Type


def sqrt_(x: float) -> float:
    """The square root; NaN below zero."""
    return math.sqrt(x) if x >= 0.0 else math.nan


@operator("function", "sqrt")
@dataclass(frozen=True)
class Sqrt(Function):
    """The square root; NaN below zero.

    Stream
    ------
    in : number [u]
    out : f64 [u^0.5]
    missing : NaN gives NaN

    References
    ----------
    ISO C17, section 7.12.

    Examples
    --------
    >>> flow("derive y = sqrt(x)", x=[4.0, -1.0])
    [2.0, nan]
    """

    inputs: ClassVar[int] = 1

    def out(self, args: Sequence[Type], context: Context) -> Type:
        """The unit becomes its root."""
        return root(amount(args[0], "0", "the root"))

    def steps(self, args: Sequence[Type], context: Context) -> tuple[Step, ...]:
        """One call of the C library."""
        return (Step(sqrt_),)

    def reference(self, *x: Any, rate_hz: float | None, time_ns: Any) -> Any:  # noqa: ANN401
        """The same by NumPy."""
        with np.errstate(all="ignore"):
            return np.sqrt(x[0])
