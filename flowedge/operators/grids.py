"""Windows and grids that follow the clocks of a zone: what a grid's clock reads, and when it reads it.

A grid is a set of multiples of its hop. In UTC they are instants as they stand; in a zone they are
readings of a clock that shows local time, but never goes back:

- where local clocks skip, it skips with them; a multiple in between is reached at the change;
- where they go back by a whole number of windows and of hops (an hour, for windows of 15 minutes),
  it runs on, so that the repeated span has windows of its own, as long as all others;
- where they go back by anything else (an hour, for windows of a day), it waits at the last
  nanosecond before the change until local clocks show more: the window lasts longer.

So readings never fall, each instant has one, and each multiple is first reached at one instant.
Kernels hold the table as constants and need no time zones.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np

from flowedge.operators import zones

SECOND = 1_000_000_000
BEFORE_ALL = -(2**63)
DAY_NS = zones.DAY_S * SECOND


@dataclass(frozen=True, slots=True)
class Table:
    """A grid's clock in pieces: from `instants[i]` on it reads ``max(t + shifts[i], tops[i])``.

    Attributes
    ----------
    instants : ns since 1970; the first one before all others
    shifts : what is added to UTC from there on [ns]
    tops : the newest reading before each instant [ns]; none is below it afterwards
    """

    instants: tuple[int, ...]
    shifts: tuple[int, ...]
    tops: tuple[int, ...]


@lru_cache(maxsize=64)
def table(zone: str, size_ns: int, hop_ns: int) -> Table:
    """The clock that windows of `size_ns` every `hop_ns` follow in a zone; see the module."""
    changes, offsets = zones.table(zone)
    instants, shifts, tops = [BEFORE_ALL], [offsets[0] * SECOND], [BEFORE_ALL]
    repeated = 0
    for k in range(1, len(changes)):
        at, back = changes[k] * SECOND, (offsets[k - 1] - offsets[k]) * SECOND
        if back > 0 and back % size_ns == 0 and back % hop_ns == 0:
            repeated += back
        shift = offsets[k] * SECOND + repeated
        if shift == shifts[-1]:
            continue
        tops.append(max(tops[-1], at - 1 + shifts[-1]))
        instants.append(at)
        shifts.append(shift)
    return Table(tuple(instants), tuple(shifts), tuple(tops))


def is_even(zone: str, hop_ns: int) -> bool:
    """Whether every change of the zone is a whole number of hops: then the grid never stumbles."""
    _, offsets = zones.table(zone)
    return all((b - a) * SECOND % hop_ns == 0 for a, b in pairwise(offsets))


def longest_ns(zone: str, size_ns: int, hop_ns: int) -> int:
    """How long a window of a zone lasts at most [ns]: a day of 25 hours, for example."""
    found = table(zone, size_ns, hop_ns)
    changes, longer = found.instants[1:], 0
    for k, first in enumerate(changes):
        for j in range(k, len(changes)):
            if changes[j] - first > size_ns:
                break
            longer = max(longer, found.shifts[k] - found.shifts[j + 1])
    return size_ns + longer


def reading(zone: str, size_ns: int, hop_ns: int) -> Callable[[int], int]:
    """A step: from an instant [ns] to what the clock of the grid reads [ns]; it never falls."""
    known = table(zone, size_ns, hop_ns)
    instants, shifts, tops = (np.array(x) for x in (known.instants, known.shifts, known.tops))
    count = len(instants)

    def local(t: int) -> int:
        # The ends of 64 bits stand for "never" and "for ever", and are read as themselves.
        if (
            t < -9223372036854775808 + 1125899906842624
            or t > 9223372036854775807 - 1125899906842624
        ):
            return t
        low, high = 0, count
        while high - low > 1:
            middle = (low + high) // 2
            if instants[middle] <= t:
                low = middle
            else:
                high = middle
        return max(t + shifts[low], tops[low])

    return local


def instant(zone: str, size_ns: int, hop_ns: int) -> Callable[[int], int]:
    """A step: from a reading [ns] to the first instant [ns] at which the clock reads that or more."""
    known = table(zone, size_ns, hop_ns)
    instants, shifts, tops = (np.array(x) for x in (known.instants, known.shifts, known.tops))
    count = len(instants)

    def utc(x: int) -> int:
        if (
            x < -9223372036854775808 + 1125899906842624
            or x > 9223372036854775807 - 1125899906842624
        ):
            return x
        low, high = 0, count
        while high - low > 1:
            middle = (low + high) // 2
            if tops[middle] < x:
                low = middle
            else:
                high = middle
        return max(x - shifts[low], instants[low])

    return utc
