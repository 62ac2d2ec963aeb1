"""`split on EXPR [up to D]`: cut where a value changes."""

from dataclasses import dataclass
from typing import ClassVar

from flowedge.operators.contract import Stage, operator


@operator("stage", "split on")
@dataclass(frozen=True)
class SplitOn(Stage):
    """Cut where a value changes.

    Parameters
    ----------
    EXPR : a number, text or condition; two missing values are the same
    up to : bound of a frame, which ends so long after its first row; needed where its rows are kept

    Stream
    ------
    in : rows or a signal
    out : frames; `time` is that of the last row, `start` that of the first
    wait : until the next change, or D after the first row; until the key expires, or the input ends
    missing : missing samples do not end a frame
    state : a few words per key

    Examples
    --------
    >>> flow("split on k | aggregate sum(x) as y", x=[1.0, 2.0, 4.0], k=["a", "a", "b"])
    [3.0, 4.0]
    """

    written: ClassVar[str] = "split on EXPR [up to D]"
