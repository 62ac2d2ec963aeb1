"""`count()`: how many rows, or how many values that are not missing."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from flowedge.operators.contract import Aggregate, Context, operator
from flowedge.types.schema import I64, Type


def count_lift(t: int, x: float = 0.0) -> tuple[float]:
    """One row."""
    return (1.0,) if not math.isnan(x) else (0.0,)


def count_merge(a: tuple[float], b: tuple[float]) -> tuple[float]:
    """Two neighbouring parts, `a` the older."""
    return (a[0] + b[0],)


def count_result(a: tuple[float]) -> float:
    """The answer."""
    return a[0]


@operator("aggregate", "count")
@dataclass(frozen=True)
class Count(Aggregate):
    """How many rows, or how many values that are not missing.

    Stream
    ------
    in : nothing, or any scalar
    out : i64
    missing : `count()` counts rows, `count(x)` values; of none it is 0

    Examples
    --------
    >>> flow("aggregate count() as y", x=[1.0, nan, 3.0])
    [3]
    """

    inputs: ClassVar[int | tuple[int, int]] = (0, 1)
    adds: ClassVar[bool] = True
    zero: ClassVar[tuple[float, ...]] = (0.0,)
    lift = staticmethod(count_lift)
    merge = staticmethod(count_merge)
    result = staticmethod(count_result)

    def out(self, args: Sequence[Type], context: Context) -> Type:
        """A whole number."""
        return I64

    def reference(self, *x: Any, time_ns: Any, rate_hz: float | None) -> Any:  # noqa: ANN401
        """The same by NumPy over the values of one window."""
        return float((~np.isnan(x[0])).sum()) if x else float(len(time_ns))
