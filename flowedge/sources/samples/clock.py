"""When samples were taken: counted from the first, and compared with the time of day."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

_SECOND = 1_000_000_000
_FAR_NS = 200_000_000
"""Off by more than this, times are steered."""
_STEER = 1e-3
"""By this share of a step, which is far below the jitter that a signal may have."""
_INTERVAL_NS = 10 * _SECOND
"""Of each, the least delay counts for the drift."""


@dataclass(frozen=True, slots=True)
class Stamp:
    """When the samples of a block were taken.

    Attributes
    ----------
    first_ns : of the first [ns since 1970, UTC]
    rate : samples per second [Hz]
    steer : share by which a step is longer than 1 / rate
    """

    first_ns: int
    rate: int
    steer: float = 0.0

    def times(self, count: int) -> npt.NDArray[np.int64]:
        """Of the first samples [ns since 1970, UTC], shape ``(count,)``.

        Steps are whole nanoseconds that do not add up to an error: each time is rounded by itself.

        >>> Stamp(0, 3).times(4).tolist()
        [0, 333333333, 666666666, 1000000000]
        """
        index = np.arange(count, dtype=np.int64)
        if self.steer:
            inside = (index * (_SECOND / self.rate * (1 + self.steer))).astype(np.int64)
        else:
            inside = index // self.rate * _SECOND + index % self.rate * _SECOND // self.rate
        return self.first_ns + inside


class SampleClock:
    """Times of samples that come block by block.

    The first sample of all has the instant at which it was taken, each further one stands 1 / rate behind the one before.
    Two things move that: a gap, and, by 0.1 %, a sound card whose clock has run off by more than 0.2 s, until it is back.

    Parameters
    ----------
    rate : samples per second [Hz]
    start_ns : of the first sample, where the time of day does not matter; None: it does

    Attributes
    ----------
    is_set : the instant of a sample is known
    drift_ppm : by how much more samples come in a second than `rate` says, in parts per million; 0 until 20 s are heard
    """

    def __init__(self, rate: int, start_ns: int | None = None) -> None:
        self.rate = rate
        self.is_free = self.is_set = start_ns is not None
        self.drift_ppm = 0
        self._base, self._count, self._steer = start_ns or 0, 0, 0.0
        self._forget()

    def _forget(self) -> None:
        self._first: tuple[int, int] | None = None
        self._least: tuple[int, int] | None = None
        self._steered = 0

    def lasting(self, samples: int) -> int:
        """How long so many samples last [ns], rounded down."""
        seconds, rest = divmod(samples, self.rate)
        return seconds * _SECOND + rest * _SECOND // self.rate

    @property
    def end_ns(self) -> int:
        """The instant of the sample that comes next, if none is missing [ns since 1970, UTC]."""
        return self._base + self.lasting(self._count)

    def skip(self, samples: int) -> None:
        """Leave out samples that were taken before."""
        self._count += samples

    def place(self, taken_ns: int) -> int:
        """The next sample was taken at this instant; how long the gap is that this makes [ns].

        Times do not go back: what would lie before a sample that is there follows it.
        """
        end = self.end_ns
        if self.is_free or (self.is_set and taken_ns <= end):
            return 0
        gap = taken_ns - end if self.is_set else 0
        self._base, self._count, self._steer, self.is_set = taken_ns, 0, 0.0, True
        self._forget()
        return gap

    def stamp(self, samples: int) -> Stamp:
        """The times of the next samples."""
        found = Stamp(self.end_ns, self.rate, self._steer)
        self._count += samples
        if self._steer:
            moved = round(samples * _SECOND / self.rate * self._steer)
            self._base += moved
            self._steered += moved
        return found

    def heard(self, now_ns: int) -> None:
        """At this instant there is no sample that has not come."""
        if self.is_free:
            return
        delay = now_ns - self.end_ns
        least = self._least
        if least is None:
            self._least = (now_ns, delay)
        elif now_ns // _INTERVAL_NS == least[0] // _INTERVAL_NS:
            self._least = min(least, (now_ns, delay), key=lambda seen: seen[1])
        else:
            self._note(least)
            self._least = (now_ns, delay)

    def _note(self, least: tuple[int, int]) -> None:
        """The least delay of an interval: how fast the samples come, and whether to steer."""
        at, delay = least
        if self._steer == 0.0:
            self._steer = _STEER * ((delay > _FAR_NS) - (delay < -_FAR_NS))
        elif delay * self._steer < 0 or abs(delay) < _FAR_NS // 10:
            self._steer = 0.0
        uncorrected = delay + self._steered
        if self._first is None:
            self._first = (at, uncorrected)
        elif at > self._first[0]:
            grown = self._first[1] - uncorrected
            self.drift_ppm = round(grown / (at - self._first[0]) * 1e6)
