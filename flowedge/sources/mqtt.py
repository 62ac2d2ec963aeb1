"""Messages of an MQTT broker."""

import secrets
import zlib
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import pyarrow as pa

from flowedge.lang.errors import SecretError, SourceError
from flowedge.links.address import Address, parse
from flowedge.links.login import LOGIN, login_of
from flowedge.links.mqtt import PORTS, Link
from flowedge.sources.contract import connector
from flowedge.sources.inbox import Inbox
from flowedge.sources.live import Arrival, Shell
from flowedge.sources.messages import FORMAT, RECEIVED, MessageSource
from flowedge.sources.text import convert
from flowedge.types.connectors import Option, Signature

_Message = tuple[str, bytes, int, int, int, bool, bool]
"""Topic, payload, when it came, packet identifier, QoS, whether it comes again, whether the broker had kept it."""
_OVERHEAD = 200
"""Bytes of a message besides its payload."""
_FEW = 10


@connector("mqtt")
class Mqtt(MessageSource):
    """Listen to an MQTT broker: ``mqtt("mqtts://host/{site}/{device}/imu", qos=1)``.

    Behind the host stands the filter of topics, with ``+`` and ``#`` of MQTT; a level in braces matches any and becomes
    the text of the declared key column. MQTT 5 or 3.1.1. Each payload is a reading, a list of them, or
    columns (``docs/payloads.md``). Of the message itself there are the raw fields ``_topic``, ``_received`` (the time of a row, where
    the source declares none), ``_qos`` and ``_retained``.

    With ``qos=1`` and a checkpoint, messages are acknowledged once a checkpoint covers them, and those that the broker sends
    again are recognised by their packet identifier and left out, so that each message makes its rows once, kill or not, as long as
    the broker keeps the session; ``qos=2`` is then asked for as 1. One connection is one partition.
    """

    extra = "mqtt"
    about: ClassVar[Mapping[str, pa.DataType]] = {
        "_topic": pa.string(), RECEIVED: pa.timestamp("ns", "UTC"), "_qos": pa.int64(), "_retained": pa.bool_(),
    }  # fmt: skip
    options = Signature((
        Option("topic", "text", "", "the filter, where it is not in the address"),
        Option("qos", "integer", 0, "0: at most once, 1: at least once, 2: exactly once"),
        FORMAT,
        Option("client_id", "text", "", "name of the session; one of its own for each state"),
        Option("session", "duration", 86_400.0, "so long the broker keeps the session of a run with checkpoints [s]"),
        *LOGIN,
    ))  # fmt: skip

    def __init__(self, address: str = "", **given: Any) -> None:  # noqa: ANN401
        super().__init__(address, **given)
        self._link: Link | None = None
        if self.given["qos"] not in (0, 1, 2):
            raise SourceError(f"`mqtt` knows qos 0, 1 and 2, not {self.given['qos']}")
        try:
            self._peer: Address = parse(address, PORTS)
            self._levels, self._filter = _filter(self.given["topic"] or self._peer.path)
        except ValueError as error:
            raise SourceError(f"`mqtt`: {error}") from None

    @classmethod
    def comes_again(cls, options: Mapping[str, Any], address: str = "") -> bool:
        """Whether the broker keeps what was not acknowledged."""
        del address
        return bool(options.get("qos", 0))

    @property
    def captures(self) -> tuple[str, ...]:
        """Key columns captured from the topic."""
        return tuple(self._levels)

    # ---- its life

    def begin(self, shell: Shell, state: Mapping[str, Any] | None) -> None:
        """Start to connect; raises SourceError."""
        given = self.given
        self._decoder = self.decoder()
        self._beside = [
            f.name for f in self.declared or () if f.name in (*self.captures, *self.about)
        ]
        self._inbox: Inbox[_Message | bool] = Inbox(shell.bell.ring)
        self._wall = shell.wall
        self._fresh: list[_Message | bool] = []
        self._fresh_bytes = 0
        self._number = self._doubled = self._lost_sessions = 0
        self._waiting: deque[tuple[int, int, int]] = deque()
        self._known: dict[int, int] = {}
        self._last: list[int] = []
        self._is_kept = shell.covers and given["qos"] > 0
        name = given["client_id"] or f"flowedge-{secrets.token_hex(6)}"
        if state:
            name = str(state["client_id"])
            self._number = int(state["number"])
            self._known = {int(mid): int(check) for mid, check in state["known"]}
            self._last = list(self._known)
        try:
            # Of QoS 2, Paho answers the first step at once, after which the broker may forget what is safe nowhere yet.
            self._qos = min(given["qos"], 1) if self._is_kept else given["qos"]
            kept_s = int(given["session"]) if self._is_kept else 0
            self._login = login_of(given, self._peer, name, kept_s)
            self._link = Link(
                self._peer, self._login, topics=[(self._filter, self._qos)], on_message=self._came, on_drained=self._drained,
                on_up=self._up, on_change=shell.bell.ring, has_room=lambda: self._inbox.has_room,
            )  # fmt: skip
        except (SecretError, ValueError) as error:
            raise SourceError(f"`mqtt` {self._peer}: {error}") from None
        except ImportError:
            raise SourceError("`mqtt` needs paho-mqtt; `pip install 'flowedge[mqtt]'`") from None
        self._decoder.prepare()
        self._link.start()

    def _came(self, message: Any) -> None:  # noqa: ANN401  # in the thread of the client
        try:
            topic = message.topic
        except UnicodeDecodeError:
            topic = ""
        payload = bytes(message.payload)
        self._fresh.append((topic, payload, self._wall(), message.mid, message.qos, message.dup, message.retain))  # fmt: skip
        self._fresh_bytes += len(payload) + _OVERHEAD

    def _drained(self) -> None:  # in the thread of the client
        if self._fresh:
            fresh, self._fresh = self._fresh, []
            size, self._fresh_bytes = self._fresh_bytes, 0
            self._inbox.put_all(fresh, size)

    def _up(self, has_session: bool) -> None:  # in the thread of the client
        if self._qos:
            self._inbox.put(has_session, 0)

    def take(self) -> list[Arrival]:
        """The rows of the messages that have come; raises SourceError."""
        link = self._link
        assert link is not None
        if link.refused:
            raise SourceError(f"`mqtt` {self._peer}: the broker refuses: {link.refused}")
        had_room = self._inbox.has_room
        found = self._inbox.take()
        if self._qos:
            found = [m for m in found if self._is_new(m)]
        if not had_room:
            link.wake()
        if not found:
            return []
        topics, payloads, received, _, qos, _, retained = zip(*found, strict=True)
        extra: dict[str, Any] = {
            "_topic": topics,
            RECEIVED: received,
            "_qos": qos,
            "_retained": retained,
        }
        for name in self._beside:
            if name in self._levels:
                extra[name] = self._captured(topics, name)
        self._decoder.add_many(payloads, {name: extra[name] for name in self._beside})
        rows = self._decoder.take()
        rejected = self.turned_away(self._decoder, str(self._peer))
        return [Arrival("", rows, received[-1], rejected, first_ns=received[0])]

    def _captured(self, topics: Sequence[str], name: str) -> Any:  # noqa: ANN401
        """A level of each topic, as the type that is declared; missing where it does not fit."""
        assert self.declared is not None
        level = self._levels[name]
        packed = pa.array(topics, pa.string()).dictionary_encode()
        found = [
            t.split("/", level + 1)[level] if t.count("/") >= level else None
            for t in packed.dictionary.to_pylist()
        ]
        kind = self.declared.field(name).type
        texts = pa.array(found, pa.string())
        values = texts if pa.types.is_string(kind) else convert(texts, kind)[0]
        return values.take(packed.indices)

    def _is_new(self, message: _Message | bool) -> bool:
        """Whether a message has not been taken before; of those above QoS 0 it is noted that they are."""
        if isinstance(message, bool):
            if not message:  # the broker has forgotten what was not acknowledged, and numbers anew
                self._lost_sessions += bool(self._known)
                self._known.clear()
                self._waiting.clear()
                self._last.clear()
            return False
        _, payload, _, mid, qos, is_again, _ = message
        if not qos:
            return True
        check = zlib.crc32(payload)
        if is_again and self._known.get(mid) == check:
            self._doubled += 1
            if all(mid != waits for _, waits, _ in self._waiting):
                self._acknowledge([(mid, qos)])
            return False
        self._known[mid] = check
        self._number += 1
        self._waiting.append((self._number, mid, qos))
        if not self._is_kept:
            self._cover(self._number)
        return True

    def state(self) -> dict[str, Any]:
        """The session, how many messages it has given, and which of them may come again."""
        known = list(self._known.items())
        return {"client_id": self._login.client_id, "number": self._number, "known": known}

    def covered(self, state: Mapping[str, Any]) -> None:
        """Acknowledge what a checkpoint holds."""
        self._cover(int(state["number"]))

    def _cover(self, number: int) -> None:
        done = []
        while self._waiting and self._waiting[0][0] <= number:
            _, mid, qos = self._waiting.popleft()
            done.append((mid, qos))
        if not done:
            return
        # The broker may not have heard of the last ones; of those before it has.
        waiting = {mid for _, mid, _ in self._waiting}
        for mid in self._last:
            if mid not in waiting:
                self._known.pop(mid, None)
        self._last = [mid for mid, _ in done]
        self._acknowledge(done)

    def _acknowledge(self, messages: list[tuple[int, int]]) -> None:
        if self._link is not None:
            self._link.ack(messages)

    @property
    def is_pressing(self) -> bool:
        """Whether the broker may be waiting for acknowledgements: it has few messages under way at a time, often 20."""
        return self._is_kept and len(self._waiting) >= _FEW

    @property
    def nbytes(self) -> int:
        """Bytes of the messages that wait."""
        return self._inbox.nbytes if self._link is not None else 0

    @property
    def away(self) -> str:
        """Why the broker does not let this in now; empty while it does."""
        link = self._link
        if link is None or link.is_up:
            return ""
        return link.refused or link.trouble or ("not connected" if link.connects else "")

    def told(self) -> dict[str, int]:
        """Connections, losses of them, and messages that came again and were left out."""
        link = self._link
        if link is None:
            return {}
        return {
            "connects": link.connects,
            "drops": link.drops,
            "doubled": self._doubled,
            "sessions_lost": self._lost_sessions,
        }

    def close(self) -> None:
        """Say goodbye."""
        if self._link is not None:
            self._link.close()


def _filter(text: str) -> tuple[dict[str, int], str]:
    """The level of each capture, and the filter that the broker knows; raises ValueError."""
    if not text:
        raise ValueError('there is no topic; write `mqtt("mqtt://host/site/+/imu")`')
    found: dict[str, int] = {}
    levels = text.split("/")
    for number, level in enumerate(levels):
        if "{" not in level and "}" not in level:
            if ("#" in level and (level != "#" or number < len(levels) - 1)) or (
                "+" in level and level != "+"
            ):
                raise ValueError(
                    f"`{text}` is no filter of topics: `+` stands for a whole level, `#` for all at the end"
                )
            continue
        name = level.removeprefix("{").removesuffix("}")
        if level != f"{{{name}}}" or not name:
            raise ValueError(
                f"`{level}` in `{text}`: what is captured is a whole level, `/{{name}}/`"
            )
        found[name] = number
        levels[number] = "+"
    if len("/".join(levels).encode()) > 65_535:
        raise ValueError("the topic is longer than 65,535 bytes")
    return found, "/".join(levels)
