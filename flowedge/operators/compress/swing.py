"""`compress swing(error) [on COLUMN, …]`: keep the ends of straight pieces that all values lie near to."""

from dataclasses import dataclass
from typing import ClassVar

from flowedge.operators.contract import REQUIRED, Parameter, Stage, operator


@operator("compress", "swing")
@dataclass(frozen=True)
class Swing(Stage):
    """Keep the ends of straight pieces that all values lie near to.

    A swinging door whose doors hang at the kept value itself and whose lines end at rows that were
    seen: what `expand` draws between two kept rows never errs by more than `error`. The textbook form
    [1]_ errs by twice its setting.

    Parameters
    ----------
    error : bound in the column's unit of differences, 0 or more, or in percent of the range that a key has had so far

    Stream
    ------
    in : rows or a signal, numbers [u]
    out : rows
    wait : until the line has to turn, the key expires, or the input ends
    missing : a value that becomes missing, or no longer is, is kept
    lossy : within `error`
    state : two rows and two slopes per key

    References
    ----------
    .. [1] E. H. Bristol, Swinging door trending: adaptive trend recording?, ISA National Conference
       Proceedings, 1990, 749-754.

    Examples
    --------
    >>> flow("compress swing(0.1)", x=[0.0, 1.0, 2.0, 3.0, 0.0], rate="1 Hz")
    [0.0, 3.0, 0.0]
    """

    written: ClassVar[str] = "compress swing(error) [on COLUMN, …]"

    parameters: ClassVar[tuple[Parameter, ...]] = (
        Parameter("error", "difference", REQUIRED, "the greatest error [u]"),
    )

    error: float
