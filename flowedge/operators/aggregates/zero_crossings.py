"""`zero_crossings(x)`: how often the sign changes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from flowedge.operators.contract import Aggregate, Context, operator
from flowedge.operators.rules import amount
from flowedge.types.schema import I64, Type


def zero_crossings_lift(t: int, x: float) -> tuple[float, float, float]:
    """One row."""
    if x > 0.0:
        return (1.0, 1.0, 0.0)
    if x < 0.0:
        return (-1.0, -1.0, 0.0)
    return (0.0, 0.0, 0.0)


def zero_crossings_merge(
    a: tuple[float, float, float], b: tuple[float, float, float]
) -> tuple[float, float, float]:
    """Two neighbouring parts, `a` the older."""
    first = a[0] if a[0] != 0.0 else b[0]
    last = b[1] if b[1] != 0.0 else a[1]
    return (first, last, a[2] + b[2] + (1.0 if a[1] * b[0] < 0.0 else 0.0))


def zero_crossings_result(a: tuple[float, float, float]) -> float:
    """The answer."""
    return a[2]


@operator("aggregate", "zero_crossings")
@dataclass(frozen=True)
class ZeroCrossings(Aggregate):
    """How often the sign changes.

    Stream
    ------
    in : number [u]
    out : i64
    missing : skipped, as zeros are; of none it is 0

    Examples
    --------
    >>> flow("aggregate zero_crossings(x) as y", x=[1.0, -1.0, 0.0, 2.0])
    [2]
    """

    inputs: ClassVar[int | tuple[int, int]] = 1
    zero: ClassVar[tuple[float, ...]] = (0.0, 0.0, 0.0)
    lift = staticmethod(zero_crossings_lift)
    merge = staticmethod(zero_crossings_merge)
    result = staticmethod(zero_crossings_result)

    def out(self, args: Sequence[Type], context: Context) -> Type:
        """A whole number."""
        amount(args[0], "0", "the sign")
        return I64

    def reference(self, *x: Any, time_ns: Any, rate_hz: float | None) -> Any:  # noqa: ANN401
        """The same by NumPy over the values of one window."""
        s = np.sign(x[0][~np.isnan(x[0])])
        s = s[s != 0]
        return float((s[1:] != s[:-1]).sum())
