"""Work that falls into parts which know nothing of each other, done on several threads at once.

Kernels let go of Python's lock, so that parts of some hundred microseconds and more run side by side. How many
threads there are is a matter of the process, as with other libraries of numbers: a run takes some and gives them
back. Results do not depend on it, since each part is done as it would be alone.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager

Part = Callable[[], object]


class Hands:
    """The threads that do parts of work, the caller's included; of several runs in a process the newest says how many."""

    def __init__(self) -> None:
        self._held: list[tuple[int, ThreadPoolExecutor | None]] = []

    @property
    def count(self) -> int:
        """How many there are; 1: parts are done one after the other."""
        return self._held[-1][0] if self._held else 1

    @contextmanager
    def taken(self, count: int) -> Iterator[None]:
        """Have so many threads, until the end of a block."""
        count = max(1, count)
        pool = ThreadPoolExecutor(count - 1, "flowedge-part") if count > 1 else None
        held = count, pool
        self._held.append(held)
        try:
            yield
        finally:
            self._held.remove(held)
            if pool is not None:
                pool.shutdown()

    def alone(self, part: Part) -> float:
        """Do one part here; how long it took [s], by which it may be shared the next time."""
        start = time.perf_counter()
        part()
        return time.perf_counter() - start

    def share(self, parts: Sequence[Part]) -> None:
        """Do all parts, and return when they are done; raises what one of them raised that failed."""
        pool = self._held[-1][1] if self._held else None
        if pool is None:
            for part in parts:
                part()
            return
        others, here = [], [parts[0]]
        for part in parts[1:]:
            try:
                others.append(pool.submit(part))
            except RuntimeError:  # the run whose threads these are has just ended
                here.append(part)
        try:
            for part in here:
                part()
        finally:
            wait(others)
        for other in others:
            other.result()


HANDS = Hands()
"""Those of this process."""


def cuts(n: int, parts: int, multiple: int = 1) -> list[tuple[int, int]]:
    """`n` things as so many stretches of about the same length, each but the last a multiple of some; empty ones are left out.

    Examples
    --------
    >>> cuts(10, 3), cuts(10, 2, 8), cuts(3, 8)
    ([(0, 4), (4, 8), (8, 10)], [(0, 8), (8, 10)], [(0, 1), (1, 2), (2, 3)])
    """
    length = -(-n // parts)
    length = max(1, -(-length // multiple) * multiple)
    return [(start, min(n, start + length)) for start in range(0, n, length)]
