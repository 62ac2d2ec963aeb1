"""`split at STREAM from A to B`: cut frames around events."""

from dataclasses import dataclass
from typing import ClassVar

from flowedge.operators.contract import Stage, operator


@operator("stage", "split at")
@dataclass(frozen=True)
class SplitAt(Stage):
    """Cut frames around events.

    On a signal the samples from round(A rate) to round(B rate) around the sample nearest to the event,
    always the same number; on rows those with times in [t + A, t + B), however many, for `derive` and
    `aggregate`.

    Parameters
    ----------
    STREAM : whose rows are the events; they have the keys of the rows
    A, B : durations, A before B; negative ones lie before the event

    Stream
    ------
    in : rows or a signal
    out : one frame per event, with the event's `time` and columns, `start` and `end`
    wait : B
    missing : on a signal, frames over a gap or beyond the ends count as incomplete, and so do those of
        events with no sample within half a period there; on rows an event without any gives nothing,
        and at the end of input there are those that came
    state : the rows of B - A per key

    Examples
    --------
    >>> flow("split at e from -1 s to 2 s | aggregate sum(x) as y", x=[0.0, 1.0, 2.0, 3.0, 4.0], rate="1 Hz", e={"time": [2.0], "v": [1.0]})
    [6.0]
    """

    written: ClassVar[str] = "split at STREAM from A to B"
