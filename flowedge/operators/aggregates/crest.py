"""`crest(x)`: the largest magnitude divided by the root of the mean square."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from flowedge.operators.contract import Aggregate, Context, operator
from flowedge.operators.rules import amount
from flowedge.types.schema import Type


def crest_lift(t: int, x: float) -> tuple[float, float, float]:
    """One row."""
    return (math.fabs(x), x * x, 1.0) if not math.isnan(x) else (0.0, 0.0, 0.0)


def crest_merge(
    a: tuple[float, float, float], b: tuple[float, float, float]
) -> tuple[float, float, float]:
    """Two neighbouring parts, `a` the older."""
    return (max(a[0], b[0]), a[1] + b[1], a[2] + b[2])


def crest_result(a: tuple[float, float, float]) -> float:
    """The answer."""
    return a[0] / math.sqrt(a[1] / a[2]) if a[1] > 0.0 else math.nan


@operator("aggregate", "crest")
@dataclass(frozen=True)
class Crest(Aggregate):
    """The largest magnitude divided by the root of the mean square.

    Stream
    ------
    in : number [u]
    out : f64 without a unit
    missing : skipped; of none, or of zeros, it is missing

    Examples
    --------
    >>> flow("aggregate crest(x) as y", x=[3.0, -4.0])
    [1.131]
    """

    inputs: ClassVar[int | tuple[int, int]] = 1
    zero: ClassVar[tuple[float, ...]] = (0.0, 0.0, 0.0)
    lift = staticmethod(crest_lift)
    merge = staticmethod(crest_merge)
    result = staticmethod(crest_result)

    def out(self, args: Sequence[Type], context: Context) -> Type:
        """A plain number."""
        return replace(amount(args[0], "0", "the crest factor"), unit=None)

    def reference(self, *x: Any, time_ns: Any, rate_hz: float | None) -> Any:  # noqa: ANN401
        """The same by NumPy over the values of one window."""
        v = x[0][~np.isnan(x[0])]
        return float(np.abs(v).max() / np.sqrt((v**2).mean())) if np.any(v) else np.nan
