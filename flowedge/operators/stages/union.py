"""`STREAM, STREAM, …`: take the rows of several streams as one stream."""

from dataclasses import dataclass
from typing import ClassVar

from flowedge.operators.contract import Stage, operator


@operator("stage", "union")
@dataclass(frozen=True)
class Union(Stage):
    """Take the rows of several streams as one stream.

    Columns are matched by name, units converted, absent ones missing; ``branch`` says where a row comes
    from.

    Stream
    ------
    in : streams with the same keys
    out : all rows in order of time; equal times in the order in which the streams are named
    wait : until every stream is beyond the time of the row
    state : the rows that wait

    Examples
    --------
    >>> flow("select y = x", of="s, r", x=[1.0, 2.0], r={"time": [0.5], "x": [9.0]})
    [1.0, 9.0, 2.0]
    """

    written: ClassVar[str] = "STREAM, STREAM, …"
