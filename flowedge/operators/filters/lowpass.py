"""`lowpass(x, cut)`: a Butterworth low-pass."""

from dataclasses import dataclass
from typing import ClassVar

from flowedge.operators.contract import Context, operator
from flowedge.operators.filters.iir import ByCutOff, Shape, require_rate


@operator("filter", "lowpass")
@dataclass(frozen=True)
class Lowpass(ByCutOff):
    """Keep what is slower than a cut-off frequency.

    A Butterworth filter as second-order sections from zero state: flat in the pass-band, half the
    power at the cut-off [1]_.

    Parameters
    ----------
    cut : frequency [Hz], below half the rate
    order : integer from 1 to 10, 2 by default

    Stream
    ------
    in, out : signal, float [u], rate and unit unchanged
    delay : group delay at 0 Hz
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
    >>> flow("filter lowpass(10 Hz) on x", x=[0.0, 1.0, 1.0], rate="100 Hz")
    [0.0, 0.067, 0.279]
    """

    shape: ClassVar[Shape] = "lowpass"

    def delay_s(self, context: Context) -> float:
        """Group delay at 0 Hz."""
        return self.delay_at(1e-6 * require_rate(context), context)
