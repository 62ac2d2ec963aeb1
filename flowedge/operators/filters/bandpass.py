"""`bandpass(x, band)`: a Butterworth band-pass."""

from dataclasses import dataclass
from typing import ClassVar

from flowedge.operators.contract import Context, operator
from flowedge.operators.filters.iir import ByBand, Shape


@operator("filter", "bandpass")
@dataclass(frozen=True)
class Bandpass(ByBand):
    """Keep what lies in a band of frequencies.

    A Butterworth filter as second-order sections from zero state: flat in the pass-band, half the
    power at both edges of the band [1]_.

    Parameters
    ----------
    band : range of frequencies [Hz], low .. high, below half the rate
    order : integer from 1 to 10, 2 by default; the filter has twice as many poles, as in `scipy.signal.butter`

    Stream
    ------
    in, out : signal, float [u], rate and unit unchanged
    delay : group delay at the centre of the band
    state : 24 bytes per key and section
    missing : NaN and infinities pass through and leave the state as it was; a gap restarts it

    Raises
    ------
    FE402 : the stream has no rate
    FE403 : an edge reaches the Nyquist frequency
    FE404 : an edge that is not positive
    FE407 : the lower edge is not below the upper one
    FE406 : an order outside 1 to 10

    References
    ----------
    .. [1] S. Butterworth, Experimental Wireless and the Wireless Engineer 7, 1930, 536-541.

    Examples
    --------
    >>> flow("filter bandpass(5 Hz .. 15 Hz) on x", x=[0.0, 1.0, 1.0], rate="100 Hz")
    [0.0, 0.067, 0.248]
    """

    shape: ClassVar[Shape] = "bandpass"

    def delay_s(self, context: Context) -> float:
        """Group delay at the centre of the band."""
        return self.delay_at((self.band[0] + self.band[1]) / 2, context)
