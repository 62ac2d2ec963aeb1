"""`split into A when CONDITION, …, Z otherwise`: route each row to the first branch whose condition holds."""

from dataclasses import dataclass
from typing import ClassVar

from flowedge.operators.contract import Stage, operator


@operator("stage", "split into")
@dataclass(frozen=True)
class SplitInto(Stage):
    """Route each row to the first branch whose condition holds.

    Branches are streams of their own: ``name.A``, ``name.Z``. Without `otherwise` the other rows go.

    Stream
    ------
    in : any stream
    out : one stream per branch, with the same columns
    missing : a condition with a missing value is false
    state : none

    Examples
    --------
    >>> flow("split into high when x > 1, low otherwise", branch="low", x=[1.0, 2.0, 0.5])
    [1.0, 0.5]
    """

    written: ClassVar[str] = "split into A when CONDITION, …, Z otherwise"
