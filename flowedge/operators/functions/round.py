"""`round(x)`: the nearest whole number, halves to even."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from flowedge.operators.contract import Context, Function, Step, operator
from flowedge.operators.rules import number
from flowedge.types.schema import Type


def round_(x: float) -> float:
    """The nearest whole number, halves to even."""
    if not math.fabs(x) < 4503599627370496.0:  # at 2^52 and above all floats are whole
        return x
    low = float(math.floor(x))
    part = x - low
    if part < 0.5 or (part == 0.5 and low % 2.0 == 0.0):
        return low
    return low + 1.0


@operator("function", "round")
@dataclass(frozen=True)
class Round(Function):
    """The nearest whole number, halves to even.

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
    >>> flow("derive y = round(x)", x=[1.5, -1.5])
    [2.0, -2.0]
    """

    inputs: ClassVar[int] = 1

    def out(self, args: Sequence[Type], context: Context) -> Type:
        """Any number; its unit stays."""
        return number(args[0], "0")

    def steps(self, args: Sequence[Type], context: Context) -> tuple[Step, ...]:
        """One call of the C library."""
        return (Step(round_),)

    def reference(self, *x: Any, rate_hz: float | None, time_ns: Any) -> Any:  # noqa: ANN401
        """The same by NumPy."""
        with np.errstate(all="ignore"):
            return np.round(x[0])
