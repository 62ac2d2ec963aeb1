"""`filter fir([…])`: a finite impulse response with the user's own coefficients."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from flowedge.operators.contract import (
    REQUIRED,
    Context,
    Function,
    Parameter,
    Refused,
    Step,
    operator,
)
from flowedge.operators.rules import number
from flowedge.types.schema import Type

REGISTERS = 16
"""Up to so many coefficients stay in registers and literals; more would take long to compile."""


def scale(x: float, c: float) -> float:
    """A single coefficient has no memory."""
    return c * x


@operator("filter", "fir")
@dataclass(frozen=True)
class Fir(Function):
    """Weigh the last samples with given coefficients: ``y[i] = sum(c[k] x[i-k])``.

    Parameters
    ----------
    coefficients : 1 to 512 numbers, the first one for the newest sample

    Stream
    ------
    in, out : float [u], unit unchanged; zeros stand before the first sample
    delay : centre of gravity of the coefficients, in samples
    state : 8 N bytes per key, 24 N above 16
    missing : NaN gives NaN as long as it is among the last N; a gap restarts it

    Raises
    ------
    FE408 : no coefficients, or more than 512

    References
    ----------
    A. V. Oppenheim, R. W. Schafer, Discrete-Time Signal Processing, section 6.5.

    Examples
    --------
    >>> flow("filter fir([0.5, 0.5]) on x", x=[1.0, 3.0, 5.0], rate="1 Hz")
    [0.5, 2.0, 4.0]
    """

    parameters: ClassVar[tuple[Parameter, ...]] = (
        Parameter("coefficients", "numbers", REQUIRED, "newest sample first"),
    )
    stateful: ClassVar[bool] = True

    coefficients: tuple[float, ...]

    def out(self, args: Sequence[Type], context: Context) -> Type:
        """Any numbers pass."""
        if not 1 <= len(self.coefficients) <= 512:
            raise Refused(
                "FE408",
                f"{len(self.coefficients)} coefficients",
                at="coefficients",
                fix="give 1 to 512 numbers",
            )
        return number(args[0], "0")

    def steps(self, args: Sequence[Type], context: Context) -> tuple[Step, ...]:
        """A shift register and one sum; a ring where registers would not do."""
        n = len(self.coefficients)
        if n == 1:
            return (Step(scale, constants=self.coefficients),)
        if n <= REGISTERS:
            return (Step(shift_and_sum(self.coefficients), (0.0,) * (n - 1)),)
        return (Step(ring_and_sum(self.coefficients), (0, 0), ring=3 * n, at_most=(n - 1,)),)

    def delay_s(self, context: Context) -> float:
        """Centre of gravity of the coefficients."""
        total = sum(self.coefficients)
        if context.rate_hz is None or total == 0:
            return 0.0
        return sum(k * c for k, c in enumerate(self.coefficients)) / total / context.rate_hz

    def reference(self, *x: Any, rate_hz: float | None, time_ns: Any) -> Any:  # noqa: ANN401
        """The same by NumPy's convolution."""
        return np.convolve(x[0], self.coefficients)[: len(x[0])] if len(x[0]) else x[0]


def shift_and_sum(coefficients: tuple[float, ...]) -> Any:  # noqa: ANN401
    """A step whose coefficients are compiled in."""

    def fir(state: Any, x: float) -> Any:  # noqa: ANN401
        total = coefficients[0] * x
        for k in range(len(state)):
            total += later[k] * state[k]
        return (x, *state[:-1]), total

    later = coefficients[1:]
    return fir


def ring_and_sum(coefficients: tuple[float, ...]) -> Any:  # noqa: ANN401
    """The same for many: places 0 … 2n-1 hold each sample twice, so that the last n lie together.

    The coefficients stand behind them, oldest first: an array is read faster than a tuple.
    """
    n = len(coefficients)

    def fir(state: tuple[int, int], ring: Any, x: float) -> Any:  # noqa: ANN401
        place, ready = state
        if ready == 0:
            for k in range(n):
                ring[k] = 0.0
                ring[n + k] = 0.0
                ring[2 * n + k] = coefficients[n - 1 - k]
        ring[place] = x
        ring[n + place] = x
        place = place + 1 if place + 1 < n else 0
        total = 0.0
        for k in range(n):
            total += ring[2 * n + k] * ring[place + k]
        return (place, 1), total

    return fir
