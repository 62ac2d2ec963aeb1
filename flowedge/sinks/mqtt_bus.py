"""How sinks publish to an MQTT broker."""

import secrets
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from flowedge.lang.errors import SinkError
from flowedge.links.address import Address
from flowedge.links.login import LOGIN, login_of
from flowedge.links.mqtt import PORTS, Link, Outgoing
from flowedge.sinks.publishing import Bus, Line, Message
from flowedge.sinks.remote import Guarantee
from flowedge.types.connectors import Option

_KEEPALIVE_S = 10
_OVERHEAD = 16
"""Bytes of a packet besides topic and payload."""
_FOR_EVER = frozenset({0x87, 0x90, 0x95, 0x99})
"""Refusals of a message that it would meet again: not authorized, its topic, its size, its payload (MQTT 5, table 3-4)."""


class MqttBus(Bus):
    """Of QoS 1 and 2 the broker acknowledges each message; those of QoS 0 are safe when they are written to the socket.

    What both sides knew of a message of QoS 2 ends with the connection.
    """

    word = "MQTT"
    extra = "mqtt"
    library = "paho-mqtt"
    ports: ClassVar[Mapping[str, int]] = PORTS
    options = (
        Option("qos", "integer", 1, "0: at most once, 1 and 2: at least once"),
        Option("retain", "flag", default=False, doc="the broker keeps the last message of each topic for whoever subscribes later"),
        Option("client_id", "text", "", "name of the client; one of its own for each run"),
        *LOGIN,
    )  # fmt: skip

    def __init__(self, name: str, peer: Address, given: Mapping[str, Any]) -> None:
        super().__init__(name, peer, given)
        if given["qos"] not in (0, 1, 2):
            raise SinkError(f"`{name}` knows qos 0, 1 and 2, not {given['qos']}")
        self._client_id = given["client_id"] or f"flowedge-{secrets.token_hex(6)}"
        self._link: Link | None = None

    @classmethod
    def promises(cls, options: Mapping[str, Any]) -> Guarantee:
        """By the quality of service."""
        return "at most once" if options.get("qos", 1) == 0 else "at least once"

    def line(
        self, on_change: Callable[[], None], on_published: Callable[[int, int, str], None]
    ) -> Line:
        """A new connection; raises SecretError, ValueError, ImportError."""
        login = login_of(self.given, self.peer, self._client_id, keepalive_s=_KEEPALIVE_S)
        self._link = Link(
            self.peer, login, on_change=on_change, on_published=on_published, comes_back=False
        )
        return self._link

    def see(self) -> None:
        """See that the broker knows the quality of service, and keeps messages if it has to; raises SinkError."""
        assert self._link is not None
        allowed = self._link.allowed
        if allowed.qos < self.given["qos"]:
            raise SinkError(f"`{self.name}` {self.peer}: the broker knows qos {allowed.qos} at most")  # fmt: skip
        if self.given["retain"] and not allowed.retain:
            raise SinkError(f"`{self.name}` {self.peer}: the broker keeps no messages; leave `retain` away")  # fmt: skip

    @property
    def most_bytes(self) -> int:
        """Of topic and payload together."""
        most = self._link.allowed.packet_bytes if self._link is not None else 0
        return max(1, most - _OVERHEAD) if most else 0

    def outgoing(self, number: int, message: Message, mark: str) -> Outgoing:
        """With the quality of service."""
        del mark
        return Outgoing(number, message.topic, message.payload, self.given["qos"], self.given["retain"])  # fmt: skip

    def is_final(self, code: int) -> bool:
        """By the reason of MQTT 5."""
        return code in _FOR_EVER


__all__ = ["MqttBus"]
