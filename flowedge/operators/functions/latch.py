"""`latch(on, off)`: hysteresis: true from where `on` holds until `off` holds."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from flowedge.operators.contract import Context, Function, Step, operator
from flowedge.operators.rules import condition
from flowedge.types.schema import BOOL, Type


def latch_step(state: tuple[int], on: int, off: int) -> tuple[tuple[int], int]:
    """Set by `on`, cleared by `off`."""
    now = 1 if on == 1 else (0 if off == 1 else state[0])
    return (now,), now


@operator("function", "latch")
@dataclass(frozen=True)
class Latch(Function):
    """Hysteresis: true from where `on` holds until `off` holds.

    Stream
    ------
    in : two conditions; where both hold, `on` wins
    out : condition, false at the start
    state : 8 bytes per key

    Examples
    --------
    >>> flow("derive y = latch(x > 2, x < 1)", x=[0.0, 3.0, 1.5, 0.5])
    [False, True, True, False]
    """

    inputs: ClassVar[int] = 2
    stateful: ClassVar[bool] = True

    def out(self, args: Sequence[Type], context: Context) -> Type:
        """A condition."""
        condition(args[0], "0")
        condition(args[1], "1")
        return BOOL

    def steps(self, args: Sequence[Type], context: Context) -> tuple[Step, ...]:
        """The state of one key, and its step."""
        return (Step(latch_step, (0,)),)

    def reference(self, *x: Any, rate_hz: float | None, time_ns: Any) -> Any:  # noqa: ANN401
        """The same over whole columns."""
        y, now = [], False
        for on, off in zip(x[0] == 1, x[1] == 1, strict=True):
            now = True if on else (False if off else now)
            y.append(now)
        return np.array(y, dtype=float)
