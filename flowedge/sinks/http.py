"""Rows for an HTTP server, in requests that it can tell apart."""

import email.utils
import hashlib
import re
import secrets
import threading
import time
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import quote

import pyarrow as pa

from flowedge.lang.errors import SecretError, SinkError
from flowedge.links.address import Address, parse
from flowedge.links.http.encodings import deflated
from flowedge.links.http.media import MEDIA
from flowedge.links.tls import context
from flowedge.sinks.contract import connector
from flowedge.sinks.payloads import FORMATS, LAYOUTS, Encoder
from flowedge.sinks.remote import Guarantee, RemoteSink, Unreachable
from flowedge.sinks.urls import Urls
from flowedge.types.connectors import Limit, Option, Signature
from flowedge.types.secrets import resolve

if TYPE_CHECKING:
    from flowedge.links.http.client import Client, Reply

_PORTS = {"http": 80, "https": 443}
_MAY_PASS = frozenset({408, 409, 425, 429})
"""Answers of a client's fault that are none: too slow, at work on the same key, too early, too many (RFC 9110, 6585, 8470)."""
_FOR_EVER = frozenset({501, 505})
"""Answers of a server's fault that it will give again: not implemented, another HTTP."""
_TOO_LARGE = 413
_LONGEST_PAUSE_S = 3600.0
"""A server may ask for longer (`Retry-After`), and is asked again after an hour all the same."""
_KEY = "Idempotency-Key"
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[\x20-\x7e]*")
_OURS = frozenset({"content-type", "content-length", "content-encoding", "transfer-encoding", "host", "idempotency-key"})  # fmt: skip


@connector("http")
class Http(RemoteSink):
    """Send rows to an HTTP server: ``http("https://host/ingest/{device}", token=secret("env:TOKEN"))``.

    Rows are sent by ``POST``, together as many as wait, ``batch`` of them at most and no more bytes than ``body``; names of columns in the address
    are the values of each row (`flowedge.sinks.urls.part`). What waits is sent at once, or after ``every``, or when there are enough.
    Each request has an ``Idempotency-Key`` of its own, and has it again whenever it is sent again in this run.

    With ``once=true`` and checkpoints it has it again after a kill, too: only rows are sent that a checkpoint covers, in the requests
    that they were sent in before. A server that takes what comes under one key once, then has each row exactly once.

    Answers 2xx are success. 408, 409, 425, 429, 5xx, and no answer at all, are tried again, no sooner than ``Retry-After`` says. A request
    that is too long (413) is sent in halves. Any other answer ends the run.

    Raises
    ------
    SinkError : the server refuses rows for good
    """

    extra = "http"
    greets: ClassVar[bool] = False
    repeats: ClassVar[bool] = True
    ways: ClassVar[frozenset[str]] = RemoteSink.ways | {
        "token", "api_key", "api_key_header", "headers", "timeout", "at_once", "every",
    }  # fmt: skip
    options = Signature((
        Option("format", "text", "json", "of the bodies", choices=FORMATS),
        Option("rows", "text", "list", "a request for each row, or a list or columns of many", choices=LAYOUTS),
        Option("batch", "integer", 1000, "rows of a request at most"),
        Option("body", "limit", Limit(size_bytes=1 << 20), "bytes of a request at most, where it holds many rows"),
        Option("every", "duration", 0.0, "so long rows wait for others, to be sent with them [s]"),
        Option("once", "flag", default=False, doc="the server takes what comes under one `Idempotency-Key` once"),
        Option("compress", "text", "none", "of the bodies", choices=("none", "gzip", "zstd")),
        Option("token", "secret", "", "sent as `Authorization: Bearer …`"),
        Option("user", "text", "", "who logs in, with `password` (Basic)"),
        Option("password", "secret", "", "of the user"),
        Option("api_key", "secret", "", "sent in a header of its own"),
        Option("api_key_header", "text", "X-API-Key", "which header that is"),
        Option("headers", "texts", (), 'more headers: `headers=["X-Site: north"]`'),
        Option("timeout", "duration", 30.0, "a request that is not answered after so long is sent again [s]"),
        Option("at_once", "integer", 8, "addresses that are sent to at the same time"),
        Option("ca", "text", "", "PEM file of the authorities that are trusted; those of the system"),
        Option("cert", "text", "", "PEM file of this client's certificate"),
        Option("key", "text", "", "PEM file of its key"),
    ))  # fmt: skip
    _client: "Client | None" = None
    _encoder: Encoder | None = None

    def __init__(self, address: str = "", **given: Any) -> None:  # noqa: ANN401
        super().__init__(address, **given)
        mine = self.given
        try:
            self._peer: Address = parse(address, _PORTS)
            if self._peer.user:
                raise ValueError('who logs in is told by `user="…"`, not by the address')
            if "#" in self._peer.path:
                raise ValueError(f"`{self._peer.path}` is more than a path and a query")
            if self._peer.scheme == "http" and (mine["ca"] or mine["cert"]):
                raise ValueError("`ca`, `cert` and `key` want `https://`")
            if mine["batch"] < 1 or mine["at_once"] < 1 or mine["timeout"] <= 0 or mine["every"] < 0:  # fmt: skip
                raise ValueError(
                    "`batch`, `at_once` and `timeout` are above 0, `every` is not below"
                )
            if not mine["body"].size_bytes:
                raise ValueError("`body` is a size: `body=1 [MB]`")
            self._headers = dict(map(_header, mine["headers"]))
        except ValueError as error:
            raise SinkError(f"`http`: {error}") from None
        self._urls = Urls(f"{self._peer}/{self._peer.path}", self.wanted_names)
        self.most_rows = mine["batch"]
        self.gathers_s = float(mine["every"])
        self._life = secrets.token_hex(4)
        self._answered: set[str] = set()
        self._batch = (-1, -1)
        self._not_before = 0.0
        self._interrupted = threading.Event()

    @classmethod
    def promises(cls, options: Mapping[str, Any], address: str = "") -> Guarantee:
        """Exactly once where the server honours the keys."""
        del address
        return "exactly once" if options.get("once") else "at least once"

    def connect(self, schema: pa.Schema) -> None:
        """Get ready, and let the time pass that the server asked for; raises SinkError, Unreachable."""
        self.disconnect()
        given = self.given
        self._interrupted.clear()
        self._urls.template.check(schema)
        try:
            self._encoder = Encoder(schema, given["format"], given["rows"])
            headers = self._headers | self._credentials()
            tls = context(given["ca"], given["cert"], given["key"]) if self._peer.scheme == "https" else None  # fmt: skip
            from flowedge.links.http.client import Client  # noqa: PLC0415  # brings aiohttp
        except (SecretError, ValueError) as error:
            raise SinkError(f"`http` {self._peer}: {error}") from None
        except ImportError:
            raise SinkError("`http` needs aiohttp; `pip install 'flowedge[http]'`") from None
        if self._interrupted.wait(max(0.0, self._not_before - time.monotonic())):
            raise Unreachable("interrupted")
        self._client = Client(headers, tls, float(given["timeout"]), given["at_once"])

    def _credentials(self) -> dict[str, str]:
        """Headers that say who this is, and what bodies hold; raises SecretError, ValueError."""
        given = self.given
        found = {"User-Agent": "flowedge", "Content-Type": MEDIA[given["format"]]}
        if given["compress"] != "none":
            found["Content-Encoding"] = given["compress"]
        if given["token"] and given["user"]:
            raise ValueError("`token` and `user` are two ways to say who this is; leave one away")
        if given["token"]:
            found["Authorization"] = f"Bearer {_secret(given['token'])}"
        if given["user"]:
            password = resolve(given["password"]).rstrip(b"\r\n") if given["password"] else b""
            told = b64encode(f"{given['user']}:".encode() + password)  # UTF-8, as in RFC 7617
            found["Authorization"] = f"Basic {told.decode()}"
        if given["api_key"]:
            name, value = _header(f"{given['api_key_header']}: {_secret(given['api_key'])}")
            found[name] = value
        return found

    def deliver(self, batch: pa.RecordBatch, first: int) -> None:
        """Send rows, and wait until all are answered with success; raises SinkError, Unreachable."""
        from flowedge.links.http.client import Away  # noqa: PLC0415

        assert self._client is not None
        if self._batch != (first, batch.num_rows):
            self._batch = (first, batch.num_rows)
            self._answered.clear()
        places = [
            [one for one in self._parcels(url, group, 0, rows) if one.key not in self._answered]
            for group, (url, rows, _) in enumerate(self._urls.split(batch))
        ]
        try:
            self._client.send([parcels for parcels in places if parcels], self._judge)
        except Away as problem:
            raise Unreachable(str(problem)) from None

    def _parcels(self, url: str, group: int, at: int, rows: pa.RecordBatch) -> list["_Parcel"]:
        """The requests of rows that go to one address; how they are cut depends on nothing but the rows.

        Parameters
        ----------
        group : number of the address in the batch
        at : number of the first row among those of the address
        """
        encoder = self._encoder
        assert encoder is not None
        most, most_bytes = encoder.most_rows, self.given["body"].size_bytes
        if rows.num_rows > most > 1:
            return [
                one
                for k in range(0, rows.num_rows, most)
                for one in self._parcels(url, group, at + k, rows.slice(k, most))
            ]
        payloads = encoder.payloads(rows)
        if len(payloads) == rows.num_rows:
            return [self._parcel(url, group, at + k, rows.slice(k, 1), payload) for k, payload in enumerate(payloads)]  # fmt: skip
        (payload,) = payloads
        if len(payload) > most_bytes:
            return self._halves(url, group, at, rows)
        return [self._parcel(url, group, at, rows, payload)]

    def _halves(self, url: str, group: int, at: int, rows: pa.RecordBatch) -> list["_Parcel"]:
        half = (rows.num_rows + 1) // 2
        return [
            *self._parcels(url, group, at, rows.slice(0, half)),
            *self._parcels(url, group, at + half, rows.slice(half)),
        ]

    def _parcel(
        self, url: str, group: int, at: int, rows: pa.RecordBatch, payload: bytes
    ) -> "_Parcel":
        first, count = self._batch
        stream, life = quote(self.stream, safe=""), ""
        if not self.given["once"]:
            # Rows that no checkpoint covers get other values under the same numbers after a kill, and the mark of
            # a deadline may come before the next attempt: a server that knew the key would leave those out.
            life = f".{self._life}.{hashlib.blake2b(payload, digest_size=6).hexdigest()}"
        key = f"{stream}{life}:{first}+{count}:{group}:{at}+{rows.num_rows}"
        packing = self.given["compress"]
        body = payload if packing == "none" else deflated(payload, packing)
        return _Parcel(url, body, {_KEY: key}, key, group, at, rows)

    def _judge(self, parcel: "_Parcel", reply: "Reply") -> list["_Parcel"]:
        """What to send in the place of a request; raises SinkError, Unreachable."""
        status = reply.status
        if 200 <= status < 300:
            self._answered.add(parcel.key)
            return []
        if status == _TOO_LARGE and parcel.rows.num_rows > 1:
            return self._halves(parcel.url, parcel.group, parcel.at, parcel.rows)
        said = " ".join(reply.text.split())[:200]
        told = f"{status}: {said}" if said else str(status)
        if status in _MAY_PASS or (status >= 500 and status not in _FOR_EVER):
            pause_s = min(_pause_s(reply.headers.get("Retry-After", "")), _LONGEST_PAUSE_S)
            self._not_before = max(self._not_before, time.monotonic() + pause_s)
            raise Unreachable(f"it answers {told}")
        if 300 <= status < 400:
            told = f"{status}, which leads to `{reply.headers.get('Location', '')[:200]}`; write the address that is meant"
        raise SinkError(f"`http` {self._peer}: it answers {told} (to `{parcel.url[:200]}`)")

    def disconnect(self) -> None:
        """Close all connections."""
        client, self._client = self._client, None
        if client is not None:
            client.close()

    def interrupt(self) -> None:
        """Wait no longer."""
        self._interrupted.set()
        client = self._client
        if client is not None:
            client.interrupt()


@dataclass(frozen=True, slots=True, eq=False)
class _Parcel:
    """One request: of the address number `group` of a batch the rows from `at` on."""

    url: str
    body: bytes
    headers: Mapping[str, str]
    key: str
    group: int
    at: int
    rows: pa.RecordBatch


def _header(line: str) -> tuple[str, str]:
    """Name and value of a header; raises ValueError.

    Examples
    --------
    >>> _header("X-Site: north")
    ('X-Site', 'north')
    """
    name, colon, value = line.partition(":")
    value = value.strip()
    if not colon or not _NAME.fullmatch(name) or not _VALUE.fullmatch(value):
        raise ValueError(f"`{name[:60]}` is no header; write `Name: value` in visible ASCII")
    if name.lower() in _OURS:
        raise ValueError(f"the header `{name}` is made by the sink")
    return name, value


def _secret(reference: str) -> str:
    """What a reference stands for; raises SecretError, ValueError."""
    found = resolve(reference).rstrip(b"\r\n")
    try:
        text = found.decode()
    except UnicodeDecodeError:
        raise ValueError("a secret is no text of UTF-8") from None
    if not _VALUE.fullmatch(text):
        raise ValueError("a secret is more than visible ASCII, which no header holds")
    return text


def _pause_s(text: str) -> float:
    """How long to wait, of a ``Retry-After`` (RFC 9110, 10.2.3): seconds, or a date [s]."""
    if text.strip().isdecimal():
        return float(text[:20])
    try:
        at = email.utils.parsedate_to_datetime(text)
        return max(0.0, at.timestamp() - time.time())
    except (ValueError, OverflowError):
        return 0.0


__all__ = ["Http"]
