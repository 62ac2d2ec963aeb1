"""A connection to a NATS server that comes back by itself: the client of nats-py, on a thread and a loop of its own."""

import asyncio
import contextlib
import json
import re
import threading
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from flowedge.links.address import Address
from flowedge.links.backoff import Backoff
from flowedge.links.nats_login import NatsLogin

if TYPE_CHECKING:
    from flowedge.links.nats_client import BatchClient, Incoming

T = TypeVar("T")

NO_RESPONDERS, DENIED = 503, 403
"""Nobody listens to the subject of a message that wants an answer; this client may not publish there."""
_WAIT_S = 10.0
"""For a connection, and for the server's word about it."""
_PING_S = 10
_MOST_OUT = 1000
"""Messages of ours that are sent and not answered."""
_FOR_EVER = (
    "authorization violation",
    "authorization failed",
    "authentication revoked",
    "invalid user credentials",
)
"""Refusals that no further attempt mends."""
_VIOLATION = re.compile(r"for (publish|subscription) to \"(.*?)\"")


class Outgoing(NamedTuple):
    """A message to be published; `number` is what `Link` calls it by, `is_kept` says that a stream answers for it."""

    number: int
    subject: str
    payload: bytes
    headers: Mapping[str, str] | None = None
    is_kept: bool = False


class Refused(Exception):  # noqa: N818  # it is what the server said
    """What the server says will not change by itself."""


class Link:
    """One client; its thread connects, and connects again.

    Parameters
    ----------
    prepare : called in the loop on each connection, with this link and the client, before it counts as up; it raises `Refused` where it
        never will
    on_change : called in the thread when `is_up` or `refused` has changed
    on_published : called in the thread with the number of a message that a stream has (of others: that the server has read), and the
        code and reason where it is refused, else 0
    comes_back : connects again when it has lost the connection or gets none; else it is over then

    Attributes
    ----------
    is_up : whether the server has let it in
    is_over : the thread has ended
    refused : why no attempt will ever succeed; empty: none of this kind
    trouble : why the last attempt did not succeed
    connects, drops : how often it got in, and lost the connection again
    most_bytes : of a message, header and payload together; known once it is up
    """

    def __init__(
        self,
        address: Address,
        login: NatsLogin,
        *,
        prepare: "Callable[[Link, BatchClient], Coroutine[Any, Any, None]] | None" = None,
        on_change: Callable[[], None] | None = None,
        on_published: Callable[[int, int, str], None] | None = None,
        comes_back: bool = True,
    ) -> None:
        from flowedge.links.nats_client import BatchClient  # noqa: PLC0415  # an extra

        self._make = BatchClient
        self._address, self._login, self._prepare = address, login, prepare
        self._on_change = on_change or (lambda: None)
        self._on_published = on_published or (lambda _number, _code, _reason: None)
        self._comes_back = comes_back
        self.is_up = self.is_over = self._is_closing = False
        self.refused = self.trouble = ""
        self.connects = self.drops = self.most_bytes = 0
        self._client: BatchClient | None = None
        self._out: set[int] = set()
        self._inbox = b""
        self._runner = asyncio.Runner()
        self._loop = self._runner.get_loop()
        self._ended = asyncio.Event()
        self._closed = asyncio.Event()
        self._denied = asyncio.Event()
        self._room = asyncio.Semaphore(_MOST_OUT)
        self._tasks: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=self._run, name="flowedge-nats", daemon=True)

    # ---- from any thread

    def start(self) -> None:
        """Begin to connect."""
        self._thread.start()

    def call(self, what: Callable[..., None], *given: object) -> None:
        """Have something done in the loop; after `close` nothing happens."""
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(what, *given)

    def publish(self, messages: Sequence[Outgoing]) -> None:
        """Send messages, in their order; `on_published` tells of each. Those that a connection loses are lost."""
        self.call(self._publish, messages)

    def close(self) -> None:
        """Say goodbye, and end the thread."""
        if self._is_closing:
            return
        self._is_closing = True
        self.call(self._closed.set)
        self.call(self._ended.set)
        if self._thread.is_alive():
            self._thread.join()
        self._runner.close()

    # ---- in the loop, for `prepare` and what it leaves behind

    def fail(self, why: str) -> None:
        """End this connection; another one is made."""
        self.trouble = why
        self._ended.set()

    def refuse(self, why: str) -> None:
        """End this connection for good."""
        self.trouble = self.refused = why
        self._ended.set()

    def forgive(self) -> None:
        """That this client was not let do something does not matter."""
        self._denied.clear()
        self.trouble = ""

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Have something done; what goes wrong ends the connection."""
        task = self._loop.create_task(self._tried(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def asked(self, work: Coroutine[Any, Any, T]) -> T:
        """What the server answers; raises `Refused` as soon as it says that this client may not ask."""
        task = asyncio.ensure_future(work)
        denied = asyncio.ensure_future(self._denied.wait())
        try:
            await asyncio.wait({task, denied}, return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                raise Refused(self.trouble)
            return task.result()
        finally:
            task.cancel()
            denied.cancel()

    async def _tried(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Refused as refusal:
            self.refuse(str(refusal))
        except Exception as error:  # noqa: BLE001  # whatever nats-py raises, this connection is of no use any more
            self.fail(_plain(error))

    # ---- the thread

    def _run(self) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            self._runner.run(self._live())
        self.is_up, self.is_over = False, True
        self._on_change()

    async def _live(self) -> None:
        waits = Backoff()
        while not self._is_closing and not self.refused:
            before = self.connects
            self._ended.clear()
            await self._once()
            if self.connects > before:
                waits.reset()
            if not self._comes_back:
                return
            if not self.refused:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._closed.wait(), waits.next_s())

    async def _once(self) -> None:
        """One connection, from its beginning to its end."""
        client = self._make(encrypted=self._login.tls is not None, gone=self._ended.set)
        try:
            await self._let_in(client)
            self.connects += 1
            self.trouble = ""
            self.is_up = True
            self._on_change()
            await self._ended.wait()
        except Refused as refusal:
            self.refuse(str(refusal))
        except Exception as error:  # noqa: BLE001  # whatever nats-py raises on garbage, it is no connection
            self._not_let_in(error)
        was_up, self.is_up, self._client = self.is_up, False, None
        await client.cut()
        self._out.clear()
        self._room = asyncio.Semaphore(_MOST_OUT)
        if was_up and not self._is_closing:
            self.drops += 1
            self.trouble = self.trouble or "the connection is lost"
        self._on_change()

    async def _let_in(self, client: "BatchClient") -> None:
        login, host = self._login, self._address.host
        ways: dict[str, Any] = {}
        if login.credentials:
            from nats.aio.client import RawCredentials  # noqa: PLC0415  # an extra

            ways["user_credentials"] = RawCredentials(login.credentials)
        if login.nkey:
            ways["nkeys_seed_str"] = login.nkey
        if login.user or login.password:
            ways |= {"user": login.user, "password": login.password}
        if login.token:
            ways["token"] = login.token
        if login.tls is not None:
            ways |= {"tls": login.tls, "tls_hostname": host}
        self._denied.clear()
        await asyncio.wait_for(
            client.connect(
                f"nats://{f'[{host}]' if ':' in host else host}:{self._address.port}", name=login.name, allow_reconnect=False,
                max_reconnect_attempts=1, reconnect_time_wait=0, connect_timeout=int(_WAIT_S), ping_interval=_PING_S,
                error_cb=self._went_wrong, **ways,
            ), 2 * _WAIT_S,
        )  # fmt: skip
        self._client = client
        self.most_bytes = client.max_payload
        self._inbox = client.new_inbox().encode()
        await client.listen(f"{self._inbox.decode()}.*", self._answered)
        if self._prepare is not None:
            await self._prepare(self, client)
        await client.flush(int(_WAIT_S))  # what it does not let this client do, it says before
        if self._denied.is_set():
            raise Refused(self.trouble)
        if self._ended.is_set():
            raise ConnectionError(self.trouble)

    def _not_let_in(self, error: Exception) -> None:
        from nats.errors import NoServersError, SecureConnRequiredError, SecureConnWantedError  # noqa: PLC0415

        why = _plain(error)
        if isinstance(error, SecureConnWantedError):
            self.refuse("it does not speak TLS; write `nats://`")
        elif isinstance(error, SecureConnRequiredError):
            self.refuse("it wants TLS; write `tls://`")
        elif any(told in why.lower() for told in _FOR_EVER):
            self.refuse(why)
        elif not isinstance(error, NoServersError):  # of which there was word before
            self.trouble = why

    async def _went_wrong(self, error: Exception) -> None:
        """Called by nats-py; most of what it tells of closes the connection, too."""
        why = _plain(error)
        if "permissions violation" not in why.lower():
            self.trouble = why
            return
        found = _VIOLATION.search(why)
        what = "listen" if found and found[1] == "subscription" else "publish"
        self.trouble = f"it does not let this client {what}{f' to `{found[2]}`' if found else ''}"
        self._denied.set()
        if self._out:
            self._on_published(min(self._out), DENIED, self.trouble)
        elif self.is_up:
            self.refuse(self.trouble)

    # ---- publishing

    def _publish(self, messages: Sequence[Outgoing]) -> None:
        client = self._client
        if client is not None and self.is_up:
            self.spawn(self._send(client, messages))

    async def _send(self, client: "BatchClient", messages: Sequence[Outgoing]) -> None:
        self._denied.clear()
        read = []
        for one in messages:
            headers: Any = one.headers
            self._out.add(one.number)
            if one.is_kept:
                await self._room.acquire()
                await client.publish(
                    one.subject, one.payload, f"{self._inbox.decode()}.{one.number}", headers
                )
            else:
                read.append(one.number)
                await client.publish(one.subject, one.payload, "", headers)
        if read:
            await client.flush(int(_WAIT_S))
            if not self._denied.is_set() and not self._ended.is_set():
                for number in read:
                    self._out.discard(number)
                    self._on_published(number, 0, "")

    def _answered(self, messages: "list[Incoming]") -> None:
        """What streams say of messages of ours."""
        for subject, _, header, payload in messages:
            number = int(subject.rpartition(b".")[2])
            if number not in self._out:
                continue
            self._out.discard(number)
            self._room.release()
            self._on_published(number, *_said(header, payload))


def _said(header: bytes, payload: bytes) -> tuple[int, str]:
    """Code and reason of a refusal; 0 where there is none."""
    if header.startswith(b"NATS/1.0 503"):
        return NO_RESPONDERS, "no stream listens to it"
    told = json.loads(payload)
    error = told.get("error")
    if error:
        return int(error.get("err_code") or error.get("code") or 1), str(error.get("description"))
    return (0, "") if "seq" in told else (1, "what answers is no stream")


def _plain(error: Exception) -> str:
    """What went wrong, without the names of the library."""
    told = str(error) or type(error).__name__
    return told.removeprefix("nats: ").strip("'")


__all__ = ["DENIED", "NO_RESPONDERS", "Link", "Outgoing", "Refused"]
