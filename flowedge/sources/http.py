"""Payloads that are sent by HTTP, as requests or over WebSockets."""

from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any, ClassVar

import pyarrow as pa

from flowedge.lang.errors import SecretError, SourceError
from flowedge.links.address import Address, parse
from flowedge.links.http.media import LINES
from flowedge.links.http.route import Route
from flowedge.links.sockets import listening
from flowedge.links.tls import server_context
from flowedge.sources.contract import OnError, connector
from flowedge.sources.idempotency import Keys, Taken
from flowedge.sources.inbox import Inbox
from flowedge.sources.live import Arrival, Shell
from flowedge.sources.messages import FORMAT, RECEIVED, MessageSource
from flowedge.sources.payloads import LONGEST, Decoder
from flowedge.sources.text import convert
from flowedge.types.connectors import Limit, Option, Signature
from flowedge.types.secrets import resolve

if TYPE_CHECKING:
    from flowedge.links.http.reception import Answer, Reception, Request
    from flowedge.links.http.server import HttpServer

PORTS = {"http": 80, "https": 443}
_PEER, _PATH, _HEADER = "_peer", "_path", "_header_"
_OVERHEAD = 1200
"""Bytes of a request besides its body."""
_SECRET_HEADERS = frozenset({"authorization", "cookie", "proxy-authorization"})


@connector("http")
class Http(MessageSource):
    """Take payloads of requests and WebSockets: ``http("http://0.0.0.0:8080/ingest/{site}")``.

    A device sends by ``POST``, or opens a WebSocket under the same path, of which each message is a payload. Segments of the path in
    braces become the text of the declared key columns. Of a row there are the raw fields ``_peer``, ``_received`` (its time,
    where the source declares none), ``_path``, and ``_header_NAME`` for any header (``_header_x_device`` is ``X-Device``).

    What a body holds is told by its ``Content-Type``, else by its first bytes; ``Content-Encoding`` may be gzip, deflate or zstd.
    A request is answered with success when its rows are taken; with ``ack=commit`` once a checkpoint covers them, so that nothing that was answered
    so is lost. A request whose ``Idempotency-Key`` was used before is answered as that one was, and not taken again.

    All rows are one partition: which connection a request comes over says nothing of who sends it.
    """

    extra = "http"
    mistakes: ClassVar[OnError] = "skip"
    about: Mapping[str, pa.DataType] = {  # type: ignore[misc]  # with the headers that are declared
        _PEER: pa.string(), RECEIVED: pa.timestamp("ns", "UTC"), _PATH: pa.string(),
    }  # fmt: skip
    options = Signature((
        FORMAT,
        Option("ack", "text", "taken", "success is answered when rows are `taken`, or with the `commit` of a checkpoint",
               choices=("taken", "commit")),
        Option("token", "secret", "", "that senders show as `Authorization: Bearer …`"),
        Option("keys", "integer", 4096, "of senders (`Idempotency-Key`) that are remembered"),
        Option("body", "limit", Limit(size_bytes=LONGEST), "bytes of a body or message at most, inflated; up to 64 MiB"),
        Option("connections", "integer", 1000, "at a time; more are closed, those first that never gave anything"),
        Option("patience", "duration", 60.0, "a request or message that is not whole after so long is given up [s]"),
        Option("cert", "text", "", "PEM file of this side's certificate, for `https://`"),
        Option("key", "text", "", "PEM file of its key"),
        Option("ca", "text", "", "PEM file of the authorities whose clients are let in; anybody is without it"),
    ))  # fmt: skip
    _server: "HttpServer | None" = None

    def __init__(self, address: str = "", **given: Any) -> None:  # noqa: ANN401
        super().__init__(address, **given)
        mine = self.given
        try:
            self._place: Address = parse(address, PORTS)
            self._route = Route(self._place.path)
            if self._place.user:
                raise ValueError("who may send is told by `token`, not by the address")
            if (mine["cert"] != "") != (self._place.scheme == "https"):
                raise ValueError("`https://` needs `cert` and `key`, and only it has them")
            if mine["keys"] < 0 or mine["connections"] < 1 or mine["patience"] <= 0:
                raise ValueError("`connections` and `patience` are above 0, `keys` is not below")
            if not 0 < (mine["body"].size_bytes or 0) <= LONGEST:
                raise ValueError("`body` is a size up to 64 MiB: `body=1 [MB]`")
        except ValueError as error:
            raise SourceError(f"`http`: {error}") from None
        wanted = [f.name for f in self.declared or () if f.name.startswith(_HEADER)]
        self._headers = {name: name.removeprefix(_HEADER).replace("_", "-") for name in wanted}
        if secret := next((h for h in self._headers.values() if h in _SECRET_HEADERS), None):
            raise SourceError(f"`http`: the header `{secret}` holds a secret, and makes no column")
        self.about = {**type(self).about, **dict.fromkeys(wanted, pa.string())}

    @classmethod
    def comes_again(cls, options: Mapping[str, Any], address: str = "") -> bool:
        """Whether senders keep what was not answered."""
        del address
        return options.get("ack") == "commit"

    @property
    def captures(self) -> tuple[str, ...]:
        """Key columns captured from the path."""
        return self._route.names

    # ---- its life

    def begin(self, shell: Shell, state: Mapping[str, Any] | None) -> None:
        """Start to listen; raises SourceError."""
        given, place = self.given, self._place
        self._commits = given["ack"] == "commit"
        if self._commits and not shell.covers:
            raise SourceError("`http`: `ack=commit` answers once a checkpoint covers the rows, and this run makes none; add `--checkpoint DIR`")  # fmt: skip
        self._inbox: Inbox[Request] = Inbox(shell.bell.ring)
        self._decoders: dict[str, Decoder] = {}
        self._counts: Counter[str] = Counter()
        self._number = int(state["number"]) if state else 0
        self._waiting: deque[tuple[int, Any, Answer]] = deque()
        self._beside = [
            f.name for f in self.declared or () if f.name in (*self.captures, *self.about)
        ]
        self._decoder("auto").prepare()
        try:
            self._keys = Keys(given["keys"], bytes(state["keys"]) if state else b"")
            tls = server_context(given["cert"], given["key"], given["ca"]) if given["cert"] else None  # fmt: skip
            token = resolve(given["token"]).rstrip(b"\r\n") if given["token"] else b""
            self._reception, self._server = self._listening(shell, token, tls)
        except (SecretError, ValueError) as error:
            raise SourceError(f"`http` {place}: {error}") from None
        except ImportError:
            raise SourceError("`http` needs aiohttp; `pip install 'flowedge[http]'`") from None
        self._server.start()

    def _listening(
        self, shell: Shell, token: bytes, tls: Any  # noqa: ANN401
    ) -> "tuple[Reception, HttpServer]":  # fmt: skip
        """What judges requests, and what they come in by; raises ValueError, ImportError."""
        from flowedge.links.http.reception import Reception  # noqa: PLC0415  # brings aiohttp
        from flowedge.links.http.server import Bounds, HttpServer  # noqa: PLC0415

        given, inbox = self.given, self._inbox
        patience_s = float(given["patience"])
        reception = Reception(
            self._route, token, given["body"].size_bytes, patience_s, shell.wall, lambda: inbox.has_room,
            lambda request, size: inbox.put(request, size + _OVERHEAD), self._counts,
        )  # fmt: skip
        bounds = Bounds(given["connections"], patience_s)
        return reception, HttpServer(listening(self._place), reception, bounds, tls)

    def take(self) -> list[Arrival]:
        """The rows of the requests that have come; raises SourceError under ``on error stop``."""
        server = self._server
        assert server is not None
        had_room = self._inbox.has_room
        found = self._inbox.take()
        if not had_room:
            server.call(self._reception.make_room)
        if not found:
            return []
        fresh, again = self._apart(found)
        answers: list[tuple[Any, Answer]] = []
        out: list[Arrival] = []
        try:
            for format_, group in groupby(fresh, key=lambda request: request.format):
                out += self._decoded(format_, list(group), answers)
        finally:
            answers += [(request.done, self._known(request)) for request in again]
            self._number += len(fresh)
            self._reply(answers)
        return out

    def _apart(self, found: "Sequence[Request]") -> "tuple[list[Request], list[Request]]":
        """Requests that are new, and those that have come before."""
        fresh: list[Request] = []
        again: list[Request] = []
        keys: set[bytes] = set()
        for request in found:
            is_known = request.key and (request.key in keys or self._keys.get(request.key))
            (again if is_known else fresh).append(request)
            keys.add(request.key)
        return fresh, again

    def _decoded(
        self, format_: str, requests: "list[Request]", answers: "list[tuple[Any, Answer]]"
    ) -> Iterator[Arrival]:
        """The rows of requests of one format; raises SourceError."""
        payloads: list[bytes] = []
        whose: list[Request] = []
        ends = []
        for request in requests:
            mine = _lines(request.body) if format_ == LINES else [request.body]
            payloads += mine
            whose += [request] * len(mine)
            ends.append(len(payloads))
        decoder = self._decoder("json" if format_ == LINES else format_)
        counts = decoder.add_many(payloads, {name: self._beside_of(whose, name) for name in self._beside})  # fmt: skip
        reasons = iter([one.reason for one in decoder.rejected])
        begin = 0
        for request, end in zip(requests, ends, strict=True):
            rows, refused = int(counts[begin:end].sum()), int(decoder.refused[begin:end].sum())
            answers.append((request.done, self._judged(request, rows, [next(reasons) for _ in range(refused)])))  # fmt: skip
            begin = end
        rejected = self.turned_away(decoder, str(self._place))
        while True:
            first = requests[0].received_ns
            yield Arrival("", decoder.take(), requests[-1].received_ns, rejected, first_ns=first)
            rejected = None
            if not decoder.rows:
                return

    def _judged(self, request: "Request", rows: int, reasons: Sequence[str]) -> "Answer":
        """The answer to what was decoded; success is remembered."""
        from flowedge.links.http.reception import Answer  # noqa: PLC0415

        if reasons and not rows:
            self._counts["unreadable"] += 1
            return Answer(400, {"error": reasons[0], "rejected": len(reasons)})
        if request.key:
            self._keys.add(request.key, Taken(request.check, rows, len(reasons)))
        told: dict[str, Any] = {"rows": rows}
        if reasons:
            told |= {"rejected": len(reasons), "error": reasons[0]}
        return Answer(200, told)

    def _known(self, request: "Request") -> "Answer":
        """The answer to a key that was used before."""
        from flowedge.links.http.reception import Answer  # noqa: PLC0415

        self._counts["doubled"] += 1
        taken = self._keys.get(request.key)
        if taken is None:  # the first of them, which came with this one, was no good
            return Answer(409, {"error": "what came first under this key was not taken; send this again"})  # fmt: skip
        if taken.check != request.check:
            return Answer(422, {"error": "another body was taken under this key; each has a key of its own"})  # fmt: skip
        more = {"rejected": taken.refused} if taken.refused else {}
        return Answer(200, {"rows": taken.rows, "again": True, **more})

    def _reply(self, answers: "list[tuple[Any, Answer]]") -> None:
        """Let senders know, at once or with the checkpoint that covers what was taken."""
        ready = []
        for future, answer in answers:
            if future is None:
                continue
            if self._commits and answer.status == 200:
                self._waiting.append((self._number, future, answer))
            else:
                ready.append((future, answer))
        if ready:
            assert self._server is not None
            self._server.call(self._reception.settle, ready)

    def _decoder(self, format_: str) -> Decoder:
        """What reads a format that bodies may say they have."""
        wanted: Any = self.given["format"] if format_ == "auto" else format_
        if wanted not in self._decoders:
            self._decoders[wanted] = self.decoder_of(wanted)
        return self._decoders[wanted]

    def _beside_of(self, requests: "Sequence[Request]", name: str) -> Any:  # noqa: ANN401
        """What requests say of themselves, one value for each, of the type that is declared."""
        if name == RECEIVED:
            return [request.received_ns for request in requests]
        if name in self._headers:
            header = self._headers[name]
            texts = [request.headers.get(header) for request in requests]
        elif name in (_PEER, _PATH):
            texts = [request.peer if name == _PEER else request.path for request in requests]
        else:
            place = self._route.names.index(name)
            texts = [request.captured[place] for request in requests]
        values = pa.array([_whole(text) for text in texts], pa.string())
        assert self.declared is not None
        kind = self.declared.field(name).type
        if pa.types.is_string(kind):
            return values
        packed = values.dictionary_encode()
        return convert(packed.dictionary, kind)[0].take(packed.indices)

    def state(self) -> dict[str, Any]:
        """How many requests were taken, and under which keys."""
        return {"number": self._number, "keys": self._keys.packed()}

    def covered(self, state: Mapping[str, Any]) -> None:
        """Answer what a checkpoint holds."""
        done = []
        while self._waiting and self._waiting[0][0] <= int(state["number"]):
            _, future, answer = self._waiting.popleft()
            done.append((future, answer))
        if done:
            assert self._server is not None
            self._server.call(self._reception.settle, done)

    @property
    def is_pressing(self) -> bool:
        """Whether senders wait for a checkpoint."""
        return self._server is not None and bool(self._waiting)

    @property
    def nbytes(self) -> int:
        """Bytes of the requests that wait."""
        return self._inbox.nbytes if self._server is not None else 0

    def told(self) -> dict[str, int]:
        """Connections and requests, and what became of them."""
        if self._server is None:
            return {}
        return dict(self._counts + self._server.counts)

    def close(self) -> None:
        """Answer whoever waits, and close all connections."""
        if self._server is not None:
            self._server.call(self._reception.end)
            self._server.close()


def _lines(body: bytes) -> list[bytes]:
    """The lines of a body that are not blank; of an empty one the one that is."""
    return [line for line in body.split(b"\n") if line.strip()] or [b""]


def _whole(text: str | None) -> str | None:
    """A text without what was no UTF-8."""
    return None if text is None else text.encode("utf-8", "replace").decode()
