"""`floor(x)`: the whole number at or below."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from flowedge.operators.contract import Context, Function, Step, operator
from flowedge.operators.rules import number
from flowedge.types.schema import Type


def floor_(x: float) -> float:
    """The whole number at or below."""
    return float(math.floor(x)) if math.fabs(x) < 4503599627370496.0 else x


@operator("function", "floor")
@dataclass(frozen=True)
class Floor(Function):
    """The whole number at or below.

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
    >>> flow("derive y = floor(x)", x=[1.5, -1.5])
    [1.0, -2.0]
    """

    inputs: ClassVar[int] = 1

    def out(self, args: Sequence[Type], context: Context) -> Type:
        """Any number; its unit stays."""
        return number(args[0], "0")

    def steps(self, args: Sequence[Type], context: Context) -> tuple[Step, ...]:
        """One call of the C library."""
        return (Step(floor_),)

    def reference(self, *x: Any, rate_hz: float | None, time_ns: Any) -> Any:  # noqa: ANN401
        """The same by NumPy."""
        with np.errstate(all="ignore"):
            return np.floor(x[0])
