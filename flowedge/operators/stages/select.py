"""`select NAME, NAME = EXPR, …`: choose columns; time and keys always stay."""

from dataclasses import dataclass
from typing import ClassVar

from flowedge.operators.contract import Stage, operator


@operator("stage", "select")
@dataclass(frozen=True)
class Select(Stage):
    """Choose columns; time and keys always stay.

    Stream
    ------
    in : any stream
    out : the same rows with these columns only, in this order
    state : that of the functions used, for each key

    Examples
    --------
    >>> flow("select y = x * 10", x=[1.0, 2.0])
    [10.0, 20.0]
    """

    written: ClassVar[str] = "select NAME, NAME = EXPR, …"
