"""`held(c, D)`: true once a condition has held without a break for a duration."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from flowedge.operators.contract import (
    MISSING_TIME,
    REQUIRED,
    Context,
    Function,
    Parameter,
    Step,
    operator,
)
from flowedge.operators.rules import condition
from flowedge.types.schema import BOOL, Type


def held_step(state: tuple[int], t: int, c: int, span: int) -> tuple[tuple[int], int]:
    """Remember since when it holds."""
    if c != 1:
        return (-9223372036854775808,), 0
    since = t if state[0] == -9223372036854775808 else state[0]
    return (since,), 1 if t - since >= span else 0


@operator("function", "held")
@dataclass(frozen=True)
class Held(Function):
    """True once a condition has held without a break for a duration.

    Parameters
    ----------
    span : duration [s], how long it must have held

    Stream
    ------
    in : condition
    out : condition; at D after the row where it became true, and as long as it holds
    state : 8 bytes per key
    missing : a missing condition is false

    Examples
    --------
    >>> flow("derive y = held(x > 1, 1 s)", x=[2.0, 2.0, 2.0], rate="2 Hz")
    [False, False, True]
    """

    inputs: ClassVar[int] = 1
    stateful: ClassVar[bool] = True
    parameters: ClassVar[tuple[Parameter, ...]] = (
        Parameter("span", "duration", REQUIRED, "how long it must have held [s]"),
    )

    span: float

    def out(self, args: Sequence[Type], context: Context) -> Type:
        """A condition."""
        condition(args[0], "0")
        return BOOL

    def steps(self, args: Sequence[Type], context: Context) -> tuple[Step, ...]:
        """The state of one key, and its step."""
        return (
            Step(held_step, (MISSING_TIME,), constants=(round(self.span * 1e9),), needs_time=True),
        )

    def reference(self, *x: Any, rate_hz: float | None, time_ns: Any) -> Any:  # noqa: ANN401
        """The same over whole columns."""
        y, since = [], None
        for c, t in zip(x[0] == 1, time_ns, strict=True):
            since = (t if since is None else since) if c else None
            y.append(since is not None and t - since >= round(self.span * 1e9))
        return np.array(y, dtype=float)
