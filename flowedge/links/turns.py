"""Sockets that two threads serve in turn: one that waits for them anyway, and one that steps in while the first is at work."""

import select
import threading
import time
from collections.abc import Callable

from flowedge.links.waker import Waker

_LENT_S = 0.005
"""So long after his last look the borrower may be at work before the thread steps in."""
_QUIET_S = 0.05
"""The thread looks so seldom whether he is, where he has had nothing to do."""


class Turns:
    """Work at a descriptor that is done on a thread of its own, or by somebody who has borrowed it.

    Who waits for what the sockets bring anyway does best to serve them himself: what comes then changes threads
    nowhere. While he is at work for longer than 5 ms (50 ms behind a pause) the thread takes over, so that peers are not kept waiting.

    Parameters
    ----------
    fileno : is readable when there is something to do
    serve : does what is to be done now, and waits for nothing; whether it can take more. It is never called twice at a time
    name : of the thread
    tick_s : it is called so often at least

    Examples
    --------
    >>> import socket
    >>> ours, theirs = socket.socketpair()
    >>> came = []
    >>> turns = Turns(ours.fileno(), lambda: bool(came.append(ours.recv(9))) or True, "reader", 9.0)
    >>> turns.borrow(1.0)
    >>> _ = theirs.send(b"x")
    >>> turns.serve()
    >>> came
    [b'x']
    >>> turns.close()
    >>> ours.close()
    >>> theirs.close()
    """

    def __init__(self, fileno: int, serve: Callable[[], bool], name: str, tick_s: float) -> None:
        self._fileno, self._serve, self.tick_s = fileno, serve, tick_s
        self._waker = Waker()
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._lent_until = 0.0
        self._is_waiting = False
        self._has_room = True
        self._served = 0
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin on the thread."""
        self._thread.start()

    def fileno(self) -> int:
        """What to wait for while it is borrowed."""
        return self._fileno

    def borrow(self, span_s: float) -> None:
        """Have it for so long, and for 5 ms after the last `serve`."""
        self._lent_until = time.monotonic() + span_s + _LENT_S
        if self._is_waiting:
            self._waker.wake()

    def serve(self) -> None:
        """Do what is to be done now, as who has borrowed it."""
        with self._lock:
            self._has_room = self._serve()
        self._lent_until = time.monotonic() + _LENT_S
        self._served += 1

    def wake(self) -> None:
        """There is room again; from any thread."""
        if not self._has_room:
            self._waker.wake()

    def close(self) -> None:
        """End the thread; `serve` is not called any more."""
        self._closing.set()
        self._waker.wake()
        if self._thread.is_alive():
            self._thread.join()
        self._waker.close()

    def _run(self) -> None:
        poll = select.poll()
        poll.register(self._waker, select.POLLIN)
        is_watched = False
        seen = 0
        while not self._closing.is_set():
            if self._lent_until > time.monotonic():
                is_quiet, seen = self._served == seen, self._served
                self._closing.wait(_QUIET_S if is_quiet else _LENT_S)
                continue
            if is_watched != self._has_room:
                is_watched = self._has_room
                if is_watched:
                    poll.register(self._fileno, select.POLLIN)
                else:
                    poll.unregister(self._fileno)
            self._is_waiting = True
            # Else it was lent just now, by somebody who saw nobody to wake.
            if self._lent_until <= time.monotonic():
                poll.poll(int(self.tick_s * 1000))
            self._is_waiting = False
            self._waker.drain()
            with self._lock:
                if self._lent_until <= time.monotonic() and not self._closing.is_set():
                    self._has_room = self._serve()
