"""`first(x)`: the first value."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from flowedge.operators.contract import Aggregate, Context, operator
from flowedge.operators.rules import as_it_is, require_no_time
from flowedge.types.schema import Type


def first_lift(t: int, x: float) -> tuple[float, float]:
    """One row."""
    return (x, 1.0) if not math.isnan(x) else (0.0, 0.0)


def first_merge(a: tuple[float, float], b: tuple[float, float]) -> tuple[float, float]:
    """Two neighbouring parts, `a` the older."""
    return a if a[1] > 0.0 else b


def first_result(a: tuple[float, float]) -> float:
    """The answer."""
    return a[0] if a[1] > 0.0 else math.nan


@operator("aggregate", "first")
@dataclass(frozen=True)
class First(Aggregate):
    """The first value.

    Stream
    ------
    in : number [u], text or condition
    out : the same type; numbers as f64
    missing : skipped; of none it is missing

    Examples
    --------
    >>> flow("aggregate first(x) as y", x=[nan, 2.0, 3.0])
    [2.0]
    """

    inputs: ClassVar[int | tuple[int, int]] = 1
    zero: ClassVar[tuple[float, ...]] = (0.0, 0.0)
    lift = staticmethod(first_lift)
    merge = staticmethod(first_merge)
    result = staticmethod(first_result)

    def out(self, args: Sequence[Type], context: Context) -> Type:
        """The same type."""
        require_no_time(args[0], "folded", "use `start` and `time` of the window")
        return as_it_is(args[0])

    def reference(self, *x: Any, time_ns: Any, rate_hz: float | None) -> Any:  # noqa: ANN401
        """The same by NumPy over the values of one window."""
        v = x[0][~np.isnan(x[0])]
        return float(v[0]) if len(v) else np.nan
