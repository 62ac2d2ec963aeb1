"""Values on a grid: what `compress quantize` and `compress auto` write, and how the latter chooses."""

import math
from typing import TYPE_CHECKING

import numpy as np

from flowedge.compile.memory import f64, i64, set_f64, set_i64
from flowedge.types.schema import Type

if TYPE_CHECKING:
    from flowedge.compile.emit.kernel import Kernel

LEARN, PERIOD = 512, 4096
"""So many rows of so many are looked at to choose between lines and samples."""
FINE = 0.25
"""The step of the ends of lines, as a part of the bound."""
WIDE = 2.0
"""The step of samples."""
ANCHOR_AT, LAST_AT, ANCHOR, LAST, LOW, HIGH, CORNERS, CORNER_BITS, SAMPLE, STEPS, STEP_BITS = range(
    11
)
"""Words that are kept of a column and key to choose: a line as it is drawn, and what lines and samples would cost so far."""
WORDS = 11
LARGEST = 1.7976931348623157e308
"""The largest float: no line leads to what is infinite."""
_WHEN = 1.5
"""Bits that tell when a step comes, above the binary logarithm of how far steps lie apart (a geometric distribution: 1.44)."""
_EXACT = 4503599627370496.0
"""From 2^52 on all floats are whole."""


def on_grid(kernel: "Kernel", x: str, type_: Type, step: float, bound: float) -> str:
    """Text of the place of a number on a grid, which errs by the bound at most.

    Parameters
    ----------
    step : of the grid; whole numbers go to the middle of as many of them as it has room for
    """
    if not type_.is_float:
        half = math.floor(min(step / 2, bound, 2.0**61))
        return (
            x
            if half == 0
            else f"{kernel.names.function(nearest_whole, 'nearest_whole')}({x}, {half})"
        )
    if step == 0.0:
        return x
    snap = nearest_f32 if type_.store == "f32" else nearest
    return f"{kernel.names.function(snap, snap.__name__)}({x}, {step!r}, {bound!r})"


def few_bits(step: float) -> float:
    """A step a little smaller whose multiples are exact: of eight significant bits. Coders find such a grid, and zeros at the end."""
    mantissa, exponent = math.frexp(step)
    return math.ldexp(math.floor(mantissa * 256) / 256, exponent)


def nearest(x: float, step: float, bound: float) -> float:
    """The nearest multiple of a step that does not err by more than the bound; the value itself where there is none."""
    q = x / step + 0.5
    if not math.fabs(q) < _EXACT:
        return x
    k = float(math.floor(q))
    v = k * step
    if math.fabs(x - v) <= bound:
        return v
    v = (
        k - 1.0 if v > x else k + 1.0
    ) * step  # halfway, rounding decides which of two is near enough
    return v if math.fabs(x - v) <= bound else x


def nearest_f32(x: float, step: float, bound: float) -> float:
    """The same as a float32 holds it."""
    v = float(np.float32(nearest(x, step, bound)))
    return v if math.fabs(x - v) <= bound else x


def nearest_whole(x: int, half: int) -> int:
    """The middle of the 2 `half` + 1 whole numbers that a number is one of; those at the ends of int64 stay."""
    if x < -4611686018427387904 or x > 4611686018427387904:
        return x
    step = 2 * half + 1
    return (x + half) // step * step


def learn_row(
    words: int, n: int, t: int, x: float, bound: float, fine: float, wide: float
) -> float:
    """Count the n-th row, from 1, of those that are looked at: what lines and samples would cost.

    What was counted before weighs an eighth. Returns by how many bits samples would cost more so far.
    """
    y, sample = nearest(x, fine, bound), nearest(x, wide, bound)
    if n == 1:
        for k in (CORNERS, CORNER_BITS, STEPS, STEP_BITS):
            set_f64(words, k, 0.125 * f64(words, k))
    if n == 1 or x != x:  # noqa: PLR0124
        set_i64(words, ANCHOR_AT, t)
        set_f64(words, ANCHOR, y)
        set_f64(words, LOW, -math.inf)
        set_f64(words, HIGH, math.inf)
    else:
        a, dt = f64(words, ANCHOR), float(max(1, t - i64(words, ANCHOR_AT)))
        slope = (y - a) / dt
        if not (f64(words, LOW) <= slope <= f64(words, HIGH) and math.fabs(slope) <= LARGEST):
            last = f64(words, LAST)
            set_f64(words, CORNERS, f64(words, CORNERS) + 1.0)
            set_f64(words, CORNER_BITS, f64(words, CORNER_BITS) + _far(last - a, fine))
            a, dt = last, float(max(1, t - i64(words, LAST_AT)))
            set_f64(words, ANCHOR, a)
            set_i64(words, ANCHOR_AT, i64(words, LAST_AT))
            set_f64(words, LOW, -math.inf)
            set_f64(words, HIGH, math.inf)
        set_f64(words, LOW, max(f64(words, LOW), (x - bound - a) / dt))
        set_f64(words, HIGH, min(f64(words, HIGH), (x + bound - a) / dt))
        moved = sample - f64(words, SAMPLE)
        if moved != 0.0:
            set_f64(words, STEPS, f64(words, STEPS) + 1.0)
            set_f64(words, STEP_BITS, f64(words, STEP_BITS) + _far(moved, wide))
    set_i64(words, LAST_AT, t)
    set_f64(words, LAST, y)
    set_f64(words, SAMPLE, sample)
    return _cost(f64(words, STEPS), f64(words, STEP_BITS)) - _cost(
        f64(words, CORNERS), f64(words, CORNER_BITS)
    )


def _far(moved: float, step: float) -> float:
    """Bits that tell how far a value moved, as one that knows small moves from large ones spends."""
    steps = math.fabs(moved) / step
    return math.log2(1.0 + 2.0 * steps) if steps < 1e9 else 64.0


def _cost(count: float, bits: float) -> float:
    """Bits of so many steps in the rows that were looked at."""
    return count * (math.log2(1.143 * LEARN / max(count, 1.0)) + _WHEN) + bits
