"""`last(x)`: the last value."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from flowedge.operators.contract import Aggregate, Context, operator
from flowedge.operators.rules import as_it_is, require_no_time
from flowedge.types.schema import Type


def last_lift(t: int, x: float) -> tuple[float, float]:
    """One row."""
    return (x, 1.0) if not math.isnan(x) else (0.0, 0.0)


def last_merge(a: tuple[float, float], b: tuple[float, float]) -> tuple[float, float]:
    """Two neighbouring parts, `a` the older."""
    return b if b[1] > 0.0 else a


def last_result(a: tuple[float, float]) -> float:
    """The answer."""
    return a[0] if a[1] > 0.0 else math.nan


@operator("aggregate", "last")
@dataclass(frozen=True)
class Last(Aggregate):
    """The last value.

    Stream
    ------
    in : number [u], text or condition
    out : the same type; numbers as f64
    missing : skipped; of none it is missing

    Examples
    --------
    >>> flow("aggregate last(x) as y", x=[nan, 2.0, 3.0])
    [3.0]
    """

    inputs: ClassVar[int | tuple[int, int]] = 1
    zero: ClassVar[tuple[float, ...]] = (0.0, 0.0)
    lift = staticmethod(last_lift)
    merge = staticmethod(last_merge)
    result = staticmethod(last_result)

    def out(self, args: Sequence[Type], context: Context) -> Type:
        """The same type."""
        require_no_time(args[0], "folded", "use `start` and `time` of the window")
        return as_it_is(args[0])

    def reference(self, *x: Any, time_ns: Any, rate_hz: float | None) -> Any:  # noqa: ANN401
        """The same by NumPy over the values of one window."""
        v = x[0][~np.isnan(x[0])]
        return float(v[-1]) if len(v) else np.nan
