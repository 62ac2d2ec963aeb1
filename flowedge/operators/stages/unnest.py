"""`unnest NAME, … [at RATE]`: make one row of each element of list columns."""

from dataclasses import dataclass
from typing import ClassVar

from flowedge.operators.contract import Stage, operator


@operator("stage", "unnest")
@dataclass(frozen=True)
class Unnest(Stage):
    """Make one row of each element of list columns.

    Parameters
    ----------
    NAME : columns of lists of equal length
    at : the rate of the elements; element i lies i / RATE after the row, and the result is a signal

    Stream
    ------
    in : rows with lists
    out : as many rows as elements; without `at` all at the time of the row
    state : none

    Examples
    --------
    >>> flow("unnest x at 2 Hz", x=[[1.0, 2.0], [3.0, 4.0]])
    [1.0, 2.0, 3.0, 4.0]
    """

    written: ClassVar[str] = "unnest NAME, … [at RATE]"
