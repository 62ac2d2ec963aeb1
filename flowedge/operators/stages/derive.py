"""`derive NAME = EXPR, …`: add columns, or put new values in the place of old ones."""

from dataclasses import dataclass
from typing import ClassVar

from flowedge.operators.contract import Stage, operator


@operator("stage", "derive")
@dataclass(frozen=True)
class Derive(Stage):
    """Add columns, or put new values in the place of old ones.

    Columns are made from left to right; a later one may use an earlier one. In a frame each element is
    computed by itself, and an aggregate means the whole frame.

    Stream
    ------
    in : any stream
    out : the same rows with the columns added; time and keys cannot be replaced
    state : that of the functions used, for each key

    Examples
    --------
    >>> flow("derive a = x + 1, y = a * x", x=[1.0, 2.0])
    [2.0, 6.0]
    """

    written: ClassVar[str] = "derive NAME = EXPR, …"
