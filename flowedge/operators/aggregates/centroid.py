"""`centroid(x)`: where the middle of the spectrum lies."""

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


def centroid_finish(values: Any, n: int, work: Any, out: Any, rate: float) -> float:  # noqa: ANN401
    """Look at all lines but that at 0 Hz."""
    if n == 0:
        return math.nan
    one_sided(values, n, work)
    total, weighed = 0.0, 0.0
    for k in range(1, n // 2 + 1):
        total += values[k]
        weighed += values[k] * k * rate / n
    return weighed / total if total > 0.0 else math.nan


@operator("aggregate", "centroid")
@dataclass(frozen=True)
class Centroid(Aggregate):
    """The mean of the frequencies in a window, each weighed with its power.

    The mean of the values, which is the line at 0 Hz, is left out: gravity or an offset would
    outweigh everything.

    Stream
    ------
    in : signal, number [u]
    out : f64 [Hz]
    missing : a missing value in the window makes the result missing; so does a window of zeros

    Raises
    ------
    FE402 : the stream has no rate

    References
    ----------
    G. Peeters, A large set of audio features for sound description, IRCAM, 2004, section 6.1.1;
    weighed with the power instead of the amplitude.

    Examples
    --------
    >>> flow("aggregate centroid(x) as y", x=[0.0, 0.0, 1.0, 0.0], rate="4 Hz")
    [1.333]
    """

    inputs: ClassVar[int | tuple[int, int]] = 1
    collects: ClassVar[bool] = True
    needs_rate: ClassVar[bool] = True
    finish = staticmethod(centroid_finish)

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
        return float(np.average(at[1:], weights=power[1:])) if power[1:].sum() > 0 else np.nan
