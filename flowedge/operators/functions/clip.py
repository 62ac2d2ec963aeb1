"""`clip(x, low, high)`: a value kept inside bounds."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from flowedge.operators.contract import Context, Function, Step, operator
from flowedge.operators.rules import same_unit
from flowedge.types.schema import Type


def clip_(x: float, low: float, high: float) -> float:
    """A value kept inside bounds; NaN stays."""
    y = max(x, low)
    if y > high:  # not `min`, which would let a missing bound through
        return high
    return y


@operator("function", "clip")
@dataclass(frozen=True)
class Clip(Function):
    """Keep a value inside bounds.

    Stream
    ------
    in : three numbers [u]: the value, the least, the greatest
    out : f64 [u]
    missing : NaN stays; a bound that is missing does not bind

    Examples
    --------
    >>> flow("derive y = clip(x, -1, 1)", x=[-5.0, 0.5, 3.0])
    [-1.0, 0.5, 1.0]
    """

    inputs: ClassVar[int] = 3

    def out(self, args: Sequence[Type], context: Context) -> Type:
        """Three numbers of one unit."""
        return same_unit(args)

    def steps(self, args: Sequence[Type], context: Context) -> tuple[Step, ...]:
        """Two comparisons."""
        return (Step(clip_),)

    def reference(self, *x: Any, rate_hz: float | None, time_ns: Any) -> Any:  # noqa: ANN401
        """The same by NumPy."""
        return np.where(np.isnan(x[0]), np.nan, np.fmin(np.fmax(x[0], x[1]), x[2]))
