"""`where CONDITION`: keep the rows where a condition holds."""

from dataclasses import dataclass
from typing import ClassVar

from flowedge.operators.contract import Stage, operator


@operator("stage", "where")
@dataclass(frozen=True)
class Where(Stage):
    """Keep the rows where a condition holds.

    Stream
    ------
    in : any stream
    out : the same columns; a signal becomes rows, unless the condition looks at keys only
    missing : a condition with a missing value is false: the row goes
    state : none

    Examples
    --------
    >>> flow("where x > 1", x=[1.0, 2.0, nan])
    [2.0]
    """

    written: ClassVar[str] = "where CONDITION"
