"""Work on other threads, in order and with queues of bounded bytes: reading ahead, writing behind."""

import threading
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

MOST_ITEMS = 3
"""Batches that may wait between two threads."""
MOST_BYTES = 64 << 20
"""Bytes of them; a batch that is larger by itself passes alone."""


class Workers:
    """The threads of a run, by the system; a simulation has some of its own, which take turns."""

    def start(self, work: Callable[[], None], name: str) -> threading.Thread:
        """Begin to work; whoever needs the end waits with `join`."""
        thread = threading.Thread(target=work, name=name, daemon=True)
        thread.start()
        return thread

    def condition(self) -> threading.Condition:
        """What threads wait for, and tell each other of."""
        return threading.Condition()


SYSTEM = Workers()


class Line:
    """Items that wait between two threads, first in, first out.

    Parameters
    ----------
    most_bytes : of what waits; whoever brings more waits himself. What is larger by itself passes alone
    most_items : that wait at a time
    workers : whose threads they are

    Attributes
    ----------
    nbytes : of what waits
    """

    def __init__(
        self,
        most_bytes: int = MOST_BYTES,
        most_items: int = MOST_ITEMS,
        workers: Workers = SYSTEM,
    ) -> None:
        self._most_bytes, self._most_items = most_bytes, most_items
        self._items: deque[tuple[Any, int]] = deque()
        self._changed = workers.condition()
        self._is_closed = False
        self._undone = 0
        self.nbytes = 0

    def put(self, item: Any, size: int) -> bool:  # noqa: ANN401
        """Let an item of `size` bytes wait, as soon as there is room; False if the line is closed."""
        with self._changed:
            while not self._is_closed and not self._has_room(size):
                self._changed.wait()
            if self._is_closed:
                return False
            self._items.append((item, size))
            self._undone += 1
            self.nbytes += size
            self._changed.notify_all()
            return True

    def get(self) -> tuple[bool, Any]:
        """The next item, once there is one; (False, None) when the line is closed."""
        with self._changed:
            while not self._is_closed and not self._items:
                self._changed.wait()
            if self._is_closed:
                return False, None
            item, size = self._items.popleft()
            self.nbytes -= size
            self._changed.notify_all()
            return True, item

    def done(self) -> None:
        """Say that an item that `get` gave is done with."""
        with self._changed:
            self._undone -= 1
            self._changed.notify_all()

    def drain(self) -> None:
        """Wait until all items are done with, or the line is closed."""
        with self._changed:
            while self._undone and not self._is_closed:
                self._changed.wait()

    def close(self) -> None:
        """Nobody waits any more; what is in the line is dropped."""
        with self._changed:
            self._is_closed = True
            self._items.clear()
            self.nbytes = 0
            self._changed.notify_all()

    def _has_room(self, size: int) -> bool:
        if not self._items:
            return True
        return len(self._items) < self._most_items and self.nbytes + size <= self._most_bytes


class Ahead:
    """An iterator whose items are made on another thread, a few ahead; errors come in their place.

    Close it, or its thread waits for ever.

    Parameters
    ----------
    items : what is made
    size : bytes of an item
    most_bytes : of what is made and not taken
    workers : who makes it
    """

    def __init__(
        self,
        items: Iterator[Any],
        size: Callable[[Any], int] = lambda _: 0,
        most_bytes: int = MOST_BYTES,
        workers: Workers = SYSTEM,
    ) -> None:
        self._items, self._size = items, size
        self._ready = Line(most_bytes, workers=workers)
        self._thread = workers.start(self._make, "flowedge-read")

    @property
    def nbytes(self) -> int:
        """Bytes of what waits to be taken."""
        return self._ready.nbytes

    def __iter__(self) -> Iterator[Any]:
        """The items, in order."""
        while True:
            is_open, found = self._ready.get()
            if not is_open:
                return
            kind, item = found
            if kind == "item":
                yield item
            elif kind == "error":
                raise item
            else:
                return

    def close(self) -> None:
        """Make no more."""
        self._ready.close()
        self._thread.join()

    def _make(self) -> None:
        try:
            for item in self._items:
                if not self._ready.put(("item", item), self._size(item)):
                    return
            self._ready.put(("end", None), 0)
        except BaseException as error:  # noqa: BLE001  # it is raised where the item would have come
            self._ready.put(("error", error), 0)


class Behind:
    """Calls made on another thread, in order; the first error is raised by the next call or the end.

    Parameters
    ----------
    most_bytes : of what the calls that wait are about
    workers : who makes them
    """

    def __init__(self, most_bytes: int = MOST_BYTES, workers: Workers = SYSTEM) -> None:
        self._waiting = Line(most_bytes, workers=workers)
        self._error: BaseException | None = None
        self._thread = workers.start(self._run, "flowedge-write")

    @property
    def nbytes(self) -> int:
        """Bytes of what the calls that wait are about."""
        return self._waiting.nbytes

    def __call__(self, work: Callable[[], None], size: int = 0) -> None:
        """Have it done; waits while too much is waiting already."""
        if self._error is not None:
            raise self._error
        self._waiting.put(work, size)

    def drain(self) -> None:
        """Wait until all is done."""
        self._waiting.drain()
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        """End the thread after the call at hand; `drain` before, or what waits is dropped."""
        self._waiting.close()
        self._thread.join()

    def _run(self) -> None:
        while True:
            is_open, work = self._waiting.get()
            if not is_open:
                return
            try:
                if self._error is None:
                    work()
            except BaseException as error:  # noqa: BLE001  # it is raised where the next call comes
                self._error = error
            finally:
                self._waiting.done()
