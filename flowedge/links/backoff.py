"""How long to wait before the next attempt: longer each time, and never all clients at once."""

import random
from collections.abc import Callable

LEAST_S, MOST_S = 0.05, 15.0
"""Bounds of the span that a wait is drawn from [s]."""


class Backoff:
    """Waits that double up to a bound, each drawn anew from zero up to there (full jitter).

    M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.

    Parameters
    ----------
    least_s, most_s : the first span and the longest [s]
    draw : a number from 0 to 1

    Examples
    --------
    >>> waits = Backoff(1.0, 8.0, draw=lambda: 1.0)
    >>> [waits.next_s() for _ in range(5)]
    [1.0, 2.0, 4.0, 8.0, 8.0]
    """

    def __init__(
        self,
        least_s: float = LEAST_S,
        most_s: float = MOST_S,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._least_s, self._most_s, self._draw = least_s, most_s, draw
        self._span_s = least_s

    def next_s(self) -> float:
        """How long to wait now [s]."""
        span = self._span_s
        self._span_s = min(2 * span, self._most_s)
        return span * self._draw()

    def reset(self) -> None:
        """It went well: begin anew."""
        self._span_s = self._least_s
