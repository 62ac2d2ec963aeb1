"""`p10(x)`: the 10 % quantile, by linear interpolation."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from flowedge.operators.contract import Aggregate, Context, operator
from flowedge.operators.rules import number
from flowedge.operators.selection import quantile
from flowedge.types.schema import Type


def p10_finish(values: Any, n: int, work: Any, out: Any) -> float:  # noqa: ANN401
    """The quantile, by selection."""
    return quantile(values, n, 0.1)


@operator("aggregate", "p10")
@dataclass(frozen=True)
class P10(Aggregate):
    """The 10 % quantile, by linear interpolation.

    Stream
    ------
    in : number [u]
    out : f64 [u]
    missing : skipped; of none it is missing

    Examples
    --------
    >>> flow("aggregate p10(x) as y", x=[1.0, 2.0, 4.0])
    [1.2]
    """

    inputs: ClassVar[int | tuple[int, int]] = 1
    collects: ClassVar[bool] = True
    finish = staticmethod(p10_finish)

    def out(self, args: Sequence[Type], context: Context) -> Type:
        """The unit stays."""
        return number(args[0], "0")

    def reference(self, *x: Any, time_ns: Any, rate_hz: float | None) -> Any:  # noqa: ANN401
        """The same by NumPy over the values of one window."""
        v = x[0][~np.isnan(x[0])]
        return float(np.quantile(v, 0.1)) if len(v) else np.nan
