"""`compress deadband(error) [on COLUMN, …]`: keep a row when a value has moved by more than a bound from the last one kept."""

from dataclasses import dataclass
from typing import ClassVar

from flowedge.operators.contract import REQUIRED, Parameter, Stage, operator


@operator("compress", "deadband")
@dataclass(frozen=True)
class Deadband(Stage):
    """Keep a row when a value has moved by more than a bound from the last one kept.

    What `expand` gives back, the last kept value, never errs by more than the bound. A row is kept when
    any of the columns asks for it.

    Parameters
    ----------
    error : bound in the column's unit of differences, 0 or more, or in percent of the range that a key has had so far

    Stream
    ------
    in : rows or a signal, numbers [u]
    out : rows
    missing : a value that becomes missing, or no longer is, is kept
    lossy : within `error`
    state : one row per key

    References
    ----------
    ISA-50 practice of report by exception; E. H. Bristol, ISA Conference, 1990, for its limits.

    Examples
    --------
    >>> flow("compress deadband(1)", x=[0.0, 0.5, 2.0, 2.5, 4.0])
    [0.0, 2.0, 4.0]
    """

    written: ClassVar[str] = "compress deadband(error) [on COLUMN, …]"

    parameters: ClassVar[tuple[Parameter, ...]] = (
        Parameter("error", "difference", REQUIRED, "the greatest error [u]"),
    )

    error: float
