"""Bytes of a pipe or a connection as a file for PyAV, whose reading ends when the source closes."""

import contextlib
import os
import select
import socket
import stat
import threading
import time
from collections.abc import Callable, Iterator

from flowedge.links.address import Address

_TICK_S = 0.1


class Feed:
    """Something to read from; reading gives nothing at its end, when `closing` is set, and after `patience_s` of silence.

    Parameters
    ----------
    fileno : what is read, without blocking
    close : gives it back
    ends : an empty read is the end; otherwise whoever writes may come yet
    """

    def __init__(
        self,
        fileno: int,
        close: Callable[[], None],
        closing: threading.Event,
        patience_s: float,
        *,
        ends: bool = True,
    ) -> None:
        self._fileno, self.close, self._closing, self._patience_s = (
            fileno,
            close,
            closing,
            patience_s,
        )
        self._has_begun = ends

    def read(self, size: int) -> bytes:
        """Up to so many bytes, once there are some; raises OSError."""
        until = time.monotonic() + self._patience_s
        poll = select.poll()
        poll.register(self._fileno, select.POLLIN)
        while not self._closing.is_set() and time.monotonic() < until:
            if not poll.poll(_TICK_S * 1000):
                continue
            with contextlib.suppress(BlockingIOError):
                data = os.read(self._fileno, size)
                if data or self._has_begun:
                    self._has_begun = True
                    return data
            self._closing.wait(_TICK_S)
        return b""


def of_pipe(path: str, closing: threading.Event, patience_s: float) -> Feed:
    """A named pipe, whether or not somebody writes into it yet; raises OSError."""
    fileno = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISFIFO(os.fstat(fileno).st_mode):
        os.close(fileno)
        raise OSError(f"{path} is no pipe")
    return Feed(fileno, lambda: os.close(fileno), closing, patience_s, ends=False)


def of_socket(peer: Address, closing: threading.Event, patience_s: float) -> Feed:
    """A connection to somebody who listens; raises OSError."""
    found = socket.create_connection((peer.host, peer.port), patience_s)
    found.setblocking(False)
    return Feed(found.fileno(), found.close, closing, patience_s)


@contextlib.contextmanager
def closed(feed: Feed | None) -> Iterator[None]:
    """Closes a feed behind its use."""
    try:
        yield
    finally:
        if feed is not None:
            feed.close()
