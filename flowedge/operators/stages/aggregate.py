"""`aggregate EXPR as NAME, …`: make one row of each frame."""

from dataclasses import dataclass
from typing import ClassVar

from flowedge.operators.contract import Stage, operator


@operator("stage", "aggregate")
@dataclass(frozen=True)
class AggregateStage(Stage):
    """Make one row of each frame.

    Any expression of aggregates; the name may be left out where the expression is a plain call
    (`mean(x)` is called ``mean_x``).

    Stream
    ------
    in : frames
    out : rows with `time`, `start`, the keys and these columns
    state : see the aggregates

    Examples
    --------
    >>> flow("window 4 s | aggregate max(x) - min(x) as y", x=[1.0, 2.0, 7.0, 3.0])
    [6.0]
    """

    written: ClassVar[str] = "aggregate EXPR as NAME, …"
