"""`log(x)`: the natural logarithm; NaN below zero, minus infinity at zero."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from flowedge.operators.contract import Context, Function, Step, operator
from flowedge.operators.rules import plain
from flowedge.types.schema import Type


def log_(x: float) -> float:
    """The natural logarithm; NaN below zero, minus infinity at zero."""
    return math.log(x) if x > 0.0 else (-math.inf if x == 0.0 else math.nan)


@operator("function", "log")
@dataclass(frozen=True)
class Log(Function):
    """The natural logarithm; NaN below zero, minus infinity at zero.

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
    >>> flow("derive y = log(x)", x=[1.0, 0.0])
    [0.0, -inf]
    """

    inputs: ClassVar[int] = 1

    def out(self, args: Sequence[Type], context: Context) -> Type:
        """A plain number gives a plain number."""
        return plain(args[0], "0")

    def steps(self, args: Sequence[Type], context: Context) -> tuple[Step, ...]:
        """One call of the C library."""
        return (Step(log_),)

    def reference(self, *x: Any, rate_hz: float | None, time_ns: Any) -> Any:  # noqa: ANN401
        """The same by NumPy."""
        with np.errstate(all="ignore"):
            return np.log(x[0])
