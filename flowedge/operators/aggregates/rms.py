"""`rms(x)`: the root of the mean square."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from flowedge.operators.contract import Aggregate, Context, operator
from flowedge.operators.rules import amount
from flowedge.types.schema import Type


def rms_lift(t: int, x: float) -> tuple[float, float]:
    """One row."""
    return (x * x, 1.0) if not math.isnan(x) else (0.0, 0.0)


def rms_merge(a: tuple[float, float], b: tuple[float, float]) -> tuple[float, float]:
    """Two neighbouring parts, `a` the older."""
    return (a[0] + b[0], a[1] + b[1])


def rms_result(a: tuple[float, float]) -> float:
    """The answer."""
    return math.sqrt(a[0] / a[1]) if a[1] > 0.0 else math.nan


def rms_lift_sound(t: int, x: float) -> tuple[float, float]:
    """One row, with a value."""
    return (x * x, 1.0)


def rms_result_sound(a: tuple[float, float]) -> float:
    """The answer where there is a value."""
    return math.sqrt(a[0] / a[1])


@operator("aggregate", "rms")
@dataclass(frozen=True)
class Rms(Aggregate):
    """The root of the mean square.

    Stream
    ------
    in : number [u]
    out : f64 [u]
    missing : skipped; of none it is missing

    Examples
    --------
    >>> flow("aggregate rms(x) as y", x=[3.0, 4.0])
    [3.536]
    """

    inputs: ClassVar[int | tuple[int, int]] = 1
    counts_last: ClassVar[bool] = True
    adds: ClassVar[bool] = True
    zero: ClassVar[tuple[float, ...]] = (0.0, 0.0)
    lift = staticmethod(rms_lift)
    merge = staticmethod(rms_merge)
    result = staticmethod(rms_result)
    sound = (rms_lift_sound, rms_result_sound)

    def out(self, args: Sequence[Type], context: Context) -> Type:
        """An amount; its unit stays."""
        return amount(args[0], "0", "the mean square")

    def reference(self, *x: Any, time_ns: Any, rate_hz: float | None) -> Any:  # noqa: ANN401
        """The same by NumPy over the values of one window."""
        v = x[0][~np.isnan(x[0])]
        return float(np.sqrt((v**2).mean())) if len(v) else np.nan
