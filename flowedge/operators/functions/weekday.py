"""`weekday(time, zone)`: the local day of the week."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, ClassVar

import numpy as np

from flowedge.operators import zones
from flowedge.operators.contract import MISSING_TIME, Context, Function, Parameter, Step, operator
from flowedge.operators.rules import instant
from flowedge.types.schema import I64, Type


@operator("function", "weekday")
@dataclass(frozen=True)
class Weekday(Function):
    """The local day of the week, 1 for Monday to 7 for Sunday (ISO 8601).

    Parameters
    ----------
    zone : name in the IANA time zone database, for example "Europe/Brussels"; "UTC" by default

    Stream
    ------
    in : time
    out : i64, 1 to 7
    missing : a missing time gives a missing value

    References
    ----------
    IANA time zone database, by the `tzdata` package, from 1970 to 2100.

    Examples
    --------
    >>> flow('derive y = weekday(time, "UTC")', x=[1.0], rate="1 Hz")
    [4]
    """

    inputs: ClassVar[int] = 1
    parameters: ClassVar[tuple[Parameter, ...]] = (Parameter("zone", "zone", "UTC", "IANA name"),)

    zone: str = "UTC"

    def out(self, args: Sequence[Type], context: Context) -> Type:
        """A whole number."""
        instant(args[0], "0")
        return I64

    def steps(self, args: Sequence[Type], context: Context) -> tuple[Step, ...]:
        """A search in the table of the zone."""
        return (Step(zones.day_of_week(self.zone)),)

    def reference(self, *x: Any, rate_hz: float | None, time_ns: Any) -> Any:  # noqa: ANN401
        """The same by `zoneinfo`."""
        place = zones.require_zone(self.zone)
        out: list[float] = []
        for t in x[0]:
            if t == MISSING_TIME:
                out.append(MISSING_TIME)
            else:
                out.append(
                    datetime.fromtimestamp(int(t) // 10**9, UTC).astimezone(place).isoweekday()
                )
        return np.array(out, dtype=np.int64)
