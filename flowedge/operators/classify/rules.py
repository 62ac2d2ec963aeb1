"""`classify rules { "LABEL" when CONDITION [for D], …, otherwise "LABEL" }`: label each row by the first rule that holds."""

from dataclasses import dataclass
from typing import ClassVar

from flowedge.operators.contract import Stage, operator


@operator("classify", "rules")
@dataclass(frozen=True)
class Rules(Stage):
    """Label each row by the first rule that holds.

    `for D` asks that the condition has held without a break for D.

    Stream
    ------
    in : rows or a signal
    out : the same rows with ``label``
    missing : a condition with a missing value is false; where no rule holds the label is missing
    state : 8 bytes per key and rule with `for`

    Examples
    --------
    >>> flow('classify rules { "hot" when x > 2  otherwise "ok" } | select y = label', x=[1.0, 3.0])
    ['ok', 'hot']
    """

    written: ClassVar[str] = (
        'classify rules { "LABEL" when CONDITION [for D], …, otherwise "LABEL" }'
    )
