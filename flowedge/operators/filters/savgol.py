"""`filter savgol(N samples)`: fits a parabola to the last samples and takes its middle."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
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
from flowedge.operators.rules import number, require_count
from flowedge.types.schema import Type


@lru_cache(maxsize=64)
def weights(n: int, order: int) -> tuple[float, ...]:
    """The smoothing weights by `scipy.signal.savgol_coeffs`, newest sample first."""
    from scipy.signal import savgol_coeffs  # noqa: PLC0415  # only a cold start designs

    return tuple(float(c) for c in savgol_coeffs(n, order))


def fit(coefficients: tuple[float, ...]) -> Callable[..., Any]:
    """A step with its weights compiled in, laid out as in `flowedge.operators.filters.fir`."""
    n = len(coefficients)

    def savgol(state: tuple[int, int], ring: Any, x: float) -> Any:  # noqa: ANN401
        place, seen = state
        if seen == 0:
            for k in range(n):
                ring[2 * n + k] = coefficients[n - 1 - k]
        ring[place] = x
        ring[n + place] = x
        place = place + 1 if place + 1 < n else 0
        if seen + 1 < n:
            return (place, seen + 1), math.nan
        total = 0.0
        for k in range(n):
            total += ring[2 * n + k] * ring[place + k]
        return (place, n), total

    return savgol


@operator("filter", "savgol")
@dataclass(frozen=True)
class Savgol(Function):
    """Smooth by fitting a polynomial to the last N samples and taking its middle.

    Peaks keep their height and width better than under a mean of the same length [1]_.

    Parameters
    ----------
    length : an odd number of samples from 3 to 511, or a duration [s] on a signal
    order : integer, of the polynomial, below N; 2 by default

    Stream
    ------
    in, out : float [u], unit unchanged
    delay : (N - 1) / 2 samples
    state : 24 N bytes per key
    missing : the first N - 1 samples; NaN gives NaN as long as it is among the last N; a gap
        restarts it

    Raises
    ------
    FE402 : a duration on a stream without a rate
    FE408 : an order that is negative, or not below N
    FE501 : a length that is even, or outside 3 to 511

    References
    ----------
    .. [1] A. Savitzky, M. J. E. Golay, Analytical Chemistry 36(8), 1964, 1627-1639.
       https://doi.org/10.1021/ac60214a047

    Examples
    --------
    >>> flow("filter savgol(5 samples) on x", x=[0.0, 0.0, 1.0, 0.0, 0.0], rate="1 Hz")
    [nan, nan, nan, nan, 0.486]
    """

    parameters: ClassVar[tuple[Parameter, ...]] = (
        Parameter("length", "extent", REQUIRED, "an odd number of samples, or a duration [s]"),
        Parameter("order", "integer", 2, "of the polynomial, below the length"),
    )
    stateful: ClassVar[bool] = True

    length: Extent
    order: int = 2

    def _count(self, context: Context) -> int:
        count = require_count(self.length, context)
        if not 3 <= count <= 511 or count % 2 == 0:
            raise Refused(
                "FE501",
                f"a length of {count} samples",
                at="length",
                why="the fit has a middle sample",
                fix="take an odd number from 3 to 511",
            )
        return count

    def out(self, args: Sequence[Type], context: Context) -> Type:
        """Any numbers pass."""
        count = self._count(context)
        if not 0 <= self.order < count:
            raise Refused(
                "FE408",
                f"an order of {self.order} over {count} samples",
                at="order",
                fix=f"take 0 to {count - 1}",
            )
        return number(args[0], "0")

    def steps(self, args: Sequence[Type], context: Context) -> tuple[Step, ...]:
        """A ring of the last samples and one sum."""
        n = self._count(context)
        return (Step(fit(weights(n, self.order)), (0, 0), ring=3 * n, at_most=(n - 1,)),)

    def delay_s(self, context: Context) -> float:
        """The middle of the ring."""
        return 0.0 if context.rate_hz is None else (self._count(context) - 1) / 2 / context.rate_hz

    def reference(self, *x: Any, rate_hz: float | None, time_ns: Any) -> Any:  # noqa: ANN401
        """A least-squares fit by NumPy to each stretch of N samples."""
        n = self._count(Context(rate_hz))
        out = np.full(len(x[0]), math.nan)
        at = np.arange(n) - n // 2
        for k in range(n - 1, len(out)):
            part = x[0][k - n + 1 : k + 1]
            if np.isfinite(part).all():
                out[k] = np.polynomial.Polynomial.fit(at, part, self.order)(0.0)
        return out
