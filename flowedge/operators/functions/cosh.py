"""`cosh(x)`: the hyperbolic cosine."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from flowedge.operators.contract import Context, Function, Step, operator
from flowedge.operators.rules import plain
from flowedge.types.schema import Type


def cosh_(x: float) -> float:
    """The hyperbolic cosine."""
    if math.fabs(x) > 710.4758600739439:  # Python's own raises there
        return math.inf
    return math.cosh(x)


@operator("function", "cosh")
@dataclass(frozen=True)
class Cosh(Function):
    """The hyperbolic cosine.

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
    >>> flow("derive y = cosh(x)", x=[0.0, 1.0])
    [1.0, 1.543]
    """

    inputs: ClassVar[int] = 1

    def out(self, args: Sequence[Type], context: Context) -> Type:
        """A plain number gives a plain number."""
        return plain(args[0], "0")

    def steps(self, args: Sequence[Type], context: Context) -> tuple[Step, ...]:
        """One call of the C library."""
        return (Step(cosh_),)

    def reference(self, *x: Any, rate_hz: float | None, time_ns: Any) -> Any:  # noqa: ANN401
        """The same by NumPy."""
        with np.errstate(all="ignore"):
            return np.cosh(x[0])
