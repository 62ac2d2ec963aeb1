"""`rate(x)`: the change per second since the row before."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from flowedge.operators.contract import MISSING_TIME, Context, Function, Step, operator
from flowedge.operators.rules import difference, number, per_second
from flowedge.types.schema import Type


def rate_step(state: tuple[float, int], t: int, x: float) -> tuple[tuple[float, int], float]:
    """The change divided by the time that it took."""
    before, at = state
    if math.isnan(before) or t <= at:
        return (x, t), math.nan
    return (x, t), (x - before) / ((t - at) * 1e-9)


@operator("function", "rate")
@dataclass(frozen=True)
class Rate(Function):
    """The change per second since the row before.

    Stream
    ------
    in : number [u]
    out : f64 [u/s]
    state : 16 bytes per key
    delay : half a sample
    missing : the first row, rows at the same time, and wherever either value is missing

    Examples
    --------
    >>> flow("derive y = rate(x)", x=[1.0, 3.0], rate="2 Hz")
    [nan, 4.0]
    """

    inputs: ClassVar[int] = 1
    stateful: ClassVar[bool] = True

    def out(self, args: Sequence[Type], context: Context) -> Type:
        """Per second."""
        return per_second(difference(number(args[0], "0")))

    def steps(self, args: Sequence[Type], context: Context) -> tuple[Step, ...]:
        """The state of one key, and its step."""
        return (Step(rate_step, (math.nan, MISSING_TIME), needs_time=True),)

    def delay_s(self, context: Context) -> float:
        """Half a sample: the change belongs between two rows."""
        return 0.0 if context.rate_hz is None else 0.5 / context.rate_hz

    def reference(self, *x: Any, rate_hz: float | None, time_ns: Any) -> Any:  # noqa: ANN401
        """The same over whole columns."""
        y = np.full(len(x[0]), np.nan)
        dt = np.diff(time_ns) * 1e-9
        np.divide(np.diff(x[0]), dt, out=y[1:], where=dt > 0)
        return y
