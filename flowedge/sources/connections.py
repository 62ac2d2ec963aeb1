"""Many connections on one thread: accepted or made, read as far as there is room, closed where they are no use.

What strangers can ask for is bounded: connections, bytes of an unfinished payload, of all unfinished ones together, and of what
waits for the run. A connection that gives nothing whole for long is closed; where all places are taken, that which
has never given anything makes room for the next, the oldest first.
"""

import errno
import os
import selectors
import socket
import ssl
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from flowedge.links.backoff import Backoff
from flowedge.links.turns import Turns
from flowedge.sources.framing import Framer, FramingError, Payload
from flowedge.sources.inbox import Inbox
from flowedge.sources.live import Wall

MOST_UNFINISHED = 256 << 20
"""Bytes of payloads that are not whole yet, of all connections together."""
_BLOCK = 1 << 18
_READS = 8
"""Blocks read of one connection before the others have their turn."""
_ACCEPTS = 64
_TICK_S = 0.5
_DIAL_TICK_S = 0.05
_CONNECT_S = 10.0
_OVERHEAD = 120
"""Bytes of a payload besides what it holds."""
_NO_PLACE = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_NOT_YET = (BlockingIOError, InterruptedError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


@dataclass(slots=True, eq=False)
class Connection:
    """One peer.

    Attributes
    ----------
    peer : who it is, as text
    heard : when it last gave something whole [s]
    has_given : it has given something whole
    partition : its name in the run, which gives it when it takes the first rows
    """

    sock: socket.socket
    peer: str
    framer: Framer
    heard: float
    is_open: bool = False
    """Connected, and TLS agreed on."""
    has_given: bool = False
    partition: str = ""
    counted: int = 0
    """What it holds of `Connections`' bytes that are not whole."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """What came of a connection at once.

    Attributes
    ----------
    received_ns : when [ns since 1970, UTC]
    ends : the connection is over
    """

    connection: Connection
    payloads: Sequence[Payload]
    received_ns: int
    ends: bool = False


@dataclass(frozen=True)
class Terms:
    """What connections are held to.

    Attributes
    ----------
    most : connections at a time
    patience_s : a connection that gives nothing whole for so long is closed [s]
    framer : makes the framing of a new one
    tls : an `ssl.SSLContext`; None: unencrypted
    host : the name that a server's certificate must have
    """

    most: int
    patience_s: float
    framer: Callable[[], Framer]
    tls: ssl.SSLContext | None = None
    host: str = ""


@dataclass
class Connections:
    """The thread, and all that it holds open.

    Parameters
    ----------
    terms : what connections are held to
    inbox : where what came waits
    wall : the time of day
    listener : where they come from; None: `dial` makes one, again and again
    dial : begins to connect without waiting; gives the socket and who the peer is

    Attributes
    ----------
    counts : connections and what became of them, by name
    """

    terms: Terms
    inbox: Inbox[Chunk]
    wall: Wall
    listener: socket.socket | None = None
    dial: Callable[[], tuple[socket.socket, str]] | None = None
    counts: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:  # noqa: D105
        self._all: dict[Connection, None] = {}
        self._fresh: dict[Connection, None] = {}
        """Those that have given nothing yet, the oldest first."""
        self._unfinished = 0
        self._select = selectors.DefaultSelector()
        self._block = memoryview(bytearray(_BLOCK))
        self._accepts_from = 0.0
        self._dials_from = 0.0
        self._looks_from = 0.0
        self._full_since = 0.0
        self._is_closed = False
        self._waits = Backoff()
        if self.listener is not None:
            self._select.register(self.listener, selectors.EVENT_READ)
        self.turns = Turns(
            self._select.fileno(), self._work, "flowedge-connections",
            _TICK_S if self.listener is not None else _DIAL_TICK_S,
        )  # fmt: skip

    def start(self) -> None:
        """Begin to listen, or to connect."""
        self.turns.start()

    def wake(self) -> None:
        """There may be room again."""
        self.turns.wake()

    def close(self) -> None:
        """Close all, and end the thread."""
        if self._is_closed:
            return
        self._is_closed = True
        self.turns.close()
        for one in list(self._all):
            one.sock.close()
        if self.listener is not None:
            self.listener.close()
        self._select.close()

    # ---- on the thread, or on that of the run

    def _work(self) -> bool:
        """Do what there is to do now; whether there is room for more."""
        now = time.monotonic()
        if not self.inbox.has_room:  # peers, and those who would connect, wait as well
            self._full_since = self._full_since or now
            return False
        if self._full_since:
            for one in self._all:  # their silence was ours
                one.heard += now - self._full_since
            self._full_since = 0.0
        if now >= self._looks_from:
            self._look(now)
            self._looks_from = now + self.turns.tick_s
        for key, _ in self._select.select(0):
            if key.fileobj is self.listener:
                self._accept()
            elif key.data in self._all:
                self._serve(key.data)
            if not self.inbox.has_room:
                break
        return self.inbox.has_room

    @property
    def is_cut_off(self) -> bool:
        """Whether this side connects, has tried, and has no connection now."""
        has_tried = self.counts["connects"] or self.counts["failed"]
        return (
            self.dial is not None
            and bool(has_tried)
            and not any(one.is_open for one in tuple(self._all))
        )

    def _look(self, now: float) -> None:
        """What time alone brings: the impatient end, listeners that rest, connections to be made."""
        for one in list(self._all):
            limit = self.terms.patience_s if one.is_open else min(_CONNECT_S, self.terms.patience_s)
            if now - one.heard >= limit:
                self._end(one, "silent")
        if self.listener is not None and self._accepts_from and now >= self._accepts_from:
            self._accepts_from = 0.0
            self._select.register(self.listener, selectors.EVENT_READ)
        if self.dial is not None and not self._all and now >= self._dials_from:
            self._dials_from = now + self._waits.next_s()
            try:
                self._add(*self.dial(), now)
            except (OSError, ValueError):
                self.counts["failed"] += 1

    def _accept(self) -> None:
        assert self.listener is not None
        now = time.monotonic()
        for _ in range(_ACCEPTS):
            try:
                sock, address = self.listener.accept()
            except _NOT_YET:
                return
            except OSError as error:
                if error.errno in _NO_PLACE:  # it would be told of again at once
                    self.counts["no_place"] += 1
                    self._select.unregister(self.listener)
                    self._accepts_from = now + _TICK_S
                    return
                continue  # gone before it was taken
            self.counts["connects"] += 1
            if len(self._all) >= self.terms.most and not self._make_room():
                self.counts["turned_away"] += 1
                sock.close()
                continue
            try:
                self._add(sock, peer_name(sock, address), now)
            except (OSError, ValueError):
                self.counts["failed"] += 1
                sock.close()

    def _make_room(self) -> bool:
        for one in self._fresh:
            self._end(one, "crowded_out")
            return True
        return False

    def _add(self, sock: socket.socket, peer: str, now: float) -> None:
        sock.setblocking(False)
        is_server = self.listener is not None
        tls = self.terms.tls
        if tls is not None and is_server:
            sock = tls.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
        is_open = is_server and tls is None
        one = Connection(sock, peer, self.terms.framer(), now, is_open)
        self._all[one] = self._fresh[one] = None
        self._select.register(
            sock, selectors.EVENT_READ if is_server else selectors.EVENT_WRITE, one
        )

    # ---- one connection

    def _serve(self, one: Connection) -> None:
        try:
            if not one.is_open and not self._opens(one):
                return
            reads = 0
            while self._read(one):
                reads += 1
                if reads >= _READS and not _pending(one.sock):
                    return
        except _NOT_YET:
            return
        except FramingError as error:
            self._give(one, error.payloads)
            self._end(one, error.count)
        except ssl.SSLError:
            self._end(one, "tls_failed" if not one.is_open else "broken")
        except OSError:
            self._end(one, "broken" if one.is_open else "failed")

    def _opens(self, one: Connection) -> bool:
        """Whether it is connected, and TLS agreed on; raises OSError."""
        sock, tls = one.sock, self.terms.tls
        if self.listener is None and not isinstance(sock, ssl.SSLSocket):
            problem = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if problem:
                raise OSError(problem, os.strerror(problem))
            if tls is not None:
                self._select.unregister(sock)
                sock = one.sock = tls.wrap_socket(
                    sock, do_handshake_on_connect=False, server_hostname=self.terms.host
                )
                self._select.register(sock, selectors.EVENT_READ, one)
        if isinstance(sock, ssl.SSLSocket):
            try:
                sock.do_handshake()
            except ssl.SSLWantReadError:
                self._select.modify(sock, selectors.EVENT_READ, one)
                return False
            except ssl.SSLWantWriteError:
                self._select.modify(sock, selectors.EVENT_WRITE, one)
                return False
        self._select.modify(sock, selectors.EVENT_READ, one)
        one.is_open = True
        if self.listener is None:
            self.counts["connects"] += 1
            self._waits.reset()
        return True

    def _read(self, one: Connection) -> bool:
        """Read once; whether there may be more. Raises OSError, FramingError."""
        framer = one.framer
        room = framer.room()
        size = one.sock.recv_into(self._block if room is None else room)
        if not size:
            self._give(one, framer.end())
            self._end(one, "")
            return False
        try:
            payloads = framer.feed(self._block[:size]) if room is None else framer.filled(size)
        finally:
            self._unfinished += framer.held - one.counted
            one.counted = framer.held
        self._give(one, payloads)
        if self._unfinished > MOST_UNFINISHED:
            self._end(max(self._all, key=lambda c: c.counted), "over_memory")
            if one not in self._all:
                return False
        if isinstance(one.sock, ssl.SSLSocket):
            return self.inbox.has_room or _pending(one.sock) > 0
        return self.inbox.has_room and size == (_BLOCK if room is None else len(room))

    def _give(self, one: Connection, payloads: Sequence[Payload]) -> None:
        if not payloads:
            return
        one.heard = time.monotonic()
        one.has_given = True
        self._fresh.pop(one, None)
        self.inbox.put(Chunk(one, payloads, self.wall()), sum(map(_size, payloads)))

    def _end(self, one: Connection, why: str) -> None:
        """Close a connection, and count why unless it was its own will."""
        if why:
            self.counts[why] += 1
        self._unfinished -= one.counted
        if self.dial is not None:
            self._dials_from = time.monotonic() + self._waits.next_s()
        del self._all[one]
        self._fresh.pop(one, None)
        self._select.unregister(one.sock)
        one.sock.close()
        if one.has_given:
            self.inbox.put(Chunk(one, (), self.wall(), ends=True), _OVERHEAD)


def peer_name(sock: socket.socket, address: object) -> str:
    """Who is at the other end: host and port, or the process of this machine."""
    if sock.family == socket.AF_UNIX:
        told = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        return f"pid {int.from_bytes(told[:4], 'little', signed=True)}"
    assert isinstance(address, tuple)
    host = str(address[0])
    return f"[{host}]:{address[1]}" if ":" in host else f"{host}:{address[1]}"


def _pending(sock: socket.socket) -> int:
    """Bytes that are decrypted, and of which no selector tells."""
    return sock.pending() if isinstance(sock, ssl.SSLSocket) else 0


def _size(payload: Payload) -> int:
    return _OVERHEAD + (len(payload) if isinstance(payload, bytes) else payload.nbytes)
