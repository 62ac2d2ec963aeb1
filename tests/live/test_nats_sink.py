"""Rows become messages of a real NATS server: a stream has them all in order, whatever happens to the server."""

import contextlib
import json
import subprocess
import sys
import threading

import pyarrow as pa
import pytest
from support.nats_peer import Peer
from support.proxy import Proxy
from support.services import nats_server, until

from flowedge.lang.errors import SinkError
from flowedge.links import nats as link
from flowedge.runtime import delivery
from flowedge.runtime.plan import compile_flow
from flowedge.runtime.run import Run
from flowedge.sinks import publishing
from flowedge.sinks.nats import Nats
from flowedge.sinks.remote import Unreachable
from flowedge.sources.payloads import Decoder

ROWS = pa.RecordBatch.from_pydict(
    {
        "time": pa.array([1_700_000_000_123_456_789, 0, 1, 2], pa.timestamp("ns", "UTC")),
        "device": pa.array(["a", "b.*>", "", None]).dictionary_encode(),
        "v": [1.5, float("nan"), 2.5, 3.5],
    }
)
WANTED = [
    ("t.a.x", {"time": "2023-11-14T22:13:20.123456789Z", "device": "a", "v": 1.5}),
    ("t.b%2E%2A%3E.x", {"time": "1970-01-01T00:00:00.000000000Z", "device": "b.*>"}),
    ("t.%empty.x", {"time": "1970-01-01T00:00:00.000000001Z", "device": "", "v": 2.5}),
    ("t.%missing.x", {"time": "1970-01-01T00:00:00.000000002Z", "v": 3.5}),
]


@pytest.fixture
def server(tmp_path):
    """A NATS server of the test's own."""
    with nats_server(tmp_path) as found:
        yield found


@contextlib.contextmanager
def connected(address, schema=ROWS.schema, **options):
    """A sink that is let in."""
    sink = Nats(address, **options)
    sink.stream = "test"
    try:
        sink.connect(schema)
        yield sink
    finally:
        sink.disconnect()


def at(port, subject):
    return f"nats://127.0.0.1:{port}/{subject}"


def test_whoever_listens_hears_each_row_under_its_subject(server):
    with Peer(server.port, "t.>") as peer, connected(at(server.port, "t.{device}.x")) as sink:
        sink.deliver(ROWS, 0)
        until(lambda: len(peer.found) == 4)
    assert [(subject, json.loads(payload)) for subject, _, payload in peer.found] == WANTED
    assert not any(header for _, header, _ in peer.found)


def test_a_stream_has_each_row_once_though_it_is_published_twice(server):
    with Peer(server.port) as peer:
        peer.stream("T", "t.>")
        with connected(at(server.port, "t.{device}.x"), jetstream="T") as sink:
            sink.deliver(ROWS, 0)
            sink.deliver(ROWS.slice(1), 1)  # as after an outage, by this run or another
            assert [(s, json.loads(p)) for s, p in peer.kept("T")] == WANTED
            sink.deliver(ROWS.slice(1), 0)  # other rows that bear numbers of before
            assert [(s, json.loads(p)) for s, p in peer.kept("T")] == WANTED + WANTED[1:]


def test_many_rows_are_one_message_as_long_as_the_stream_takes(server):
    rows = pa.RecordBatch.from_pydict({"k": ["x", "y"] * 200, "v": [float(i) for i in range(400)]})
    with Peer(server.port) as peer:
        peer.stream("T", "x", "y", max_msg_size=900)
        options = {"rows": "columns", "format": "msgpack", "jetstream": "T"}
        with connected(at(server.port, "{k}"), rows.schema, **options) as sink:
            sink.deliver(rows, 0)
            longer = pa.RecordBatch.from_pydict({"k": ["x" * 700], "v": [0.0]})
            with pytest.raises(SinkError, match="and the broker takes"):
                sink.deliver(longer, 401)
        decoder, found = Decoder(rows.schema), {"x": [], "y": []}
        for subject, payload in peer.kept("T"):
            decoder.add(payload)
            found[subject] += [r["v"] for r in decoder.take().to_pylist()]
    assert found == {"x": [2.0 * i for i in range(200)], "y": [1 + 2.0 * i for i in range(200)]}


def test_what_never_will_work_ends_the_run_with_its_reason(server):
    here = f"nats://127.0.0.1:{server.port}"
    for address, options, told in (
        (f"{here}/a.*", {}, "rows are not sent to"), (f"{here}/a..b", {}, "rows are not sent to"), (here, {}, "there is no subject"),
        (f"{here}/a b", {}, "rows are not sent to"), (f"{here}/a", {"rows": "list", "batch": 0}, "one row or more"), ("mqtt://host/a", {}, "does not begin with"),
    ):  # fmt: skip
        with pytest.raises(SinkError, match=told):
            Nats(address, **options)
    with Peer(server.port) as peer:
        peer.stream("T", "t.>")
    for subject, options, told in (
        ("{who}", {}, "has no column `who`"), ("t.a", {"jetstream": "U"}, "there is no stream `U`"), ("u.{device}", {"jetstream": "T"}, "listens to `t.>`, not to `u.*`"),
        ("t.a", {"jetstream": "a.b"}, "no name of a stream"), ("t.a", {"ca": "x.pem"}, "without TLS"), ("t.a", {"tls": True}, "it does not speak TLS"),
    ):  # fmt: skip
        with pytest.raises(SinkError, match=told):
            Nats(at(server.port, subject), **options).connect(ROWS.schema)


def test_a_subject_that_is_not_allowed_ends_the_run_and_one_that_is_does_not(tmp_path, monkeypatch):
    monkeypatch.setenv("WORD", "b")
    may = 'permissions: { publish: ["mine.>"] }'
    lines = [
        f"authorization {{ users = [ {{ user: a, password: b, {may} }}, {{ user: all, password: c }} ] }}"
    ]
    who = {"user": "a", "password": "env:WORD"}
    with (
        nats_server(tmp_path, *lines) as server,
        Peer(server.port, **{"user": "all", "pass": "c"}) as peer,
    ):
        with pytest.raises(SinkError, match="the broker refuses: Authorization Violation"):
            Nats(at(server.port, "mine.a")).connect(ROWS.schema)
        peer.stream("M", "mine.>")
        for more in ({}, {"jetstream": "M"}):  # it may not ask what the stream is like
            with connected(at(server.port, "mine.a"), **who, **more) as sink:
                sink.deliver(ROWS, 0)
        assert len(peer.kept("M")) == 8
        for more in ({}, {"jetstream": "M"}):
            with (
                connected(at(server.port, "yours.a"), **who, **more) as sink,
                pytest.raises(
                    SinkError,
                    match=r"a message to `yours.a`: it does not let this client publish to `yours.a`",
                ),
            ):
                sink.deliver(ROWS, 0)


def test_a_stream_that_is_full_is_one_that_is_away(server):
    with Peer(server.port) as peer:
        peer.stream("T", "t.>", max_msgs=2, discard="new")
        with connected(at(server.port, "t.{device}"), jetstream="T") as sink:
            with pytest.raises(Unreachable, match="maximum messages exceeded") as raised:
                sink.deliver(ROWS, 0)
            assert raised.value.done == 2


def test_a_server_that_is_away_is_no_error_of_the_run(tmp_path):
    found = nats_server(tmp_path)
    sink = Nats(at(found.port, "a"))
    with pytest.raises(Unreachable, match=r"(?i)connect"):
        sink.connect(ROWS.schema)
    with found:
        sink.connect(ROWS.schema)
        sink.deliver(ROWS, 0)
        found.stop()
        until(lambda: sink._line.is_over)
        with pytest.raises(Unreachable):
            sink.deliver(ROWS, 0)
    sink.disconnect()


def test_a_call_that_is_abandoned_comes_to_its_end(server):
    with Peer(server.port) as peer:
        peer.stream("T", "a")
    with connected(at(server.port, "a"), jetstream="T") as sink:
        server.freeze()
        threading.Timer(0.3, sink.interrupt).start()
        with pytest.raises(Unreachable, match="interrupted"):
            sink.deliver(ROWS, 0)
        server.thaw()


FLOW = """
source s (time, device: key, n: i64) from arrow("in.arrow")
sink s to nats("nats://127.0.0.1:{port}/rows.{{device}}", {more})
"""
COUNT = 4000


@pytest.fixture
def recording(tmp_path, monkeypatch):
    """Rows to be published, and the folder to run in."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(delivery.Backoff, "next_s", lambda _: 0.1)
    monkeypatch.setattr(publishing, "_ANSWER_S", 1.0)
    monkeypatch.setattr(link, "_MOST_OUT", 50)
    times = pa.array(range(0, COUNT * 10**6, 10**6), pa.int64()).cast(pa.timestamp("ns", "UTC"))
    table = pa.table({"time": times, "device": ["a", "b"] * (COUNT // 2), "n": range(COUNT)})
    with pa.ipc.new_file(tmp_path / "in.arrow", table.schema) as file:
        file.write_table(table)
    return tmp_path


def stopped(server, _proxy):
    server.stop()
    server.start()


def killed(server, _proxy):
    server.kill()
    server.start()


def frozen(server, _proxy):
    server.freeze()
    threading.Event().wait(1.5)
    server.thaw()


def cut(_server, proxy):
    proxy.cut_after(5000)
    until(lambda: proxy.cuts)
    proxy.cuts = 0
    proxy.mend()


def hanging(_server, proxy):
    proxy.hang()
    threading.Event().wait(1.5)
    proxy.mend()


def muted(_server, proxy):
    """It hears all, and its answers are lost."""
    proxy.mute()
    threading.Event().wait(1.5)
    proxy.cut()
    proxy.mend()


def harmed(server, recording, how, more, monkeypatch):
    """Run, and harm the server or the way to it thrice; what the run says."""
    proxy = Proxy(server.port)
    (recording / "p.flow").write_text(FLOW.format(port=proxy.port, more=more))
    plan = compile_flow(recording / "p.flow")
    found, failures = [], []

    def run():
        try:
            found.append(Run(plan)())
        except BaseException as error:
            failures.append(error)
            raise

    harms, batches, inner = [], 0, Nats.messages

    def slowly(self, batch, first, most_bytes):
        nonlocal batches
        batches += 1
        if batches in (5, 10, 15):
            harms.append(threading.Thread(target=how, args=(server, proxy)))
            harms[-1].start()
        for harm in harms:  # the others wait while it goes on, but not for its end
            harm.join(0.1)
        return inner(self, batch, first, most_bytes)

    monkeypatch.setattr(Nats, "messages", slowly)
    monkeypatch.setattr(Nats, "most_rows", 100)
    thread = threading.Thread(target=run)
    thread.start()
    thread.join(120)
    for harm in harms:
        harm.join()
    proxy.close()
    assert not thread.is_alive()
    assert not failures
    return found[0].sinks["s"].peer


@pytest.mark.parametrize("how", [stopped, killed, frozen, cut, hanging, muted])
def test_a_stream_has_each_row_once_and_in_order_whatever_happens(
    server, recording, how, monkeypatch
):
    with Peer(server.port) as peer:
        peer.stream("R", "rows.>")
        told = harmed(server, recording, how, 'jetstream="R"', monkeypatch)
        until(peer.is_back)
        heard = [json.loads(payload)["n"] for _, payload in peer.kept("R")]
    assert told.outages >= 1
    assert heard == list(range(COUNT))


def test_a_run_that_is_killed_and_goes_on_has_put_each_row_there_once(server, recording, request):
    (recording / "p.flow").write_text(FLOW.format(port=server.port, more='jetstream="R"'))
    command = [
        sys.executable,
        "-m",
        "flowedge",
        "run",
        "p.flow",
        "--checkpoint",
        "state",
        "--every",
        "0.1 s",
        "--quiet",
    ]

    def run():
        process = subprocess.Popen(command, cwd=recording, stdin=subprocess.DEVNULL)
        request.addfinalizer(lambda: (process.kill(), process.wait()))
        return process

    with Peer(server.port) as peer:
        peer.stream("R", "rows.>")
        killed = run()
        until(lambda: peer.api("STREAM.INFO.R")["state"]["messages"] or killed.poll() is not None)
        killed.kill()
        killed.wait()
        assert run().wait(60) == 0
        heard = [json.loads(payload)["n"] for _, payload in peer.kept("R")]
    assert heard == list(range(COUNT))


def test_at_most_once_means_that_none_comes_twice_and_what_is_lost_is_counted(
    server, recording, monkeypatch
):
    with Peer(server.port, "rows.>") as peer:
        told = harmed(server, recording, cut, "", monkeypatch)
        until(lambda: len(peer.found) >= COUNT - told.lost)
        heard = [json.loads(payload)["n"] for _, _, payload in peer.found]
    assert told.outages >= 1
    assert told.delivered + told.lost == COUNT
    assert heard == sorted(set(heard))


def test_the_promise_is_that_of_a_stream():
    assert Nats.promises({}) == "at most once"
    assert Nats.promises({"jetstream": "S"}) == "at least once"
