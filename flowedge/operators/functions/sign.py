"""`sign(x)`: minus one, zero or one."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from flowedge.operators.contract import Context, Function, Step, operator
from flowedge.operators.rules import amount
from flowedge.types.schema import Type


def sign_(x: float) -> float:
    """Minus one, zero or one."""
    return x if math.isnan(x) or x == 0.0 else (1.0 if x > 0.0 else -1.0)


@operator("function", "sign")
@dataclass(frozen=True)
class Sign(Function):
    """Minus one, zero or one.

    Stream
    ------
    in : number [u]
    out : f64 without a unit
    missing : NaN gives NaN

    References
    ----------
    ISO C17, section 7.12.

    Examples
    --------
    >>> flow("derive y = sign(x)", x=[-3.0, 0.0])
    [-1.0, 0.0]
    """

    inputs: ClassVar[int] = 1

    def out(self, args: Sequence[Type], context: Context) -> Type:
        """Any amount gives a plain number."""
        return replace(amount(args[0], "0", "the sign"), unit=None)

    def steps(self, args: Sequence[Type], context: Context) -> tuple[Step, ...]:
        """One call of the C library."""
        return (Step(sign_),)

    def reference(self, *x: Any, rate_hz: float | None, time_ns: Any) -> Any:  # noqa: ANN401
        """The same by NumPy."""
        with np.errstate(all="ignore"):
            return np.sign(x[0])
