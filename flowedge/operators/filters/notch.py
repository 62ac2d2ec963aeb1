"""`notch(x, frequency)`: takes out one frequency, such as mains hum."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

from flowedge.operators.contract import (
    REQUIRED,
    Context,
    Parameter,
    Refused,
    operator,
)
from flowedge.operators.filters import iir
from flowedge.operators.filters.designs import scipy_designs
from flowedge.operators.rules import number
from flowedge.types.schema import Type


@lru_cache(maxsize=64)
def design(frequency: float, q: float, rate_hz: float) -> iir.Sections:
    """One biquad by `scipy.signal.iirnotch`."""
    b, a = scipy_designs().iirnotch(frequency, q, fs=rate_hz)
    return ((*(float(v) for v in b), *(float(v) for v in a)),)


@operator("filter", "notch")
@dataclass(frozen=True)
class Notch(iir.Cascade):
    """Take out one frequency and leave the others.

    A second-order notch: gain 0 at `frequency`, half the power at its edges, `frequency / q` apart [1]_.

    Parameters
    ----------
    frequency : frequency [Hz], below half the rate
    q : number, quality; 30 by default

    Stream
    ------
    in, out : signal, float [u], rate and unit unchanged
    delay : group delay at half the frequency
    state : 24 bytes per key
    missing : NaN and infinities pass through and leave the state as it was; a gap restarts it

    Raises
    ------
    FE402 : the stream has no rate
    FE403 : the frequency reaches the Nyquist frequency
    FE404 : a frequency that is not positive
    FE408 : a quality that is not positive

    References
    ----------
    .. [1] S. J. Orfanidis, Introduction to Signal Processing, 1996, section 11.3.

    Examples
    --------
    >>> flow("filter notch(50 Hz) on x", x=[0.0, 1.0, 1.0], rate="500 Hz")
    [0.0, 0.99, 0.973]
    """

    parameters: ClassVar[tuple[Parameter, ...]] = (
        Parameter("frequency", "frequency", REQUIRED, "what to take out [Hz]"),
        Parameter("q", "number", 30.0, "frequency over bandwidth"),
    )

    frequency: float
    q: float = 30.0

    def out(self, args: Sequence[Type], context: Context) -> Type:
        """Any signal of numbers passes."""
        iir.require_below_nyquist(self.frequency, iir.require_rate(context), "frequency")
        if self.q <= 0:
            raise Refused(
                "FE408",
                f"a quality of {self.q:g}",
                at="q",
                fix="take a positive number, for example 30",
            )
        return number(args[0], "0")

    def sections(self, context: Context) -> iir.Sections:
        """One biquad by `scipy.signal.iirnotch`."""
        return design(self.frequency, self.q, iir.require_rate(context))

    def delay_s(self, context: Context) -> float:
        """Group delay at half the frequency."""
        return self.delay_at(self.frequency / 2, context)
