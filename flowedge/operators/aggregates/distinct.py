"""`distinct(x)`: how many different values."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from flowedge.operators.contract import Aggregate, Context, operator
from flowedge.operators.rules import require_no_time
from flowedge.operators.selection import sort_values
from flowedge.types.schema import I64, Type


def distinct_finish(values: Any, n: int, work: Any, out: Any) -> float:  # noqa: ANN401
    """Sort, then count the steps."""
    if n == 0:
        return 0.0
    sort_values(values, n)
    count = 1
    for k in range(1, n):
        count += 1 if values[k] != values[k - 1] else 0
    return float(count)


@operator("aggregate", "distinct")
@dataclass(frozen=True)
class Distinct(Aggregate):
    """How many different values.

    Stream
    ------
    in : number, text or condition
    out : i64
    missing : skipped; of none it is 0

    Examples
    --------
    >>> flow("aggregate distinct(x) as y", x=[1.0, 2.0, 2.0])
    [2]
    """

    inputs: ClassVar[int | tuple[int, int]] = 1
    collects: ClassVar[bool] = True
    finish = staticmethod(distinct_finish)

    def out(self, args: Sequence[Type], context: Context) -> Type:
        """A whole number."""
        require_no_time(
            args[0], "counted apart", "count a number made of them, such as `clock(time)`"
        )
        return I64

    def reference(self, *x: Any, time_ns: Any, rate_hz: float | None) -> Any:  # noqa: ANN401
        """The same by NumPy over the values of one window."""
        v = x[0][~np.isnan(x[0])]
        return float(len(np.unique(v)))
