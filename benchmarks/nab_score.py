"""How NAB, the Numenta Anomaly Benchmark, judges a detector: its scorer and its choice of a threshold.

An alarm inside a window of an anomaly earns the more the earlier it comes, and only the earliest of a
window earns anything; an alarm outside costs the more the further it lies behind the last window; a
window without an alarm costs a fixed amount. One threshold serves all series, and is the best there is.

References
----------
.. [1] A. Lavin, S. Ahmad, Evaluating Real-time Anomaly Detection Algorithms, ICMLA 2015. https://arxiv.org/abs/1510.03336
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

LEARNING = 0.15
"""Share of a series at its beginning in which nothing is judged, of `LEARNING_ROWS` rows at most."""
LEARNING_ROWS = 5000
FAR = 3.0
"""So many widths behind a window an alarm costs the full amount."""


class Profile(NamedTuple):
    """What an application pays for mistakes, beside 1 for an alarm at the first row of a window."""

    false_alarm: float
    missed: float


PROFILES = {
    "standard": Profile(0.11, 1),
    "reward_low_FP": Profile(0.22, 1),
    "reward_low_FN": Profile(0.11, 2),
}


class Choice(NamedTuple):
    """A threshold and what it earns, from 0 (no alarm at all) to 100 (each window at its first row, nothing else)."""

    threshold: float
    score: float


def worth(position: np.ndarray) -> np.ndarray:
    """What an alarm is worth at a position: -1 at the first row of a window, 0 at its end, above 0 behind it."""
    near = 2 / (1 + np.exp(5 * np.clip(position, -1, FAR))) - 1
    return np.where(position >= FAR, -1.0, near)


@dataclass(frozen=True)
class Judged:
    """Rows of one series or of several, one behind the other.

    Parameters
    ----------
    worth : (rows,), what an alarm there is worth before an application weighs it
    window : (rows,), number of the window that a row lies in; -1: none
    counts : (rows,), whether it is judged at all
    windows : how many windows there are, with or without a row that is judged
    """

    worth: np.ndarray
    window: np.ndarray
    counts: np.ndarray
    windows: int

    @classmethod
    def of(cls, times: Sequence[str], windows: Sequence[tuple[str, str]]) -> "Judged":
        """One series; windows are given by the times of their first and last row, in order."""
        n, times = len(times), list(times)
        window = np.full(n, -1)
        earned = np.full(n, -1.0)  # far from any window, or before the first
        for k, (first, last) in enumerate(windows):
            left, right = times.index(first), times.index(last)
            width = right - left + 1
            inside = np.arange(left, right + 1)
            window[inside] = k
            earned[inside] = worth(-(right - inside + 1) / width) / worth(np.float64(-1))
            behind = np.arange(right + 1, n)
            earned[behind] = worth(
                (behind - right) / max(1, width - 1)
            )  # a later window writes over it
        learning = min(int(LEARNING * n), int(LEARNING * LEARNING_ROWS))
        return cls(earned, window, np.arange(n) >= learning, len(windows))

    @classmethod
    def together(cls, parts: Sequence["Judged"]) -> "Judged":
        """Several series as one."""
        before = np.cumsum([0, *(p.windows for p in parts)])
        numbered = [
            np.where(p.window < 0, -1, p.window + k) for p, k in zip(parts, before, strict=False)
        ]
        return cls(
            np.concatenate([p.worth for p in parts]),
            np.concatenate(numbered),
            np.concatenate([p.counts for p in parts]),
            int(before[-1]),
        )

    def earned(self, scores: np.ndarray, threshold: float, profile: Profile) -> float:
        """Points for alarms wherever a score is at least the threshold; not normalised."""
        alarm = self.counts & (scores >= threshold)
        outside = self.worth[alarm & (self.window < 0)].sum() * profile.false_alarm
        best = np.full(self.windows, -float(profile.missed))
        inside = alarm & (self.window >= 0)
        np.maximum.at(best, self.window[inside], self.worth[inside])
        return float(outside + best.sum())

    def normalised(self, points: float, profile: Profile) -> float:
        """Points on the scale from no alarm at all (0) to perfection (100)."""
        none = -profile.missed * self.windows
        return 100 * (points - none) / (self.windows - none)

    def score(self, scores: np.ndarray, threshold: float, profile: Profile) -> float:
        """The score of a detector with a given threshold."""
        return self.normalised(self.earned(scores, threshold, profile), profile)

    def best(self, scores: np.ndarray, profile: Profile) -> Choice:
        """The threshold that earns most, of all that tell two rows apart; of equals the highest.

        Rows are let in from the highest score down, and each adds what it changes.
        """
        rows = np.flatnonzero(self.counts)
        rows = rows[np.argsort(-scores[rows], kind="stable")]
        window, gain = self.window[rows], self.worth[rows] * profile.false_alarm
        for k in range(self.windows):
            here = np.flatnonzero(window == k)
            held = np.maximum.accumulate(np.append(-float(profile.missed), self.worth[rows[here]]))
            gain[here] = np.diff(held)
        points = np.append(0, np.cumsum(gain)) - profile.missed * self.windows
        ordered = scores[rows]
        last = np.append(ordered[1:] != ordered[:-1], True)  # equal scores come together
        points, thresholds = points[np.append(True, last)], np.append(np.inf, ordered[last])
        k = int(np.argmax(points))
        return Choice(float(thresholds[k]), self.normalised(float(points[k]), profile))
