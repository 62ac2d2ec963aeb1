"""`since(c)`: how long ago a condition last became true."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from flowedge.operators.contract import MISSING_TIME, Context, Function, Step, operator
from flowedge.operators.rules import condition
from flowedge.types import units
from flowedge.types.schema import Type


def since_step(state: tuple[int, int], t: int, c: int) -> tuple[tuple[int, int], float]:
    """Remember when it last turned true."""
    at, was = state
    now = 1 if c == 1 else 0
    if now == 1 and was == 0:
        at = t
    if at == -9223372036854775808:
        return (at, now), math.nan
    return (at, now), (t - at) * 1e-9


@operator("function", "since")
@dataclass(frozen=True)
class Since(Function):
    """How long ago a condition last became true.

    Stream
    ------
    in : condition
    out : f64 [s], 0 on the row where it becomes true
    state : 16 bytes per key
    missing : until it has been true for the first time

    Examples
    --------
    >>> flow("derive y = since(x > 1)", x=[0.0, 2.0, 0.0], rate="2 Hz")
    [nan, 0.0, 0.5]
    """

    inputs: ClassVar[int] = 1
    stateful: ClassVar[bool] = True

    def out(self, args: Sequence[Type], context: Context) -> Type:
        """Seconds."""
        condition(args[0], "0")
        return Type("f64", unit=units.SECOND)

    def steps(self, args: Sequence[Type], context: Context) -> tuple[Step, ...]:
        """The state of one key, and its step."""
        return (Step(since_step, (MISSING_TIME, 0), needs_time=True),)

    def reference(self, *x: Any, rate_hz: float | None, time_ns: Any) -> Any:  # noqa: ANN401
        """The same over whole columns."""
        y, at, was = [], None, False
        for c, t in zip(x[0] == 1, time_ns, strict=True):
            at = t if c and not was else at
            was = c
            y.append(np.nan if at is None else (t - at) * 1e-9)
        return np.array(y)
