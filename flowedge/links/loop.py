"""A thread with a loop of asyncio, for libraries that want one."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any


class LoopThread:
    """Runs a loop until it is closed.

    Parameters
    ----------
    name : of the thread
    on_trouble : called on the thread where something went wrong that nobody waited for
    """

    def __init__(self, name: str, on_trouble: Callable[[], None] = lambda: None) -> None:
        self.loop = asyncio.new_event_loop()
        self.loop.set_exception_handler(lambda _loop, _context: on_trouble())
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._is_closed = False

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def call(self, work: Callable[..., object], *args: Any) -> None:  # noqa: ANN401
        """Let the thread call something soon; nothing happens once it is closed."""
        if not self._is_closed:
            self.loop.call_soon_threadsafe(work, *args)

    def run(self, work: Coroutine[Any, Any, Any], most_s: float) -> None:
        """Let the thread do something, and wait for it, so long at most."""
        task = asyncio.run_coroutine_threadsafe(work, self.loop)
        try:
            task.result(most_s)
        except TimeoutError:
            task.cancel()

    def close(self) -> None:
        """End the thread, and all that still runs on it."""
        if self._is_closed:
            return
        self._is_closed = True
        if self._thread.is_alive():
            self.loop.call_soon_threadsafe(self.loop.stop)
            self._thread.join()
        else:
            self.loop.close()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        try:
            self.loop.run_forever()
            left = asyncio.all_tasks(self.loop)
            for task in left:
                task.cancel()
            if left:
                self.loop.run_until_complete(asyncio.wait(left, timeout=1.0))
            self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        finally:
            self.loop.close()


__all__ = ["LoopThread"]
