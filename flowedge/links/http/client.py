"""Requests of one thread: each is answered, refused by the network, or given up; several places are asked at the same time."""

import asyncio
import contextlib
import os
import ssl
import threading
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import aiohttp
from yarl import URL

_IDLE_S = 4.0
"""A connection that was idle for longer is not used again: many servers close them after five seconds, and a request that meets
the end has an unknown fate."""
_READ_BYTES = 4096
"""Of an answer."""
T = TypeVar("T")
P = TypeVar("P", bound="Parcel")


class Away(Exception):  # noqa: N818  # it is what happened
    """There is no answer: refused, cut off, silent, or no HTTP."""


class Parcel(Protocol):
    """One request."""

    @property
    def url(self) -> str:
        """Whole, and quoted."""

    @property
    def body(self) -> bytes:
        """As it is sent."""

    @property
    def headers(self) -> Mapping[str, str]:
        """Besides those of all requests."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What a server says.

    Attributes
    ----------
    headers : by name, in any case
    text : the beginning of its body
    """

    status: int
    headers: Mapping[str, str]
    text: str


class Client:
    """Sends parcels; all calls come from one thread, but for `interrupt`.

    Parameters
    ----------
    headers : of all requests
    tls : None for the system's authorities
    timeout_s : in which a request is answered, from its beginning to the end of the answer [s]
    at_once : places that are asked at the same time
    """

    def __init__(
        self,
        headers: Mapping[str, str],
        tls: ssl.SSLContext | None,
        timeout_s: float,
        at_once: int,
    ) -> None:
        self._loop = asyncio.new_event_loop()
        self._lock = threading.Lock()
        self._task: asyncio.Task[Any] | None = None
        self._timeout_s, self._at_once = timeout_s, at_once
        self._session = self._run(self._opened(headers, tls))

    def send(self, places: Sequence[Sequence[P]], judge: Callable[[P, Reply], Sequence[P]]) -> None:
        """Send the parcels of each place in order, those of several at the same time.

        Parameters
        ----------
        places : the parcels of each
        judge : hears each reply, and gives what is to be sent in the place of a parcel; what it raises ends its place, and is raised once
            the others have come to an end, too

        Raises
        ------
        Away : a parcel was not answered; the others of its place were not sent
        """
        self._run(self._send(places, judge))

    def interrupt(self) -> None:
        """Let what is under way end by `Away`; from any thread."""
        with self._lock:
            if self._task is not None:
                self._loop.call_soon_threadsafe(self._task.cancel)

    def close(self) -> None:
        """Close all connections."""
        if self._loop.is_closed():
            return
        self._run(self._session.close())
        with self._lock:
            self._loop.close()

    # ---- in the loop

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        with self._lock:
            task = self._task = self._loop.create_task(work)
        try:
            return self._loop.run_until_complete(task)
        except asyncio.CancelledError:
            raise Away("interrupted") from None
        finally:
            with self._lock:
                self._task = None

    async def _opened(
        self, headers: Mapping[str, str], tls: ssl.SSLContext | None
    ) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(
            limit=self._at_once, keepalive_timeout=_IDLE_S, ssl=True if tls is None else tls
        )
        return aiohttp.ClientSession(
            connector=connector, headers=dict(headers), auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=self._timeout_s),
        )  # fmt: skip

    async def _send(
        self, places: Sequence[Sequence[P]], judge: Callable[[P, Reply], Sequence[P]]
    ) -> None:
        room = asyncio.Semaphore(self._at_once)
        works = [self._of_one(parcels, judge, room) for parcels in places]
        found = [x for x in await asyncio.gather(*works, return_exceptions=True) if x is not None]
        # What will never work is said before what may pass.
        for problem in sorted(found, key=lambda x: isinstance(x, Away)):
            raise problem

    async def _of_one(
        self,
        parcels: Sequence[P],
        judge: Callable[[P, Reply], Sequence[P]],
        room: asyncio.Semaphore,
    ) -> None:
        async with room:
            left = list(reversed(parcels))
            while left:
                parcel = left.pop()
                left += reversed(judge(parcel, await self._asked(parcel)))

    async def _asked(self, parcel: Parcel) -> Reply:
        """The reply to one request; raises Away."""
        try:
            answer = await self._session.post(
                URL(parcel.url, encoded=True), data=parcel.body, headers=dict(parcel.headers), allow_redirects=False
            )  # fmt: skip
        except TimeoutError:
            raise Away(f"it has said nothing for {self._timeout_s:g} s") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise Away(_clause(error)) from None
        text = b""
        try:
            # The status decides: what becomes of the rest of an answer is no matter.
            with contextlib.suppress(aiohttp.ClientError, OSError, TimeoutError):
                while len(text) < _READ_BYTES and (data := await answer.content.read(_READ_BYTES)):
                    text += data
        finally:
            if answer.content.at_eof():
                answer.release()
            else:
                answer.close()
        return Reply(answer.status, answer.headers, text[:_READ_BYTES].decode("utf-8", "replace"))


def _clause(error: Exception) -> str:
    """What went wrong, in a few words on one line."""
    told = str(error) or type(error).__name__
    if isinstance(error, aiohttp.ClientConnectorError):
        inner = error.os_error
        has_number = inner.errno and inner.errno > 0 and not isinstance(inner, ssl.SSLError)
        told = os.strerror(inner.errno or 0) if has_number else str(inner) or told
    if isinstance(error, aiohttp.ClientResponseError):
        told = f"it answers what is no HTTP: {error.message}"
    return " ".join(told.split())[:200]


__all__ = ["Away", "Client", "Parcel", "Reply"]
