"""`filter kalman(process, noise)`: the level of a slowly changing value under noise."""

import math
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


def kalman_step(
    state: tuple[float, float],
    x: float,
    q: float,
    r: float,
) -> tuple[tuple[float, float], float]:
    """Predict that the level stays, correct it by what is seen; NaN is only predicted over."""
    level, spread = state
    if math.isnan(level):
        return ((x, r), x) if math.fabs(x) < math.inf else (state, x)
    spread += q
    if not math.fabs(x) < math.inf:
        return (level, spread), x
    gain = spread / (spread + r)
    level += gain * (x - level)
    return (level, (1.0 - gain) * spread), level


@operator("filter", "kalman")
@dataclass(frozen=True)
class Kalman(Function):
    """Follow a level that wanders at random, seen through noise: the scalar Kalman filter.

    The level changes from one sample to the next by noise of standard deviation `process`; each
    sample shows it with noise of standard deviation `noise` [1]_. Start is the first sample.

    Parameters
    ----------
    process : standard deviation [u] of the change from one sample to the next
    noise : standard deviation [u] of what is seen

    Stream
    ------
    in, out : float [u], unit unchanged
    delay : (1 - g) / g samples, g being the gain in the long run
    state : 16 bytes per key
    missing : NaN and infinities pass through; the level grows less certain; a gap restarts it

    Raises
    ------
    FE408 : a standard deviation that is not positive

    References
    ----------
    .. [1] R. E. Kalman, Journal of Basic Engineering 82(1), 1960, 35-45.
       https://doi.org/10.1115/1.3662552

    Examples
    --------
    >>> flow("filter kalman(1, 1) on x", x=[0.0, 3.0, 3.0], rate="1 Hz")
    [0.0, 2.0, 2.625]
    """

    parameters: ClassVar[tuple[Parameter, ...]] = (
        Parameter("process", "difference", REQUIRED, "of the change between samples [u]"),
        Parameter("noise", "difference", REQUIRED, "of what is seen [u]"),
    )
    stateful: ClassVar[bool] = True

    process: float
    noise: float

    def out(self, args: Sequence[Type], context: Context) -> Type:
        """Any numbers pass."""
        for name in ("process", "noise"):
            if not getattr(self, name) > 0:
                raise Refused(
                    "FE408",
                    f"a standard deviation of {getattr(self, name):g}",
                    at=name,
                    fix="give a positive amount",
                )
        return number(args[0], "0")

    def steps(self, args: Sequence[Type], context: Context) -> tuple[Step, ...]:
        """Level and variance."""
        return (Step(kalman_step, (math.nan, 0.0), constants=(self.process**2, self.noise**2)),)

    def delay_s(self, context: Context) -> float:
        """That of the exponential mean which it becomes in the long run."""
        if context.rate_hz is None:
            return 0.0
        ratio = (self.process / self.noise) ** 2
        gain = (math.sqrt(ratio * ratio + 4 * ratio) - ratio) / 2
        return (1 - gain) / gain / context.rate_hz

    def reference(self, *x: Any, rate_hz: float | None, time_ns: Any) -> Any:  # noqa: ANN401
        """The best linear estimate from all samples so far, by the covariance of random walks."""
        out = np.array(x[0])
        valid = np.flatnonzero(np.isfinite(out))
        for k, at in enumerate(valid):
            seen = valid[: k + 1]
            # The walk starts at the first valid sample with no knowledge: a flat prior on its level.
            walk = np.minimum.outer(seen, seen) - seen[0]
            cover = self.process**2 * walk + self.noise**2 * np.eye(k + 1)
            ones, last = np.ones(k + 1), self.process**2 * (seen - seen[0])
            solved = np.linalg.solve(cover, np.column_stack([ones, x[0][seen], last]))
            mean = ones @ solved[:, 1] / (ones @ solved[:, 0])
            out[at] = mean + solved[:, 2] @ (x[0][seen] - mean)
        return out
