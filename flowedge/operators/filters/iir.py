"""The Butterworth design and the biquad that `lowpass`, `highpass`, `bandpass`, `bandstop` share."""

import math
from functools import lru_cache
from typing import Any, Literal

import numpy as np

from flowedge.operators.contract import Context, Refused, Step

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
    from scipy.signal import butter  # noqa: PLC0415  # 0.7 s to import; only a cold start designs

    wanted = edges[0] if len(edges) == 1 else edges
    sections = butter(order, wanted, btype=shape, fs=rate_hz, output="sos")
    return tuple(tuple(float(v) for v in row) for row in sections)


def steps(sections: Sections) -> tuple[Step, ...]:
    """The cascade of a filter, from zero state."""
    return tuple(
        Step(biquad, (0.0, 0.0, 0.0), constants=(s[0], s[1], s[2], s[4], s[5]), skips_missing=True)
        for s in sections
    )


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


def reference(sections: Sections, x: Any) -> Any:  # noqa: ANN401
    """The same by `scipy.signal.sosfilt`; what is not finite is left out and passes through."""
    from scipy.signal import sosfilt  # noqa: PLC0415

    out = np.array(x, dtype=float)
    valid = np.isfinite(out)
    if valid.any():
        out[valid] = sosfilt(np.array(sections), out[valid])
    return out
