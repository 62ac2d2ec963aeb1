"""`split at STREAM to next [up to D]`: cut frames from one event to the next."""

from dataclasses import dataclass
from typing import ClassVar

from flowedge.operators.contract import Stage, operator


@operator("stage", "split next")
@dataclass(frozen=True)
class SplitNext(Stage):
    """Cut frames from one event to the next.

    Parameters
    ----------
    STREAM : whose rows are the events; they have the keys of the rows
    up to : bound of a frame; needed where its rows are kept

    Stream
    ------
    in : rows or a signal
    out : one frame per event, with the event's `time` and columns, `start` and `end`
    wait : until the next event
    missing : missing samples do not end a frame
    state : of `aggregate` right behind it, a few words per key; else its rows

    Examples
    --------
    >>> flow("split at e to next up to 9 s | aggregate count() as y", x=[0.0, 1.0, 2.0, 3.0, 4.0], e={"time": [0.0, 2.0, 4.0], "v": [1.0, 1.0, 1.0]})
    [2, 2, 1]
    """

    written: ClassVar[str] = "split at STREAM to next [up to D]"
