"""`mel(x, n, low .. high)`: the power of a window in bands as wide as the ear's."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from flowedge.operators.contract import REQUIRED, Aggregate, Context, Parameter, Refused, operator
from flowedge.operators.rules import amount, require_band, require_samples, require_scalar, square
from flowedge.operators.spectrum import one_sided
from flowedge.types.schema import Type


def mel_of(hertz: float) -> float:
    """A frequency [Hz] on the mel scale."""
    return 2595.0 * math.log10(1.0 + hertz / 700.0)


def hertz_of(mel: float) -> float:
    """The frequency [Hz] at a place on the mel scale."""
    return 700.0 * (math.pow(10.0, mel / 2595.0) - 1.0)


def mel_finish(
    values: Any,  # noqa: ANN401
    n: int,
    work: Any,  # noqa: ANN401
    out: Any,  # noqa: ANN401
    rate: float,
    bands: int,
    low: float,
    high: float,
) -> float:
    """Weigh the spectrum with one triangle after the other."""
    if n == 0:
        for b in range(bands):
            out[b] = math.nan
        return math.nan
    one_sided(values, n, work)
    first = mel_of(low)
    hop = (mel_of(high) - first) / (bands + 1)
    for b in range(bands):
        left, top = hertz_of(first + b * hop), hertz_of(first + (b + 1) * hop)
        right = hertz_of(first + (b + 2) * hop)
        total = 0.0 * values[0]  # NaN if any sample was missing, also where no line is in reach
        for k in range(max(0, int(left * n / rate)), n // 2 + 1):
            at = k * rate / n
            if at >= right:
                break
            if left < at <= top:
                total += values[k] * (at - left) / (top - left)
            elif at > top:
                total += values[k] * (right - at) / (right - top)
        out[b] = total
    return 0.0


@operator("aggregate", "mel")
@dataclass(frozen=True)
class Mel(Aggregate):
    """The mean square in triangular bands, evenly spaced on the mel scale.

    Each band rises from the middle of the one before to 1 at its own and falls to the middle of the
    next, linearly in frequency; ``mel = 2595 log10(1 + f / 700 Hz)`` [1]_. A band between two lines
    of the spectrum, which are rate / n apart, is 0.

    Parameters
    ----------
    bands : integer from 1 to 512
    band : range of frequencies [Hz], low .. high, that they cover

    Stream
    ------
    in : signal, number [u], no point on a scale
    out : list of `bands` f64 [u^2]
    missing : a missing value in the window makes all of them missing

    Raises
    ------
    FE402 : the stream has no rate
    FE403 : the upper edge is above half the rate
    FE404 : an edge below 0 Hz
    FE407 : the lower edge is not below the upper one
    FE408 : a number of bands outside 1 to 512

    References
    ----------
    .. [1] S. Young et al., The HTK Book, version 3.4, section 5.4, equation 5.13.

    Examples
    --------
    >>> flow("window 4 samples | aggregate mel(x, 1, 0 Hz .. 2 Hz) as y", x=[0.0, 2.0, 0.0, -2.0], rate="4 Hz")
    [[1.999]]
    """

    inputs: ClassVar[int | tuple[int, int]] = 1
    collects: ClassVar[bool] = True
    needs_rate: ClassVar[bool] = True
    parameters: ClassVar[tuple[Parameter, ...]] = (
        Parameter("bands", "integer", REQUIRED, "how many, 1 to 512"),
        Parameter("band", "band", REQUIRED, "low .. high [Hz], up to half the rate"),
    )
    finish = staticmethod(mel_finish)

    bands: int
    band: tuple[float, float]

    def out(self, args: Sequence[Type], context: Context) -> Type:
        """A list over the bands; the unit is squared."""
        require_band(self.band, require_samples(context))
        require_scalar(args[0])
        if not 1 <= self.bands <= 512:
            raise Refused("FE408", f"{self.bands} bands", at="bands", fix="take 1 to 512 bands")
        return replace(square(amount(args[0], "0", "the power")), shape=(self.bands,))

    def constants(self, args: Sequence[Type], context: Context) -> tuple[float | int, ...]:
        """The rate, how many bands, and the edges in Hz."""
        return (require_samples(context), self.bands, *self.band)

    def length(self, args: Sequence[Type], context: Context) -> int:
        """One number for each band."""
        return self.bands

    def reference(self, *x: Any, time_ns: Any, rate_hz: float | None) -> Any:  # noqa: ANN401
        """The same by a matrix of triangles."""
        n = len(x[0])
        if n == 0:
            return np.full(self.bands, np.nan)
        low, high = (2595 * np.log10(1 + f / 700) for f in self.band)
        edges = 700 * (10 ** (np.linspace(low, high, self.bands + 2) / 2595) - 1)
        at = np.fft.rfftfreq(n, 1 / float(rate_hz or 1))
        power = np.abs(np.fft.rfft(x[0])) ** 2 / n**2
        power[1 : (n + 1) // 2] *= 2
        rows = [np.interp(at, edges[b : b + 3], [0, 1, 0], 0, 0) for b in range(self.bands)]
        return np.array(rows) @ power
