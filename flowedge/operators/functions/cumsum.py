"""`cumsum(x)`: the sum of all values so far."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from flowedge.operators.contract import Context, Function, Step, operator
from flowedge.operators.rules import amount
from flowedge.types.schema import Type


def cumsum_step(state: tuple[float, float], x: float) -> tuple[tuple[float, float], float]:
    """Add one value, and what rounding lost to the compensation."""
    total, lost = state
    if math.isnan(x):
        return state, total + lost
    new = total + x
    if not math.fabs(new) < math.inf:
        return (new, lost), new
    if math.fabs(total) >= math.fabs(x):
        lost += (total - new) + x
    else:
        lost += (x - new) + total
    return (new, lost), new + lost


@operator("function", "cumsum")
@dataclass(frozen=True)
class Cumsum(Function):
    """The sum of all values so far.

    The sum is compensated (Neumaier), so that rounding does not add up over days [1]_.

    Stream
    ------
    in : number [u], no point on a scale
    out : f64 [u]
    state : 16 bytes per key
    missing : skipped; the sum stays

    References
    ----------
    .. [1] A. Neumaier, ZAMM 54(1), 1974, 39-51. https://doi.org/10.1002/zamm.19740540106

    Examples
    --------
    >>> flow("derive y = cumsum(x)", x=[1.0, 2.0, 3.0])
    [1.0, 3.0, 6.0]
    """

    inputs: ClassVar[int] = 1
    stateful: ClassVar[bool] = True

    def out(self, args: Sequence[Type], context: Context) -> Type:
        """An amount; its unit stays."""
        return amount(args[0], "0", "the sum")

    def steps(self, args: Sequence[Type], context: Context) -> tuple[Step, ...]:
        """The state of one key, and its step."""
        return (Step(cumsum_step, (0.0, 0.0)),)

    def reference(self, *x: Any, rate_hz: float | None, time_ns: Any) -> Any:  # noqa: ANN401
        """The same over whole columns."""
        return np.array(
            [math.fsum(x[0][: k + 1][~np.isnan(x[0][: k + 1])]) for k in range(len(x[0]))]
        )
