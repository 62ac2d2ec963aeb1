"""`band(x, low .. high)`: the mean square that lies between two frequencies."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from flowedge.operators.contract import REQUIRED, Aggregate, Context, Parameter, operator
from flowedge.operators.rules import amount, require_band, require_samples, square
from flowedge.operators.spectrum import one_sided
from flowedge.types.schema import Type


def band_finish(
    values: Any,  # noqa: ANN401
    n: int,
    work: Any,  # noqa: ANN401
    out: Any,  # noqa: ANN401
    rate: float,
    low: float,
    high: float,
) -> float:
    """Sum the parts of the mean square whose frequency lies in the band."""
    if n == 0:
        return math.nan
    one_sided(values, n, work)
    total = 0.0
    for k in range(n // 2 + 1):
        at = k * rate / n
        if at >= low and (at < high or (2 * k == n and at <= high)):
            total += values[k]
    return total


@operator("aggregate", "band")
@dataclass(frozen=True)
class Band(Aggregate):
    """The mean square of what lies between two frequencies.

    The window is taken as it is (rectangular, its mean not removed). All bands from 0 Hz to half the
    rate add up to the mean square of the values (Parseval's theorem [1]_).

    Parameters
    ----------
    band : range of frequencies [Hz], low .. high; a frequency at the upper edge belongs to the next
        band, half the rate to the band that ends there

    Stream
    ------
    in : signal, number [u], no point on a scale
    out : f64 [u^2]
    resolution : the rate divided by the number of samples in the window
    missing : a missing value in the window makes the result missing; of none it is missing

    Raises
    ------
    FE402 : the stream has no rate
    FE403 : the upper edge is above half the rate
    FE404 : an edge below 0 Hz
    FE407 : the lower edge is not below the upper one

    References
    ----------
    .. [1] A. V. Oppenheim, R. W. Schafer, Discrete-Time Signal Processing, section 8.6.

    Examples
    --------
    >>> flow("aggregate band(x, 0.5 Hz .. 1.5 Hz) as y", x=[0.0, 2.0, 0.0, -2.0], rate="4 Hz")
    [2.0]
    """

    inputs: ClassVar[int | tuple[int, int]] = 1
    collects: ClassVar[bool] = True
    needs_rate: ClassVar[bool] = True
    parameters: ClassVar[tuple[Parameter, ...]] = (
        Parameter("band", "band", REQUIRED, "low .. high [Hz], up to half the rate"),
    )
    finish = staticmethod(band_finish)

    band: tuple[float, float]

    def out(self, args: Sequence[Type], context: Context) -> Type:
        """The unit is squared."""
        require_band(self.band, require_samples(context))
        return square(amount(args[0], "0", "the power"))

    def constants(self, args: Sequence[Type], context: Context) -> tuple[float | int, ...]:
        """The rate and the edges, in Hz."""
        return (require_samples(context), *self.band)

    def reference(self, *x: Any, time_ns: Any, rate_hz: float | None) -> Any:  # noqa: ANN401
        """The same by NumPy over the values of one window."""
        n, (low, high) = len(x[0]), self.band
        if n == 0:
            return np.nan
        rate = float(rate_hz or 1)
        at = np.abs(np.fft.fftfreq(n)) * rate  # both signs of a frequency
        power = np.abs(np.fft.fft(x[0])) ** 2 / n**2
        ends = (at == rate / 2) & (at <= high)
        return float(power[(at >= low) & ((at < high) | ends)].sum())
