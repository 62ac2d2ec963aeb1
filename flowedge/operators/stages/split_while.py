"""`split while CONDITION [up to D]`: cut out the stretches in which a condition holds."""

from dataclasses import dataclass
from typing import ClassVar

from flowedge.operators.contract import Stage, operator


@operator("stage", "split while")
@dataclass(frozen=True)
class SplitWhile(Stage):
    """Cut out the stretches in which a condition holds.

    Parameters
    ----------
    CONDITION : rows where it does not hold are in no frame
    up to : bound of a frame; needed where its rows are kept

    Stream
    ------
    in : rows or a signal
    out : frames; `time` is that of the last row, `start` that of the first
    wait : until it no longer holds, or D after the first row; until the key expires, or the input ends
    missing : a condition with a missing value is false; missing samples do not end a frame
    state : a few words per key

    Examples
    --------
    >>> flow("split while x > 0 | aggregate sum(x) as y", x=[1.0, 2.0, 0.0, 4.0])
    [3.0, 4.0]
    """

    written: ClassVar[str] = "split while CONDITION [up to D]"
