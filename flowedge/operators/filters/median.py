"""`filter median(N samples)`: the running median, which takes out spikes and keeps edges."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from flowedge.operators.contract import (
    REQUIRED,
    Context,
    Extent,
    Function,
    Parameter,
    Refused,
    Step,
    operator,
)
from flowedge.operators.rules import number, require_count
from flowedge.types.schema import Type


def median_step(
    state: tuple[int, int],
    ring: Any,  # noqa: ANN401
    x: float,
    n: int,
) -> tuple[tuple[int, int], float]:
    """Keep the last n values in order of arrival (0 … n-1) and sorted (n … 2n-1).

    The oldest leaves the sorted half and the newest goes in, by shifting what lies between.
    """
    place, held = state
    if math.isnan(x):
        return state, x
    if held == n:
        old = ring[place]
        at = 0
        while at + 1 < held and ring[n + at] != old:
            at += 1
        while at + 1 < held:
            ring[n + at] = ring[n + at + 1]
            at += 1
        held -= 1
    at = held
    while at > 0 and ring[n + at - 1] > x:
        ring[n + at] = ring[n + at - 1]
        at -= 1
    ring[n + at] = x
    held += 1
    ring[place] = x
    place = place + 1 if place + 1 < n else 0
    half = held // 2
    if held % 2 == 1:
        return (place, held), ring[n + half]
    return (place, held), (ring[n + half - 1] + ring[n + half]) / 2.0


@operator("filter", "median")
@dataclass(frozen=True)
class MedianFilter(Function):
    """Replace each sample by the median of itself and those before it.

    Parameters
    ----------
    length : number of samples, or a duration [s] on a signal; 1 to 10,001

    Stream
    ------
    in, out : float [u], unit unchanged
    delay : (N - 1) / 2 samples
    state : 16 N bytes per key
    missing : NaN passes through and is not counted; a gap restarts it

    Raises
    ------
    FE402 : a duration on a stream without a rate
    FE501 : a length outside 1 to 10,001

    References
    ----------
    J. W. Tukey, Exploratory Data Analysis, 1977, chapter 7.

    Examples
    --------
    >>> flow("filter median(3 samples) on x", x=[1.0, 9.0, 2.0, 3.0], rate="1 Hz")
    [1.0, 5.0, 2.0, 3.0]
    """

    parameters: ClassVar[tuple[Parameter, ...]] = (
        Parameter("length", "extent", REQUIRED, "samples, or a duration [s]"),
    )
    stateful: ClassVar[bool] = True

    length: Extent

    def _count(self, context: Context) -> int:
        count = require_count(self.length, context)
        if not 1 <= count <= 10_001:
            raise Refused(
                "FE501", f"a length of {count} samples", at="length", fix="take 1 to 10,001 samples"
            )
        return count

    def out(self, args: Sequence[Type], context: Context) -> Type:
        """Any numbers pass."""
        self._count(context)
        return number(args[0], "0")

    def steps(self, args: Sequence[Type], context: Context) -> tuple[Step, ...]:
        """A sorted ring."""
        n = self._count(context)
        return (Step(median_step, (0, 0), ring=2 * n, at_most=(n - 1, n), constants=(n,)),)

    def delay_s(self, context: Context) -> float:
        """The middle of the ring."""
        return 0.0 if context.rate_hz is None else (self._count(context) - 1) / 2 / context.rate_hz

    def reference(self, *x: Any, rate_hz: float | None, time_ns: Any) -> Any:  # noqa: ANN401
        """The median of the last n valid values, sorted afresh for each."""
        n = self._count(Context(rate_hz))
        out = np.full(len(x[0]), math.nan)
        valid = np.flatnonzero(~np.isnan(x[0]))
        for k, at in enumerate(valid):
            out[at] = np.median(x[0][valid[max(0, k - n + 1) : k + 1]])
        return out
