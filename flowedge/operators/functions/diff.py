"""`diff(x)`: the change since the row before."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from flowedge.operators.contract import MISSING_TIME, Context, Function, Step, operator
from flowedge.operators.rules import difference, number
from flowedge.types import units
from flowedge.types.schema import Type


def diff_step(state: tuple[float], x: float) -> tuple[tuple[float], float]:
    """The value minus the one before."""
    return (x,), x - state[0]


def diff_time(state: tuple[int], t: int) -> tuple[tuple[int], float]:
    """Seconds between two times."""
    before = state[0]
    if before == -9223372036854775808 or t == -9223372036854775808:
        return (t,), math.nan
    return (t,), (t - before) * 1e-9


@operator("function", "diff")
@dataclass(frozen=True)
class Diff(Function):
    """The change since the row before.

    Stream
    ------
    in : number [u], or a time
    out : f64 in the unit of differences; of times in seconds
    state : 8 bytes per key
    delay : half a sample
    missing : the first row, and wherever either value is missing

    Examples
    --------
    >>> flow("derive y = diff(x)", x=[1.0, 3.0, 2.0])
    [nan, 2.0, -1.0]
    """

    inputs: ClassVar[int] = 1
    stateful: ClassVar[bool] = True

    def out(self, args: Sequence[Type], context: Context) -> Type:
        """Differences: points become amounts, times seconds."""
        if args[0].store == "time":
            return Type("f64", unit=units.SECOND)
        return difference(number(args[0], "0"))

    def steps(self, args: Sequence[Type], context: Context) -> tuple[Step, ...]:
        """The state of one key, and its step."""
        if args[0].store == "time":
            return (Step(diff_time, (MISSING_TIME,)),)
        return (Step(diff_step, (math.nan,)),)

    def delay_s(self, context: Context) -> float:
        """Half a sample: the change belongs between two rows."""
        return 0.0 if context.rate_hz is None else 0.5 / context.rate_hz

    def reference(self, *x: Any, rate_hz: float | None, time_ns: Any) -> Any:  # noqa: ANN401
        """The same over whole columns."""
        y = np.full(len(x[0]), np.nan)
        y[1:] = np.diff(x[0])
        return y
