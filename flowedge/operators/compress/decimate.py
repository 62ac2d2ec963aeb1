"""`compress decimate(n)`: keep every n-th row of each key."""

from dataclasses import dataclass
from typing import ClassVar

from flowedge.operators.contract import REQUIRED, Parameter, Stage, operator


@operator("compress", "decimate")
@dataclass(frozen=True)
class Decimate(Stage):
    """Keep every n-th row of each key.

    Nothing is filtered: put a low-pass below half the new rate before it, or use `resample`.

    Parameters
    ----------
    n : integer, 1 or more

    Stream
    ------
    in : rows or a signal
    out : the first row of each key and every n-th after it; a signal keeps its rate / n
    lossy : without a bound
    state : 8 bytes per key; a gap restarts the count

    Examples
    --------
    >>> flow("compress decimate(2)", x=[1.0, 2.0, 3.0, 4.0, 5.0], rate="1 Hz")
    [1.0, 3.0, 5.0]
    """

    written: ClassVar[str] = "compress decimate(n)"

    parameters: ClassVar[tuple[Parameter, ...]] = (
        Parameter("n", "integer", REQUIRED, "one row of so many, 1 or more"),
    )

    n: int
