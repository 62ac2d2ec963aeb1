"""`median(x)`: the median; of an even count the mean of the middle two."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from flowedge.operators.contract import Aggregate, Context, operator
from flowedge.operators.rules import number
from flowedge.operators.selection import quantile
from flowedge.types.schema import Type


def median_finish(values: Any, n: int, work: Any, out: Any) -> float:  # noqa: ANN401
    """The quantile, by selection."""
    return quantile(values, n, 0.5)


@operator("aggregate", "median")
@dataclass(frozen=True)
class Median(Aggregate):
    """The median; of an even count the mean of the middle two.

    Stream
    ------
    in : number [u]
    out : f64 [u]
    missing : skipped; of none it is missing

    Examples
    --------
    >>> flow("aggregate median(x) as y", x=[1.0, 2.0, 4.0])
    [2.0]
    """

    inputs: ClassVar[int | tuple[int, int]] = 1
    collects: ClassVar[bool] = True
    finish = staticmethod(median_finish)

    def out(self, args: Sequence[Type], context: Context) -> Type:
        """The unit stays."""
        return number(args[0], "0")

    def reference(self, *x: Any, time_ns: Any, rate_hz: float | None) -> Any:  # noqa: ANN401
        """The same by NumPy over the values of one window."""
        v = x[0][~np.isnan(x[0])]
        return float(np.quantile(v, 0.5)) if len(v) else np.nan
