"""`filter despike(N samples)`: puts the running median in the place of outliers."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from flowedge.operators.contract import (
    REQUIRED,
    Context,
    Extent,
    Function,
    Parameter,
    Refused,
    Step,
    operator,
)
from flowedge.operators.filters.median import median_step
from flowedge.operators.rules import number, require_count
from flowedge.operators.selection import quantile
from flowedge.types.schema import Type

SPREAD = 1.4826
"""Standard deviation over median absolute deviation, of normal noise: 1 / Phi^-1(3/4)."""


def despike_step(
    state: tuple[int, int],
    ring: Any,  # noqa: ANN401
    x: float,
    n: int,
    k: float,
) -> tuple[tuple[int, int], float]:
    """The median of the last n values, then that of the distances from it (places 2n … 3n-1)."""
    if math.isnan(x):
        return state, x
    after, middle = median_step(state, ring, x, n)
    held = after[1]
    far = ring[2 * n :]
    for j in range(held):
        far[j] = math.fabs(ring[n + j] - middle)
    bound = k * 1.4826 * quantile(far, held, 0.5)
    return after, middle if math.fabs(x - middle) > bound else x


@operator("filter", "despike")
@dataclass(frozen=True)
class Despike(Function):
    """Put the running median in the place of values that lie too far from it.

    Too far is more than `k` standard deviations, estimated by the median absolute deviation of the
    last N values: the Hampel identifier [1]_. What is no outlier stays as it is.

    Parameters
    ----------
    length : number of samples, or a duration [s] on a signal; 3 to 10,001
    k : number, bound in standard deviations; 3 by default

    Stream
    ------
    in, out : float [u], unit unchanged
    delay : none; a step in a quiet signal is held back until half the samples are behind it
    state : 24 N bytes per key
    missing : NaN passes through and is not counted; a gap restarts it

    Raises
    ------
    FE402 : a duration on a stream without a rate
    FE408 : `k` is negative
    FE501 : a length outside 3 to 10,001

    References
    ----------
    .. [1] L. Davies, U. Gather, Journal of the American Statistical Association 88(423), 1993,
       782-792. https://doi.org/10.1080/01621459.1993.10476339

    Examples
    --------
    >>> flow("filter despike(5 samples) on x", x=[1.0, 1.2, 0.9, 50.0, 1.1], rate="1 Hz")
    [1.0, 1.2, 0.9, 1.1, 1.1]
    """

    parameters: ClassVar[tuple[Parameter, ...]] = (
        Parameter("length", "extent", REQUIRED, "samples, or a duration [s]"),
        Parameter("k", "number", 3.0, "bound in standard deviations"),
    )
    stateful: ClassVar[bool] = True

    length: Extent
    k: float = 3.0

    def _count(self, context: Context) -> int:
        count = require_count(self.length, context)
        if not 3 <= count <= 10_001:
            raise Refused(
                "FE501",
                f"a length of {count} samples",
                at="length",
                fix="take 3 to 10,001 samples",
            )
        return count

    def out(self, args: Sequence[Type], context: Context) -> Type:
        """Any numbers pass."""
        self._count(context)
        if self.k < 0:
            raise Refused(
                "FE408", f"a bound of {self.k:g}", at="k", fix="take 0 or more, such as 3"
            )
        return number(args[0], "0")

    def steps(self, args: Sequence[Type], context: Context) -> tuple[Step, ...]:
        """A sorted ring, and distances from its middle."""
        n = self._count(context)
        return (Step(despike_step, (0, 0), ring=3 * n, at_most=(n - 1, n), constants=(n, self.k)),)

    def reference(self, *x: Any, rate_hz: float | None, time_ns: Any) -> Any:  # noqa: ANN401
        """Both medians of the last n valid values, afresh for each."""
        n = self._count(Context(rate_hz))
        out = np.full(len(x[0]), math.nan)
        valid = np.flatnonzero(~np.isnan(x[0]))
        for k, at in enumerate(valid):
            part = x[0][valid[max(0, k - n + 1) : k + 1]]
            middle = np.median(part)
            bound = self.k * SPREAD * np.median(np.abs(part - middle))
            out[at] = middle if abs(x[0][at] - middle) > bound else x[0][at]
        return out
