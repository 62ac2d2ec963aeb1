"""What sinks have in common that publish to an MQTT broker: they wait until it has each message."""

import secrets
import threading
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pyarrow as pa

from flowedge.lang.errors import SecretError, SinkError
from flowedge.links.address import Address, parse
from flowedge.links.login import LOGIN, login_of
from flowedge.links.mqtt import PORTS, Link, Outgoing
from flowedge.sinks.remote import Guarantee, RemoteSink, Unreachable
from flowedge.types.connectors import Option

PUBLISHING = (
    Option("qos", "integer", 1, "0: at most once, 1 and 2: at least once"),
    Option("retain", "flag", default=False, doc="the broker keeps the last message of each topic for whoever subscribes later"),
    Option("client_id", "text", "", "name of the client; one of its own for each run"),
    *LOGIN,
)  # fmt: skip
"""Options of each of these sinks."""

_ANSWER_S = 15.0
"""So long a broker may say nothing while something is asked of it."""
_KEEPALIVE_S = 10
_OVERHEAD = 16
"""Bytes of a packet besides topic and payload."""
_FOR_EVER = frozenset({0x87, 0x90, 0x95, 0x99})
"""Refusals of a message that it would meet again: not authorized, its topic, its size, its payload (MQTT 5, table 3-4)."""


class Message(NamedTuple):
    """What is published; `row` is the first row of the batch that is in it."""

    topic: str
    payload: bytes
    row: int


class Publishing(RemoteSink):
    """A sink that publishes.

    A batch is safe when the broker has acknowledged all of its messages (QoS 1 and 2), or when they are written to the socket (QoS 0). A
    connection that is lost is not taken up again: what it had not acknowledged is published anew, in order, over the next one, so that a
    message may come twice and none is missing. Of QoS 2 this holds, too: what both sides knew of a message ends with the
    connection.

    A broker that says nothing for 15 s is taken to be away.
    """

    extra = "mqtt"
    most_rows: int = 4096

    def __init__(self, address: str = "", **given: Any) -> None:  # noqa: ANN401
        super().__init__(address, **given)
        if self.given["qos"] not in (0, 1, 2):
            raise SinkError(f"`{self.name}` knows qos 0, 1 and 2, not {self.given['qos']}")
        try:
            self._peer: Address = parse(address, PORTS)
        except ValueError as error:
            raise SinkError(f"`{self.name}`: {error}") from None
        self._client_id = self.given["client_id"] or f"flowedge-{secrets.token_hex(6)}"
        self._link: Link | None = None
        self._changed = threading.Condition()
        self._open: dict[int, int] = {}
        self._answers = 0
        self._refusal: tuple[int, str] = (0, "")
        self._is_interrupted = False

    @classmethod
    def promises(cls, options: Mapping[str, Any]) -> Guarantee:
        """By the quality of service."""
        return "at most once" if options.get("qos", 1) == 0 else "at least once"

    @abstractmethod
    def fits(self, schema: pa.Schema) -> None:
        """See that rows of this schema can be published; raises SinkError."""

    @abstractmethod
    def messages(self, batch: pa.RecordBatch, first: int, most_bytes: int) -> Sequence[Message]:
        """What is to be published of a batch, in order.

        Parameters
        ----------
        first : number of its first row in the stream
        most_bytes : of topic and payload together; 0: as many as there are

        Raises
        ------
        SinkError : a row that the broker will never take
        """

    def connect(self, schema: pa.Schema) -> None:
        """Be let in by the broker; raises SinkError, Unreachable."""
        self.disconnect()
        self.fits(schema)
        self._is_interrupted = False
        try:
            login = login_of(self.given, self._peer, self._client_id, keepalive_s=_KEEPALIVE_S)
            link = Link(
                self._peer, login, on_change=self._tell, on_published=self._has, comes_back=False
            )
        except (SecretError, ValueError) as error:
            raise SinkError(f"`{self.name}` {self._peer}: {error}") from None
        except ImportError:
            raise SinkError(
                f"`{self.name}` needs paho-mqtt; `pip install 'flowedge[mqtt]'`"
            ) from None
        self._link = link
        link.start()
        try:
            self._let_in(link)
        except (SinkError, Unreachable):
            self.disconnect()
            raise

    def _let_in(self, link: Link) -> None:
        with self._changed:
            self._changed.wait_for(
                lambda: link.is_up or link.is_over or self._is_interrupted, _ANSWER_S
            )
        if link.refused:
            raise SinkError(f"`{self.name}` {self._peer}: the broker refuses: {link.refused}")
        if not link.is_up:
            raise Unreachable(self._why(link, "it does not answer"))
        if link.allowed.qos < self.given["qos"]:
            raise SinkError(f"`{self.name}` {self._peer}: the broker knows qos {link.allowed.qos} at most")  # fmt: skip
        if self.given["retain"] and not link.allowed.retain:
            raise SinkError(f"`{self.name}` {self._peer}: the broker keeps no messages; leave `retain` away")  # fmt: skip

    def deliver(self, batch: pa.RecordBatch, first: int) -> None:
        """Publish, and wait until the broker has it; raises SinkError, Unreachable."""
        link = self._link
        assert link is not None
        most = link.allowed.packet_bytes
        messages = self.messages(batch, first, max(1, most - _OVERHEAD) if most else 0)
        qos, retain = self.given["qos"], self.given["retain"]
        with self._changed:
            self._open = {number: one.row for number, one in enumerate(messages)}
            self._refusal = (0, "")
        link.publish([Outgoing(n, m.topic, m.payload, qos, retain) for n, m in enumerate(messages)])
        with self._changed:
            while self._open and not self._refusal[0]:
                done = min(self._open.values())
                if link.is_over or self._is_interrupted:
                    raise Unreachable(self._why(link, "the connection is lost"), done)
                answers = self._answers
                if not self._changed.wait(_ANSWER_S) and answers == self._answers:
                    raise Unreachable(f"it has said nothing for {_ANSWER_S:g} s", done)
            code, reason = self._refusal
            done = min(self._open.values(), default=batch.num_rows)
        if code:
            topic = next(m.topic for m in messages if m.row == done)
            if code in _FOR_EVER:
                raise SinkError(f"`{self.name}` {self._peer}: the broker refuses a message to `{topic[:200]}`: {reason}")  # fmt: skip
            raise Unreachable(f"it refuses a message: {reason}", done)

    def check_size(self, topic: str, payload: bytes, most_bytes: int) -> None:
        """Refuse what the broker will never take; raises SinkError."""
        if most_bytes and len(payload) + len(topic.encode()) > most_bytes:
            raise SinkError(
                f"`{self.name}` {self._peer}: a row makes a message of {len(payload):,} bytes to `{topic[:200]}`, and the broker takes "
                f"{most_bytes:,}; let it take more, or select fewer columns"
            )

    def disconnect(self) -> None:
        """Say goodbye."""
        link, self._link = self._link, None
        if link is not None:
            link.close()

    def interrupt(self) -> None:
        """Wait no longer."""
        with self._changed:
            self._is_interrupted = True
            self._changed.notify_all()

    def _why(self, link: Link, otherwise: str) -> str:
        return "interrupted" if self._is_interrupted else link.trouble or otherwise

    # ---- in the thread of the link

    def _tell(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _has(self, number: int, code: int, reason: str) -> None:
        with self._changed:
            self._answers += 1
            if code:
                self._refusal = (code, reason)
            else:
                self._open.pop(number, None)
            if code or not self._open:
                self._changed.notify_all()
