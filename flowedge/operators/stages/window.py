"""`window D [every D] [in "zone"] | window N samples [every N samples]`: cut a stream into frames of equal duration, or of equal numbers of samples."""

from dataclasses import dataclass
from typing import ClassVar

from flowedge.operators.contract import Stage, operator


@operator("stage", "window")
@dataclass(frozen=True)
class Window(Stage):
    """Cut a stream into frames of equal duration, or of equal numbers of samples.

    Windows of a duration begin at the multiples of the hop from 1970 in UTC, and hold the rows from
    start up to but not including the end. In a zone they begin at multiples of local time: a day runs
    from midnight to midnight and has 23 or 25 hours when clocks change. A boundary that clocks skip
    lies at the change, and of windows that would end there together the longest stands. A repeated
    hour has windows of its own if windows and hops fit into it; else it lengthens the window it is in.
    Windows of samples begin at the first sample of each key, and after a gap.

    Parameters
    ----------
    D : duration, at least one sample long
    every : distance from window to window; the length itself by default
    in : time zone, for days and hours that follow local clocks; the hop then divides a day, or is
        whole days

    Stream
    ------
    in : rows or a signal
    out : one row per frame, its `time` the end, `start` the beginning; empty windows give none
    wait : D; a window closes when the watermark reaches its end, and at the end of input
    missing : samples of an unfilled window of samples count as incomplete
    state : of `aggregate` right behind it, a few words per open window and key; else its rows

    Examples
    --------
    >>> flow("window 2 s | aggregate sum(x) as y", x=[1.0, 2.0, 4.0, 8.0])
    [3.0, 12.0]
    """

    written: ClassVar[str] = 'window D [every D] [in "zone"] | window N samples [every N samples]'
