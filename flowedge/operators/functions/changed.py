"""`changed(x)`: true where a value differs from that of the row before."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from flowedge.operators.contract import Context, Function, Step, operator
from flowedge.types.schema import BOOL, Type


def changed_float(state: tuple[float, int], x: float) -> tuple[tuple[float, int], int]:
    """Compare with the row before; NaN equals NaN."""
    before, seen = state
    same = seen == 1 and (x == before or (math.isnan(x) and math.isnan(before)))
    return (x, 1), 0 if same else 1


def changed_int(state: tuple[int, int], x: int) -> tuple[tuple[int, int], int]:
    """Compare with the row before."""
    before, seen = state
    return (x, 1), 0 if seen == 1 and x == before else 1


@operator("function", "changed")
@dataclass(frozen=True)
class Changed(Function):
    """True where a value differs from that of the row before.

    Stream
    ------
    in : any scalar
    out : condition; true on the first row
    state : 16 bytes per key
    missing : two missing values are the same

    Examples
    --------
    >>> flow("derive y = changed(x)", x=[1.0, 1.0, 2.0])
    [True, False, True]
    """

    inputs: ClassVar[int] = 1
    stateful: ClassVar[bool] = True
    exact: ClassVar[bool] = True

    def out(self, args: Sequence[Type], context: Context) -> Type:
        """A condition."""
        return BOOL

    def steps(self, args: Sequence[Type], context: Context) -> tuple[Step, ...]:
        """The state of one key, and its step."""
        if args[0].is_float:
            return (Step(changed_float, (math.nan, 0)),)
        return (Step(changed_int, (0, 0)),)

    def reference(self, *x: Any, rate_hz: float | None, time_ns: Any) -> Any:  # noqa: ANN401
        """The same over whole columns."""
        y = np.ones(len(x[0]))
        y[1:] = ~((x[0][1:] == x[0][:-1]) | (np.isnan(x[0][1:]) & np.isnan(x[0][:-1])))
        return y
