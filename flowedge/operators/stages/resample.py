"""`resample RATE [nearest | hold | linear] [up to D] [in "zone"]`: put rows on a regular grid: irregular ones, or a signal of another rate."""

from dataclasses import dataclass
from typing import ClassVar

from flowedge.operators.contract import Stage, operator


@operator("stage", "resample")
@dataclass(frozen=True)
class Resample(Stage):
    """Put rows on a regular grid: irregular ones, or a signal of another rate.

    The grid is made of the multiples of the period from 1970, so that keys and streams share it. In a
    zone they are multiples of local time: `1 d` gives a row at each local midnight.

    Parameters
    ----------
    RATE : frequency, or the duration of one sample
    nearest : the nearest row (the default)
    hold : the newest row up to the instant; also goes on while nothing comes, until the key expires
    linear : on the line between the rows before and after
    up to : how far a row may be away; beyond it the signal has a gap
    in : time zone, for days and hours that follow local clocks; the period then divides a day, or is
        whole days

    Stream
    ------
    in : rows or a signal
    out : signal with this rate; rows, where clocks of the zone change by less than whole periods
    wait : none for `hold`; `up to`, or until the next row, for the others
    missing : a missing value is a value; `linear` gives a missing one between it and the next
    state : two rows per key

    Examples
    --------
    >>> flow("resample 2 Hz linear", x=[0.0, 1.0, 3.0])
    [0.0, 0.5, 1.0, 2.0, 3.0]
    """

    written: ClassVar[str] = 'resample RATE [nearest | hold | linear] [up to D] [in "zone"]'
