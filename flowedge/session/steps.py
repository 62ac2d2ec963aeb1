"""Steps of time: whether rows follow each other as samples of a signal do."""

import itertools
from array import array
from collections.abc import Callable

from flowedge.compile.kernels import ingest as k
from flowedge.compile.kernels.library import ready
from flowedge.session.batch import Array
from flowedge.session.words import address

_FEW = 64
"""So few times are looked at faster in Python than a kernel is called."""


class Steps:
    """Smallest and largest step between neighbouring times [ns]; 0 and 0 for fewer than two."""

    def __init__(self) -> None:
        self._words = array("q", bytes(8 * k.STEPS_WORDS))
        self._run: Callable[[], int] | None = None

    def __call__(self, time: Array) -> tuple[int, int]:
        """Look at a column of times, contiguous."""
        n = len(time)
        if n < 2:
            return 0, 0
        if n < _FEW:
            values = time.tolist()
            found = [b - a for a, b in itertools.pairwise(values)]
            return min(found), max(found)
        return self.at(address(time), n)

    def at(self, time: int, rows: int) -> tuple[int, int]:
        """The same by the address of the times."""
        words = self._words
        if self._run is None:
            self._run = ready(k.steps).bound(words.buffer_info()[0])
        words[k.ROWS], words[k.TIME] = rows, time
        self._run()
        return words[k.LEAST], words[k.MOST]
