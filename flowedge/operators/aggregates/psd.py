"""`psd(x)`: the power spectral density of a window."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from flowedge.operators.contract import Aggregate, Context, Refused, operator
from flowedge.operators.rules import amount, require_samples, require_scalar, square
from flowedge.operators.spectrum import one_sided
from flowedge.types import units
from flowedge.types.schema import Type


def psd_finish(values: Any, n: int, work: Any, out: Any, rate: float) -> float:  # noqa: ANN401
    """Spread the mean square over the width of a line, rate / n."""
    if n == 0:
        return math.nan
    one_sided(values, n, work)
    for k in range(n // 2 + 1):
        out[k] = values[k] * n / rate
    return 0.0


@operator("aggregate", "psd")
@dataclass(frozen=True)
class Psd(Aggregate):
    """The one-sided power spectral density of a window: its periodogram.

    Place k belongs to the frequency k rate / n; the sum times rate / n is the mean square of the
    values. The window is taken as it is: rectangular, its mean not removed [1]_.

    Stream
    ------
    in : signal, number [u], no point on a scale, in a window of a fixed number of samples n
    out : list of n // 2 + 1 f64 [u^2/Hz]
    missing : a missing value in the window makes all of them missing; with `over`, so do the samples
        that are not there yet

    Raises
    ------
    FE402 : the stream has no rate
    FE501 : the number of samples in the window is not fixed

    References
    ----------
    .. [1] A. V. Oppenheim, R. W. Schafer, Discrete-Time Signal Processing, section 10.5; as
       `scipy.signal.periodogram` with ``window="boxcar", detrend=False``.

    Examples
    --------
    >>> flow("window 4 samples | aggregate psd(x) as y", x=[0.0, 2.0, 0.0, -2.0], rate="4 Hz")
    [[0.0, 2.0, 0.0]]
    """

    inputs: ClassVar[int | tuple[int, int]] = 1
    collects: ClassVar[bool] = True
    needs_rate: ClassVar[bool] = True
    needs_all: ClassVar[bool] = True
    finish = staticmethod(psd_finish)

    def out(self, args: Sequence[Type], context: Context) -> Type:
        """A list over the frequencies."""
        require_samples(context)
        require_scalar(args[0])
        if context.length is None:
            raise Refused(
                "FE501",
                "`psd` of a window whose number of samples is not fixed",
                why="the number of frequencies depends on it",
                fix="cut by samples, for example `window 256 samples`, or write `over 256 samples`",
            )
        power = square(amount(args[0], "0", "the power"))
        unit = units.over(power.unit or units.NUMBER, units.HERTZ)
        return replace(power, unit=unit, shape=(self.length(args, context),))

    def constants(self, args: Sequence[Type], context: Context) -> tuple[float | int, ...]:
        """The rate in Hz."""
        return (require_samples(context),)

    def length(self, args: Sequence[Type], context: Context) -> int:
        """As many frequencies as half the samples, and 0 Hz."""
        return 1 if context.length is None else context.length // 2 + 1

    def reference(self, *x: Any, time_ns: Any, rate_hz: float | None) -> Any:  # noqa: ANN401
        """The same by SciPy over the values of one window."""
        from scipy.signal import periodogram  # noqa: PLC0415

        if len(x[0]) == 0:
            return np.array([np.nan])
        return periodogram(
            x[0], float(rate_hz or 1), window="boxcar", detrend=False, scaling="density"
        )[1]
