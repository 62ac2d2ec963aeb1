"""Local time inside kernels: a zone as a table of instants and offsets, searched by halving.

Tables cover 1970 to 2100 and are made from the `tzdata` package; kernels then know nothing of zones.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

FIRST_S, LAST_S = 0, 4_102_444_800
"""1970-01-01 and 2100-01-01, as POSIX seconds; outside, the offset at the nearer end holds."""
DAY_S = 86_400


def version() -> str:
    """The version of the `tzdata` package, for example ``2026.1``: it decides what local time is."""
    from importlib import metadata  # noqa: PLC0415  # plans without zones do not ask

    return metadata.version("tzdata")


@lru_cache(maxsize=1)
def known() -> frozenset[str]:
    """The names of all zones in the `tzdata` package."""
    from importlib import resources  # noqa: PLC0415  # only the cold path asks

    return frozenset(resources.files("tzdata").joinpath("zones").read_text("utf-8").split())


@lru_cache(maxsize=64)
def require_zone(zone: str) -> "ZoneInfo":
    """A zone as the `tzdata` package has it, whatever the system has; raises `KeyError`."""
    import zoneinfo  # noqa: PLC0415  # only the cold path asks
    from importlib import resources  # noqa: PLC0415

    if zone not in known():
        raise KeyError(zone)
    file = resources.files("tzdata").joinpath("zoneinfo", *zone.split("/"))
    with file.open("rb") as data:
        return zoneinfo.ZoneInfo.from_file(data, key=zone)


@lru_cache(maxsize=64)
def table(zone: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """When the offset of a zone changes [s since 1970], and the offset from there on [s].

    The offset is asked for at every midnight UTC and each change sought by halving: two changes
    within a day that undo each other would be missed, and have not happened since 1970.

    Parameters
    ----------
    zone : name in the IANA time zone database

    Returns
    -------
    tuple of tuples
        instants, the first one before all others, and offsets of the same length
    """
    place = require_zone(zone)

    def offset(second: int) -> int:
        found = datetime.fromtimestamp(second, UTC).astimezone(place).utcoffset()
        return 0 if found is None else int(found.total_seconds())

    instants, offsets = [-(2**40)], [offset(FIRST_S)]
    before = FIRST_S
    for after in range(FIRST_S + DAY_S, LAST_S + DAY_S, DAY_S):
        now = offset(after)
        if now != offsets[-1]:
            low, high = before, after
            while high - low > 1:
                middle = (low + high) // 2
                if offset(middle) == offsets[-1]:
                    low = middle
                else:
                    high = middle
            instants.append(high)
            offsets.append(offset(high))
        before = after
    return tuple(instants), tuple(offsets)


def seconds_of_day(zone: str) -> Callable[[int], float]:
    """A step: from a time [ns] to the seconds [s] that local clocks show since midnight."""
    instants, offsets = (np.array(x) for x in table(zone))
    count = len(instants)

    def clock(t: int) -> float:
        if t == -9223372036854775808:
            return float("nan")
        second = t // 1000000000
        low, high = 0, count
        while high - low > 1:
            middle = (low + high) // 2
            if instants[middle] <= second:
                low = middle
            else:
                high = middle
        rest = t - second * 1000000000
        return float((second + offsets[low]) % 86400) + rest * 1e-9

    return clock


def day_of_week(zone: str) -> Callable[[int], int]:
    """A step: from a time [ns] to the local day of the week, 1 (Monday) to 7."""
    instants, offsets = (np.array(x) for x in table(zone))
    count = len(instants)

    def weekday(t: int) -> int:
        if t == -9223372036854775808:
            return t
        second = t // 1000000000
        low, high = 0, count
        while high - low > 1:
            middle = (low + high) // 2
            if instants[middle] <= second:
                low = middle
            else:
                high = middle
        return ((second + offsets[low]) // 86400 + 3) % 7 + 1  # 1970-01-01 was a Thursday

    return weekday


def midnight(zone: str) -> Callable[[int], int]:
    """A step: from a time [ns] to the instant [ns] at which the local day began."""
    instants, offsets = (np.array(x) for x in table(zone))
    count = len(instants)

    def date(t: int) -> int:
        if t == -9223372036854775808:
            return t
        second = t // 1000000000
        low, high = 0, count
        while high - low > 1:
            middle = (low + high) // 2
            if instants[middle] <= second:
                low = middle
            else:
                high = middle
        start = (second + offsets[low]) // 86400 * 86400
        # Going back to midnight may pass changes of the offset, each of which moves it. Where clocks
        # show midnight twice the first counts; where they skip it, the day begins with the change.
        while low > 0:
            if start - offsets[low - 1] < instants[low]:
                low -= 1
            elif start - offsets[low] < instants[low]:
                return instants[low] * 1000000000
            else:
                break
        return (start - offsets[low]) * 1000000000

    return date
