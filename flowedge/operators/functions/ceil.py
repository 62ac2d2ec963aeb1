"""`ceil(x)`: the whole number at or above."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from flowedge.operators.contract import Context, Function, Step, operator
from flowedge.operators.rules import number
from flowedge.types.schema import Type


def ceil_(x: float) -> float:
    """The whole number at or above."""
    return float(math.ceil(x)) if math.fabs(x) < 4503599627370496.0 else x


@operator("function", "ceil")
@dataclass(frozen=True)
class Ceil(Function):
    """The whole number at or above.

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
    >>> flow("derive y = ceil(x)", x=[1.5, -1.5])
    [2.0, -1.0]
    """

    inputs: ClassVar[int] = 1

    def out(self, args: Sequence[Type], context: Context) -> Type:
        """Any number; its unit stays."""
        return number(args[0], "0")

    def steps(self, args: Sequence[Type], context: Context) -> tuple[Step, ...]:
        """One call of the C library."""
        return (Step(ceil_),)

    def reference(self, *x: Any, rate_hz: float | None, time_ns: Any) -> Any:  # noqa: ANN401
        """The same by NumPy."""
        with np.errstate(all="ignore"):
            return np.ceil(x[0])
