"""Requests and WebSockets become rows; what is wrong with one is told to its sender, and strangers are held to bounds."""

import asyncio
import contextlib
import gzip
import http.client
import itertools
import json
import os
import random
import signal
import socket
import sqlite3
import ssl
import struct
import subprocess
import sys
import threading
import time
import zlib

import aiohttp
import msgpack
import pyarrow as pa
import pytest
from support.services import free_port, program, until

from flowedge.lang.errors import SourceError
from flowedge.runtime.plan import compile_flow
from flowedge.runtime.run import Interrupted, Run
from flowedge.sinks.payloads import encode
from flowedge.sources import catalog
from flowedge.sources.live import Bell, Shell
from flowedge.types.connectors import Limit

V = pa.schema([("v", pa.float64())])
ROWS = pa.RecordBatch.from_pydict({"v": [1.0, 2.0]})


class Listening:
    """A source by itself, taken from on a thread as a run does; requests are made of it."""

    def __init__(
        self,
        *,
        path="in",
        declared=V,
        state=None,
        covers=False,
        takes=True,
        scheme="http",
        **options,
    ):
        self.port, self.scheme = free_port(), scheme
        address = f"{scheme}://127.0.0.1:{self.port}/{path}"
        self.source = catalog.get("http")(address, declared=declared, **{"on_error": "skip", **options})  # fmt: skip
        self.bell = Bell()
        self.source.begin(Shell(self.bell, time.time_ns, covers), state)
        self._rows, self.rejected = [], 0
        self._lock = threading.Lock()  # an answer is given before the rows are here
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._take)
        self.takes = threading.Event()
        if takes:
            self.takes.set()
        self._thread.start()

    def _take(self):
        while not self._is_over.is_set():
            self.bell.wait(0.01)
            with self._lock:
                for arrival in self.source.take() if self.takes.is_set() else ():
                    arrival.rows.validate(full=True)
                    self._rows += arrival.rows.to_pylist()
                    if arrival.rejected is not None:
                        self.rejected += arrival.rejected.num_rows

    @property
    def rows(self):
        with self._lock:
            return self._rows

    @property
    def values(self):
        return [row["v"] for row in self.rows]

    def count(self, what, least=1):
        until(lambda: self.source.told().get(what, 0) >= least)

    def connect(self):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)

    def raw(self, data=b""):
        sock = socket.create_connection(("127.0.0.1", self.port), 20)
        sock.sendall(data)
        return sock

    def post(self, body, path="/in", **headers):
        """Status, what was told, and the headers of the answer."""
        with contextlib.closing(self.connect()) as connection:
            given = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request("POST", path, body, given)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read()), answer.headers

    def __enter__(self):
        return self

    def __exit__(self, *_error):
        self._is_over.set()
        self._thread.join()
        self.source.close()


def told(answer):
    return answer[:2]


@pytest.mark.parametrize(("kind", "name"), [
    ("json", "application/json"), ("json", "application/json; charset=UTF-8"), ("json", "application/senml+json"), ("msgpack", "application/msgpack"),
    ("msgpack", "application/x-msgpack"), ("cbor", "application/cbor"), ("csv", "text/csv"), ("arrow", "application/vnd.apache.arrow.stream"),
    ("json", ""), ("msgpack", "application/octet-stream"), ("arrow", "application/octet-stream"), ("csv", "text/plain"), ("json", "application/x-www-form-urlencoded"),
])  # fmt: skip
def test_a_body_is_read_as_it_says_or_as_it_begins(kind, name):
    (body,) = encode(ROWS, kind, "list")
    with Listening() as found:
        assert told(found.post(body, Content_Type=name)) == (200, {"rows": 2})
        assert found.values == [1.0, 2.0]


def test_a_list_of_cbor_that_says_so_is_not_taken_for_msgpack():
    with Listening() as found:
        body = bytes.fromhex("82a1617601a1617602")
        assert found.post(body)[0] == 400
        assert told(found.post(body, Content_Type="application/cbor")) == (200, {"rows": 2})


def test_each_line_of_json_lines_is_a_payload():
    with Listening() as found:
        body = b'{"v": 1}\n\n{"v": "x"}\r\n{"v": 2}'
        status, answer, _ = found.post(body, Content_Type="application/x-ndjson")
        assert (status, answer["rows"], answer["rejected"]) == (200, 2, 1)
        assert found.values == [1.0, 2.0]


def test_a_body_may_be_packed_and_come_in_pieces():
    body = json.dumps([{"v": v} for v in range(2000)]).encode()
    bare = zlib.compressobj(wbits=-15)
    packed = {
        "gzip": gzip.compress(body[:999]) + gzip.compress(body[999:]), "deflate": zlib.compress(body), "Deflate": bare.compress(body) + bare.flush(),
        "zstd": pa.compress(body, codec="zstd", asbytes=True), "identity": body,
    }  # fmt: skip
    with Listening() as found:
        for name, data in packed.items():
            assert told(found.post(data, Content_Encoding=name)) == (200, {"rows": 2000}), name
            pieces = (data[at : at + 777] for at in range(0, len(data), 777))
            assert told(found.post(pieces, Content_Encoding=name)) == (200, {"rows": 2000}), name
        assert found.values == list(range(2000)) * 10
        for name in ("gzip", "deflate", "zstd"):
            status, answer, _ = found.post(packed[name][:-5], Content_Encoding=name)
            assert status == 400
            assert "cut short" in answer["error"] or "inflated" in answer["error"]
            assert found.post(b"\x00" * 50, Content_Encoding=name)[0] == 400
        assert found.post(gzip.compress(b"") * 100, Content_Encoding="gzip")[0] == 400


def test_the_path_and_the_headers_are_columns():
    declared = pa.schema([
        ("site", pa.string()), ("unit", pa.int64()), ("v", pa.float64()), ("_peer", pa.string()), ("_path", pa.string()),
        ("_header_x_device", pa.string()), ("_received", pa.timestamp("ns", "UTC")),
    ])  # fmt: skip
    with Listening(path="a%20b/{site}/in/{unit}", declared=declared) as found:
        assert found.source.captures == ("site", "unit")
        with contextlib.closing(found.connect()) as connection:
            for site, unit in (("n%C3%B6rd%2F1", 7), ("%FF", "x")):
                path = f"/a%20b/{site}/in/{unit}?z=1"
                connection.request("POST", path, b'{"v": 1}', {"X-Device": "d"})
                assert connection.getresponse().read() == b'{"rows": 1}'
            host, port = connection.sock.getsockname()
        for path in ("/a%20b//in/7", "/a%20b/s/in", "/a%20b/s/in/7/", "/in", "/"):
            assert found.post(b'{"v": 1}', path)[0] == 404
    first, second = found.rows
    assert first.pop("_received") is not None
    assert first == {"site": "nörd/1", "unit": 7, "v": 1.0, "_peer": f"{host}:{port}", "_path": "/a%20b/n%C3%B6rd%2F1/in/7?z=1", "_header_x_device": "d"}  # fmt: skip
    assert (second["site"], second["unit"]) == ("�", None)


def test_what_is_wrong_is_told_to_the_sender_and_counted():
    with Listening(body=Limit(size_bytes=1000)) as found:
        for status, error, body, headers in (
            (400, "it is empty", b"", {}),
            (400, "as no format does", b"\xff\x00", {}),
            (400, "`v` is not a number", b'{"v": "x"}', {}),
            (413, "at most 1,000 bytes", b"x" * 1001, {}),
            (413, "at most 1,000 bytes", (b"x" * 100 for _ in range(11)), {}),
            (413, "at most 1,000 bytes", gzip.compress(bytes(10**6)), {"Content_Encoding": "gzip"}),
            (413, "at most 1,000 bytes", pa.compress(bytes(10**6), codec="zstd", asbytes=True), {"Content_Encoding": "zstd"}),
            (415, "`br` cannot be undone", b"x", {"Content_Encoding": "br"}),
            (415, "`gzip, gzip` cannot be undone", b"x", {"Content_Encoding": "gzip, gzip"}),
            (415, "`image/png` cannot be read", b"x", {"Content_Type": "image/png"}),
            (415, "texts are UTF-8", b"{}", {"Content_Type": "application/json; charset=latin-1"}),
            (415, "is no content type", b"{}", {"Content_Type": "nonsense"}),
            (400, "longer than 255", b"{}", {"Idempotency_Key": "x" * 256}),
        ):  # fmt: skip
            answer = found.post(body, **headers)
            assert answer[0] == status, (answer, error)
            assert error in answer[1]["error"]
        with contextlib.closing(found.connect()) as connection:
            connection.request("GET", "/in")
            answer = connection.getresponse()
            assert (answer.status, answer.headers["Allow"]) == (405, "POST")
        assert told(found.post(b'[{"v": 1}, {"v": "x"}]'))[1]["rejected"] == 1
        counts = found.source.told()
        assert found.values == [1.0]
    wanted = {"unreadable": 4, "too_long": 4, "unsupported": 5, "not_found": 1, "requests": 4}
    assert {name: counts[name] for name in wanted} == wanted
    assert found.rejected == 4


def test_a_sender_asks_before_it_sends_a_long_body():
    with Listening(body=Limit(size_bytes=1000)) as found:
        head = b"POST /in HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n"
        with found.raw(head % 2000) as sock:
            assert b" 413 " in sock.recv(1000)
        with found.raw(head % 8) as sock:
            assert sock.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
            sock.sendall(b'{"v": 1}')
            assert b" 200 " in sock.recv(1000)


def test_senders_wait_where_the_run_has_no_room():
    with Listening(takes=False) as found:
        found.source._inbox._most_bytes = 10_000
        waiting = []

        def send():
            with contextlib.suppress(http.client.HTTPException, OSError):
                waiting.append(found.post(b'{"v": 1}')[0])

        threads = [threading.Thread(target=send) for _ in range(9)]
        for thread in threads:
            thread.start()
        until(lambda: not found.source._inbox.has_room)
        status, answer, headers = found.post(b'{"v": 2}')
        assert (status, headers["Retry-After"]) == (429, "1")
        assert "no room" in answer["error"]
        found.takes.set()
        for thread in threads:
            thread.join()
        until(lambda: found.source._inbox.has_room)
        assert told(found.post(b'{"v": 3}')) == (200, {"rows": 1})
        assert waiting.count(200) == len(found.values) - 1
        assert found.source.told()["no_room"] >= 1


def test_only_who_shows_the_token_may_send(monkeypatch):
    monkeypatch.setenv("WORD", "opensesame\n")
    with Listening(token="env:WORD") as found:
        for shown in (None, "Bearer wrong", "Basic opensesame", "Bearer", "Bearer opensesame2", "Bearer opensésame"):  # fmt: skip
            headers = {} if shown is None else {"Authorization": shown}
            status, answer, more = found.post(b'{"v": 1}', **headers)
            assert (status, more["WWW-Authenticate"]) == (401, "Bearer")
            assert "opensesame" not in answer["error"]
        assert told(found.post(b'{"v": 2}', Authorization="bearer opensesame")) == (200, {"rows": 1})  # fmt: skip
        assert found.source.told()["unauthorized"] == 6
    assert found.values == [2.0]


# ---- sent again


def test_what_was_taken_under_a_key_is_not_taken_again():
    one, other = b'[{"v": 1}, {"v": "x"}]', b'{"v": 2}'
    with Listening(keys=2) as found:
        first = found.post(one, Idempotency_Key='"k-1"')
        assert first[1]["rows"] == 1
        assert told(found.post(one, Idempotency_Key="k-1")) == (200, {"rows": 1, "again": True, "rejected": 1})  # fmt: skip
        status, answer, _ = found.post(other, Idempotency_Key="k-1")
        assert status == 422
        assert "another body" in answer["error"]
        assert (
            found.post(b"\xff\x00", Idempotency_Key="k-2")[0] == 400
        )  # was not taken: the key is free
        assert told(found.post(other, Idempotency_Key="k-2")) == (200, {"rows": 1})
        state = found.source.state()
        assert found.source.told()["doubled"] == 2
    with Listening(keys=2, state=state) as found:
        assert found.post(one, Idempotency_Key="k-1")[1]["again"]
        assert told(found.post(other, Idempotency_Key="k-3")) == (
            200,
            {"rows": 1},
        )  # k-1 is forgotten
        assert found.post(one, Idempotency_Key="k-1")[1]["rows"] == 1
        assert found.values == [2.0, 1.0]
    with pytest.raises(SourceError, match="damaged"):
        Listening(state={"number": 1, "keys": b"x"})


def test_the_same_key_twice_at_once_is_taken_once():
    with Listening(takes=False) as found:
        answers = []
        threads = [
            threading.Thread(target=lambda: answers.append(found.post(b'{"v": 1}', Idempotency_Key="k")))
            for _ in range(5)
        ]  # fmt: skip
        for thread in threads:
            thread.start()
        found.count("requests", 5)
        found.takes.set()
        for thread in threads:
            thread.join()
        assert [a[0] for a in answers] == [200] * 5
        assert sum("again" in a[1] for a in answers) == 4
    assert found.values == [1.0]


def test_with_commit_success_is_answered_once_a_checkpoint_covers_the_rows():
    with Listening(covers=True, ack="commit") as found:
        answers = []

        def send():
            answers.append(told(found.post(b'{"v": 1}', Idempotency_Key="k")))

        assert found.post(b'{"v": "x"}')[0] == 400  # what was not taken is not waited for
        threads = [threading.Thread(target=send) for _ in range(2)]
        threads[0].start()
        until(lambda: found.rows)
        before = found.source.state()
        threads[1].start()  # the same again, which waits as well
        found.count("doubled")
        until(lambda: len(found.source._waiting) == 2)
        assert found.source.is_pressing
        assert not answers
        found.source.covered({**before, "number": 0})
        assert found.source.is_pressing
        found.source.covered(found.source.state())
        for thread in threads:
            thread.join()
        assert sorted(answers, key=lambda a: len(a[1])) == [(200, {"rows": 1}), (200, {"rows": 1, "again": True})]  # fmt: skip
        assert not found.source.is_pressing
        assert found.values == [1.0]
    with pytest.raises(SourceError, match="add `--checkpoint DIR`"):
        Listening(ack="commit")


def test_whoever_waits_when_the_run_ends_is_told_to_come_again():
    answers = []
    with Listening(covers=True, ack="commit") as found:
        thread = threading.Thread(target=lambda: answers.append(found.post(b'{"v": 1}')))
        thread.start()
        until(lambda: found.rows)
    thread.join()
    assert answers[0][0] == 503
    assert answers[0][2]["Retry-After"] == "1"


# ---- WebSockets


def conversing(found, work, **more):
    """Let a client talk over a WebSocket."""

    async def go():
        async with aiohttp.ClientSession() as session:
            address = f"http://127.0.0.1:{found.port}/in"
            async with session.ws_connect(address, **more) as ws:
                return await work(ws)

    return asyncio.run(go())


def test_each_message_of_a_websocket_is_a_payload():
    async def talk(ws):
        await ws.send_str('{"v": 1}')
        await ws.send_bytes(msgpack.packb([{"v": 2}, {"v": 3}]))
        await ws.ping()
        await ws.send_bytes(b"\xff\x00")
        await ws.send_str('{"v": 4}')

    with Listening() as found:
        conversing(found, talk)
        until(lambda: len(found.rows) == 4)
        until(lambda: found.rejected == 1)
        assert found.source.told()["messages"] == 4
        assert found.values == [1, 2, 3, 4]
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            conversing(found, talk, headers={"Upgrade": "nonsense"}, max_msg_size=1)
        assert refused.value.status in (400, 405)


def test_messages_are_answered_in_their_order_where_that_is_asked_for():
    async def talk(ws):
        assert ws.protocol == "flowedge-ack"
        for v in ("1", '"x"', "2"):
            await ws.send_str(f'{{"v": {v}}}')
        return [json.loads(await ws.receive_str()) for _ in range(3)]

    with Listening() as found:
        first, bad, second = conversing(found, talk, protocols=("flowedge-ack",))
        assert first == second == {"status": 200, "rows": 1}
        assert (bad["status"], bad["rejected"]) == (400, 1)


def test_a_websocket_waits_where_the_run_has_no_room():
    count = 400

    async def talk(ws):
        for v in range(count):
            await ws.send_str(json.dumps({"v": v, "more": "x" * 1000}))
        found.takes.set()

    with Listening(takes=False) as found:
        found.source._inbox._most_bytes = 20_000
        threading.Timer(0.5, found.takes.set).start()
        conversing(found, talk)
        until(lambda: len(found.rows) == count)
        assert found.values == list(range(count))


def test_a_websocket_wants_the_token_and_ends_with_the_run(monkeypatch):
    monkeypatch.setenv("WORD", "opensesame")

    async def wait(ws):
        await ws.send_str('{"v": 1}')
        message = await ws.receive()
        return message.type, ws.close_code

    with Listening(token="env:WORD") as found:
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            conversing(found, wait)
        assert refused.value.status == 401
        result = []
        right = {"Authorization": "Bearer opensesame"}
        thread = threading.Thread(target=lambda: result.append(conversing(found, wait, headers=right)))  # fmt: skip
        thread.start()
        until(lambda: found.rows)
    thread.join()
    assert result[0] == (aiohttp.WSMsgType.CLOSE, aiohttp.WSCloseCode.GOING_AWAY)


# ---- TLS


def test_a_client_shows_a_certificate_where_that_is_asked_for(tmp_path):
    for name in ("server", "client"):
        subprocess.run(
            [program("openssl"), "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", f"{name}.key", "-out", f"{name}.pem", "-days", "2",
             "-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1"],
            cwd=tmp_path, check=True, capture_output=True,
        )  # fmt: skip
    files = {"cert": str(tmp_path / "server.pem"), "key": str(tmp_path / "server.key"), "ca": str(tmp_path / "client.pem")}  # fmt: skip
    with Listening(scheme="https", **files) as found:
        trusting = ssl.create_default_context(cafile=tmp_path / "server.pem")
        with pytest.raises((OSError, http.client.HTTPException)):
            _posted(found.port, trusting)
        found.count("tls_failed")
        with found.raw(b"POST /in HTTP/1.1\r\n\r\n") as sock:  # no TLS at all
            assert not sock.recv(100).startswith(b"HTTP")
        found.count("tls_failed", 2)
        trusting.load_cert_chain(tmp_path / "client.pem", tmp_path / "client.key")
        assert _posted(found.port, trusting) == b'{"rows": 1}'
    assert found.values == [1.0]


def _posted(port, context):
    connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=20, context=context)
    with contextlib.closing(connection):
        connection.request("POST", "/in", b'{"v": 1}')
        return connection.getresponse().read()


def test_what_never_will_work_is_said_before_the_work(tmp_path):
    for address, options, why in (
        ("http://0.0.0.0:1/a/{x}y", {}, "a whole segment"),
        ("http://0.0.0.0:1/{x}/{x}", {}, "stands twice"),
        ("http://0.0.0.0:1/a?b", {}, "more than a path"),
        ("http://me@0.0.0.0:1/a", {}, "`token`, not by the address"),
        ("https://0.0.0.0:1/a", {}, "needs `cert`"),
        ("http://0.0.0.0:1/a", {"cert": "x"}, "needs `cert`"),
        ("http://0.0.0.0:1/a", {"body": Limit(seconds=1)}, "a size up to 64 MiB"),
        ("http://0.0.0.0:1/a", {"patience": 0}, "above 0"),
        ("ftp://0.0.0.0:1/a", {}, "does not begin with"),
    ):
        with pytest.raises(SourceError, match=why):
            catalog.get("http")(address, declared=V, **options)
    for declared, why in (("_header_cookie", "holds a secret"), ("_nothing", "has no `_nothing`")):
        with pytest.raises(SourceError, match=why):
            Listening(declared=pa.schema([(declared, pa.string())]))
    with Listening() as found, pytest.raises(SourceError, match="in use"):
        catalog.get("http")(f"http://127.0.0.1:{found.port}/x", declared=V).begin(Shell(Bell(), time.time_ns), None)  # fmt: skip


# ---- strangers

HEAD = b"POST /in HTTP/1.1\r\nHost: x\r\n"
SOCKET = b"GET /in HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"  # fmt: skip
GARBAGE = {
    "random": random.Random(1).randbytes(100_000),
    "half a head": HEAD,
    "no version": b"POST /in\r\n\r\n",
    "a length that is none": HEAD + b"Content-Length: x\r\n\r\n",
    "two lengths": HEAD + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n123456",
    "a length and chunks": HEAD + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a chunk that is none": HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nx\r\n0\r\n\r\n",
    "a gigabyte": HEAD + b"Content-Length: 1073741824\r\n\r\n" + b"x" * 10_000,
    "a chunk of a gigabyte": HEAD + b"Transfer-Encoding: chunked\r\n\r\n40000000\r\n" + b"x" * 10_000,
    "half a body": HEAD + b"Content-Length: 100\r\n\r\n{",
    "a long line": b"POST /" + b"x" * 100_000 + b" HTTP/1.1\r\n\r\n",
    "a long header": HEAD + b"A: " + b"x" * 100_000 + b"\r\n\r\n",
    "many headers": HEAD + b"".join(b"A%d: x\r\n" % k for k in range(10_000)) + b"\r\n",
    "another path, upgraded": SOCKET.replace(b"/in", b"/no") + b"x" * 10_000,
    "a frame of a socket that is none": SOCKET + b"\xff\xff" + b"x" * 100,
    "a frame of a gigabyte": SOCKET + b"\x82\xff" + struct.pack(">Q", 1 << 30) + b"mask" + b"x" * 1000,
    "a frame that is not masked": SOCKET + b"\x82\x05hello",
    "a text that is none": SOCKET + b"\x81\x82\0\0\0\0\xff\xff",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),
}  # fmt: skip


@pytest.mark.parametrize("data", GARBAGE.values(), ids=GARBAGE.keys())
def test_garbage_gives_no_rows_and_harms_nobody(data):
    with Listening(patience=1.0) as found:
        with found.raw() as sock, contextlib.suppress(OSError):
            sock.sendall(data)
            sock.settimeout(2)
            while sock.recv(65_536):
                pass
        assert told(found.post(b'{"v": 1}')) == (200, {"rows": 1})
        assert found.values == [1.0]
        until(lambda: not found.source._server._held)
        until(lambda: found.source.told().keys() & {"broken", "silent", "empty", "not_found", "too_long", "unreadable", "messages"})  # fmt: skip
        assert "failed" not in found.source.told()


def test_whoever_sends_slowly_is_given_up():
    with Listening(patience=0.5) as found:
        for begin, drip, count in (
            (b"", b"P", "empty"),
            (HEAD, b"A: b\r\n", "empty"),
            (HEAD + b"Content-Length: 100000\r\n\r\n", b" ", "silent"),
            (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n", "silent"),
            (SOCKET + b"\x82\xfe\xff\xffmask", b" ", "silent"),
        ):
            before = found.source.told().get(count, 0)
            with found.raw(begin) as sock:
                sock.settimeout(0.02)

                def gone(sock=sock, drip=drip):
                    try:
                        sock.sendall(drip)
                        while True:
                            if not sock.recv(1000):
                                return True
                    except TimeoutError:
                        return False
                    except OSError:
                        return True

                until(gone)
            found.count(count, before + 1)
        assert found.source.told()["silent"] == 3


def test_a_websocket_that_says_nothing_may_stay():
    async def talk(ws):
        await ws.send_str('{"v": 1}')
        for _ in range(12):
            await asyncio.sleep(0.1)
            await ws.ping()
        await ws.send_str('{"v": 2}')

    with Listening(patience=0.3) as found:
        conversing(found, talk)
        until(lambda: found.values == [1.0, 2.0])
        assert "silent" not in found.source.told()


def test_connections_beyond_the_bound_make_room_or_are_turned_away():
    with Listening(connections=5) as found, contextlib.ExitStack() as stack:
        givers = [stack.enter_context(contextlib.closing(found.connect())) for _ in range(3)]
        for one in givers:
            one.request("POST", "/in", b'{"v": 1}')
            one.getresponse().read()
        for _ in range(200):
            stack.enter_context(found.raw())
        found.count("crowded_out", 198)
        until(lambda: len(found.source._server._connections) <= 5)
        for one in givers:  # those that gave something keep their places
            one.request("POST", "/in", b'{"v": 2}')
            assert one.getresponse().read() == b'{"rows": 1}'
        more = [stack.enter_context(contextlib.closing(found.connect())) for _ in range(2)]
        for one in more:
            one.request("POST", "/in", b'{"v": 3}')
            assert one.getresponse().read() == b'{"rows": 1}'
        with found.raw(HEAD) as late:
            late.settimeout(20)
            with contextlib.suppress(ConnectionResetError):
                assert late.recv(100) == b""
        found.count("turned_away")


def test_unfinished_bodies_hold_no_more_than_their_bound():
    with Listening() as found, contextlib.ExitStack() as stack:
        server = found.source._server
        server.bounds = type(server.bounds)(1000, 60.0, unfinished_bytes=1_000_000)
        for _ in range(20):
            sock = stack.enter_context(found.raw(HEAD + b"Content-Length: 1000000\r\n\r\n"))
            with contextlib.suppress(OSError):
                sock.sendall(b"x" * 200_000)
        found.count("over_memory", 15)
        assert server._held <= 1_000_000
        assert told(found.post(b'{"v": 1}')) == (200, {"rows": 1})


# ---- whole runs

FLOW = """
source s (site: key string, n: i64) from http("http://127.0.0.1:{port}/in/{{site}}", ack={ack}, body=1 [MB])
    expire key after 1 h
sink s | select site, n to arrow("out.arrow")
"""


def test_a_pipeline_takes_what_is_sent(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    port = free_port()
    (tmp_path / "p.flow").write_text(FLOW.format(port=port, ack="taken"))
    sent = False

    def send(report):
        nonlocal sent
        if sent:
            os.kill(os.getpid(), signal.SIGINT)
        else:
            sent = True
            threading.Thread(target=post).start()

    def post():
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        with contextlib.closing(connection):
            for n in range(5):
                connection.request("POST", f"/in/{'ab'[n % 2]}", json.dumps({"n": n}))
                connection.getresponse().read()

    task = Run(compile_flow(tmp_path / "p.flow"), progress=lambda report: send(report) if not sent or report.rows_in == 5 else None)  # fmt: skip
    with pytest.raises(Interrupted):
        task()
    with pa.memory_map("out.arrow") as file:
        rows = pa.ipc.open_file(file).read_all().to_pylist()
    assert [(r["site"], r["n"]) for r in rows] == [("ab"[n % 2], n) for n in range(5)]
    assert task.report.sources["s"].live == {"requests": 5, "connects": 1}


LIFE = "import sys; from pathlib import Path; from flowedge.runtime.plan import compile_flow; from flowedge.runtime.run import Run; Run(compile_flow(Path('p.flow')), checkpoint=Path('state'), every_s=0.05)()"  # fmt: skip


def test_nothing_that_was_answered_is_lost_and_nothing_with_a_key_comes_twice(tmp_path):
    """The run is killed again and again; senders send again what was not answered with success."""
    port, count, kills = free_port(), 60, 4
    into = 'sqlite("out.db", table="t")'
    (tmp_path / "p.flow").write_text(FLOW.format(port=port, ack="commit").replace('arrow("out.arrow")', into))  # fmt: skip
    is_over = threading.Event()
    numbers, begun = itertools.count(), []

    def send():
        while (n := next(numbers)) < count:
            begun.append(n)
            while not is_over.is_set():
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
                with contextlib.closing(connection), contextlib.suppress(OSError, http.client.HTTPException):  # fmt: skip
                    connection.request("POST", "/in/a", json.dumps({"n": n}), {"Idempotency-Key": str(n)})  # fmt: skip
                    if connection.getresponse().status == 200:
                        break
                time.sleep(0.02)

    senders = [threading.Thread(target=send) for _ in range(4)]
    for sender in senders:
        sender.start()
    drawn = random.Random(3)
    life = None
    try:
        for turn in range(kills + 1):
            life = subprocess.Popen([sys.executable, "-c", LIFE], cwd=tmp_path, stderr=subprocess.DEVNULL)  # fmt: skip
            target = min(count, (turn + 1) * count // (kills + 1))
            until(lambda target=target: len(begun) >= target, 60)
            if turn < kills:
                time.sleep(drawn.uniform(0, 0.2))
                life.kill()
                life.wait()
        for sender in senders:
            sender.join(60)
        assert not any(s.is_alive() for s in senders)
        life.send_signal(signal.SIGINT)
        life.wait(30)
    finally:
        is_over.set()
        life.kill()
        life.wait()
    with contextlib.closing(sqlite3.connect(tmp_path / "out.db")) as database:
        rows = database.execute("select n from t order by n").fetchall()
    assert [n for (n,) in rows] == list(range(count))
