"""Requests and messages of WebSockets become `Request`; what is wrong with one is answered at once.

The order in which a request is judged: path, method, token, what it holds and how it is packed, its length, whether there is
room; then its body is read.
"""

import asyncio
import contextlib
import hashlib
import hmac
import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from aiohttp import WSCloseCode, WSMsgType, web

from flowedge.links.http.encodings import TooLong, inflater
from flowedge.links.http.media import format_of
from flowedge.links.http.route import Route
from flowedge.links.http.server import Connection

ACK = "flowedge-ack"
"""The subprotocol of a WebSocket whose messages are answered, each as a request would be."""
KEY = "Idempotency-Key"
_LONGEST_KEY = 255
_UNANSWERED = 256
"""Messages of a WebSocket that wait for an answer; then no more are read."""
_RETRY_S = "1"
_ROOM_S = 0.5


@dataclass(frozen=True, slots=True)
class Answer:
    """What a sender is told.

    Attributes
    ----------
    status : of HTTP
    told : the body, as JSON
    headers : besides those of the body
    """

    status: int
    told: Mapping[str, Any]
    headers: Mapping[str, str] = field(default_factory=dict)


class Wrong(Exception):  # noqa: N818  # what a sender did
    """A request that is not taken.

    Parameters
    ----------
    count : under which name it is counted
    """

    def __init__(self, status: int, count: str, error: str, **headers: str) -> None:
        super().__init__(error)
        self.count = count
        self.answer = Answer(status, {"error": error}, {k.replace("_", "-"): v for k, v in headers.items()})  # fmt: skip


@dataclass(slots=True, eq=False)
class Request:
    """A body that is whole, and who waits for its answer.

    Attributes
    ----------
    body : inflated
    format : as `flowedge.links.http.media.format_of` tells it
    captured : what the names of the path stand for
    peer : host and port of the sender
    path : of the request, as it was sent
    headers : by name in lower case
    key : of the sender, 16 bytes that stand for path and ``Idempotency-Key``; empty: there is none
    check : 8 bytes that tell bodies under one key apart
    received_ns : when it was whole [ns since 1970, UTC]
    done : set with the `Answer`, on the thread of the server; None: nobody waits for one
    """

    body: bytes
    format: str
    captured: tuple[str, ...]
    peer: str
    path: str
    headers: Mapping[str, str]
    key: bytes
    check: bytes
    received_ns: int
    done: "asyncio.Future[Answer] | None" = None


@dataclass
class Reception:
    """Takes requests.

    Parameters
    ----------
    route : the path that is meant
    token : that has to be shown; empty: none
    most_bytes : of a body or message, inflated
    patience_s : in which a request has to be whole [s]
    wall : the time of day [ns]
    has_room : whether another may be taken
    take : takes one, with the bytes that it holds
    counts : what became of requests, by name
    """

    route: Route
    token: bytes
    most_bytes: int
    patience_s: float
    wall: Callable[[], int]
    has_room: Callable[[], bool]
    take: Callable[[Request, int], None]
    counts: Counter[str]
    is_over: bool = False
    _room: "asyncio.Event | None" = None
    _waiting: "set[asyncio.Future[Answer]]" = field(default_factory=set)
    _sockets: set[web.WebSocketResponse] = field(default_factory=set)
    _farewells: "list[asyncio.Future[None]]" = field(default_factory=list)

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        try:
            captured = self._admit(request)
            if request.headers.get("Upgrade", "").lower() == "websocket":
                return await self._converse(request, captured)
            found = await self._whole(request, captured)
            with _connection(request).resting():
                return _response(await self._answered(found))
        except Wrong as wrong:
            self.counts[wrong.count] += 1
            response = _response(wrong.answer)
            if not request.content.is_eof():
                _connection(request).rests = True  # it is closed soon
                response.force_close()
            return response

    # ---- what the source does, on the thread of the server

    def settle(self, answers: "list[tuple[asyncio.Future[Answer], Answer]]") -> None:
        """Let senders hear their answers."""
        for future, answer in answers:
            if not future.done():
                future.set_result(answer)

    def make_room(self) -> None:
        """There is room again."""
        if self._room is not None:
            self._room.set()

    def end(self) -> None:
        """The run is over: whoever still waits is told to come again."""
        self.is_over = True
        self.make_room()
        self.settle([(f, _ends().answer) for f in self._waiting])
        for socket in self._sockets:
            self._farewells.append(asyncio.ensure_future(_part(socket)))

    # ---- judging

    def _admit(self, request: web.BaseRequest) -> tuple[str, ...]:
        """What the path says; raises Wrong."""
        captured = self.route.match(request.raw_path)
        if captured is None:
            raise Wrong(404, "not_found", "nothing listens under this path")
        is_socket = request.method == "GET" and "upgrade" in request.headers
        if request.method != "POST" and not is_socket:
            raise Wrong(405, "not_found", "readings are sent by POST, or over a WebSocket", Allow="POST")  # fmt: skip
        if self.token and not self._is_known(request.headers.get("Authorization", "")):
            raise Wrong(401, "unauthorized", "this wants `Authorization: Bearer TOKEN`, with the right token",
                        WWW_Authenticate="Bearer")  # fmt: skip
        if self.is_over:
            raise _ends()
        return captured

    def _is_known(self, header: str) -> bool:
        """Whether a header shows the token; in a time that does not depend on what is wrong with it."""
        scheme, _, shown = header.partition(" ")
        shown_digest = hashlib.sha256(shown.strip().encode("utf-8", "surrogateescape")).digest()
        is_right = hmac.compare_digest(shown_digest, hashlib.sha256(self.token).digest())
        return is_right and scheme.lower() == "bearer"

    async def _whole(self, request: web.BaseRequest, captured: tuple[str, ...]) -> Request:
        """Read the body; raises Wrong."""
        headers = request.headers
        try:
            format_ = format_of(headers.get("Content-Type", ""))
            undo = inflater(headers.get("Content-Encoding", ""), self.most_bytes)
        except ValueError as error:
            raise Wrong(415, "unsupported", str(error), Accept_Encoding="gzip, deflate, zstd") from None  # fmt: skip
        key = headers.get(KEY, "").strip().strip('"')
        if len(key) > _LONGEST_KEY:
            raise Wrong(400, "unreadable", f"`{KEY}` is longer than {_LONGEST_KEY} characters")
        if (request.content_length or 0) > self.most_bytes:
            raise self._too_long()
        if not self.has_room():
            raise _no_room()
        if headers.get("Expect", "").lower() == "100-continue":
            await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            request.writer.output_size = 0
        try:
            async with asyncio.timeout(self.patience_s):
                parts = [undo.feed(data) async for data in request.content.iter_any()]
            parts.append(undo.end())
        except TooLong:
            raise self._too_long() from None
        except TimeoutError:
            raise Wrong(408, "silent", f"the request was not whole after {self.patience_s:g} s") from None  # fmt: skip
        except web.RequestPayloadError as error:
            raise Wrong(400, "unreadable", f"the body is cut short or badly cut into chunks: {error}"[:200]) from None  # fmt: skip
        except OSError:
            raise Wrong(400, "broken", "the connection was lost") from None
        except ValueError as error:
            raise Wrong(400, "unreadable", str(error)) from None
        body = b"".join(parts)
        _connection(request).is_whole()
        if not self.has_room():
            raise _no_room()
        self.counts["requests"] += 1
        return self._request(request, captured, body, format_, key)

    def _request(
        self, request: web.BaseRequest, captured: tuple[str, ...], body: bytes, format_: str, key: str
    ) -> Request:  # fmt: skip
        path = request.raw_path
        marks = (b"", b"")
        if key:
            whose = f"{path.partition('?')[0]}\0{key}".encode("utf-8", "surrogateescape")
            marks = (hashlib.blake2b(whose, digest_size=16).digest(), hashlib.blake2b(body, digest_size=8).digest())  # fmt: skip
        headers = {name.lower(): value for name, value in request.headers.items()}
        return Request(body, format_, captured, _peer(request), path, headers, *marks, self.wall())

    def _too_long(self) -> Wrong:
        return Wrong(413, "too_long", f"a body has at most {self.most_bytes:,} bytes, inflated; send it in parts")  # fmt: skip

    async def _answered(self, found: Request) -> Answer:
        """Hand a request over, and wait for its answer."""
        future = found.done = asyncio.get_running_loop().create_future()
        self._waiting.add(future)
        try:
            self.take(found, len(found.body))
            return await future
        finally:
            self._waiting.discard(future)

    # ---- WebSockets

    async def _converse(
        self, request: web.BaseRequest, captured: tuple[str, ...]
    ) -> web.StreamResponse:
        """Take messages until the other side ends it."""
        socket = web.WebSocketResponse(
            protocols=(ACK,), autoping=False, compress=False, max_msg_size=self.most_bytes
        )
        if not socket.can_prepare(request):
            raise Wrong(400, "unreadable", "this is no handshake of a WebSocket")
        await socket.prepare(request)
        connection = _connection(request)
        connection.is_whole()
        self.counts["sockets"] += 1
        answers: asyncio.Queue[asyncio.Future[Answer]] | None = None
        talks = None
        if socket.ws_protocol == ACK:
            answers = asyncio.Queue(_UNANSWERED)
            talks = asyncio.get_running_loop().create_task(_talk(socket, answers, self._waiting))
        self._sockets.add(socket)
        try:
            await self._listen(request, captured, socket, connection, answers)
        finally:
            self._sockets.discard(socket)
            if talks is not None:
                talks.cancel()
        return socket

    async def _listen(
        self,
        request: web.BaseRequest,
        captured: tuple[str, ...],
        socket: web.WebSocketResponse,
        connection: Connection,
        answers: "asyncio.Queue[asyncio.Future[Answer]] | None",
    ) -> None:
        while True:
            message = await socket.receive()
            connection.is_whole()
            if message.type is WSMsgType.PING:
                await socket.pong(message.data)
                continue
            if message.type is WSMsgType.PONG:
                continue
            if message.type is WSMsgType.ERROR or socket.close_code == WSCloseCode.MESSAGE_TOO_BIG:
                self.counts["too_long" if socket.close_code == WSCloseCode.MESSAGE_TOO_BIG else "broken"] += 1  # fmt: skip
            if message.type not in (WSMsgType.TEXT, WSMsgType.BINARY):
                return
            with connection.resting():
                await self._wait_for_room()
            if self.is_over:
                return
            body = message.data.encode() if isinstance(message.data, str) else message.data
            found = self._request(request, captured, body, "auto", "")
            if answers is not None:
                found.done = asyncio.get_running_loop().create_future()
                self._waiting.add(found.done)
                with connection.resting():
                    await answers.put(found.done)
            self.counts["messages"] += 1
            self.take(found, len(body))

    async def _wait_for_room(self) -> None:
        while not self.has_room() and not self.is_over:
            self._room = self._room or asyncio.Event()
            self._room.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_ROOM_S):
                    await self._room.wait()


async def _talk(
    socket: web.WebSocketResponse,
    answers: "asyncio.Queue[asyncio.Future[Answer]]",
    waiting: "set[asyncio.Future[Answer]]",
) -> None:
    """Answer messages in their order."""
    while True:
        future = await answers.get()
        try:
            answer = await future
        finally:
            waiting.discard(future)
        await socket.send_str(json.dumps({"status": answer.status, **answer.told}))


async def _part(socket: web.WebSocketResponse) -> None:
    """Say that the run is over."""
    with contextlib.suppress(OSError, RuntimeError):
        await socket.close(code=WSCloseCode.GOING_AWAY, message=b"the run is over")


def _connection(request: web.BaseRequest) -> Connection:
    found = request.protocol
    assert isinstance(found, Connection)
    return found


def _ends() -> Wrong:
    return Wrong(503, "unanswered", "the run is over; send this again", Retry_After=_RETRY_S)


def _no_room() -> Wrong:
    return Wrong(429, "no_room", "so much waits for the run that there is no room; send this again", Retry_After=_RETRY_S)  # fmt: skip


def _response(answer: Answer) -> web.Response:
    return web.json_response(dict(answer.told), status=answer.status, headers=dict(answer.headers))


def _peer(request: web.BaseRequest) -> str:
    name = None if request.transport is None else request.transport.get_extra_info("peername")
    if not isinstance(name, tuple):
        return ""
    host = str(name[0])
    return f"[{host}]:{name[1]}" if ":" in host else f"{host}:{name[1]}"


__all__ = ["ACK", "KEY", "Answer", "Reception", "Request"]
