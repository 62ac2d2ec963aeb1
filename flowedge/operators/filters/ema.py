"""`ema(x, tau)`: exponential smoothing, a one-pole low-pass."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from flowedge.operators.contract import (
    MISSING_TIME,
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


def ema_regular(state: tuple[float], x: float, alpha: float) -> tuple[tuple[float], float]:
    """Take one sample of a signal, give one."""
    mean = state[0]
    if not math.fabs(x) < math.inf:
        return state, x
    if math.isnan(mean):  # starting at the first sample avoids a ramp up from zero
        return (x,), x
    mean += alpha * (x - mean)
    return (mean,), mean


def ema_regular_sound(state: tuple[float], x: float, alpha: float) -> tuple[tuple[float], float]:
    """The same, where there is a mean and the sample is finite."""
    mean = state[0] + alpha * (x - state[0])
    return (mean,), mean


def ema_rows(
    state: tuple[float, int], t: int, x: float, tau: float
) -> tuple[tuple[float, int], float]:
    """Take one irregular row: the weight follows the time since the last one."""
    mean, at = state
    if not math.fabs(x) < math.inf:
        return state, x
    if math.isnan(mean):
        return (x, t), x
    mean += -math.expm1(-(t - at) * 1e-9 / tau) * (x - mean)
    return (mean, t), mean


@operator("filter", "ema")
@dataclass(frozen=True)
class Ema(Function):
    """Smooth with an exponential moving average, a one-pole low-pass.

    The mean moves towards each sample by ``alpha = 1 - exp(-dt / tau)``, so a step is followed to
    63 % after `tau`, whatever the sample rate [1]_.

    Parameters
    ----------
    tau : duration [s], time constant; on a signal at least one sample long

    Stream
    ------
    in, out : float [u], unit unchanged; on rows dt is the time since the last value
    delay : (1 - alpha) / alpha samples at 0 Hz, just under `tau`
    state : 8 bytes per key, 16 on rows
    missing : NaN and infinities pass through and leave the mean as it was; a gap restarts it

    Raises
    ------
    FE405 : `tau` is shorter than one sample

    References
    ----------
    .. [1] S. W. Roberts, Technometrics 1(3), 1959. https://doi.org/10.1080/00401706.1959.10489860

    Examples
    --------
    >>> flow("filter ema(1 s) on x", x=[0.0, 1.0, 1.0], rate="1 Hz")
    [0.0, 0.632, 0.865]
    """

    parameters: ClassVar[tuple[Parameter, ...]] = (
        Parameter("tau", "duration", REQUIRED, "time constant [s]"),
    )
    stateful: ClassVar[bool] = True

    tau: float

    def out(self, args: Sequence[Type], context: Context) -> Type:
        """Any numbers pass; on a signal `tau` spans at least one sample."""
        if self.tau <= 0:
            raise Refused(
                "FE405",
                "a time constant that is not positive",
                at="tau",
                fix="give a positive duration",
            )
        if context.rate_hz is not None and self.tau * context.rate_hz < 1:
            raise Refused("FE405", f"the time constant {self.tau:g} s is shorter than one sample of {1 / context.rate_hz:g} s",
                          at="tau", why="nothing would be smoothed", fix=f"take at least {1 / context.rate_hz:g} s")  # fmt: skip
        return number(args[0], "0")

    def steps(self, args: Sequence[Type], context: Context) -> tuple[Step, ...]:
        """With a fixed weight on signals, by the time passed on rows."""
        if context.rate_hz is None:
            return (
                Step(ema_rows, (math.nan, MISSING_TIME), constants=(self.tau,), needs_time=True),
            )
        return (
            Step(
                ema_regular,
                (math.nan,),
                constants=(-math.expm1(-1 / (context.rate_hz * self.tau)),),
                sound=ema_regular_sound,
            ),
        )

    def delay_s(self, context: Context) -> float:
        """Group delay at 0 Hz."""
        if context.rate_hz is None:
            return self.tau
        alpha = -math.expm1(-1 / (context.rate_hz * self.tau))
        return (1 - alpha) / alpha / context.rate_hz

    def reference(self, *x: Any, rate_hz: float | None, time_ns: Any) -> Any:  # noqa: ANN401
        """The recursion written out over the valid values."""
        out, mean, at = np.array(x[0]), None, 0
        for k in np.flatnonzero(np.isfinite(x[0])):
            dt = (time_ns[k] - at) * 1e-9 if rate_hz is None else 1 / rate_hz
            mean = (
                x[0][k]
                if mean is None
                else mean + (1 - math.exp(-dt / self.tau)) * (x[0][k] - mean)
            )
            out[k], at = mean, time_ns[k]
        return out
