"""`detect edges(CONDITION, direction="both", apart=0 s)`: find the rows where a condition begins or ceases to hold."""

from dataclasses import dataclass
from typing import ClassVar

from flowedge.operators.contract import Parameter, Stage, operator


@operator("detect", "edges")
@dataclass(frozen=True)
class Edges(Stage):
    """Find the rows where a condition begins or ceases to hold.

    Parameters
    ----------
    direction : ``rise``, ``fall`` or ``both`` (the default)
    apart : duration [s]; an edge within it after the last one is left out; 0 s by default

    Stream
    ------
    in : rows or a signal
    out : rows, with the columns of the row where the edge stands and ``edge``, "rise" or "fall"
    missing : a condition with a missing value is false
    state : 16 bytes per key

    Examples
    --------
    >>> flow("detect edges(x > 1) | select y = edge", x=[0.0, 2.0, 3.0, 0.0])
    ['rise', 'fall']
    """

    written: ClassVar[str] = 'detect edges(CONDITION, direction="both", apart=0 s)'

    parameters: ClassVar[tuple[Parameter, ...]] = (
        Parameter("direction", "text", "both", "rise, fall or both"),
        Parameter("apart", "duration", 0.0, "between two edges [s]"),
    )

    direction: str = "both"
    apart: float = 0.0
