"""`filter NAME(…) [on COLUMN, …]`: put a signal filter over columns, all floats where none is named."""

from dataclasses import dataclass
from typing import ClassVar

from flowedge.operators.contract import Stage, operator


@operator("stage", "filter")
@dataclass(frozen=True)
class Filter(Stage):
    """Put a signal filter over columns, all floats where none is named.

    The filters are listed by themselves; each is also a function in expressions.

    Stream
    ------
    in : signal, or rows where the filter allows them
    out : the same rows, the columns replaced
    delay : that of the filter; it is added to the column
    missing : as the filter says

    Examples
    --------
    >>> flow("filter median(3 samples) on x", x=[1.0, 9.0, 2.0], rate="1 Hz")
    [1.0, 5.0, 2.0]
    """

    written: ClassVar[str] = "filter NAME(…) [on COLUMN, …]"
