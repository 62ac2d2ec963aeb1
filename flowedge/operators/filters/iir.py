"""Filters that are cascades of biquads: the Butterworth design, and what its four shapes share."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, Literal

import numpy as np

from flowedge.operators.contract import REQUIRED, Context, Function, Parameter, Refused, Step
from flowedge.operators.filters.designs import scipy_designs
from flowedge.operators.rules import number, require_rising
from flowedge.types.schema import Type

Shape = Literal["lowpass", "highpass", "bandpass", "bandstop"]
Sections = tuple[tuple[float, ...], ...]


def biquad(  # called with positions only
    state: tuple[float, float, float],
    x: float,
    b0: float,
    b1: float,
    b2: float,
    a1: float,
    a2: float,
) -> tuple[tuple[float, float, float], float]:
    """One second-order section in transposed direct form II.

    Oppenheim and Schafer, Discrete-Time Signal Processing, section 6.3. The newest result is kept
    itself, and not its product with a1 in a sum: so a row waits for two operations of the row before
    it instead of three.
    """
    u, last, z = state
    y = (b0 * x + u) - a1 * last
    return (b1 * x + z, y, b2 * x - a2 * y), y


@lru_cache(maxsize=256)
def butterworth(shape: Shape, order: int, edges: tuple[float, ...], rate_hz: float) -> Sections:
    """A Butterworth filter as second-order sections (b0, b1, b2, 1, a1, a2), by `scipy.signal.butter`."""
    wanted = edges[0] if len(edges) == 1 else edges
    sections = scipy_designs().butter(order, wanted, btype=shape, fs=rate_hz, output="sos")
    return tuple(tuple(float(v) for v in row) for row in sections)


def steps(sections: Sections) -> tuple[Step, ...]:
    """The cascade of a filter, from zero state."""
    return tuple(
        Step(biquad, (0.0, 0.0, 0.0), constants=(b0, b1, b2, a1, a2), skips_missing=True)
        for b0, b1, b2, _, a1, a2 in sections
    )


class Cascade(Function):
    """A filter made of second-order sections: from them follow its steps and its reference."""

    stateful: ClassVar[bool] = True

    def sections(self, context: Context) -> Sections:
        """The design for the rate of a signal; raises `Refused` on rows."""
        raise NotImplementedError

    def steps(self, args: Sequence[Type], context: Context) -> tuple[Step, ...]:
        """One biquad after the other, from zero state."""
        return steps(self.sections(context))

    def delay_at(self, frequency_hz: float, context: Context) -> float:
        """The group delay [s] at one frequency."""
        return group_delay_s(self.sections(context), frequency_hz, require_rate(context))

    def reference(self, *x: Any, rate_hz: float | None, time_ns: Any) -> Any:  # noqa: ANN401
        """The same by `scipy.signal.sosfilt`; what is not finite is left out and passes through."""
        from scipy.signal import sosfilt  # noqa: PLC0415

        out = np.array(x[0], dtype=float)
        valid = np.isfinite(out)
        if valid.any():
            out[valid] = sosfilt(np.array(self.sections(Context(rate_hz))), out[valid])
        return out


@dataclass(frozen=True)
class ByCutOff(Cascade):
    """A Butterworth filter with one cut-off frequency [Hz]; `shape` says which side passes."""

    shape: ClassVar[Shape]
    parameters: ClassVar[tuple[Parameter, ...]] = (
        Parameter("cut", "frequency", REQUIRED, "cut-off [Hz], below half the rate"),
        Parameter("order", "integer", 2, "1 to 10"),
    )

    cut: float
    order: int = 2

    def out(self, args: Sequence[Type], context: Context) -> Type:
        """Any signal of numbers passes; the cut-off lies below half the rate."""
        rate = require_rate(context)
        require_order(self.order)
        require_below_nyquist(self.cut, rate, "cut")
        return number(args[0], "0")

    def sections(self, context: Context) -> Sections:
        """By `scipy.signal.butter`."""
        return butterworth(self.shape, self.order, (self.cut,), require_rate(context))


@dataclass(frozen=True)
class ByBand(Cascade):
    """A Butterworth filter with a band of frequencies [Hz]; `shape` says whether it passes or stops."""

    shape: ClassVar[Shape]
    parameters: ClassVar[tuple[Parameter, ...]] = (
        Parameter("band", "band", REQUIRED, "low .. high [Hz], below half the rate"),
        Parameter("order", "integer", 2, "1 to 10"),
    )

    band: tuple[float, float]
    order: int = 2

    def out(self, args: Sequence[Type], context: Context) -> Type:
        """Any signal of numbers passes; the band lies below half the rate."""
        rate = require_rate(context)
        require_order(self.order)
        require_rising(self.band)
        require_below_nyquist(self.band[0], rate, "band.low")
        require_below_nyquist(self.band[1], rate, "band.high")
        return number(args[0], "0")

    def sections(self, context: Context) -> Sections:
        """By `scipy.signal.butter`, with twice as many poles as the order."""
        return butterworth(self.shape, self.order, self.band, require_rate(context))


def require_rate(context: Context) -> float:
    """The rate of the signal; refuses rows."""
    if context.rate_hz is None:
        raise Refused("FE402", "a filter needs a signal with a rate", why="its coefficients depend on the rate",
                      fix="declare the source `at RATE`, or put `| resample RATE` before the filter")  # fmt: skip
    return context.rate_hz


def require_below_nyquist(cut_hz: float, rate_hz: float, at: str) -> None:
    """Refuses cut-offs that a sampled signal cannot have."""
    if cut_hz <= 0:
        raise Refused(
            "FE404",
            f"a cut-off of {cut_hz:g} Hz",
            at=at,
            why="a cut-off lies above 0 Hz",
            fix="give a positive frequency",
        )
    if cut_hz >= rate_hz / 2:
        raise Refused(
            "FE403", f"cut-off {cut_hz:g} Hz reaches the Nyquist frequency {rate_hz / 2:g} Hz", at=at,
            why="a sampled signal shows a tone above half its rate as one below it (aliasing)",
            fix=f"lower the cut-off, for example to {rate_hz * 0.4:g} Hz, or sample faster",
        )  # fmt: skip


def require_order(order: int) -> None:
    """Orders from 1 to 10 are stable as second-order sections."""
    if not 1 <= order <= 10:
        raise Refused(
            "FE406",
            f"an order of {order}",
            at="order",
            why="orders from 1 to 10 are designed",
            fix="take an order from 1 to 10",
        )


def group_delay_s(sections: Sections, frequency_hz: float, rate_hz: float) -> float:
    """The group delay [s] of a cascade at one frequency.

    For each section, ``Re{ sum(k c_k z^-k) / sum(c_k z^-k) }`` of numerator minus denominator
    (Oppenheim and Schafer, section 5.1.1).
    """
    z = complex(
        math.cos(2 * math.pi * frequency_hz / rate_hz),
        -math.sin(2 * math.pi * frequency_hz / rate_hz),
    )
    total = 0.0
    for s in sections:
        for sign, c in ((1, s[:3]), (-1, (1.0, s[4], s[5]))):
            value = c[0] + c[1] * z + c[2] * z * z
            slope = c[1] * z + 2 * c[2] * z * z
            if abs(value) > 1e-12:
                total += sign * (slope / value).real
    return total / rate_hz
