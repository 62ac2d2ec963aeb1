"""`exp(x)`: e to the power of x."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from flowedge.operators.contract import Context, Function, Step, operator
from flowedge.operators.rules import plain
from flowedge.types.schema import Type


def exp_(x: float) -> float:
    """E to the power of x."""
    if x > 709.782712893384:  # Python's own raises there
        return math.inf
    return math.exp(x)


@operator("function", "exp")
@dataclass(frozen=True)
class Exp(Function):
    """E to the power of x.

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
    >>> flow("derive y = exp(x)", x=[0.0, 1.0])
    [1.0, 2.718]
    """

    inputs: ClassVar[int] = 1

    def out(self, args: Sequence[Type], context: Context) -> Type:
        """A plain number gives a plain number."""
        return plain(args[0], "0")

    def steps(self, args: Sequence[Type], context: Context) -> tuple[Step, ...]:
        """One call of the C library."""
        return (Step(exp_),)

    def reference(self, *x: Any, rate_hz: float | None, time_ns: Any) -> Any:  # noqa: ANN401
        """The same by NumPy."""
        with np.errstate(all="ignore"):
            return np.exp(x[0])
