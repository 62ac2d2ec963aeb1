"""`highpass(x, cut)`: a Butterworth high-pass."""

from dataclasses import dataclass
from typing import ClassVar

from flowedge.operators.contract import Context, operator
from flowedge.operators.filters.iir import ByCutOff, Shape, require_rate


@operator("filter", "highpass")
@dataclass(frozen=True)
class Highpass(ByCutOff):
    """Keep what is faster than a cut-off frequency.

    A Butterworth filter as second-order sections from zero state: flat in the pass-band, half the
    power at the cut-off [1]_.

    Parameters
    ----------
    cut : frequency [Hz], below half the rate
    order : integer from 1 to 10, 2 by default

    Stream
    ------
    in, out : signal, float [u], rate and unit unchanged
    delay : group delay at twice the cut-off
    state : 24 bytes per key and section
    missing : NaN and infinities pass through and leave the state as it was; a gap restarts it

    Raises
    ------
    FE402 : the stream has no rate
    FE403 : the cut-off reaches the Nyquist frequency
    FE404 : a cut-off that is not positive
    FE406 : an order outside 1 to 10

    References
    ----------
    .. [1] S. Butterworth, Experimental Wireless and the Wireless Engineer 7, 1930, 536-541.

    Examples
    --------
    >>> flow("filter highpass(10 Hz) on x", x=[0.0, 1.0, 1.0], rate="100 Hz")
    [0.0, 0.639, 0.091]
    """

    shape: ClassVar[Shape] = "highpass"

    def delay_s(self, context: Context) -> float:
        """Group delay at twice the cut-off."""
        return self.delay_at(min(2 * self.cut, 0.49 * require_rate(context)), context)
