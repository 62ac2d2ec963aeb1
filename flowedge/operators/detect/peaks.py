"""`detect peaks(x, …)`: the rows at which a signal has its peaks, as a stream of events.

The running part (`flowedge.compile.emit.peaks`) works on one block of 8-byte words per key, laid
out below. A *row* in the block is (time, value, low, the columns that the event keeps); `low` is the
lowest value since the row kept before it, and in a row that was found the prominence.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from flowedge.operators.contract import REQUIRED, Operator, Parameter, Refused, operator

LEVELS = 8
"""Intervals that the mean interval is taken over (Pan and Tompkins: the last eight beats)."""

# Words at the beginning of a block.
MODE, SIGNAL, NOISE, LAST_TIME, LAST_VALUE, SEEN, START, HIGHEST, TOTAL, COUNT = range(10)
BEST, RISING, HELD, HEAD, FOUND, LOW, AFTER, CANDIDATE, LOOK = range(10, 19)
INTERVALS = 19
ROWS = INTERVALS + LEVELS
"""Where the rows begin: the newest, the one before, the best so far, the ring of candidates, what was found."""
LEAD = 3
"""Words of a row before its columns."""

FRESH, LEARNING, RUNNING = 0, 1, 2


@operator("threshold", "adaptive")
@dataclass(frozen=True)
class Adaptive(Operator):
    """A threshold between the running levels of peaks and of noise.

    ``noise + fraction * (signal - noise)``; each peak moves the signal level by 1/8 of the way to its
    height (by 1/4 one found by looking back), each candidate that is none the noise level by 1/8
    [1]_. The first `learn` seconds set the levels: signal a third of the highest value, noise half
    the mean. The candidates of these seconds are judged then, so that none is lost. All heights
    count from zero: look at an energy, an envelope, or a signal without its baseline.

    Parameters
    ----------
    learn : duration [s] of the first look, at least `apart`
    fraction : number between 0 and 1

    References
    ----------
    .. [1] J. Pan, W. J. Tompkins, IEEE Trans. Biomed. Eng. 32(3), 1985, 230-236, equations 12 to 15.
       https://doi.org/10.1109/TBME.1985.325532
    """

    parameters: ClassVar[tuple[Parameter, ...]] = (
        Parameter("learn", "duration", 2.0, "first look [s]"),
        Parameter("fraction", "number", 0.2, "0 to 1, from the noise level to the signal level"),
    )

    learn: float = 2.0
    fraction: float = 0.2

    def check(self) -> None:
        """Raises `Refused` where a parameter is out of range."""
        if not 0 < self.fraction < 1:
            raise Refused(
                "FE408",
                f"a fraction of {self.fraction:g}",
                at="threshold",
                fix="take a number between 0 and 1",
            )
        if self.learn <= 0:
            raise Refused(
                "FE408",
                "a first look that is not positive",
                at="threshold",
                fix="take a positive duration, for example 2 s",
            )


@operator("detect", "peaks")
@dataclass(frozen=True)
class Peaks(Operator):
    """Find the peaks of a signal, causally.

    A local maximum is a row higher than the one before and not lower than the next, which follows
    within two samples on a signal, within `at_most` on rows. It is a
    candidate when nothing higher follows within `apart` and no other candidate stands within `apart`
    before it. A candidate is a peak when

    - it reaches the threshold;
    - it has risen by at least the share `rise` of its own height above the lowest value since the
      last peak, its *prominence*. Between true beats the energy of an ECG falls close to zero; in
      ventricular flutter, and between the two humps of a wide beat, it does not;
    - no peak stands within `recovery` before it, or it reaches the `share` of that one's height: the
      relative refractory period, after which a T wave is no longer mistaken for a beat.

    With `search_back`, when no peak has come for that many mean intervals, the highest candidate since
    the last one is taken if it reaches half the threshold [1]_.

    Parameters
    ----------
    threshold : a value [u], or ``adaptive(learn, fraction=…)``
    apart : duration [s], refractory period; 0 s by default
    rise : number from 0 to 1, for quantities with a true zero; 0 (any) by default
    recovery : duration [s] of the relative refractory period; 0 s: none
    share : number, the share of the last peak's height that a candidate within `recovery` must reach
    search_back : number of mean intervals (of the last eight) after which to look back; 0: never
    at_most : duration [s], how far it may look back, and on rows how long it waits for the next one; 3 s
        by default

    Stream
    ------
    in : signal or rows with a number [u]; use ``-x`` for minima
    out : rows at the instants that they describe (the delay of `x` is taken off), with the columns of
        the row where the peak stands, ``value`` [u] and ``prominence`` [difference of u]
    wait : `at_most` and `apart` with `search_back`, an adaptive threshold, or on rows; `apart` and two
        samples else
    state : about (at_most / apart + 6) rows per key, at most 4,096
    missing : skipped, infinities too (a maximum before two missing samples is not certain, and none); at a gap what waits is judged, then it starts afresh

    Raises
    ------
    FE408 : a parameter out of range

    References
    ----------
    .. [1] J. Pan, W. J. Tompkins, IEEE Trans. Biomed. Eng. 32(3), 1985, 230-236.
       https://doi.org/10.1109/TBME.1985.325532

    Examples
    --------
    >>> flow("detect peaks(x, threshold=2) | select y = value", x=[0.0, 3.0, 0.0, 1.0, 0.0, 5.0, 0.0], rate="1 Hz")
    [3.0, 5.0]
    """

    parameters: ClassVar[tuple[Parameter, ...]] = (
        Parameter("threshold", "threshold", REQUIRED, "a value, or adaptive(…)"),
        Parameter("apart", "duration", 0.0, "refractory period [s]"),
        Parameter(
            "rise", "number", 0.0, "least rise since the last peak, as a share of the height"
        ),
        Parameter("recovery", "duration", 0.0, "relative refractory period [s]"),
        Parameter("share", "number", 0.5, "of the last peak's height, within `recovery`"),
        Parameter("search_back", "number", 0.0, "mean intervals; 0: never"),
        Parameter("at_most", "duration", 3.0, "how far to look back [s]"),
    )

    threshold: float | Adaptive
    apart: float = 0.0
    rise: float = 0.0
    recovery: float = 0.0
    share: float = 0.5
    search_back: float = 0.0
    at_most: float = 3.0
    rate_hz: float | None = None
    """Of the signal looked at, None on rows; the checker fills it in."""

    def check(self) -> None:
        """Raises `Refused` where a parameter is out of range."""
        for name in ("apart", "search_back", "recovery", "share"):
            if getattr(self, name) < 0:
                raise Refused("FE408", f"`{name}` is negative", at=name, fix="take zero or more")
        if not 0 <= self.rise <= 1:
            raise Refused(
                "FE408",
                f"a rise of {self.rise:g} times the height",
                at="rise",
                fix="take a number from 0 to 1",
            )
        if self.at_most <= 0 or self.at_most < self.apart:
            raise Refused(
                "FE408",
                "`at_most` is shorter than `apart`",
                at="at_most",
                fix="take a longer duration",
            )
        if self.search_back and self.search_back <= 1:
            raise Refused("FE408", f"a search-back after {self.search_back:g} intervals", at="search_back",
                          why="one interval passes before every peak", fix="take more than 1, for example 1.66")  # fmt: skip
        if isinstance(self.threshold, Adaptive):
            learn = self.threshold.learn
            self.threshold.check()
            if learn > self.at_most:
                raise Refused("FE408", f"a first look of {learn:g} s is longer than at_most, {self.at_most:g} s",
                              at="threshold", fix=f"give at_most={learn:g} s")  # fmt: skip
            if learn < self.apart:
                raise Refused("FE408", f"a first look of {learn:g} s is shorter than apart, {self.apart:g} s",
                              at="threshold", why="no peak is certain before `apart` has passed", fix=f"look for {self.apart:g} s or more")  # fmt: skip

    @property
    def wait_s(self) -> float:
        """How long after its time an event comes out, at most [s]."""
        if isinstance(self.threshold, Adaptive) or self.search_back or self.rate_hz is None:
            return self.at_most + self.apart
        return self.apart + 2 / self.rate_hz

    @property
    def follows_s(self) -> float:
        """How soon the next value must come for a row to be a maximum [s]."""
        return self.at_most if self.rate_hz is None else min(self.at_most, 2 / self.rate_hz)

    def candidates(self, rate_hz: float | None) -> int:
        """How many candidates may wait at once."""
        if not isinstance(self.threshold, Adaptive) and not self.search_back:
            return 1
        if self.apart > 0:
            return min(4096, int(self.at_most / self.apart) + 3)
        return min(4096, int(self.at_most * (rate_hz or 1000.0) / 2) + 3)

    def reference(self, time_ns: Sequence[int], x: Sequence[float]) -> list[tuple[int, float]]:
        """The same by the definitions above, slowly, over one key's rows without a gap.

        Parameters
        ----------
        time_ns : of the rows, rising
        x : what is looked at

        Returns
        -------
        list of (number of the row, prominence), in order
        """
        rows = [i for i, v in enumerate(x) if math.isfinite(v)]
        if not rows:
            return []
        t, v = [time_ns[i] for i in rows], [x[i] for i in rows]
        lengths = ("apart", "recovery", "at_most", "follows")
        given = (self.apart, self.recovery, self.at_most, self.follows_s)
        ns = {name: round(s * 1e9) for name, s in zip(lengths, given, strict=True)}
        adaptive = self.threshold if isinstance(self.threshold, Adaptive) else None
        learn_end = t[0] + round(adaptive.learn * 1e9) if adaptive else t[0]

        # Candidates, and the row at which each is judged.
        judged: dict[int, list[int]] = {}
        newest = -1
        for i in range(1, len(t) - 1):
            is_top = v[i - 1] < v[i] >= v[i + 1] and t[i + 1] - t[i] <= ns["follows"]
            if not is_top or any(
                v[j] > v[i] for j in range(i + 1, len(t)) if t[j] < t[i] + ns["apart"]
            ):
                continue
            if newest >= 0 and t[i] < t[newest] + ns["apart"]:
                continue
            newest = i
            at = next(
                (j for j in range(i + 1, len(t)) if t[j] >= max(t[i] + ns["apart"], learn_end)),
                len(t),
            )
            judged.setdefault(at, []).append(i)

        first = [y for s, y in zip(t, v, strict=True) if s < learn_end] or [0.0]
        signal, noise = max(first) / 3, math.fsum(first) / len(first) / 2
        peaks: list[tuple[int, float]] = []
        waiting: list[int] = []

        def level() -> float:
            if isinstance(self.threshold, Adaptive):
                return noise + self.threshold.fraction * (signal - noise)
            return self.threshold

        def prominence(i: int) -> float:
            return v[i] - min(v[(peaks[-1][0] + 1 if peaks else 0) : i + 1])

        def has_recovered(i: int) -> bool:
            return (
                not peaks
                or t[i] - t[peaks[-1][0]] >= ns["recovery"]
                or v[i] >= self.share * v[peaks[-1][0]]
            )

        for row in range(len(t) + 1):
            for i in judged.get(row, []):
                has_risen = prominence(i) >= self.rise * v[i]
                if has_risen and v[i] >= level() and has_recovered(i):
                    peaks.append((i, prominence(i)))
                    waiting = []
                    signal += (v[i] - signal) / 8
                else:
                    noise += (v[i] - noise) / 8
                    waiting += [i] * has_risen
            if not self.search_back or len(peaks) < 2 or row == len(t):
                continue
            intervals = [t[b] - t[a] for (a, _), (b, _) in itertools.pairwise(peaks[-LEVELS - 1 :])]
            if t[row] - t[peaks[-1][0]] <= math.floor(
                self.search_back * sum(intervals) / len(intervals)
            ):
                continue
            seen = [
                i
                for i in waiting
                if t[row] - t[i] <= ns["at_most"] and v[i] >= level() / 2 and has_recovered(i)
            ]
            if seen:
                best = max(seen, key=lambda i: (v[i], -i))
                peaks.append((best, prominence(best)))
                waiting = [i for i in waiting if i > best]
                signal += (v[best] - signal) / 4
        return [(rows[i], height) for i, height in peaks]
