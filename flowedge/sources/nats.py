"""Messages of a NATS server: its subjects as they pass, or a stream of JetStream."""

import json
import secrets
from collections import deque
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar

import pyarrow as pa

from flowedge.lang.errors import SecretError, SourceError
from flowedge.links.address import Address, parse
from flowedge.links.nats import Link
from flowedge.links.nats_login import NATS_LOGIN, PORTS, nats_login_of
from flowedge.links.nats_stream import ALL, LAST, NEW, Delivered, Place, StreamReader, Wanted
from flowedge.sources.contract import connector
from flowedge.sources.inbox import Inbox
from flowedge.sources.live import Arrival, Shell
from flowedge.sources.messages import FORMAT, RECEIVED, MessageSource
from flowedge.sources.text import convert
from flowedge.types.connectors import Option, Signature

_Message = tuple[bytes, bytes, bytes, int, int | None, int | None]
"""Subject, header, payload, when it came, its place in the stream, when the stream took it."""
_Parcel = tuple[list[_Message], list[bytes]] | Place
"""Messages that came together, with where each is acknowledged; or the stream has begun anew."""
_OVERHEAD = 300
"""Bytes of a message besides its payload."""
_HEADER = "_header_"
_STAMP = pa.timestamp("ns", "UTC")
_AWAY_S = 300.0
"""So long the server keeps a consumer that nobody will come back to."""


@connector("nats")
class Nats(MessageSource):
    """Listen to a NATS server: ``nats("nats://host/sensors.{site}.{device}", jetstream="SENSORS")``.

    Behind the host stands the subject, with ``*`` and ``>`` of NATS; a token in braces matches any and becomes the text of the
    declared key column. Each payload is a reading, a list of them, or columns (``docs/payloads.md``). Of the message itself
    there are the raw fields ``_subject``, ``_received`` (the time of a row, where the source declares none), ``_headers`` (a JSON map),
    ``_header_NAME`` (the text of one, ``-`` in its name written ``_``), and of a stream ``_sequence`` and ``_stored``.

    Without ``jetstream`` messages come as they pass, each once at most, and what finds no room here is counted as ``lost``. With it they are
    pulled from the stream by a durable consumer, and acknowledged once a checkpoint covers them; those that come again are known by their
    sequence and left out, so that each makes its rows once and in the order of the stream. One source is one partition.
    """

    extra = "nats"
    facts: ClassVar[Mapping[str, pa.DataType]] = {
        "_subject": pa.string(), RECEIVED: _STAMP, "_headers": pa.string(), "_sequence": pa.int64(), "_stored": _STAMP,
    }  # fmt: skip
    about: Mapping[str, pa.DataType] = facts  # type: ignore[misc]  # and headers, as declared
    options = Signature((
        Option("subject", "text", "", "the filter, where it is not in the address"),
        Option("jetstream", "text", "", "the stream of JetStream that is read; none: subjects as they pass"),
        Option("durable", "text", "", "name of the consumer of the stream; one of its own for each state"),
        Option("begin", "text", ALL, f"where a new consumer begins: `{ALL}`, `{NEW}`, `{LAST}` of each subject, or a time in ISO 8601"),
        Option("session", "duration", 86_400.0, "so long the server keeps a consumer without a name in a run with checkpoints [s]"),
        Option("queue", "text", "", "shares the messages with all that listen under this name; not for a stream"),
        FORMAT,
        *NATS_LOGIN,
    ))  # fmt: skip

    def __init__(self, address: str = "", **given: Any) -> None:  # noqa: ANN401
        super().__init__(address, **given)
        self._link: Link | None = None
        self._reader: StreamReader | None = None
        told = self.given
        named = [f.name for f in self.declared or () if f.name.startswith(_HEADER)]
        self.about = {**self.facts, **dict.fromkeys(named, pa.string())}
        try:
            self._peer: Address = parse(address, PORTS)
            self._tokens, self._filter = subject_filter(self.wanted_subject())
        except ValueError as error:
            raise SourceError(f"`{self.name}`: {error}") from None
        if told["jetstream"] and told["queue"]:
            raise SourceError(
                f"`{self.name}`: `queue` is for subjects as they pass; a stream has its consumer"
            )
        unused = [
            o for o in ("durable", "begin") if told[o] not in ("", ALL) and not told["jetstream"]
        ]
        if unused:
            raise SourceError(
                f"`{self.name}`: `{unused[0]}` is of a stream; write `jetstream=`, too"
            )
        for what in ("jetstream", "durable", "queue"):
            if any(c in told[what] for c in ".*>/\\") or any(c.isspace() for c in told[what]):
                raise SourceError(f"`{self.name}`: `{told[what]}` is no name of a {what}")
        if told["begin"] not in (ALL, NEW, LAST):
            try:
                has_zone = datetime.fromisoformat(told["begin"]).tzinfo is not None
            except ValueError:
                has_zone = False
            if not has_zone:
                raise SourceError(
                    f'`{self.name}`: `begin` is "{ALL}", "{NEW}", "{LAST}", or a time such as "2026-05-01T00:00:00Z"'
                )

    def wanted_subject(self) -> str:
        """The filter, as the pipeline has it."""
        return self.given["subject"] or self._peer.path

    @classmethod
    def comes_again(cls, options: Mapping[str, Any], address: str = "") -> bool:
        """Whether the server keeps what was not acknowledged."""
        del address
        return bool(options.get("jetstream"))

    @property
    def captures(self) -> tuple[str, ...]:
        """Key columns captured from the subject."""
        return tuple(self._tokens)

    # ---- its life

    def begin(self, shell: Shell, state: Mapping[str, Any] | None) -> None:
        """Start to connect; raises SourceError."""
        given = self.given
        self._decoder = self.decoder()
        self._beside = [
            f.name for f in self.declared or () if f.name in (*self.captures, *self.about)
        ]
        self._inbox: Inbox[_Parcel] = Inbox(shell.bell.ring)
        self._wall = shell.wall
        self._lost = self._lost_streams = self._pressing = 0
        self._waiting: deque[tuple[int, bytes]] = deque()
        self._is_kept = shell.covers and bool(given["jetstream"])
        self._durable = given["durable"] or f"flowedge-{secrets.token_hex(6)}"
        self._place = Place()
        if state:
            self._durable = str(state["durable"])
            self._place = Place(str(state["created"]), int(state["last"]))
        try:
            login = nats_login_of(given, self._peer)
            if given["jetstream"]:
                kept_s = (
                    0.0
                    if given["durable"]
                    else float(given["session"])
                    if self._is_kept
                    else _AWAY_S
                )
                wanted = Wanted(
                    given["jetstream"], self._filter, self._durable, given["begin"], kept_s
                )
                self._reader = StreamReader(
                    wanted, self._place, self._delivered, lambda: self._inbox.has_room
                )
            prepare = self._reader.prepare if self._reader is not None else self._listen
            self._link = Link(self._peer, login, prepare=prepare, on_change=shell.bell.ring)
        except (SecretError, ValueError) as error:
            raise SourceError(f"`{self.name}` {self._peer}: {error}") from None
        except ImportError:
            raise SourceError(
                f"`{self.name}` needs nats-py and nkeys; `pip install 'flowedge[nats]'`"
            ) from None
        self._decoder.prepare()
        self._link.start()

    # ---- in the thread of the link

    async def _listen(self, _link: Link, client: Any) -> None:  # noqa: ANN401
        await client.listen(self._filter, self._came, self.given["queue"])

    def _came(self, messages: Sequence[tuple[bytes, bytes, bytes, bytes]]) -> None:
        if not self._inbox.has_room:
            self._lost += len(messages)
            return
        now = self._wall()
        parcel: list[_Message] = [(s, h, p, now, None, None) for s, _, h, p in messages]
        self._inbox.put((parcel, []), sum(len(m[2]) + len(m[1]) + _OVERHEAD for m in parcel))

    def _delivered(self, messages: Sequence[Delivered | Place]) -> None:
        now = self._wall()
        parcel: list[_Message] = []
        replies = []
        for one in messages:
            if isinstance(one, Place):
                self._inbox.put(one, 0)
                return
            subject, header, payload, number, stored_ns, reply = one
            parcel.append((subject, header, payload, now, number, stored_ns))
            replies.append(reply)
        self._inbox.put((parcel, replies), sum(len(m[2]) + len(m[1]) + _OVERHEAD for m in parcel))

    # ---- in the thread of the run

    def take(self) -> list[Arrival]:
        """The rows of the messages that have come; raises SourceError."""
        link = self._link
        assert link is not None
        if link.refused:
            raise SourceError(f"`{self.name}` {self._peer}: the server refuses: {link.refused}")
        had_room = self._inbox.has_room
        found: list[_Message] = []
        for parcel in self._inbox.take():
            if isinstance(parcel, Place):
                self._begin_anew(parcel)
            else:
                found += parcel[0]
                self._note(*parcel)
        if self._reader is not None and not had_room:
            link.call(self._reader.pull)
        if not found:
            return []
        subjects, headers, payloads, received, numbers, stored = zip(*found, strict=True)
        self.decode(payloads, headers, self._extra(subjects, headers, received, numbers, stored))
        rows = self._decoder.take()
        rejected = self.turned_away(self._decoder, str(self._peer))
        return [Arrival("", rows, received[-1], rejected, first_ns=received[0])]

    def decode(
        self, payloads: Sequence[bytes], headers: Sequence[bytes], extra: Mapping[str, Any]
    ) -> None:
        """Give messages to the decoder."""
        del headers
        self._decoder.add_many(payloads, extra)

    def _extra(
        self,
        subjects: Sequence[bytes],
        headers: Sequence[bytes],
        received: Sequence[int],
        numbers: Sequence[int | None],
        stored: Sequence[int | None],
    ) -> dict[str, Any]:
        """The declared columns that tell of the messages."""
        plain: dict[str, Sequence[Any]] = {
            RECEIVED: received,
            "_sequence": numbers,
            "_stored": stored,
        }
        texts = [s.decode(errors="replace") for s in subjects] if self._beside else []
        is_asked = any(name.startswith("_header") for name in self._beside)
        maps = [header_map(h) for h in headers] if is_asked else []
        extra: dict[str, Any] = {}
        for name in self._beside:
            if name in self._tokens:
                extra[name] = self._captured(texts, name)
            elif name == "_subject":
                extra[name] = texts
            elif name == "_headers":
                extra[name] = [json.dumps(m, ensure_ascii=False) if m else None for m in maps]
            elif name.startswith(_HEADER):
                wanted = name.removeprefix(_HEADER).lower()
                extra[name] = [_one(m, wanted) for m in maps]
            else:
                extra[name] = plain[name]
        return extra

    def _captured(self, subjects: Sequence[str], name: str) -> Any:  # noqa: ANN401
        """A token of each subject, as the type that is declared; missing where it does not fit."""
        assert self.declared is not None
        place = self._tokens[name]
        packed = pa.array(subjects, pa.string()).dictionary_encode()
        found = [
            (s.split(".", place + 1) + [None] * (place + 1))[place]
            for s in packed.dictionary.to_pylist()
        ]
        kind = self.declared.field(name).type
        texts = pa.array(found, pa.string())
        values = texts if pa.types.is_string(kind) else convert(texts, kind)[0]
        return values.take(packed.indices)

    def _begin_anew(self, place: Place) -> None:
        """The stream is another one than it was, or has gone back; at the beginning it is just known."""
        if self._place.created:
            self._lost_streams += 1
            self._waiting.clear()
        self._place = place

    def _note(self, messages: list[_Message], replies: list[bytes]) -> None:
        if not replies:
            return
        self._waiting.extend((m[4] or 0, reply) for m, reply in zip(messages, replies, strict=True))
        self._place = Place(self._place.created, self._waiting[-1][0])
        if not self._is_kept:
            self._cover(self._place.number)

    def state(self) -> dict[str, Any]:
        """The consumer, and how far it was read."""
        return {
            "durable": self._durable,
            "created": self._place.created,
            "last": self._place.number,
        }

    def covered(self, state: Mapping[str, Any]) -> None:
        """Acknowledge what a checkpoint holds."""
        if state["created"] == self._place.created:
            self._cover(int(state["last"]))

    def _cover(self, number: int) -> None:
        replies = []
        while self._waiting and self._waiting[0][0] <= number:
            replies.append(self._waiting.popleft()[1])
        if replies and self._link is not None and self._reader is not None:
            self._link.call(self._reader.ack, number, replies)

    @property
    def is_pressing(self) -> bool:
        """Whether the server may soon wait for acknowledgements."""
        reader = self._reader
        return (
            self._is_kept and reader is not None and 2 * len(self._waiting) >= reader.most_unacked
        )

    @property
    def nbytes(self) -> int:
        """Bytes of the messages that wait."""
        return self._inbox.nbytes if self._link is not None else 0

    def told(self) -> dict[str, int]:
        """Connections, losses of them, messages that found no room, and those that came again and were left out."""
        link = self._link
        if link is None:
            return {}
        return {
            "connects": link.connects, "drops": link.drops, "lost": self._lost,
            "doubled": self._reader.doubled if self._reader is not None else 0, "streams_lost": self._lost_streams,
        }  # fmt: skip

    def close(self) -> None:
        """Say goodbye."""
        if self._link is not None:
            self._link.close()


def header_map(header: bytes) -> dict[str, str]:
    r"""What a header says, names as they came; the last of two that are equal.

    Examples
    --------
    >>> header_map(b"NATS/1.0\r\nTrace-Id: a:1\r\n\r\n")
    {'Trace-Id': 'a:1'}
    """
    if not header:
        return {}
    pairs = (line.partition(":") for line in header.decode(errors="replace").split("\r\n")[1:])
    return {name: value.strip() for name, colon, value in pairs if colon}


def _one(found: Mapping[str, str], wanted: str) -> str | None:
    """The header whose name is this one, large or small, with ``_`` for ``-``."""
    return next((v for name, v in found.items() if name.lower().replace("-", "_") == wanted), None)


def subject_filter(text: str) -> tuple[dict[str, int], str]:
    """The place of each capture, and the filter that the server knows; raises ValueError.

    Examples
    --------
    >>> subject_filter("sensors.{site}.*.>")
    ({'site': 1}, 'sensors.*.*.>')
    """
    if not text:
        raise ValueError('there is no subject; write `nats("nats://host/sensors.{device}")`')
    found: dict[str, int] = {}
    tokens = text.split(".")
    for number, one in enumerate(tokens):
        if "{" in one or "}" in one:
            name = one.removeprefix("{").removesuffix("}")
            if one != f"{{{name}}}" or not name:
                raise ValueError(
                    f"`{one}` in `{text}`: what is captured is a whole token, `.{{name}}.`"
                )
            found[name] = number
            tokens[number] = "*"
            continue
        is_last = number == len(tokens) - 1
        is_wild = one == "*" or (one == ">" and is_last)
        is_plain = one and not any(c in "*>" or c.isspace() or not c.isprintable() for c in one)
        if not (is_wild or is_plain):
            raise ValueError(
                f"`{text}` is no subject: tokens between dots, `*` for a whole one, `>` for all at the end"
            )
    made = ".".join(tokens)
    if len(made.encode()) > LONGEST:
        raise ValueError(f"the subject is longer than {LONGEST:,} bytes")
    return found, made


LONGEST = 2048
"""Bytes of a subject: a line of the protocol has 4096."""

__all__ = ["PORTS", "Nats", "header_map", "subject_filter"]
