"""How long rows take: from the receipt of the first source row that a row is made of, to its hand-over."""

import bisect
import math
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

_PARTS = 64
"""Buckets in which each doubling is divided: a quantile is right to 1.6 percent."""
_DOUBLINGS = 64
_MOST_RECEIPTS = 8192
_PART_OF_AGE = 0.02
_FEW = 64
_UTC = pa.timestamp("ns", "UTC")


@dataclass
class Latencies:
    """A histogram of durations [ns] with buckets of equal ratio, of constant size.

    The layout is that of HdrHistogram (Tene, hdrhistogram.org): the relative error is bounded over
    the whole range, however long the run.

    Examples
    --------
    >>> found = Latencies()
    >>> found.record(1_000_000, 99)
    >>> found.record(50_000_000, 1)
    >>> [round(found.quantile(q) / 1e6) for q in (0.5, 0.999)], found.largest
    ([1, 50], 50000000)
    """

    count: int = 0
    largest: int = 0
    _buckets: NDArray[np.int64] = field(
        default_factory=lambda: np.zeros(_PARTS * _DOUBLINGS, np.int64)
    )

    def record_all(self, durations: NDArray[np.int64]) -> None:
        """Note how long each of some rows took [ns], shape ``(n,)``."""
        if len(durations) and durations[0] == durations[-1]:
            first = int(durations[0])
            if len(durations) == 1 or (durations == first).all():
                self.record(first, len(durations))
                return
        for duration, rows in zip(*np.unique(durations, return_counts=True), strict=True):
            self.record(int(duration), int(rows))

    def record(self, duration_ns: int, rows: int) -> None:
        """Note that so many rows took so long."""
        duration_ns = max(0, duration_ns)
        self.count += rows
        self.largest = max(self.largest, duration_ns)
        self._buckets[_place(duration_ns)] += rows

    def copy(self) -> "Latencies":
        """As it stands; the copy adds up also while another thread goes on with this one."""
        buckets = self._buckets.copy()
        return Latencies(int(buckets.sum()), self.largest, buckets)

    def within(self, bounds_ns: Sequence[int]) -> list[int]:
        """How many rows took so long at most, for each bound; one beyond a bound in its bucket counts as within it."""
        upto = self._buckets.cumsum()
        return [int(upto[_place(bound)]) for bound in bounds_ns]

    @property
    def total_ns(self) -> float:
        """How long all rows took together [ns], each as the middle of its bucket."""
        places = np.flatnonzero(self._buckets)
        exponents, parts = np.divmod(places, _PARTS)
        middles = np.ldexp(0.5 + (parts + 0.5) / (2 * _PARTS), exponents)
        return float((middles * (places > 0)) @ self._buckets[places])

    def places(self) -> dict[str, int]:
        """The buckets that are not empty, by their number, as plain data for JSON."""
        return {str(place): int(self._buckets[place]) for place in np.flatnonzero(self._buckets)}

    @classmethod
    def of(cls, places: Mapping[str, int], largest: int, less: Mapping[str, int]) -> "Latencies":
        """The histogram of what `places` gave, less what it gave before; buckets that are none are left out."""
        found = cls(largest=largest)
        for name, rows in places.items():
            if name.isdecimal() and int(name) < len(found._buckets):
                found._buckets[int(name)] = max(0, rows - less.get(name, 0))
        found.count = int(found._buckets.sum())
        return found

    def quantile(self, q: float) -> float:
        """The duration [ns] that a share of the rows does not exceed; NaN without rows."""
        if not self.count:
            return math.nan
        place = int(np.searchsorted(self._buckets.cumsum(), math.ceil(q * self.count)))
        exponent, part = divmod(place, _PARTS)
        upper = math.ldexp(0.5 + (part + 1) / (2 * _PARTS), exponent)
        return min(upper, float(self.largest))

    def as_dict(self) -> dict[str, float]:
        """The usual quantiles [ms]; empty without rows."""
        if not self.count:
            return {}
        shares = {"p50_ms": 0.5, "p99_ms": 0.99, "p99_9_ms": 0.999}
        out = {name: round(self.quantile(q) / 1e6, 4) for name, q in shares.items()}
        return out | {"max_ms": round(self.largest / 1e6, 4)}


def _place(duration_ns: int) -> int:
    """The bucket of a duration [ns] from 0."""
    mantissa, exponent = math.frexp(duration_ns)
    place = exponent * _PARTS + int((mantissa - 0.5) * 2 * _PARTS) if duration_ns else 0
    return min(place, _PARTS * _DOUBLINGS - 1)


@dataclass
class Receipts:
    """When the rows of a source came, by their event time.

    What came with one push came at once, so a push is one entry: the oldest and the newest of its event times, and the
    clock. The last one that holds no later times alone counts, so that where the clocks of two devices differ no row seems
    late because of the other device; one of the faster clock may seem less late than it is. Old entries are put together:
    how long ago a row came is known to one part in twenty.
    """

    _low: list[int] = field(default_factory=list)
    """Of each entry the oldest event time of it and of all behind it."""
    _high: list[int] = field(default_factory=list)
    _clock: list[int] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, oldest: int, newest: int, clock_ns: int) -> None:
        """Note a push of rows from one event time to another."""
        with self._lock:
            low = self._low
            at = len(low) - 1
            while at >= 0 and low[at] > oldest:
                low[at] = oldest
                at -= 1
            low.append(oldest)
            self._high.append(newest)
            self._clock.append(clock_ns)
            if len(low) > _MOST_RECEIPTS:
                self._put_together(clock_ns)

    def _put_together(self, now_ns: int) -> None:
        """Make one entry of those that came at one time, to a part of how long ago that is."""
        clock = np.array(self._clock)
        when = np.floor(np.log(now_ns - clock + 1.0) / _PART_OF_AGE)
        firsts = np.flatnonzero(np.diff(when, prepend=-1.0))
        lasts = np.append(firsts[1:], len(clock)) - 1
        self._low = np.array(self._low)[firsts].tolist()
        self._high = np.maximum.reduceat(np.array(self._high), firsts).tolist()
        self._clock = clock[lasts].tolist()

    def age(self, time: int, now_ns: int) -> int:
        """How long ago [ns] the first row at or behind an event time came; -1 if none has."""
        with self._lock:
            return now_ns - self._clock[self._place(time)] if self._low else -1

    def age_of_all(self, times: NDArray[np.int64], now_ns: int) -> int | None:
        """The one of `ages` that all of some rows have, at least one; None: they have several."""
        with self._lock:
            if not self._low:
                return -1
            first, last = self._reach(times)
            return now_ns - self._clock[first] if first == last else None

    def ages(self, times: NDArray[np.int64], now_ns: int) -> NDArray[np.int64]:
        """How long ago [ns] the source rows came that stood at `times`, shape ``(n,)``; -1 if none has come."""
        with self._lock:
            if not self._low or not len(times):
                return np.full(len(times), -1, np.int64)
            first, last = self._reach(times)
            if first == last:
                return np.full(len(times), now_ns - self._clock[first])
            stop = last + 1
            low, high = np.array(self._low[first:stop]), np.array(self._high[first:stop])
            places = (low.searchsorted(times, "right") - 1).clip(min=0)
            places += (high[places] < times) & (places < last - first)
            return now_ns - np.array(self._clock[first:stop])[places]

    def _reach(self, times: NDArray[np.int64]) -> tuple[int, int]:
        """The entries of the oldest and the newest of some times."""
        if len(times) <= _FEW:  # it takes NumPy longer to begin
            values = times.tolist()
            return self._place(min(values)), self._place(max(values))
        return self._place(int(times.min())), self._place(int(times.max()))

    def _place(self, time: int) -> int:
        if time >= self._low[-1]:  # what has just come, as a rule
            return len(self._low) - 1
        at = max(0, bisect.bisect_right(self._low, time) - 1)
        return at + (self._high[at] < time and at + 1 < len(self._low))


def first_times(batch: Any) -> NDArray[np.int64]:  # noqa: ANN401
    """Event time [ns] of the first source row of each output row: where its span starts, else its own."""
    schema = batch.schema
    place = schema.get_field_index("start")
    column = batch.column(schema.get_field_index("time") if place < 0 else place)
    if column.type != _UTC:
        column = batch.column(schema.get_field_index("time"))
    if column.null_count:
        column = column.drop_null()
    rows = len(column)
    if not rows:
        return np.empty(0, np.int64)
    return np.frombuffer(column.buffers()[1], np.int64, rows, column.offset * 8)
