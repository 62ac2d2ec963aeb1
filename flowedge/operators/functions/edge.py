"""`edge(c)`: true on the row where a condition becomes true."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from flowedge.operators.contract import Context, Function, Step, operator
from flowedge.operators.rules import condition
from flowedge.types.schema import BOOL, Type


def edge_step(state: tuple[int], c: int) -> tuple[tuple[int], int]:
    """True now, and not on the row before."""
    return (1 if c == 1 else 0,), 1 if c == 1 and state[0] == 0 else 0


@operator("function", "edge")
@dataclass(frozen=True)
class Edge(Function):
    """True on the row where a condition becomes true.

    Stream
    ------
    in : condition
    out : condition; also true on the first row, if the condition holds there
    state : 8 bytes per key

    Examples
    --------
    >>> flow("derive y = edge(x > 1)", x=[0.0, 2.0, 3.0])
    [False, True, False]
    """

    inputs: ClassVar[int] = 1
    stateful: ClassVar[bool] = True

    def out(self, args: Sequence[Type], context: Context) -> Type:
        """A condition."""
        condition(args[0], "0")
        return BOOL

    def steps(self, args: Sequence[Type], context: Context) -> tuple[Step, ...]:
        """The state of one key, and its step."""
        return (Step(edge_step, (0,)),)

    def reference(self, *x: Any, rate_hz: float | None, time_ns: Any) -> Any:  # noqa: ANN401
        """The same over whole columns."""
        c = x[0] == 1
        before = np.concatenate([[False], c[:-1]])
        return (c & ~before).astype(float)
