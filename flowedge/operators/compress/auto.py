"""`compress auto(error) [on COLUMN, …]`: ends of lines, or samples on a grid, whichever stores least."""

from dataclasses import dataclass
from typing import ClassVar

from flowedge.operators.contract import REQUIRED, Parameter, Stage, operator


@operator("compress", "auto")
@dataclass(frozen=True)
class Auto(Stage):
    """Ends of lines, or samples on a grid, whichever stores least.

    Straight lines between its rows never err by more than the bound. While few lines tell of many samples, a
    row is kept where a line ends, as `swing` does, with its value on a grid of a quarter of the bound. Where a signal
    moves at each sample, every sample is kept, on a grid of twice the bound: few different values, which a sink
    stores in the fewest bits. Which one is taken is learnt for each key from 512 of each 4,096 rows, by what both
    would cost: the bits that tell when a change comes and how far it leads. `benchmarks/compress_series.py` compares what
    is stored.

    Parameters
    ----------
    error : bound in the column's unit of differences, 0 or more, or in percent of the range that a key has had so far

    Stream
    ------
    in : rows or a signal, numbers [u]
    out : rows
    wait : until the line has to turn, the key expires, or the input ends
    missing : a value that becomes missing, or no longer is, is kept
    lossy : within `error`
    state : two rows, two slopes and eleven numbers more for each column, per key

    References
    ----------
    Lines: as `swing`. The grid: R. M. Gray, D. L. Neuhoff, Quantization, IEEE Transactions on Information
    Theory, 44(6), 1998, 2325-2383: a uniform quantiser before an entropy coder is within a quarter of a bit of the best.
    Bits of when: R. G. Gallager, D. C. Van Voorhis, Optimal source codes for geometrically distributed integer
    alphabets, IEEE Transactions on Information Theory, 21(2), 1975, 228-230.

    Examples
    --------
    >>> flow("compress auto(0.5)", x=[0.0, 1.0, 2.0, 3.0, 0.0, 0.1], rate="1 Hz")
    [0.0, 3.0, 0.0, 0.125]
    """

    written: ClassVar[str] = "compress auto(error) [on COLUMN, …]"

    parameters: ClassVar[tuple[Parameter, ...]] = (
        Parameter("error", "difference", REQUIRED, "the greatest error [u]"),
    )

    error: float
