"""`bandpass(x, band)`: a Butterworth band-pass."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from flowedge.operators.contract import (
    REQUIRED,
    Context,
    Function,
    Parameter,
    Refused,
    Step,
    operator,
)
from flowedge.operators.filters import iir
from flowedge.operators.rules import number
from flowedge.types.schema import Type


@operator("filter", "bandpass")
@dataclass(frozen=True)
class Bandpass(Function):
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

    parameters: ClassVar[tuple[Parameter, ...]] = (
        Parameter("band", "band", REQUIRED, "low .. high [Hz], below half the rate"),
        Parameter("order", "integer", 2, "1 to 10"),
    )
    stateful: ClassVar[bool] = True

    band: tuple[float, float]
    order: int = 2

    def _sections(self, context: Context) -> iir.Sections:
        return iir.butterworth("bandpass", self.order, self.band, iir.require_rate(context))

    def out(self, args: Sequence[Type], context: Context) -> Type:
        """Any signal of numbers passes; the band lies below half the rate."""
        rate = iir.require_rate(context)
        iir.require_order(self.order)
        low, high = self.band
        if low >= high:
            raise Refused("FE407", f"the band {low:g} Hz .. {high:g} Hz is empty", at="band", why="its lower edge is not below its upper one",
                          fix=f"write {high:g} Hz .. {low:g} Hz")  # fmt: skip
        iir.require_below_nyquist(low, rate, "band.low")
        iir.require_below_nyquist(high, rate, "band.high")
        return number(args[0], "0")

    def steps(self, args: Sequence[Type], context: Context) -> tuple[Step, ...]:
        """One biquad after the other."""
        return iir.steps(self._sections(context))

    def delay_s(self, context: Context) -> float:
        """Group delay at the centre of the band."""
        rate = iir.require_rate(context)
        return iir.group_delay_s(self._sections(context), (self.band[0] + self.band[1]) / 2, rate)

    def reference(self, *x: Any, rate_hz: float | None, time_ns: Any) -> Any:  # noqa: ANN401
        """The same by SciPy."""
        return iir.reference(self._sections(Context(rate_hz)), x[0])
