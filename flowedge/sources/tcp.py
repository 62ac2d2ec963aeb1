"""Payloads that come over TCP connections."""

import socket
from abc import abstractmethod
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from flowedge.lang.errors import SourceError
from flowedge.links.address import Address, parse
from flowedge.links.sockets import dialled, listening
from flowedge.links.tls import context, server_context
from flowedge.links.turns import Turns
from flowedge.sources.byte_streams import FRAMING, PATIENCE, ByteStreams
from flowedge.sources.connections import Connections, Terms
from flowedge.sources.contract import connector
from flowedge.sources.live import Arrival, Shell
from flowedge.sources.messages import FORMAT
from flowedge.types.connectors import Option, Signature

MODE = Option(
    "mode",
    "text",
    "listen",
    "`listen` for devices that connect, or `connect` to one that listens",
    choices=("listen", "connect"),
)
MOST = Option(
    "connections",
    "integer",
    1000,
    "at a time; more are closed, those first that never gave anything",
)


class Connected(ByteStreams):
    """A source of connections, made or accepted on one thread."""

    _connections: Connections | None = None

    def begin(self, shell: Shell, state: Mapping[str, Any] | None) -> None:
        """Start to listen, or to connect; raises SourceError."""
        given = self.given
        if given["connections"] < 1 or given["patience"] <= 0:
            raise SourceError(f"`{self.name}`: `connections` and `patience` are above 0")
        self.prepare(shell, state)
        listens = given["mode"] == "listen"
        try:
            tls, host = self.tls(listens=listens)
            terms = Terms(
                given["connections"], float(given["patience"]), self.new_framer, tls, host
            )
            found = Connections(
                terms, self._inbox, shell.wall, self.listener() if listens else None,
                None if listens else self.dialler(),
            )  # fmt: skip
        except ValueError as error:
            raise SourceError(f"`{self.name}`: {error}") from None
        self._connections = found
        found.start()

    def tls(self, *, listens: bool) -> tuple[Any, str]:
        """The context of TLS, None without it, and the name that a server has to show; raises ValueError."""
        del listens
        return None, ""

    @abstractmethod
    def listener(self) -> socket.socket:
        """What accepts; raises ValueError."""

    @abstractmethod
    def dialler(self) -> Callable[[], tuple[socket.socket, str]]:
        """What begins to connect."""

    def take(self) -> list[Arrival]:
        """The rows that have come; raises SourceError."""
        out = self.take_rows()
        if self._connections is not None:
            self._connections.wake()
        return out

    @property
    def turns(self) -> Turns | None:
        """Its connections."""
        return None if self._connections is None else self._connections.turns

    @property
    def away(self) -> str:
        """Whether there is no connection to a peer that is to be connected to."""
        is_cut_off = self._connections is not None and self._connections.is_cut_off
        return "not connected" if is_cut_off else ""

    def told(self) -> dict[str, int]:
        """Connections, and how many of them ended for which reason."""
        return {} if self._connections is None else dict(self._connections.counts)

    def close(self) -> None:
        """Close all connections."""
        if self._connections is not None:
            self._connections.close()


@connector("tcp")
class Tcp(Connected):
    """Take payloads of TCP connections: ``tcp("tcp://0.0.0.0:9000", framing=lines)``.

    Devices connect to this address; with ``mode=connect`` this connects to a device that listens, again and again. Each
    connection is a partition. Of a row there are the raw fields ``_peer`` (host and port of who sent it) and ``_received``, the time
    of the row where the source declares none.

    ``framing`` says where a payload ends: ``length`` (unsigned, 32 bits, big-endian, before each), ``msgpack`` (maps and lists, which
    say it themselves), ``lines`` (JSON, or CSV whose first line may hold names), ``arrow`` (a stream of Arrow IPC, whose batches are
    taken as they come). ``tls=true`` wants ``cert`` and ``key`` to listen; with ``ca``, devices have to show a certificate.
    Bytes that are nothing are counted, and the connection closed whose framing is lost. What a device sent that had not
    been read when a run was killed is gone: nobody acknowledges over plain TCP.
    """

    options = Signature((
        FRAMING,
        FORMAT,
        MODE,
        MOST,
        PATIENCE,
        Option("tls", "flag", default=False, doc="encrypted"),
        Option("cert", "text", "", "PEM file of this side's certificate"),
        Option("key", "text", "", "PEM file of its key"),
        Option("ca", "text", "", "PEM file of the authorities whose devices are let in, or whose device is trusted"),
    ))  # fmt: skip

    def __init__(self, address: str = "", **given: Any) -> None:  # noqa: ANN401
        super().__init__(address, **given)
        self._address = host_and_port("tcp", address)

    def tls(self, *, listens: bool) -> tuple[Any, str]:
        """As the options say; raises ValueError."""
        given = self.given
        if not given["tls"]:
            if any(given[name] for name in ("cert", "key", "ca")):
                raise ValueError("`cert`, `key` and `ca` want `tls=true`")
            return None, ""
        if listens:
            return server_context(given["cert"], given["key"], given["ca"]), ""
        return context(given["ca"], given["cert"], given["key"]), self._address.host

    def listener(self) -> socket.socket:
        """Accepts at the address; raises ValueError."""
        return listening(self._address)

    def dialler(self) -> Callable[[], tuple[socket.socket, str]]:
        """Connects to the address."""
        host = f"[{self._address.host}]" if ":" in self._address.host else self._address.host
        name, dial = f"{host}:{self._address.port}", partial(dialled, self._address)
        return lambda: (dial(), name)


def host_and_port(scheme: str, text: str) -> Address:
    """An address with a port; raises SourceError."""
    try:
        found = parse(text, {scheme: 0})
        if found.port == 0:
            raise ValueError(f"`{text}` lacks its port; write `{scheme}://{found.host}:9000`")
        if found.path or found.user:
            raise ValueError(f"`{text}` has more than a host and a port")
    except ValueError as error:
        raise SourceError(f"`{scheme}`: {error}") from None
    return found
