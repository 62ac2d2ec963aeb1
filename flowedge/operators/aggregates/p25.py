"""`p25(x)`: the 25 % quantile, by linear interpolation."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from flowedge.operators.contract import Aggregate, Context, operator
from flowedge.operators.rules import number
from flowedge.operators.selection import quantile
from flowedge.types.schema import Type


def p25_finish(values: Any, n: int, work: Any, out: Any) -> float:  # noqa: ANN401
    """The quantile, by selection."""
    return quantile(values, n, 0.25)


@operator("aggregate", "p25")
@dataclass(frozen=True)
class P25(Aggregate):
    """The 25 % quantile, by linear interpolation.

    Stream
    ------
    in : number [u]
    out : f64 [u]
    missing : skipped; of none it is missing

    Examples
    --------
    >>> flow("aggregate p25(x) as y", x=[1.0, 2.0, 4.0])
    [1.5]
    """

    inputs: ClassVar[int | tuple[int, int]] = 1
    collects: ClassVar[bool] = True
    finish = staticmethod(p25_finish)

    def out(self, args: Sequence[Type], context: Context) -> Type:
        """The unit stays."""
        return number(args[0], "0")

    def reference(self, *x: Any, time_ns: Any, rate_hz: float | None) -> Any:  # noqa: ANN401
        """The same by NumPy over the values of one window."""
        v = x[0][~np.isnan(x[0])]
        return float(np.quantile(v, 0.25)) if len(v) else np.nan
