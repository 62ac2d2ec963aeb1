"""Rows over TCP."""

import socket
from collections.abc import Callable
from functools import partial
from typing import Any

from flowedge.lang.errors import SinkError
from flowedge.links.address import parse
from flowedge.links.sockets import dialled, listening
from flowedge.links.tls import context, server_context
from flowedge.links.wire import Wire
from flowedge.sinks.contract import connector
from flowedge.sinks.streams import STREAMING, Streaming
from flowedge.types.connectors import Option, Signature


@connector("tcp")
class Tcp(Streaming):
    """Send rows over TCP: ``tcp("tcp://host:9000")`` makes a stream of Arrow IPC.

    It connects to a receiver, again and again; with ``mode=listen`` a receiver connects to it, one at a time. ``framing="msgpack"``,
    ``"lines"`` (JSON) and ``"length"`` (unsigned, 32 bits, big-endian, before each payload) are read by the source ``tcp`` as well. Nobody acknowledges
    over plain TCP: rows that wait are kept, those that were sent as a connection broke may be lost.

    Raises
    ------
    SinkError : the address cannot be listened at
    """

    options = Signature((
        *STREAMING,
        Option("tls", "flag", default=False, doc="encrypted"),
        Option("cert", "text", "", "PEM file of this side's certificate"),
        Option("key", "text", "", "PEM file of its key"),
        Option("ca", "text", "", "PEM file of the authorities whose receivers are let in, or whose receiver is trusted"),
    ))  # fmt: skip

    def __init__(self, address: str = "", **given: Any) -> None:  # noqa: ANN401
        super().__init__(address, **given)
        try:
            self._address = parse(address, {"tcp": 0})
            if not self._address.port or self._address.path or self._address.user:
                raise ValueError(f"`{address}` is not a host and a port: `tcp://host:9000`")
            if not self.given["tls"] and any(self.given[name] for name in ("cert", "key", "ca")):
                raise ValueError("`cert`, `key` and `ca` want `tls=true`")
        except ValueError as error:
            raise SinkError(f"`tcp`: {error}") from None

    def wire(self) -> Wire:
        """With TLS as the options say; raises ValueError."""
        given = self.given
        if not given["tls"]:
            return Wire()
        if given["mode"] == "listen":
            return Wire(server_context(given["cert"], given["key"], given["ca"]))
        return Wire(context(given["ca"], given["cert"], given["key"]), self._address.host)

    def listener(self) -> socket.socket:
        """Accepts at the address; raises ValueError."""
        return listening(self._address)

    def dialler(self) -> Callable[[], socket.socket]:
        """Connects to the address."""
        return partial(dialled, self._address)


__all__ = ["Tcp"]
