"""`unnest NAME, … [at RATE]`: make one row of each element of list columns."""

from dataclasses import dataclass
from typing import ClassVar

from flowedge.operators.contract import Stage, operator


@operator("stage", "unnest")
@dataclass(frozen=True)
class Unnest(Stage):
    """Make one row of each element of list columns.

    The lists of `window N samples` are samples: what `derive` or a model gives a value for each of comes out at the times
    at which they were taken, so that a signal that was cut into frames is the signal again. Each sample comes once, with
    the first frame that holds it; of windows that overlap these are the newest ones, as many as the hop is long. Before
    samples that are left out, between windows that lie apart or by frames that were dropped, is a gap.

    Parameters
    ----------
    NAME : columns of lists of equal length
    at : the rate of the elements; element i lies i / RATE after the row, and the result is a signal. Samples have their
        own times and rate

    Stream
    ------
    in : rows with lists, or frames of samples
    out : as many rows as elements, without `at` all at the time of the row; of samples a signal, or rows where they had
        no rate
    wait : of samples N - 1 periods, until their frame is whole; without a rate, and under keys finer than those of the source, there is no bound
    missing : a missing element is a value
    state : none; of samples 16 bytes per key

    Raises
    ------
    FE419 : `at` another rate than that of the samples
    FE512 : the times of the samples were lost before, at a join, a union, or other keys

    Examples
    --------
    >>> flow("unnest x at 2 Hz", x=[[1.0, 2.0], [3.0, 4.0]])
    [1.0, 2.0, 3.0, 4.0]
    >>> flow("window 2 samples | derive x = x - mean(x) | unnest x", x=[1.0, 2.0, 3.0, 6.0])
    [-0.5, 0.5, -1.5, 1.5]
    """

    written: ClassVar[str] = "unnest NAME, … [at RATE]"
