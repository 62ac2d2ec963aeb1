"""Values on a grid: what `compress quantize` and `compress auto` write, and how the latter chooses."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from flowedge.compile.emit.values import Value
from flowedge.compile.memory import f64, i64, set_f64, set_i64
from flowedge.graph.nodes import Compress
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
_EACH = 0.1
"""Bits of a sample that is like the one before."""
_EXACT = 4503599627370496.0
"""From 2^52 on all floats are whole."""


class Bounds:
    """The bound of each column, and the steps of its grids, as texts: numbers, or variables where it is a part of the range so far.

    A range is that of a key, of the values that are finite; it stays over gaps. Grids of a range that grows have steps of powers of
    two, so that they seldom change. Whole numbers err by whole numbers.
    """

    def __init__(self, kernel: "Kernel", node: Compress, types: Mapping[str, Type]) -> None:
        self._kernel, self._types = kernel, types
        self._given = {
            name: bound
            if node.is_of_range or types[name].is_float
            else float(math.floor(min(bound, 2.0**61)))
            for name, bound in zip(node.columns, node.bounds, strict=True)
        }
        self._cells: dict[str, tuple[str, str, str, str]] = {}
        if node.is_of_range:
            for name in node.columns:
                starts = {"low": math.inf, "high": -math.inf, "bound": 0.0, "step": 0.0}
                made = [kernel.state.cell(f"{what}_{name}", x) for what, x in starts.items()]
                kernel.state.keep(*made)
                self._cells[name] = (made[0], made[1], made[2], made[3])

    def look(self, values: Mapping[str, Value]) -> None:
        """Write statements that widen the ranges by the row at hand."""
        sheet, state = self._kernel.sheet, self._kernel.state
        for name, (low, high, bound, step) in self._cells.items():
            (x,) = values[name]
            is_known = f"{x} - {x} == 0.0" if self._types[name].is_float else f"{x} != MISSING"
            with sheet.block(
                f"if {is_known} and ({x} < {state.get(low)} or {x} > {state.get(high)})"
            ):
                state.put(low, f"min({state.get(low)}, float({x}))")
                state.put(high, f"max({state.get(high)}, float({x}))")
                part = f"{self._given[name]!r} * ({state.get(high)} - {state.get(low)})"
                state.put(bound, part if self._types[name].is_float else f"float(int({part}))")
                power = self._kernel.names.function(power_below, "power_below")
                state.put(step, f"{power}({WIDE!r} * {state.get(bound)})")

    def of(self, name: str) -> str:
        """The bound."""
        return (
            self._kernel.state.get(self._cells[name][2]) if self._cells else repr(self._given[name])
        )

    def step(self, name: str, part: float) -> str:
        """A step of this part of the bound, or a little less."""
        if self._cells:
            return f"({part / WIDE!r} * {self._kernel.state.get(self._cells[name][3])})"
        return repr(few_bits(part * self._given[name]))

    def on_grid(self, name: str, x: str, part: float, *, exactly: bool = False) -> str:
        """Text of the place of a number on a grid, which errs by the bound at most.

        Whole numbers go to the middle of as many of them as a step has room for.

        Parameters
        ----------
        exactly : the step is this part of the bound where that was given, and no less
        """
        kernel, type_ = self._kernel, self._types[name]
        is_exact = exactly and not self._cells
        step = repr(part * self._given[name]) if is_exact else self.step(name, part)
        if not type_.is_float:
            if not self._cells:
                half = math.floor(min(float(step) / 2, self._given[name]))
                return (
                    x
                    if half == 0
                    else f"{kernel.names.function(nearest_whole, 'nearest_whole')}({x}, {half})"
                )
            return f"{kernel.names.function(nearest_whole, 'nearest_whole')}({x}, int(min(0.5 * {step}, {2.0**61!r})))"
        snap = nearest_f32 if type_.store == "f32" else nearest
        return f"{kernel.names.function(snap, snap.__name__)}({x}, {step}, {self.of(name)})"


def power_below(x: float) -> float:
    """The greatest power of two that is not above a number; 0 of 0, and where there is none."""
    if not 0.0 < x < LARGEST:
        return 0.0
    power = 2.0 ** float(math.floor(math.log2(x)))
    return power if power <= x else 0.5 * power


def few_bits(step: float) -> float:
    """A step a little smaller whose multiples are exact: of eight significant bits. Coders find such a grid, and zeros at the end."""
    mantissa, exponent = math.frexp(step)
    return math.ldexp(math.floor(mantissa * 256) / 256, exponent)


def nearest(x: float, step: float, bound: float) -> float:
    """The nearest multiple of a step that does not err by more than the bound; the value itself where there is none."""
    if not step > 0.0:
        return x
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
    samples = _cost(f64(words, STEPS), f64(words, STEP_BITS)) + _EACH * LEARN
    return samples - _cost(f64(words, CORNERS), f64(words, CORNER_BITS))


def _far(moved: float, step: float) -> float:
    """Bits that tell how far a value moved, as one that knows small moves from large ones spends."""
    steps = math.fabs(moved) / step
    return math.log2(1.0 + 2.0 * steps) if steps < 1e9 else 64.0


def _cost(count: float, bits: float) -> float:
    """Bits of so many steps in the rows that were looked at."""
    return count * (math.log2(1.143 * LEARN / max(count, 1.0)) + _WHEN) + bits
