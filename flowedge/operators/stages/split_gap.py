"""`split gap D [up to D]`: cut where nothing came for a while."""

from dataclasses import dataclass
from typing import ClassVar

from flowedge.operators.contract import Stage, operator


@operator("stage", "split gap")
@dataclass(frozen=True)
class SplitGap(Stage):
    """Cut where nothing came for a while.

    Parameters
    ----------
    D : duration; a distance of D or more between two rows of a key cuts
    up to : bound of a frame; needed where its rows are kept

    Stream
    ------
    in : rows or a signal
    out : frames; `time` is that of the last row, `start` that of the first
    wait : D after the last row
    missing : missing samples do not end a frame
    state : a few words per key

    Examples
    --------
    >>> flow("split gap 5 s | aggregate count() as y", x=[1.0, 2.0, 3.0], time=[0.0, 1.0, 9.0])
    [2, 1]
    """

    written: ClassVar[str] = "split gap D [up to D]"
