"""`peak_frequency(x)`: the strongest frequency of a window."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from flowedge.operators.contract import Aggregate, Context, operator
from flowedge.operators.rules import number, require_samples
from flowedge.operators.spectrum import one_sided
from flowedge.types import units
from flowedge.types.schema import Type


def peak_frequency_finish(values: Any, n: int, work: Any, out: Any, rate: float) -> float:  # noqa: ANN401
    """Look at all lines but that at 0 Hz."""
    if n == 0:
        return math.nan
    one_sided(values, n, work)
    best, most = math.nan, 0.0
    for k in range(1, n // 2 + 1):
        if values[k] > most:
            best, most = k * rate / n, values[k]
    return best


@operator("aggregate", "peak_frequency")
@dataclass(frozen=True)
class PeakFrequency(Aggregate):
    """The frequency of the strongest line in the spectrum of a window.

    The mean of the values, which is the line at 0 Hz, is left out: gravity or an offset would
    outweigh everything.

    Stream
    ------
    in : signal, number [u]
    out : f64 [Hz]
    resolution : the rate divided by the number of samples; of equal lines the lowest counts
    missing : a missing value in the window makes the result missing; so does a window of zeros

    Raises
    ------
    FE402 : the stream has no rate

    References
    ----------
    A. V. Oppenheim, R. W. Schafer, Discrete-Time Signal Processing, section 10.5.

    Examples
    --------
    >>> flow("aggregate peak_frequency(x) as y", x=[1.0, 3.0, 1.0, -1.0], rate="4 Hz")
    [1.0]
    """

    inputs: ClassVar[int | tuple[int, int]] = 1
    collects: ClassVar[bool] = True
    needs_rate: ClassVar[bool] = True
    finish = staticmethod(peak_frequency_finish)

    def out(self, args: Sequence[Type], context: Context) -> Type:
        """A frequency."""
        require_samples(context)
        return replace(number(args[0], "0"), unit=units.HERTZ)

    def constants(self, args: Sequence[Type], context: Context) -> tuple[float | int, ...]:
        """The rate in Hz."""
        return (require_samples(context),)

    def reference(self, *x: Any, time_ns: Any, rate_hz: float | None) -> Any:  # noqa: ANN401
        """The same by NumPy over the values of one window."""
        n = len(x[0])
        if n == 0:
            return np.nan
        at, power = np.fft.rfftfreq(n, 1 / float(rate_hz or 1)), np.abs(np.fft.rfft(x[0])) ** 2
        power[1 : (n + 1) // 2] *= 2
        return float(at[1 + power[1:].argmax()]) if n > 1 and power[1:].max() > 0 else np.nan
