"""A connection that one thread writes to: it waits no longer than it may, and can be called away."""

import contextlib
import os
import select
import socket
import ssl
import time
from collections.abc import Callable

from flowedge.links.waker import Waker

_BLOCK = 1 << 18
_CONNECT_S = 10.0
_GOODBYE_S = 2.0
_NOT_YET = (BlockingIOError, InterruptedError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class Broken(Exception):  # noqa: N818  # it is what happened
    """The connection is lost, or never was.

    Parameters
    ----------
    sent : bytes of what was to be sent that the system has taken
    """

    def __init__(self, message: str, sent: int = 0) -> None:
        super().__init__(message)
        self.sent = sent


class Wire:
    """At most one connection, made or accepted; all calls come from one thread, but for `interrupt`.

    Parameters
    ----------
    tls : None for none
    host : the name that a server's certificate must have
    """

    def __init__(self, tls: ssl.SSLContext | None = None, host: str = "") -> None:
        self._tls, self._host = tls, host
        self._sock: socket.socket | None = None
        self._poll: select.poll | None = None
        self._waker = Waker()
        self._is_interrupted = False

    @property
    def is_there(self) -> bool:
        """Whether there is a connection, as far as is known."""
        return self._sock is not None

    def dial(self, begin: Callable[[], socket.socket]) -> None:
        """Connect; `begin` does without waiting. Raises Broken."""
        end = time.monotonic() + _CONNECT_S
        try:
            sock = self._sock = begin()
            self._wait(sock, select.POLLOUT, end)
            problem = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if problem:
                raise Broken(os.strerror(problem))
            self._agree(sock, end, is_server=False)
        except (OSError, Broken) as error:
            self.drop()
            raise Broken(_clause(error)) from None

    def accept(self, listener: socket.socket, most_s: float) -> None:
        """Wait for somebody to connect, so long at most; raises Broken."""
        end = time.monotonic() + most_s
        try:
            while True:
                with contextlib.suppress(*_NOT_YET):
                    sock, _ = listener.accept()
                    break
                self._wait(listener, select.POLLIN, end, "nobody has connected")
            sock.setblocking(False)
            self._sock = sock
            self._agree(sock, time.monotonic() + _CONNECT_S, is_server=True)
        except (OSError, Broken) as error:
            self.drop()
            raise Broken(_clause(error)) from None

    def send(self, data: bytes | memoryview, patience_s: float) -> None:
        """Hand bytes to the system.

        Parameters
        ----------
        patience_s : so long it may take none

        Raises
        ------
        Broken : the connection is lost, nothing was taken for too long, or the thread was called away
        """
        sock = self._sock
        if sock is None:
            raise Broken("there is no connection")
        view = memoryview(data).cast("B")
        sent = 0
        end = time.monotonic() + patience_s
        try:
            while sent < len(view):
                wanted = select.POLLOUT
                try:
                    sent += sock.send(view[sent : sent + _BLOCK])
                    end = time.monotonic() + patience_s
                    continue
                except ssl.SSLWantReadError:
                    wanted = select.POLLIN
                except (BlockingIOError, InterruptedError, ssl.SSLWantWriteError):
                    pass
                self._wait(sock, wanted, end, f"it has taken nothing for {patience_s:g} s")
        except (OSError, Broken) as error:
            self.drop()
            raise Broken(_clause(error), sent) from None

    @property
    def has_room(self) -> bool:
        """Whether a few kilobytes can be sent without waiting: a third of the system's buffer is free then. Not told with TLS."""
        return self._tls is None and bool(self._ready() & select.POLLOUT)

    @property
    def has_ended(self) -> bool:
        """Whether the other side has closed it; what it says is thrown away."""
        sock = self._sock
        if sock is None:
            return True
        if self._tls is None and not self._ready() & ~select.POLLOUT:
            return False
        try:
            while sock.recv(_BLOCK):
                pass
        except _NOT_YET:
            return False
        except OSError:
            pass
        return True

    def _ready(self) -> int:
        """What the connection is ready for, or has met with, as `poll` tells it; 0: nothing, or there is none."""
        sock = self._sock
        if sock is None:
            return 0
        if self._poll is None:
            self._poll = select.poll()
            self._poll.register(sock, select.POLLIN | select.POLLOUT)
        found = self._poll.poll(0)
        return found[0][1] if found else 0

    def close(self) -> None:
        """Say goodbye: all that was sent gets there, if the other side reads it soon."""
        sock = self._sock
        if sock is None:
            return
        end = time.monotonic() + _GOODBYE_S
        with contextlib.suppress(OSError, Broken):
            if isinstance(sock, ssl.SSLSocket):
                with contextlib.suppress(*_NOT_YET):
                    sock.unwrap()
            sock.shutdown(socket.SHUT_WR)
            while not self.has_ended:  # with bytes unread, its close would reset what is on the way
                self._wait(sock, select.POLLIN, end)
        self.drop()

    def drop(self) -> None:
        """Let go of the connection."""
        sock, self._sock, self._poll = self._sock, None, None
        if sock is not None:
            sock.close()

    def interrupt(self) -> None:
        """Let what is under way end by `Broken`; from any thread."""
        self._is_interrupted = True
        self._waker.wake()

    def go_on(self) -> None:
        """Forget that it was interrupted."""
        self._is_interrupted = False
        self._waker.drain()

    def end(self) -> None:
        """Nobody will connect again."""
        self.drop()
        self._waker.close()

    def _agree(self, sock: socket.socket, end: float, *, is_server: bool) -> None:
        """Agree on TLS; raises OSError, Broken."""
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if self._tls is None:
            return
        wrapped = self._sock = self._tls.wrap_socket(
            sock, server_side=is_server, do_handshake_on_connect=False,
            server_hostname=None if is_server else self._host,
        )  # fmt: skip
        while True:
            try:
                wrapped.do_handshake()
            except ssl.SSLWantReadError:
                self._wait(wrapped, select.POLLIN, end)
            except ssl.SSLWantWriteError:
                self._wait(wrapped, select.POLLOUT, end)
            else:
                return

    def _wait(
        self, sock: socket.socket, events: int, end: float, late: str = "it does not answer"
    ) -> None:
        """Wait for a socket; raises Broken."""
        poll = select.poll()
        poll.register(sock, events)
        poll.register(self._waker, select.POLLIN)
        left = end - time.monotonic()
        found = poll.poll(max(0, int(left * 1000) + 1)) if left > 0 else []
        if self._is_interrupted:
            raise Broken("interrupted")
        if not found:
            raise Broken(late)


def _clause(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return str(error.reason or error).replace("_", " ").lower()
    if isinstance(error, OSError) and error.errno and not isinstance(error, socket.gaierror):
        return os.strerror(error.errno)
    return str(error) or type(error).__name__


__all__ = ["Broken", "Wire"]
