"""How long rows take: from the receipt of the first source row that a row is made of, to its hand-over."""

import bisect
import math
import threading
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

_PARTS = 64
"""Buckets in which each doubling is divided: a quantile is right to 1.6 percent."""
_DOUBLINGS = 64
_MOST_RECEIPTS = 8192


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

    def record(self, duration_ns: int, rows: int) -> None:
        """Note that so many rows took so long."""
        duration_ns = max(0, duration_ns)
        self.count += rows
        self.largest = max(self.largest, duration_ns)
        mantissa, exponent = math.frexp(duration_ns)
        place = exponent * _PARTS + int((mantissa - 0.5) * 2 * _PARTS) if duration_ns else 0
        self._buckets[min(place, len(self._buckets) - 1)] += rows

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


@dataclass
class Receipts:
    """When the rows of a source came, by their event time.

    What came with one push came at once, so a push is one entry: the newest event time until then,
    and the clock. Old entries go; rows that look further back count from the oldest one kept.
    """

    _newest: list[int] = field(default_factory=list)
    _clock: list[int] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, newest: int, clock_ns: int) -> None:
        """Note a push after which the newest event time is `newest`."""
        with self._lock:
            if self._newest and newest <= self._newest[-1]:
                return
            self._newest.append(newest)
            self._clock.append(clock_ns)
            if len(self._newest) > _MOST_RECEIPTS:
                del self._newest[: _MOST_RECEIPTS // 2], self._clock[: _MOST_RECEIPTS // 2]

    def age(self, time: int, now_ns: int) -> int:
        """How long ago [ns] the first row at or behind an event time came; -1 if none has."""
        with self._lock:
            return now_ns - self._clock[self._place(time)] if self._newest else -1

    def record(self, times: NDArray[np.int64], now_ns: int, into: Latencies) -> None:
        """Note how long rows took whose first source row stood at `times`, shape ``(n,)``."""
        with self._lock:
            if not self._newest or not len(times):
                return
            first, last = self._place(int(times.min())), self._place(int(times.max()))
            if first == last:
                into.record(now_ns - self._clock[first], len(times))
                return
            newest = np.asarray(self._newest)
            places = newest.searchsorted(times).clip(max=len(newest) - 1)
            for place, rows in zip(*np.unique(places, return_counts=True), strict=True):
                into.record(now_ns - self._clock[place], int(rows))

    def _place(self, time: int) -> int:
        return min(bisect.bisect_left(self._newest, time), len(self._newest) - 1)


def first_times(batch: Any) -> NDArray[np.int64]:  # noqa: ANN401
    """Event time [ns] of the first source row of each output row: where its span starts, else its own."""
    names = batch.schema.names
    column = batch.column(names.index("start") if "start" in names else names.index("time"))
    if str(column.type) != "timestamp[ns, tz=UTC]":
        column = batch.column(names.index("time"))
    if column.null_count:
        column = column.drop_null()
    rows = len(column)
    if not rows:
        return np.empty(0, np.int64)
    return np.frombuffer(column.buffers()[1], np.int64, rows, column.offset * 8)
