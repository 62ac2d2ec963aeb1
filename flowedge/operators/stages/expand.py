"""`expand`: give back every row that `compress` took away."""

from dataclasses import dataclass
from typing import ClassVar

from flowedge.operators.contract import Stage, operator


@operator("stage", "expand")
@dataclass(frozen=True)
class Expand(Stage):
    """Give back every row that `compress` took away.

    It stands right behind `compress` with a bound: `deadband`, `constant`, `swing`, `quantize` or `auto`. Times are
    exact; values lie within the bound that was given there. Behind `deadband` and `quantize` nothing tells of rows
    after the last one kept, so these do not come again.

    Stream
    ------
    in : what `compress` of a signal gives
    out : the signal, with its rate
    wait : until the next kept row
    state : one row per key

    Examples
    --------
    >>> flow("compress swing(0.1) | expand", x=[0.0, 1.0, 2.0, 3.0], rate="1 Hz")
    [0.0, 1.0, 2.0, 3.0]
    """

    written: ClassVar[str] = "expand"
