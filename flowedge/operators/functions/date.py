"""`date(time, zone)`: when the local day began."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, ClassVar

import numpy as np

from flowedge.operators import zones
from flowedge.operators.contract import MISSING_TIME, Context, Function, Parameter, Step, operator
from flowedge.operators.rules import instant
from flowedge.types.schema import TIME, Type


@operator("function", "date")
@dataclass(frozen=True)
class Date(Function):
    """The instant at which the local day began.

    Parameters
    ----------
    zone : name in the IANA time zone database, for example "Europe/Brussels"; "UTC" by default

    Stream
    ------
    in : time
    out : time; where clocks skip midnight that of the change, where they show it twice the first
    missing : a missing time gives a missing value

    References
    ----------
    IANA time zone database, by the `tzdata` package, from 1970 to 2100.

    Examples
    --------
    >>> flow('derive y = diff(date(time, "UTC"))', x=[1.0, 2.0, 3.0], rate="1 Hz")
    [nan, 0.0, 0.0]
    """

    inputs: ClassVar[int] = 1
    parameters: ClassVar[tuple[Parameter, ...]] = (Parameter("zone", "zone", "UTC", "IANA name"),)

    zone: str = "UTC"

    def out(self, args: Sequence[Type], context: Context) -> Type:
        """A time."""
        instant(args[0], "0")
        return TIME

    def steps(self, args: Sequence[Type], context: Context) -> tuple[Step, ...]:
        """A search in the table of the zone."""
        return (Step(zones.midnight(self.zone)),)

    def reference(self, *x: Any, rate_hz: float | None, time_ns: Any) -> Any:  # noqa: ANN401
        """The same by `zoneinfo`."""
        place = zones.require_zone(self.zone)
        out: list[float] = []
        for t in x[0]:
            if t == MISSING_TIME:
                out.append(MISSING_TIME)
            else:
                day = datetime.fromtimestamp(int(t) // 10**9, UTC).astimezone(place).date()
                start = datetime.combine(day, datetime.min.time(), place)
                out.append(round(start.timestamp()) * 10**9)
        return np.array(out, dtype=np.int64)
