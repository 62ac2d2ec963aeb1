"""`clock(time, zone)`: what local clocks show, as the time since midnight."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, ClassVar

import numpy as np

from flowedge.operators import zones
from flowedge.operators.contract import MISSING_TIME, Context, Function, Parameter, Step, operator
from flowedge.operators.rules import instant
from flowedge.types import units
from flowedge.types.schema import Type


@operator("function", "clock")
@dataclass(frozen=True)
class Clock(Function):
    """The time of day that local clocks show, counted from midnight.

    Parameters
    ----------
    zone : name in the IANA time zone database, for example "Europe/Brussels"; "UTC" by default

    Stream
    ------
    in : time
    out : f64 [s], 0 to 86,400; on days when clocks change it jumps as they do
    missing : a missing time gives a missing value

    References
    ----------
    IANA time zone database, by the `tzdata` package, from 1970 to 2100.

    Examples
    --------
    >>> flow('derive y = clock(time, "Europe/Brussels")', x=[1.0, 2.0], rate="1 Hz")
    [3600.0, 3601.0]
    """

    inputs: ClassVar[int] = 1
    parameters: ClassVar[tuple[Parameter, ...]] = (Parameter("zone", "zone", "UTC", "IANA name"),)

    zone: str = "UTC"

    def out(self, args: Sequence[Type], context: Context) -> Type:
        """Seconds."""
        instant(args[0], "0")
        return Type("f64", unit=units.SECOND)

    def steps(self, args: Sequence[Type], context: Context) -> tuple[Step, ...]:
        """A search in the table of the zone."""
        return (Step(zones.seconds_of_day(self.zone)),)

    def reference(self, *x: Any, rate_hz: float | None, time_ns: Any) -> Any:  # noqa: ANN401
        """The same by `zoneinfo`."""
        place = zones.require_zone(self.zone)
        out: list[float] = []
        for t in x[0]:
            if t == MISSING_TIME:
                out.append(np.nan)
            else:
                moment = datetime.fromtimestamp(int(t) // 10**9, UTC).astimezone(place)
                out.append(
                    moment.hour * 3600 + moment.minute * 60 + moment.second + int(t) % 10**9 * 1e-9
                )
        return np.array(out, dtype=float)
