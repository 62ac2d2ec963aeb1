"""Work on other threads, in order and with bounded queues: reading ahead, writing behind."""

import contextlib
import queue
import threading
from collections.abc import Callable, Iterator
from typing import Any

_DEPTH = 3
"""Batches that may wait between two threads."""


class Ahead:
    """An iterator whose items are made on another thread, a few ahead; errors come in their place.

    Close it, or its thread waits for ever.
    """

    def __init__(self, items: Iterator[Any]) -> None:
        self._items = items
        self._ready: queue.Queue[tuple[str, Any]] = queue.Queue(_DEPTH)
        self._is_closed = threading.Event()
        self._thread = threading.Thread(target=self._make, name="flowedge-read", daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[Any]:
        """The items, in order."""
        while True:
            kind, item = self._ready.get()
            if kind == "item":
                yield item
            elif kind == "error":
                raise item
            else:
                return

    def close(self) -> None:
        """Make no more."""
        self._is_closed.set()
        with contextlib.suppress(queue.Empty):
            while True:
                self._ready.get_nowait()
        self._thread.join()

    def _make(self) -> None:
        try:
            for item in self._items:
                if not self._put("item", item):
                    return
            self._put("end", None)
        except BaseException as error:  # noqa: BLE001  # it is raised where the item would have come
            self._put("error", error)

    def _put(self, kind: str, item: Any) -> bool:  # noqa: ANN401
        while not self._is_closed.is_set():
            with contextlib.suppress(queue.Full):
                self._ready.put((kind, item), timeout=0.1)
                return True
        return False


class Behind:
    """Calls made on another thread, in order; the first error is raised by the next call or the end."""

    def __init__(self) -> None:
        self._waiting: queue.Queue[Callable[[], None] | None] = queue.Queue(_DEPTH)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="flowedge-write", daemon=True)
        self._thread.start()

    def __call__(self, work: Callable[[], None]) -> None:
        """Have it done; waits while too much is waiting already."""
        if self._error is not None:
            raise self._error
        self._waiting.put(work)

    def drain(self) -> None:
        """Wait until all is done."""
        self._waiting.join()
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        """End the thread, once what waits is done or an error has made it needless."""
        self._waiting.put(None)
        self._thread.join()

    def _run(self) -> None:
        while True:
            work = self._waiting.get()
            try:
                if work is None:
                    return
                if self._error is None:
                    work()
            except BaseException as error:  # noqa: BLE001  # it is raised where the next call comes
                self._error = error
            finally:
                self._waiting.task_done()
