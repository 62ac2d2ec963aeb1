"""An HTTP listener on a thread of its own, which holds whoever connects to bounds.

aiohttp speaks HTTP and WebSockets; it knows no bound of connections, of handshakes that never end, or of bytes that wait in all
connections together. These are kept here, as `flowedge.sources.connections` keeps them for bare TCP: where all places are
taken, the oldest connection that never gave anything makes room for the next; where unfinished bodies hold too much, the one
that holds most is closed.
"""

import asyncio
import contextlib
import errno
import logging
import socket
import ssl
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any, cast

from aiohttp import web

from flowedge.links.loop import LoopThread

_UNFINISHED = 256 << 20
"""Bytes of bodies and messages that are not whole yet, of all connections together."""
_HANDSHAKE_S = 10.0
_FAREWELL_S = 1.0
_ACCEPTS = 16
_TICK_S = 0.25
_LINGER_S = 1.0
"""So long the rest of a body that is not wanted is read, so that its sender gets to read the answer."""
_NO_PLACE = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_KEEPALIVE = ((socket.TCP_KEEPIDLE, 60), (socket.TCP_KEEPINTVL, 20), (socket.TCP_KEEPCNT, 3))
_SILENT = logging.getLogger("flowedge.http")
"""What strangers do is counted, and not logged."""
_SILENT.addHandler(logging.NullHandler())
_SILENT.propagate = False


@dataclass(frozen=True)
class Bounds:
    """What connections are held to.

    Attributes
    ----------
    connections : at a time, those that have not agreed on TLS yet among them
    patience_s : a request or a message that is not whole after so long is given up [s]
    unfinished_bytes : of bodies and messages that are not whole, together
    """

    connections: int
    patience_s: float
    unfinished_bytes: int = _UNFINISHED


class Connection(web.RequestHandler):
    """One peer.

    Attributes
    ----------
    held : bytes that came since the last thing that was whole
    since : when the first of them came [s]
    rests : it waits for the run, and its silence is ours
    """

    def __init__(self, manager: web.Server, owner: "HttpServer", **given: Any) -> None:  # noqa: ANN401
        super().__init__(manager, **given)
        self._owner = owner
        self.held = 0
        self.since = 0.0
        self.rests = False
        self._line: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is open."""
        super().connection_made(transport)
        self._line = cast(
            "asyncio.Transport", transport
        )  # aiohttp forgets its own while answers are still on the way
        self._owner.opened(self)

    def connection_lost(self, exc: BaseException | None) -> None:
        """It is over."""
        self._owner.ended(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Bytes have come."""
        if data:
            self._owner.hold(self, len(data))
        super().data_received(data)

    def is_whole(self) -> None:
        """A request or a message has come to its end."""
        self._owner.whole(self)

    @contextlib.contextmanager
    def resting(self) -> Iterator[None]:
        """Its silence is ours: it waits for the run."""
        self.rests = True
        try:
            yield
        finally:
            self.rests = False
            self.since = self._loop.time()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """What is no HTTP is answered as all else is."""
        del request
        self._owner.counts["broken" if status < 500 else "failed"] += 1
        self.keep_alive(False)
        why = message or (str(exc) if status < 500 and exc is not None else "this failed")
        return web.json_response({"error": " ".join(why.split())[:200]}, status=status)

    def abort(self) -> None:
        """End it now."""
        if self._line is not None:
            self._line.abort()


class HttpServer:
    """The thread, and all that it holds open.

    Parameters
    ----------
    sock : listens
    handle : answers a request
    bounds : what connections are held to
    tls : None for none

    Attributes
    ----------
    counts : connections and what became of them, by name
    """

    def __init__(
        self,
        sock: socket.socket,
        handle: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
        bounds: Bounds,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.counts: Counter[str] = Counter()
        self.bounds = bounds
        self._sock, self._handle, self._tls = sock, handle, tls
        self._thread = LoopThread("flowedge-http", self._trouble)
        self._connections: dict[Connection, None] = {}
        self._fresh: dict[Connection, None] = {}
        """Those that have given nothing whole yet, the oldest first."""
        self._opening: dict[asyncio.Task[None], socket.socket] = {}
        self._held = 0
        self._server: web.Server | None = None
        self._is_closed = False

    def start(self) -> None:
        """Begin to listen."""
        self._thread.start()
        self._thread.run(self._begin(), _HANDSHAKE_S)

    def call(self, work: Callable[..., object], *args: Any) -> None:  # noqa: ANN401
        """Let the thread call something soon."""
        self._thread.call(work, *args)

    def close(self) -> None:
        """Close all, and end the thread; answers that are given get out."""
        if self._is_closed:
            return
        self._is_closed = True
        if self._server is not None:
            self._thread.run(self._end(), 2 * _FAREWELL_S)
        self._thread.close()
        self._sock.close()

    # ---- on the thread

    async def _begin(self) -> None:
        self._server = web.Server(self._handle)
        self._listen()
        self._thread.loop.call_later(_TICK_S, self._look)

    def _listen(self) -> None:
        if not self._is_closed:
            self._thread.loop.add_reader(self._sock, self._accept)

    def _accept(self) -> None:
        for _ in range(_ACCEPTS):
            if self._tls is None and self._is_full and not self._fresh and self._opening:
                return  # those that are being opened are the next to make room
            try:
                sock, _address = self._sock.accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                if error.errno in _NO_PLACE:  # it would be told of again at once
                    self.counts["no_place"] += 1
                    self._thread.loop.remove_reader(self._sock)
                    self._thread.loop.call_later(_TICK_S, self._listen)
                    return
                continue  # gone before it was taken
            self.counts["connects"] += 1
            if self._is_full and not self._make_room():
                self.counts["turned_away"] += 1
                sock.close()
                continue
            task = self._thread.loop.create_task(self._open(sock))
            self._opening[task] = sock
            task.add_done_callback(self._has_opened)

    @property
    def _is_full(self) -> bool:
        opening = sum(map(_is_under_way, self._opening))
        return len(self._connections) + opening >= self.bounds.connections

    def _has_opened(self, task: asyncio.Task[None]) -> None:
        sock = self._opening.pop(task)
        if task.cancelled():
            sock.close()

    def _make_room(self) -> bool:
        one = next(iter(self._fresh), None)
        task = next(filter(_is_under_way, self._opening), None)
        if one is not None:
            self._forget(one)
            one.abort()
        elif task is not None:
            task.cancel()
        else:
            return False
        self.counts["crowded_out"] += 1
        return True

    async def _open(self, sock: socket.socket) -> None:
        try:
            sock.setblocking(False)
            unread_ms = int(self.bounds.patience_s * 1000)
            for option, value in (*_KEEPALIVE, (socket.TCP_USER_TIMEOUT, unread_ms)):
                sock.setsockopt(socket.IPPROTO_TCP, option, value)
            more = {} if self._tls is None else {"ssl_handshake_timeout": _HANDSHAKE_S}
            await self._thread.loop.connect_accepted_socket(
                self._connection, sock, ssl=self._tls, **more
            )
        except (OSError, TimeoutError):
            self.counts["broken" if self._tls is None else "tls_failed"] += 1
            sock.close()

    def _connection(self) -> Connection:
        assert self._server is not None
        return Connection(
            self._server, self, loop=self._thread.loop, keepalive_timeout=self.bounds.patience_s, logger=_SILENT,
            access_log=None, auto_decompress=False, lingering_time=_LINGER_S,
        )  # fmt: skip

    async def _end(self) -> None:
        self._thread.loop.remove_reader(self._sock)
        for task in self._opening:
            task.cancel()
        assert self._server is not None
        self._server.pre_shutdown()
        await self._server.shutdown(_FAREWELL_S)
        for one in list(self._connections):  # whoever does not read its answer
            one.abort()
        await asyncio.sleep(0)

    def _trouble(self) -> None:
        self.counts["failed"] += 1

    def _look(self) -> None:
        """Give up messages that do not come to their end; requests have a time of their own."""
        now = self._thread.loop.time()
        late = [
            one
            for one in self._connections
            if one.held
            and not one.rests
            and now - one.since >= self.bounds.patience_s + 2 * _TICK_S
        ]
        for one in late:
            self.counts["silent"] += 1
            self._forget(one)
            one.abort()
        self._thread.loop.call_later(_TICK_S, self._look)

    # ---- what connections tell

    def opened(self, one: Connection) -> None:
        """A connection is open."""
        self._connections[one] = self._fresh[one] = None

    def ended(self, one: Connection) -> None:
        """A connection is over."""
        if one in self._fresh:
            self.counts["empty"] += 1
        self._forget(one)

    def _forget(self, one: Connection) -> None:
        self._connections.pop(one, None)
        self._fresh.pop(one, None)
        self._held -= one.held
        one.held = 0

    def hold(self, one: Connection, size: int) -> None:
        """Bytes more are kept for what is not whole yet."""
        if one not in self._connections:
            return
        if not one.held:
            one.since = self._thread.loop.time()
        one.held += size
        self._held += size
        if self._held > self.bounds.unfinished_bytes:
            most = max(self._connections, key=lambda c: c.held)
            self.counts["over_memory"] += 1
            self._forget(most)
            most.abort()

    def whole(self, one: Connection) -> None:
        """What a connection has sent so far is whole."""
        self._fresh.pop(one, None)
        self._held -= one.held
        one.held = 0


def _is_under_way(task: asyncio.Task[None]) -> bool:
    return not task.done() and not task.cancelling()


__all__ = ["Bounds", "Connection", "HttpServer"]
