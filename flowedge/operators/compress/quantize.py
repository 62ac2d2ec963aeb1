"""`compress quantize(error) [on COLUMN, …]`: round values to multiples of twice a bound; keep a row where one changes."""

from dataclasses import dataclass
from typing import ClassVar

from flowedge.operators.contract import REQUIRED, Parameter, Stage, operator


@operator("compress", "quantize")
@dataclass(frozen=True)
class Quantize(Stage):
    """Round values to multiples of twice a bound; keep a row where one changes.

    The nearest multiple never errs by more than the bound. Few different values that repeat are what a sink
    stores in the fewest bits: on a noisy signal such as an ECG this beats every way that keeps points of it.

    Parameters
    ----------
    error : bound in the column's unit of differences, 0 or more, or in percent of the range that a key has had so far; whole numbers go to the middle of as many
        of them as fit

    Stream
    ------
    in : rows or a signal, numbers [u]
    out : rows
    missing : a value that becomes missing, or no longer is, is kept
    lossy : within `error`
    state : one value per column and key

    References
    ----------
    R. M. Gray, D. L. Neuhoff, Quantization, IEEE Transactions on Information Theory, 44(6), 1998,
    2325-2383: a uniform quantiser before an entropy coder is within a quarter of a bit of the best.

    Examples
    --------
    >>> flow("compress quantize(0.5)", x=[0.0, 0.4, 0.6, 1.4, 1.6])
    [0.0, 1.0, 2.0]
    """

    written: ClassVar[str] = "compress quantize(error) [on COLUMN, …]"

    parameters: ClassVar[tuple[Parameter, ...]] = (
        Parameter("error", "difference", REQUIRED, "the greatest error [u]"),
    )

    error: float
