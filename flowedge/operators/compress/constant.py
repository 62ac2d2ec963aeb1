"""`compress constant(error) [on COLUMN, …]`: pieces that all lie near one value."""

from dataclasses import dataclass
from typing import ClassVar

from flowedge.operators.contract import REQUIRED, Parameter, Stage, operator


@operator("compress", "constant")
@dataclass(frozen=True)
class Constant(Stage):
    """Pieces that all lie near one value, the middle between their least and their greatest one.

    Each piece goes on as long as its range is at most twice the bound, so that there are as few as there
    can be [1]_. Its row has the time of its first sample; at the end, and before a gap, one more row has that
    of the last.

    Parameters
    ----------
    error : bound in the column's unit of differences, 0 or more, or in percent of the range that a key has had so far

    Stream
    ------
    in : rows or a signal, numbers [u]
    out : rows
    wait : until the piece ends, the key expires, or the input ends
    missing : a value that becomes missing, or no longer is, begins a piece
    lossy : within `error`
    state : a range for each column, two times and the first row of the piece, per key

    References
    ----------
    .. [1] I. Lazaridis, S. Mehrotra, Capturing sensor-generated time series with quality guarantees,
       ICDE 2003, 429-440 (PMC-MR).

    Examples
    --------
    >>> flow("compress constant(0.5)", x=[0.0, 1.0, 0.5, 3.0, 3.5], rate="1 Hz")
    [0.5, 3.25, 3.25]
    """

    written: ClassVar[str] = "compress constant(error) [on COLUMN, …]"

    parameters: ClassVar[tuple[Parameter, ...]] = (
        Parameter("error", "difference", REQUIRED, "the greatest error [u]"),
    )

    error: float
