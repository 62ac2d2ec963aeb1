"""`join STREAM within D [nearest | linear] | join STREAM latest`: add to each row the columns of another stream at that time."""

from dataclasses import dataclass
from typing import ClassVar

from flowedge.operators.contract import Stage, operator


@operator("stage", "join")
@dataclass(frozen=True)
class Join(Stage):
    """Add to each row the columns of another stream at that time.

    A row at t takes the newest row of the other stream from t - D to t; `nearest` and `linear` look both
    ways; `latest` takes the newest, however old. Keys match by name; a stream with fewer keys serves all,
    one with more gives a row for each of its keys there, which then belongs to the keys of both. Names that clash get the other stream's name in front.

    Parameters
    ----------
    STREAM : to look up in
    within : how far away its row may be

    Stream
    ------
    in : rows or a signal
    out : the same rows with the other stream's columns
    wait : until the other stream's watermark is beyond t; D more for `nearest` and `linear`
    missing : nothing there gives missing values
    state : the newest rows of the other stream per key, back to D

    Examples
    --------
    >>> flow("join r within 2 s | select y = v", x=[1.0, 2.0, 3.0], r={"time": [0.5, 1.5], "v": [10.0, 20.0]})
    [nan, 10.0, 20.0]
    """

    written: ClassVar[str] = "join STREAM within D [nearest | linear] | join STREAM latest"
