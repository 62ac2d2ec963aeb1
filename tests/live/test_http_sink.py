"""Rows become requests of a real server: in order, none missing, and none twice where it knows the keys, whatever happens to it."""

import contextlib
import gzip
import json
import os
import random
import re
import signal
import socket
import sqlite3
import ssl
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pyarrow as pa
import pytest
from support.proxy import Proxy
from support.receiver import taken
from support.services import Service, free_port, program, until

from flowedge.lang.diagnostics import FlowError
from flowedge.lang.errors import SinkError
from flowedge.runtime import delivery
from flowedge.runtime.plan import compile_flow
from flowedge.runtime.run import Run
from flowedge.sinks.http import Http
from flowedge.sinks.remote import Unreachable
from flowedge.sources.payloads import decode
from flowedge.types.connectors import Limit

ROWS = pa.RecordBatch.from_pydict({"k": ["a", "b", "a", "b"], "v": [1.5, 2.5, 3.5, 4.5]})


class Answering:
    """A server in this process that answers with what `answers` says, the last of them again and again, and keeps what came."""

    def __init__(self, *answers, context=None):
        self.answers, self.got = list(answers) or [200], []
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                owner.got.append((self.path, dict(self.headers), body))
                answer = owner.answers.pop(0) if len(owner.answers) > 1 else owner.answers[0]
                if callable(answer):
                    answer = answer(self, body)
                if isinstance(answer, bytes):
                    self.wfile.write(answer)
                    self.close_connection = True
                    return
                status, text, headers = answer if isinstance(answer, tuple) else (answer, "", {})
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *_):
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request, client_address):
                pass

        self.server = Server(("127.0.0.1", 0), Handler)
        self.port = self.server.server_port
        if context is not None:
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,))
        self.thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *_error):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@contextlib.contextmanager
def connected(address, schema=ROWS.schema, **options):
    """A sink that is ready."""
    sink = Http(address, **options)
    sink.stream = "s-1"
    try:
        sink.connect(schema)
        yield sink
    finally:
        sink.disconnect()


def at(server, path="in"):
    return f"http://127.0.0.1:{server.port}/{path}"


def keys(server):
    return [headers["Idempotency-Key"] for _, headers, _ in server.got]


@pytest.mark.parametrize("layout", ["each", "list", "columns"])
@pytest.mark.parametrize(("kind", "name"), [
    ("json", "application/json"), ("msgpack", "application/msgpack"), ("cbor", "application/cbor"), ("csv", "text/csv"),
    ("arrow", "application/vnd.apache.arrow.stream"),
])  # fmt: skip
def test_rows_are_bodies_of_every_format(kind, name, layout):
    with Answering() as server, connected(at(server), format=kind, rows=layout) as sink:
        sink.deliver(ROWS, 0)
    found = []
    for path, headers, body in server.got:
        assert (path, headers["Content-Type"]) == ("/in", name)
        found += decode(body, ROWS.schema, kind)[0].to_pylist()
    assert found == ROWS.to_pylist()
    assert len(server.got) == (4 if layout == "each" else 1)


def test_each_address_has_its_rows_in_order():
    rows = pa.RecordBatch.from_pydict(
        {"k": ["a/b", None, "", "..", "%missing", "ü ?", "a/b"], "n": range(7)}
    )
    with Answering() as server, connected(at(server, "in/{k}?x={n}&y=1"), rows.schema, at_once=3) as sink:  # fmt: skip
        sink.deliver(rows, 0)
    found = {path: json.loads(body) for path, _, body in server.got}
    assert sorted(found) == sorted([
        "/in/a%2Fb?x=0&y=1", "/in/%25missing?x=1&y=1", "/in/%25empty?x=2&y=1", "/in/%25dots%2E%2E?x=3&y=1", "/in/%2525missing?x=4&y=1",
        "/in/%C3%BC%20%3F?x=5&y=1", "/in/a%2Fb?x=6&y=1",
    ])  # fmt: skip
    assert len(set(keys(server))) == 7


def test_a_request_is_as_long_as_it_may_be():
    rows = pa.RecordBatch.from_pydict({"k": ["x" * 100] * 50, "n": range(50)})
    with Answering() as server, connected(at(server), rows.schema, body=Limit(size_bytes=1000)) as sink:  # fmt: skip
        sink.deliver(rows, 0)
        assert max(len(body) for _, _, body in server.got) <= 1000
        longer = pa.RecordBatch.from_pydict({"k": ["x" * 5000], "n": [50]})
        sink.deliver(longer, 50)  # one row is no list that could be cut
    found = [row["n"] for _, _, body in server.got for row in json.loads(body)]
    assert found == list(range(51))


def test_a_server_that_wants_less_at_a_time_gets_less():
    def judge(_handler, body):
        return 413 if len(json.loads(body)) > 3 else 200

    rows = pa.RecordBatch.from_pydict({"n": range(20)})
    with Answering(judge) as server, connected(at(server), rows.schema) as sink:
        sink.deliver(rows, 0)
        took = [
            row["n"]
            for _, _, body in server.got
            if len(row_list := json.loads(body)) <= 3
            for row in row_list
        ]
        assert took == list(range(20))
        assert len(set(keys(server))) == len(server.got)
        server.answers = [413]
        with pytest.raises(SinkError, match="it answers 413"):
            sink.deliver(rows, 20)


def test_who_sends_is_told_in_headers(monkeypatch):
    for name, value in (("TOKEN", "t0ken\n"), ("WORD", "pä:ss"), ("API", "k3y")):
        monkeypatch.setenv(name, value)
    with Answering() as server:
        for options, wanted in (
            ({"token": "env:TOKEN"}, ("Authorization", "Bearer t0ken")),
            ({"user": "me", "password": "env:WORD"}, ("Authorization", "Basic bWU6cMOkOnNz")),
            ({"api_key": "env:API"}, ("X-API-Key", "k3y")),
            ({"api_key": "env:API", "api_key_header": "X-Mine"}, ("X-Mine", "k3y")),
            ({"headers": ("X-Site: north",)}, ("X-Site", "north")),
        ):
            with connected(at(server), **options) as sink:
                sink.deliver(ROWS, 0)
            assert server.got[-1][1][wanted[0]] == wanted[1]
        for packing, undo in (("gzip", gzip.decompress), ("zstd", lambda b: pa.CompressedInputStream(pa.BufferReader(b), "zstd").read())):  # fmt: skip
            with connected(at(server), compress=packing) as sink:
                sink.deliver(ROWS, 0)
            _, headers, body = server.got[-1]
            assert headers["Content-Encoding"] == packing
            assert json.loads(undo(body)) == ROWS.to_pylist()


@pytest.mark.parametrize("status", [408, 409, 425, 429, 500, 502, 503, 504, 599])
def test_what_may_pass_is_tried_again_under_the_same_key(status):
    with Answering((status, "busy", {}), 200) as server, connected(at(server)) as sink:
        with pytest.raises(Unreachable, match=f"answers {status}: busy") as told:
            sink.deliver(ROWS, 0)
        assert told.value.done == 0
        sink.connect(ROWS.schema)
        sink.deliver(ROWS, 0)
        assert len(set(keys(server))) == 1


@pytest.mark.parametrize("answer", [
    (400, "no `v`", {}), (401, "", {}), (403, "", {}), (404, "", {}), (405, "", {}), (410, "", {}), (415, "", {}), (422, "", {}), (501, "", {}),
    (301, "", {"Location": "http://elsewhere/"}), (304, "", {}),
])  # fmt: skip
def test_what_never_will_work_ends_the_run_with_what_the_server_says(answer):
    with Answering(answer) as server, connected(at(server, "in?x=1")) as sink:
        with pytest.raises(SinkError, match=f"it answers {answer[0]}") as told:
            sink.deliver(ROWS, 0)
        assert answer[1] in str(told.value)
        assert answer[2].get("Location", "") in str(told.value)
        assert len(server.got) == 1


def test_only_what_was_not_answered_is_sent_again():
    def judge(handler, _body):
        return 503 if handler.path.endswith("/b") and len(server.got) < 3 else 200

    with Answering(judge) as server, connected(at(server, "in/{k}")) as sink:
        with pytest.raises(Unreachable):
            sink.deliver(ROWS, 0)
        sink.deliver(ROWS, 0)
        assert sorted(path for path, _, _ in server.got) == ["/in/a", "/in/b", "/in/b"]
        sink.deliver(ROWS, 4)
        assert len(set(keys(server))) == 4


@pytest.mark.parametrize(("when", "least"), [("1", 0.9), ("garbage", 0), ("-5", 0), ("Fri, 01 Jan 2100 00:00:00 GMT", 3)])  # fmt: skip
def test_no_sooner_than_the_server_asks(when, least):
    with Answering((503, "", {"Retry-After": when}), 200) as server, connected(at(server)) as sink:
        with pytest.raises(Unreachable):
            sink.deliver(ROWS, 0)
        began = time.monotonic()
        thread = threading.Thread(target=lambda: _suppressed(sink.connect, ROWS.schema))
        thread.start()
        thread.join(2.0 if least > 2 else 20)
        assert thread.is_alive() == (least > 2)
        assert time.monotonic() - began >= min(least, 2)
        sink.interrupt()
        thread.join(20)
        assert not thread.is_alive()


def _suppressed(work, *given):
    with contextlib.suppress(Unreachable):
        work(*given)


RUBBISH = {
    "random": random.Random(2).randbytes(5000),
    "nothing": b"",
    "half a head": b"HTTP/1.1 200 OK\r\nContent-",
    "no status": b"HTTP/1.1 OK\r\n\r\n",
    "another protocol": b"SSH-2.0-OpenSSH_9.2\r\n",
    "an endless header": b"HTTP/1.1 200 OK\r\nA: " + b"x" * 1_000_000,
    "chunks that are none": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    "a header without an end": b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 100_000,
}
GOOD = {
    "a body that is cut short": b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{",
    "gzip that is none": b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc",
    "a long body": b"HTTP/1.1 201 Created\r\nContent-Length: 9000000\r\n\r\n" + b"x" * 9_000_000,
}


@pytest.mark.parametrize("answer", RUBBISH.values(), ids=RUBBISH.keys())
def test_an_answer_that_is_none_may_pass(answer):
    with Answering(answer, 200) as server, connected(at(server), timeout=5) as sink:
        with pytest.raises(Unreachable):
            sink.deliver(ROWS, 0)
        sink.connect(ROWS.schema)
        sink.deliver(ROWS, 0)


@pytest.mark.parametrize("answer", GOOD.values(), ids=GOOD.keys())
def test_success_counts_whatever_becomes_of_the_rest_of_the_answer(answer):
    with Answering(answer) as server, connected(at(server), timeout=5) as sink:
        sink.deliver(ROWS, 0)
        sink.deliver(ROWS, 4)
        assert len(server.got) == 2


def test_a_server_that_says_nothing_is_away_and_can_be_let_go():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        address = f"http://127.0.0.1:{port}/in"
        nothing = pytest.raises(Unreachable, match=r"said nothing for 0\.3 s")
        with connected(address, timeout=0.3) as sink, nothing:
            sink.deliver(ROWS, 0)
        with connected(f"http://127.0.0.1:{port}/in") as sink:
            threading.Timer(0.3, sink.interrupt).start()
            with pytest.raises(Unreachable, match="interrupted"):
                sink.deliver(ROWS, 0)
    with connected(f"http://127.0.0.1:{port}/in") as sink, pytest.raises(Unreachable, match="refused"):  # fmt: skip
        sink.deliver(ROWS, 0)


def test_a_server_is_spoken_to_over_tls_and_its_certificate_checked(tmp_path):
    subprocess.run(
        [program("openssl"), "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "key.pem", "-out", "ca.pem", "-days", "2",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"],
        cwd=tmp_path, check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "ca.pem", tmp_path / "key.pem")
    with Answering(context=context) as server:
        address = f"https://localhost:{server.port}/in"
        with connected(address, ca=str(tmp_path / "ca.pem")) as sink:
            sink.deliver(ROWS, 0)
        with connected(address) as sink, pytest.raises(Unreachable, match="certificate verify failed"):  # fmt: skip
            sink.deliver(ROWS, 0)
    assert len(server.got) == 1


def test_what_is_written_wrong_is_said_before_the_work(monkeypatch):
    monkeypatch.setenv("BAD", "a\nb")
    address = "http://127.0.0.1:1/a"
    for where, options, why in (
        ("ftp://h/a", {}, "does not begin with"),
        ("http://me@h/a", {}, "not by the address"),
        ("http://h/a#b", {}, "more than a path"),
        (address, {"ca": "x"}, "want `https://`"),
        (address, {"batch": 0}, "above 0"),
        (address, {"body": Limit(seconds=1)}, "is a size"),
        (address, {"headers": ("nonsense",)}, "is no header"),
        (address, {"headers": ("A: b\r\nC: d",)}, "is no header"),
        (address, {"headers": ("Content-Length: 5",)}, "made by the sink"),
    ):
        with pytest.raises(SinkError, match=why):
            Http(where, **options)
    for options, why in (
        ({"token": "env:BAD"}, "more than visible ASCII"),
        ({"token": "env:MISSING"}, "the environment has no"),
        ({"token": "env:PATH", "user": "me"}, "two ways"),
    ):
        with pytest.raises(SinkError, match=why):
            Http(address, **options).connect(ROWS.schema)
    with pytest.raises(SinkError, match="has no column `who`"):
        Http(f"{address}/{{who}}").connect(ROWS.schema)
    with pytest.raises(SinkError, match="holds bytes"):
        Http(address).connect(pa.schema([("b", pa.binary())]))


@pytest.mark.parametrize(("address", "options", "code"), [
    ("https://host/a", 'headers=["Authorization: Bearer x"]', "FE704"), ("https://host/a", 'headers="X-Api-Key: x"', "FE704"),
    ("https://host/a", 'token="x"', "FE704"), ("https://host/a", 'api_key="x"', "FE704"), ("https://host/a?api_key=x", "", "FE704"),
    ("https://me:pw@host/a", "", "FE704"), ("http://host/a", 'token=secret("env:X")', "FE710"), ("http://host/a", 'api_key=secret("env:X")', "FE710"),
    ("http://localhost/a", 'token=secret("env:X")', ""), ("https://host/a", 'token=secret("env:X"), headers=["X-Site: a"]', ""),
])  # fmt: skip
def test_secrets_in_the_text_and_over_open_links_are_told(tmp_path, address, options, code):
    text = f'source s from host(every=1 s)\nsink s to http("{address}", {options})\n'
    try:
        told = re.findall(r"\[(FE\d+)\]", compile_flow(text=text).warnings)
    except FlowError as error:
        told = [d.code for d in error.diagnostics]
    assert told == ([code] if code else [])


# ---- whole runs

FLOW = """
source s (time, device: key, n: i64) from arrow("in.arrow")
sink s to http("http://127.0.0.1:{port}/rows/{{device}}", batch=50, timeout=2 s, {more})
"""
COUNT = 4000
LIFE = "from pathlib import Path; from flowedge.runtime.plan import compile_flow; from flowedge.runtime.run import Run; Run(compile_flow(Path('p.flow')), checkpoint=Path('state'), every_s=0.0)()"  # fmt: skip


@pytest.fixture
def recording(tmp_path, monkeypatch):
    """Rows to be sent, and the folder to run in."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(delivery.Backoff, "next_s", lambda _: 0.05)
    times = pa.array(range(0, COUNT * 10**6, 10**6), pa.int64()).cast(pa.timestamp("ns", "UTC"))
    table = pa.table({"time": times, "device": ["a", "b"] * (COUNT // 2), "n": range(COUNT)})
    with pa.ipc.new_file(tmp_path / "in.arrow", table.schema) as file:
        file.write_table(table)
    return tmp_path


def receiving(folder, mode):
    port = free_port()
    script = Path(__file__).parents[1] / "support" / "receiver.py"
    command = [sys.executable, str(script), str(port), str(folder / "taken"), mode]
    return Service(command, folder, port)


def numbers(folder):
    """The numbers that a receiver has of each device, in order."""
    found = {"/rows/a": [], "/rows/b": []}
    for one in taken(folder / "taken"):
        found[one["path"]] += [row["n"] for row in json.loads(one["body"])]
    return found


def harmed(service, folder, how, port, more=""):
    """Run while the receiver is harmed thrice."""
    (folder / "p.flow").write_text(FLOW.format(port=port, more=more))
    task = Run(compile_flow(folder / "p.flow"))
    failures = []

    def run():
        try:
            task()
        except BaseException as error:
            failures.append(error)
            raise

    with service:
        thread = threading.Thread(target=run)
        thread.start()
        for turn in range(1, 4):
            until(lambda turn=turn: len(taken(folder / "taken")) > turn * 15 or not thread.is_alive(), 60)  # fmt: skip
            how()
        thread.join(120)
        assert not thread.is_alive()
        assert not failures
    return task.report.sinks["s"].peer


SLOW = pytest.mark.slow


@pytest.mark.parametrize(("how", "mode"), [
    ("killed", "keys"), ("frozen", "keys"), ("stopped", "all"), pytest.param("killed", "all", marks=SLOW), pytest.param("frozen", "all", marks=SLOW),
])  # fmt: skip
def test_no_row_is_missing_and_all_are_in_order_whatever_happens_to_the_server(recording, how, mode):  # fmt: skip
    service = receiving(recording, mode)

    def harm():
        if how == "frozen":
            service.freeze()
            time.sleep(2.5)
            service.thaw()
        else:
            service.stop() if how == "stopped" else service.kill()
            service.start()

    peer = harmed(service, recording, harm, service.port)
    assert peer.outages >= 1
    for path, first in (("/rows/a", 0), ("/rows/b", 1)):
        found = numbers(recording)[path]
        wanted = list(range(first, COUNT, 2))
        assert (found if mode == "keys" else list(dict.fromkeys(found))) == wanted
    assert peer.guarantee == "at least once"
    assert peer.delivered == COUNT


@pytest.mark.parametrize("how", ["cut", "cut_after", "mute"])
def test_no_row_is_missing_whatever_happens_to_the_wire(recording, how):
    service = receiving(recording, "keys")
    service.start()
    wire = Proxy(service.port)

    def harm():
        if how == "cut_after":
            wire.cut_after(777)
            until(lambda: wire._server.fileno() < 0 or len(taken(recording / "taken")) >= 80)
        else:
            getattr(wire, how)()
            time.sleep(0.3 if how == "cut" else 2.5)
        wire.mend()
        if how == "mute":
            wire.cut()
            wire.mend()

    try:
        with contextlib.suppress(AssertionError):
            service.stop()
        harmed(service, recording, harm, wire.port)
    finally:
        wire.close()
    for path, first in (("/rows/a", 0), ("/rows/b", 1)):
        assert numbers(recording)[path] == list(range(first, COUNT, 2))


def test_each_row_is_there_once_though_the_run_and_the_server_are_killed(recording):
    """With `once` and a server that honours the keys: no row is missing, none is there twice."""
    service = receiving(recording, "keys")
    (recording / "p.flow").write_text(FLOW.format(port=service.port, more="once=true"))
    drawn = random.Random(4)
    with service:
        for turn in range(5):
            before = len(taken(recording / "taken"))
            life = subprocess.Popen([sys.executable, "-c", LIFE], cwd=recording)
            if turn < 4:
                until(lambda n=before, one=life: len(taken(recording / "taken")) > n or one.poll() is not None, 60)  # fmt: skip
                time.sleep(drawn.uniform(0, 0.1))
                if turn % 2:
                    service.kill()
                life.kill()
                life.wait()
                if turn % 2:
                    service.start()
                if not list((recording / "state").glob("checkpoint-*")):
                    break  # it was over before it was killed
            else:
                assert life.wait(60) == 0
    for path, first in (("/rows/a", 0), ("/rows/b", 1)):
        assert numbers(recording)[path] == list(range(first, COUNT, 2))


LIVE = "source h from host(every=10 ms)\nsink h to http(\"http://127.0.0.1:{port}/rows/h\", {more}) as s\n"  # fmt: skip


@pytest.mark.parametrize("more", ["every=300 ms", "every=300 ms, once=true"])
def test_rows_wait_for_others_and_leave_with_the_run(recording, more):
    service = receiving(recording, "keys")
    (recording / "p.flow").write_text(LIVE.format(port=service.port, more=more))
    task = Run(
        compile_flow(recording / "p.flow"), checkpoint=recording / "state", every_s=0.05,
        progress=lambda r: os.kill(os.getpid(), signal.SIGINT) if r.sinks["s"].rows >= 100 else None,
    )  # fmt: skip
    with service, pytest.raises(BaseException, match="interrupted") as told:
        task()
    assert "not delivered" not in str(told.value)
    bodies = [json.loads(one["body"]) for one in taken(recording / "taken")]
    assert sum(map(len, bodies)) == task.report.sinks["s"].rows
    assert len(bodies) < 20


def test_one_flow_sends_to_another_each_row_once(recording, monkeypatch):
    """Both are killed again and again; the receiver answers once a checkpoint of its own covers the rows, and knows the keys."""
    port = free_port()
    (recording / "p.flow").write_text(FLOW.format(port=port, more="once=true, format=msgpack, rows=columns").replace("batch=50", "batch=250"))  # fmt: skip
    other = recording / "other"
    other.mkdir()
    (other / "p.flow").write_text(
        f'source r (device: key string, n: i64) from http("http://127.0.0.1:{port}/rows/{{device}}", ack=commit)\n'
        '    expire key after 1 h\nsink r | select device, n to sqlite("out.db", table="t")\n'
    )
    drawn = random.Random(5)

    def begun(folder):
        return subprocess.Popen([sys.executable, "-c", LIFE.replace("0.0", "0.05")], cwd=folder, stderr=subprocess.DEVNULL)  # fmt: skip

    def table():
        with contextlib.closing(sqlite3.connect(other / "out.db")) as database, contextlib.suppress(sqlite3.Error):  # fmt: skip
            return database.execute("select count(*) from t").fetchone()[0]
        return 0

    receiver, sender = begun(other), begun(recording)
    try:
        for turn in range(2):
            before = table()
            until(lambda n=before, one=sender: table() > n or one.poll() is not None, 60)
            time.sleep(drawn.uniform(0, 0.2))
            if turn == 0:
                receiver.kill()
                receiver.wait()
                receiver = begun(other)
            if turn == 1 and sender.poll() is None:
                sender.kill()
                sender.wait()
                sender = begun(recording)
        assert sender.wait(120) == 0
        receiver.send_signal(signal.SIGINT)
        receiver.wait(60)
    finally:
        for one in (receiver, sender):
            one.kill()
            one.wait()
    with contextlib.closing(sqlite3.connect(other / "out.db")) as database:
        rows = database.execute("select n from t order by n").fetchall()
    assert [n for (n,) in rows] == list(range(COUNT))


def test_the_promise_is_what_the_server_is_said_to_do():
    assert Http.promises({}) == "at least once"
    assert Http.promises({"once": True}) == "exactly once"
