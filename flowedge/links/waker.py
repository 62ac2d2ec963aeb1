"""Wakes a thread that waits for sockets."""

import contextlib
import socket


class Waker:
    """Two ends of a line: a thread waits for it among its sockets, and others wake it.

    It is woken once, however often that was asked for before it looked; after `close` nothing happens.
    """

    def __init__(self) -> None:
        self._out, self._in = socket.socketpair()
        self._out.setblocking(False)
        self._in.setblocking(False)

    def fileno(self) -> int:
        """What to wait for: it is readable once somebody has called `wake`."""
        return self._out.fileno()

    def wake(self) -> None:
        """Wake whoever waits; from any thread."""
        with contextlib.suppress(OSError):  # full: it will wake; closed: it is over
            self._in.send(b"x")

    def drain(self) -> None:
        """Forget all calls so far."""
        with contextlib.suppress(OSError):
            self._out.recv(4096)

    def close(self) -> None:
        """End the line."""
        self._out.close()
        self._in.close()
