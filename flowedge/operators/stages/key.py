"""`key NAME, … | key none`: give the rows to other keys."""

from dataclasses import dataclass
from typing import ClassVar

from flowedge.operators.contract import Stage, operator


@operator("stage", "key")
@dataclass(frozen=True)
class Key(Stage):
    """Give the rows to other keys.

    From here on, functions of the past, windows and detectors work for each value of these columns
    apart. `key none` puts all rows into one sequence.

    Stream
    ------
    in : rows or a signal
    out : the same rows, in order of time
    state : one slot per key; no float can be a key
    wait : where keys are mixed, rows wait until no key can bring an earlier one

    Examples
    --------
    >>> flow("key k | derive y = diff(x)", x=[1.0, 10.0, 2.0, 30.0], k=["a", "b", "a", "b"])
    [nan, nan, 1.0, 20.0]
    """

    written: ClassVar[str] = "key NAME, … | key none"
