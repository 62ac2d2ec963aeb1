"""`highpass(x, cut)`: a Butterworth high-pass."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from flowedge.operators.contract import REQUIRED, Context, Function, Parameter, Step, operator
from flowedge.operators.filters import iir
from flowedge.operators.rules import number
from flowedge.types.schema import Type


@operator("filter", "highpass")
@dataclass(frozen=True)
class Highpass(Function):
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

    parameters: ClassVar[tuple[Parameter, ...]] = (
        Parameter("cut", "frequency", REQUIRED, "cut-off [Hz], below half the rate"),
        Parameter("order", "integer", 2, "1 to 10"),
    )
    stateful: ClassVar[bool] = True

    cut: float
    order: int = 2

    def _sections(self, context: Context) -> iir.Sections:
        return iir.butterworth("highpass", self.order, (self.cut,), iir.require_rate(context))

    def out(self, args: Sequence[Type], context: Context) -> Type:
        """Any signal of numbers passes; the cut-off lies below half the rate."""
        rate = iir.require_rate(context)
        iir.require_order(self.order)
        iir.require_below_nyquist(self.cut, rate, "cut")
        return number(args[0], "0")

    def steps(self, args: Sequence[Type], context: Context) -> tuple[Step, ...]:
        """One biquad after the other."""
        return iir.steps(self._sections(context))

    def delay_s(self, context: Context) -> float:
        """Group delay at twice the cut-off."""
        rate = iir.require_rate(context)
        return iir.group_delay_s(self._sections(context), min(2 * self.cut, 0.49 * rate), rate)

    def reference(self, *x: Any, rate_hz: float | None, time_ns: Any) -> Any:  # noqa: ANN401
        """The same by SciPy."""
        return iir.reference(self._sections(Context(rate_hz)), x[0])
