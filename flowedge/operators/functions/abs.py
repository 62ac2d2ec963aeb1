"""`abs(x)`: the magnitude of a value."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from flowedge.operators.contract import Context, Function, Step, operator
from flowedge.operators.rules import amount
from flowedge.types.schema import Type


def abs_(x: float) -> float:
    """The magnitude of a value."""
    return math.fabs(x)


@operator("function", "abs")
@dataclass(frozen=True)
class Abs(Function):
    """The magnitude of a value.

    Stream
    ------
    in : number [u]
    out : f64 [u]
    missing : NaN gives NaN

    References
    ----------
    ISO C17, section 7.12.

    Examples
    --------
    >>> flow("derive y = abs(x)", x=[-1.5, 2.0])
    [1.5, 2.0]
    """

    inputs: ClassVar[int] = 1

    def out(self, args: Sequence[Type], context: Context) -> Type:
        """Any amount; its unit stays."""
        return amount(args[0], "0", "the magnitude")

    def steps(self, args: Sequence[Type], context: Context) -> tuple[Step, ...]:
        """One call of the C library."""
        return (Step(abs_),)

    def reference(self, *x: Any, rate_hz: float | None, time_ns: Any) -> Any:  # noqa: ANN401
        """The same by NumPy."""
        with np.errstate(all="ignore"):
            return np.abs(x[0])
