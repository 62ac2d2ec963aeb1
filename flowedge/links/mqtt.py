"""A connection to an MQTT broker that comes back by itself, by Eclipse Paho.

Paho's own loop asks the system for every byte of a packet's head, and looks for a callback by each message's topic. Here a thread
of ours waits for the socket, reads what is there at once, lets Paho take packets out of it, and hands all of them over together. What Paho
writes is gathered and sent at once, too.
"""

import contextlib
import select
import socket
import ssl
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from flowedge.links.address import Address
from flowedge.links.backoff import Backoff
from flowedge.links.waker import Waker

if TYPE_CHECKING:
    from paho.mqtt.client import Client, ConnectFlags
    from paho.mqtt.reasoncodes import ReasonCode

PORTS = {"mqtt": 1883, "mqtts": 8883}

_BLOCK = 1 << 18
_PACKETS = 1024
"""Taken before anything else is looked at."""
_TICK_MS = 500
_WAIT_S = 10.0
"""For a connection, and for the broker's word about it."""
_FOR_EVER = frozenset({
    "Unsupported protocol version", "Client identifier not valid", "Bad user name or password", "Not authorized",
    "Banned", "Bad authentication method", "Use another server", "Server moved",
})  # fmt: skip
"""Refusals that no further attempt mends (MQTT 5, table 3-1)."""
_MOST_INFLIGHT = 65_535
_MOST_OUT = 1000
"""Messages of ours that are sent and not answered."""
_FAILURE = 0x80
"""Reasons from here on are refusals (MQTT 5, 2.4)."""


class Outgoing(NamedTuple):
    """A message to be published; `number` is what `Link` calls it by."""

    number: int
    topic: str
    payload: bytes
    qos: int = 0
    retain: bool = False


@dataclass(frozen=True, slots=True)
class Allowed:
    """What a broker says that it takes (MQTT 5, 3.2.2.3).

    Attributes
    ----------
    packet_bytes : of the longest message; 0: it does not say
    """

    qos: int = 2
    retain: bool = True
    packet_bytes: int = 0
    unanswered: int = _MOST_INFLIGHT


@dataclass(frozen=True, slots=True)
class Login:
    """Who connects, and how.

    Attributes
    ----------
    client_id : the broker keeps the session under it
    session_s : so long it keeps it while nobody is connected [s]; 0: it begins anew each time
    version : of MQTT, 5 or 4 (which is 3.1.1)
    tls : an `ssl.SSLContext`; None: unencrypted
    """

    client_id: str
    user: str = ""
    password: str | None = None
    session_s: int = 0
    version: int = 5
    keepalive_s: int = 30
    tls: Any = None


class Link:
    """One client; its thread connects, and connects again.

    Parameters
    ----------
    on_message : called in the thread for each message that comes, with Paho's `MQTTMessage`; those above QoS 0 are acknowledged
        by `ack` alone
    on_drained : called in the thread behind the last of the messages that came together
    on_up : called in the thread after each connection, with whether the broker still had the session
    on_change : called in the thread when `is_up` or `refused` has changed
    has_room : while it says no, nothing is read, and the broker has to wait
    topics : (filter, QoS) to subscribe to
    on_published : called in the thread with the number of a message that the broker has (of QoS 0: that was written to the socket), and
        the broker's code and reason where it refuses it, else 0
    comes_back : connects again when it has lost the connection or gets none; else it is over then

    Attributes
    ----------
    is_over : the thread has ended
    allowed : what the broker takes, once it is up
    is_up : whether the broker has let it in
    refused : why no attempt will ever succeed; empty: none of this kind
    trouble : why the last attempt did not succeed
    connects, drops : how often it got in, and lost the connection again
    """

    def __init__(
        self,
        address: Address,
        login: Login,
        *,
        topics: Sequence[tuple[str, int]] = (),
        on_message: Callable[[Any], None] | None = None,
        on_drained: Callable[[], None] | None = None,
        on_up: Callable[[bool], None] | None = None,
        on_change: Callable[[], None] | None = None,
        has_room: Callable[[], bool] | None = None,
        on_published: Callable[[int, int, str], None] | None = None,
        comes_back: bool = True,
    ) -> None:
        self._address, self._login, self._topics = address, login, list(topics)
        self._on_up, self._on_change = on_up or (lambda _: None), on_change or (lambda: None)
        self._on_drained = on_drained or (lambda: None)
        self._has_room = has_room or (lambda: True)
        self._on_published = on_published or (lambda _number, _code, _reason: None)
        self._comes_back = comes_back
        self.is_up = self.is_over = False
        self.allowed = Allowed()
        self._out: deque[Outgoing] = deque()
        self._written: deque[int] = deque()
        self._unanswered: dict[int, int] = {}
        self.refused = self.trouble = ""
        self.connects = self.drops = 0
        self._acks: deque[tuple[int, int]] = deque()
        self._closing = threading.Event()
        self.client = self._made(on_message)
        self._waker = Waker()
        self._thread = threading.Thread(target=self._run, name="flowedge-mqtt", daemon=True)

    def _made(self, on_message: Callable[[Any], None] | None) -> Any:  # noqa: ANN401
        from paho.mqtt.client import Client, MQTTv5, MQTTv311  # noqa: PLC0415  # an extra
        from paho.mqtt.enums import CallbackAPIVersion  # noqa: PLC0415

        login, host = self._login, self._address.host

        class Buffered(Client):
            """Reads what is there at once."""

            def _create_socket(self) -> Any:  # noqa: ANN401
                sock: Any = super()._create_socket()
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                return _Buffer(sock)

            def _ssl_wrap_socket(self, tcp_sock: Any) -> Any:  # noqa: ANN401
                """Paho's own leaves the socket of a handshake open that fails."""
                made = login.tls.wrap_socket(tcp_sock, server_hostname=host, do_handshake_on_connect=False)  # fmt: skip
                try:
                    made.settimeout(_WAIT_S)
                    made.do_handshake()
                except BaseException:
                    made.close()
                    raise
                return made

            def _handle_on_message(self, message: Any) -> None:  # noqa: ANN401
                if on_message is not None:
                    on_message(message)

        five = login.version == 5
        client = Buffered(
            CallbackAPIVersion.VERSION2, client_id=login.client_id, protocol=MQTTv5 if five else MQTTv311,
            clean_session=None if five else not login.session_s, reconnect_on_failure=False, manual_ack=True,
        )  # fmt: skip
        client.max_inflight_messages_set(_MOST_INFLIGHT)
        client.connect_timeout = _WAIT_S
        if login.user or login.password is not None:
            client.username_pw_set(login.user, login.password)
        if login.tls is not None:
            client.tls_set_context(login.tls)
        client.on_connect = self._connected
        client.on_disconnect = self._disconnected
        client.on_subscribe = self._subscribed
        client.on_publish = self._was_published
        return client

    def start(self) -> None:
        """Begin to connect."""
        self._thread.start()

    def ack(self, messages: Sequence[tuple[int, int]]) -> None:
        """Acknowledge messages: (packet identifier, QoS) of each, in the order in which they came."""
        self._acks.extend(messages)
        self._waker.wake()

    def publish(self, messages: Sequence[Outgoing]) -> None:
        """Send messages, in their order; `on_published` tells of each. Those that a connection loses are lost."""
        self._out.extend(messages)
        self._waker.wake()

    def wake(self) -> None:
        """There is room again."""
        self._waker.wake()

    def close(self) -> None:
        """Say goodbye, and end the thread."""
        if self._closing.is_set():
            return
        self._closing.set()
        self._waker.wake()
        if self._thread.is_alive():
            self._thread.join()
        self._waker.close()

    # ---- the thread

    def _run(self) -> None:
        waits = Backoff()
        while not self._closing.is_set() and not self.refused:
            before = self.connects
            try:
                self._connect()
                self._serve()
            except (OSError, ValueError) as error:
                self._say(str(error) or type(error).__name__)
            if self.connects > before:
                waits.reset()
            if not self._comes_back:
                break
            if not self.refused:
                self._closing.wait(waits.next_s())
        with contextlib.suppress(Exception):
            sock = self.client.socket()
            self.client.disconnect()
            self.client.loop_write()
            if sock is not None:
                sock.flush()
        self.is_up, self.is_over = False, True
        self._on_change()

    def _connect(self) -> None:
        from paho.mqtt.packettypes import PacketTypes  # noqa: PLC0415
        from paho.mqtt.properties import Properties  # noqa: PLC0415

        login, more = self._login, {}
        if login.version == 5:
            properties: Any = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
            properties.SessionExpiryInterval = login.session_s
            properties.ReceiveMaximum = _MOST_INFLIGHT
            more = {"clean_start": not login.session_s, "properties": properties}
        self.client.connect(self._address.host, self._address.port, login.keepalive_s, **more)

    def _serve(self) -> None:
        """Read and write until the connection ends."""
        client = self.client
        poll = select.poll()
        poll.register(self._waker, select.POLLIN)
        known = -1
        while not self._closing.is_set():
            sock = client.socket()
            if sock is None:
                return
            wanted = (select.POLLIN if self._has_room() else 0) | (
                select.POLLOUT if sock.unsent else 0
            )
            if known < 0:
                known = sock.fileno()
                poll.register(known, wanted)
            else:
                poll.modify(known, wanted)
            found = dict(poll.poll(0 if sock.pending() and wanted & select.POLLIN else _TICK_MS))
            if self._waker.fileno() in found:
                self._waker.drain()
            self._send_acks()
            self._send_out()
            if wanted & select.POLLIN and (found.get(known) or sock.pending()):
                is_up = self._read(sock)
                self._on_drained()
                if not is_up:
                    return
                self._send_out()
            if client.want_write() and client.loop_write():
                return
            if client.loop_misc():
                return
            if client.socket() is sock:
                sock.flush()
                if not sock.unsent:
                    self._tell_written()

    def _read(self, sock: Any) -> bool:  # noqa: ANN401
        """Take the packets that are there, not too many; whether the connection is still there."""
        client = self.client
        for _ in range(_PACKETS):
            if client.loop_read() or client.socket() is None:
                return False
            if not sock.pending():
                break
        return True

    def _send_acks(self) -> None:
        while self._acks:
            self.client.ack(*self._acks.popleft())

    def _send_out(self) -> None:
        """As much as the socket and the broker take now."""
        client, most = self.client, min(_MOST_OUT, self.allowed.unanswered)
        sock = client.socket()
        while (
            self._out
            and self.is_up
            and len(self._unanswered) < most
            and sock is not None
            and len(sock.unsent) < _BLOCK
        ):
            one = self._out.popleft()
            if one.qos:
                told = client.publish(one.topic, one.payload, one.qos, one.retain)
                self._unanswered[told.mid] = one.number
            else:
                self._written.append(one.number)
                client.publish(one.topic, one.payload, 0, one.retain)

    def _tell_written(self) -> None:
        """All of QoS 0 is in the hands of the system."""
        while self._written:
            self._on_published(self._written.popleft(), 0, "")

    # ---- what Paho calls

    def _was_published(
        self, _client: object, _data: object, mid: int, reason: "ReasonCode", _properties: object
    ) -> None:
        number = self._unanswered.pop(mid, None)
        if number is None:
            return  # of QoS 0: see `_tell_written`
        if reason.value >= _FAILURE:
            self._on_published(number, reason.value, str(reason))
        else:
            self._on_published(number, 0, "")

    def _connected(
        self,
        client: "Client",
        _data: object,
        flags: "ConnectFlags",
        reason: "ReasonCode",
        properties: Any,  # noqa: ANN401
    ) -> None:
        if reason.is_failure:
            told = str(reason)
            self._say(told, is_final=told in _FOR_EVER)
            return
        self.connects += 1
        self.trouble = ""
        self.allowed = Allowed(
            getattr(properties, "MaximumQoS", 2), bool(getattr(properties, "RetainAvailable", 1)),
            getattr(properties, "MaximumPacketSize", 0), getattr(properties, "ReceiveMaximum", _MOST_INFLIGHT),
        )  # fmt: skip
        has_session = bool(flags.session_present)
        if not has_session:
            self._acks.clear()
        self._on_up(has_session)
        if self._topics:
            client.subscribe(self._topics)
        self.is_up = True
        self._on_change()

    def _subscribed(
        self,
        _client: object,
        _data: object,
        _mid: int,
        reasons: "list[ReasonCode]",
        _properties: object,
    ) -> None:
        refused = [
            topic
            for (topic, _), told in zip(self._topics, reasons, strict=False)
            if told.is_failure
        ]
        if refused:
            self._say(f"it does not let this client listen to `{refused[0]}`", is_final=True)

    def _disconnected(
        self, _client: object, _data: object, _flags: object, reason: object, _properties: object
    ) -> None:
        if self.is_up:
            self.is_up = False
            self.drops += 1
            self._acks.clear()  # the broker sends again what was not acknowledged
            self._unanswered.clear()
            self._written.clear()
            self._out.clear()
            self._say(str(reason))

    def _say(self, why: str, *, is_final: bool = False) -> None:
        self.trouble = why
        if is_final:
            self.refused = why
        self._on_change()


class _Buffer:
    """A socket that is read and written by large blocks.

    Parameters
    ----------
    sock : the socket, or its TLS

    Attributes
    ----------
    unsent : what waits for `flush`
    """

    def __init__(self, sock: Any) -> None:  # noqa: ANN401
        self._sock = sock
        self._held, self._at = b"", 0
        self.unsent = bytearray()

    def recv(self, size: int) -> bytes:
        """As a socket does, but from what is held."""
        if self._at >= len(self._held):
            self._held, self._at = self._sock.recv(_BLOCK), 0
        found = self._held[self._at : self._at + size]
        self._at += len(found)
        return found

    def send(self, data: bytes) -> int:
        """Keep bytes for `flush`."""
        self.unsent += data
        return len(data)

    def flush(self) -> None:
        """Send as much as the system takes; raises OSError."""
        while self.unsent:
            try:
                sent = self._sock.send(self.unsent[:_BLOCK])
            except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                return
            del self.unsent[:sent]

    def pending(self) -> int:
        """Bytes that need no reading."""
        held = len(self._held) - self._at
        return held or (self._sock.pending() if hasattr(self._sock, "pending") else 0)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        return getattr(self._sock, name)
