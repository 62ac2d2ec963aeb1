"""What a run tells of itself on its port: by value, whole at every moment, and to whoever asks in whatever way."""

import json
import random
import socket
import sqlite3
import time
from dataclasses import replace

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as families
from support.command import cli, recording
from support.runs import Watched, only, samples
from support.services import free_port, until

from flowedge.lang.errors import RunError
from flowedge.runtime.clock import Clock
from flowedge.runtime.latency import Latencies
from flowedge.runtime.operate.exposition import BOUNDS_S, Exposition
from flowedge.runtime.operate.monitor import AWAY_S, HANG_S, Monitor
from flowedge.runtime.operate.server import Port, address_of
from flowedge.runtime.operate.status import FATES, SinkStatus, SourceStatus
from flowedge.runtime.report import PeerReport

FLOW = """
source plant (at: time, device: key, v: f64) from tcp("tcp://127.0.0.1:PORT", framing=lines)
    time at
    late 1 s
    expire key after 1 h
stream w = plant | where v >= 0 | window 10 s | aggregate sum(v) as total, count() as n
sink plant | where v >= 0 to csv("out/plant.csv")
sink w to sqlite("w.db", table="w")
"""


def rows(first, count, sign=1.0):
    """So many rows, ten a second of event time, of three devices."""
    return "".join(
        json.dumps({"at": f"2026-01-01T00:{k // 600:02}:{k // 10 % 60:02}.{k % 10}Z", "device": f"d{k % 3}", "v": sign * k}) + "\n"
        for k in range(first, first + count)
    ).encode()  # fmt: skip


@pytest.fixture
def place(tmp_path):
    port = free_port()
    (tmp_path / "p.flow").write_text(FLOW.replace("PORT", str(port)))
    return tmp_path, port


def connected(port):
    def there():
        try:
            return socket.create_connection(("127.0.0.1", port))
        except OSError:
            return None

    return until(there, 60)


def balanced(found):
    """The ledger adds up: what came in has its fates, at each node."""
    fates, held = found["flowedge_node_rows_fate_total"], found["flowedge_node_rows_held"]
    nodes = {dict(labels)["node"]: n for labels, n in found["flowedge_node_rows_in_total"].items()}
    for node, came in nodes.items():
        told = sum(only(fates, node=node, fate=fate) for fate in FATES)
        assert came == told + only(held, node=node), node
    return nodes


def test_what_is_told_is_what_happened_and_adds_up_at_every_moment(place):
    folder, port = place
    with Watched(folder, "p.flow", "--checkpoint", "state", "--every", "0.2 s") as run:
        run.event("ready")
        assert run.get("/ready")[0] == run.get("/health")[0] == 200
        before = {}
        with connected(port) as sock:
            for turn in range(20):
                sock.sendall(
                    rows(100 * turn, 100)
                    + b'{"at": "2026-01-01T00:00:00Z", "device": "d0", "v": -1}\n'
                )
                found = run.metrics()
                balanced(found)
                for name, values in found.items():
                    if name.endswith(("_total", "_bucket", "_count")) and name.startswith(
                        "flowedge"
                    ):
                        for labels, value in values.items():
                            assert value >= before.get((name, labels), 0), (name, labels)
                            before[name, labels] = value
            until(lambda: only(run.metrics()["flowedge_source_rows_total"], source="plant") == 2020)
            found = until(lambda: (m := run.metrics()) and only(m["flowedge_peer_rows_delivered_total"], sink="w") == 57 and m)  # fmt: skip
        nodes = balanced(found)
        late = only(found["flowedge_node_rows_fate_total"], node="plant", fate="late")
        assert late == 20
        assert nodes["sink csv"] == only(found["flowedge_sink_rows_total"], sink="plant_csv")
        assert (
            only(found["flowedge_sink_rows_total"], sink="w") == 57
        )  # 19 windows of three devices
        assert only(found["flowedge_source_bytes_total"], source="plant") > 2020 * 16
        assert only(found["flowedge_source_events_total"], source="plant", event="connects") == 1
        assert only(found["flowedge_source_up"], source="plant") == 1
        newest = only(found["flowedge_source_watermark_seconds"], source="plant")
        assert newest == pytest.approx(1767225600 + 198.9)
        lag = only(found["flowedge_source_lag_seconds"], source="plant")
        assert lag == pytest.approx(time.time() - newest, abs=60)
        for sink, count in (("plant_csv", nodes["sink csv"]), ("w", 57)):
            buckets = [only(found["flowedge_sink_latency_seconds_bucket"], sink=sink, le=le) for le in (*map(repr, BOUNDS_S), "+Inf")]  # fmt: skip
            assert buckets == sorted(buckets)
            assert (
                buckets[-1]
                == only(found["flowedge_sink_latency_seconds_count"], sink=sink)
                == count
            )
            assert only(found["flowedge_sink_latency_seconds_sum"], sink=sink) > 0
            shortest, longest = (only(found["flowedge_sink_latency_quantile_seconds"], sink=sink, quantile=q) for q in ("0.5", "1"))  # fmt: skip
            assert 0 < shortest <= longest
        assert only(found["flowedge_checkpoint_duration_seconds_count"]) >= 1
        assert only(found["flowedge_checkpoint_epoch"]) >= 1
        assert 0 <= only(found["flowedge_checkpoint_age_seconds"]) < 600
        assert only(found["flowedge_peer_up"], sink="w") == only(found["flowedge_run_ready"]) == 1
        assert only(found["flowedge_state_bytes"], node="window 10 s") > 0
        assert found["process_resident_memory_bytes"]
        told = run.json("/status")
        assert (told["name"], told["phase"], told["sinks"]["w"]["rows"]) == (
            "p.flow",
            "running",
            57,
        )
        assert run.stop()[0] == 130
    with sqlite3.connect(folder / "w.db") as database:
        assert database.execute("SELECT count(*) FROM w").fetchone() == (57,)
    database.close()


def test_both_formats_of_the_field_can_be_parsed(place):
    folder, _ = place
    with Watched(folder, "p.flow") as run:
        run.event("ready")
        text = run.get("/metrics")[1]
        told = {family.name for family in families(text)}
        assert {
            "flowedge_source_rows",
            "flowedge_sink_latency_seconds",
            "flowedge_run_info",
        } <= told
        assert {f.name for f in families(text) if not f.documentation} == set()
        host, port = run.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as sock:
            sock.sendall(
                b"GET /metrics HTTP/1.0\r\nAccept: application/openmetrics-text; version=1.0.0\r\n\r\n"
            )
            answer = b"".join(iter(lambda: sock.recv(1 << 16), b"")).decode()
        head, body = answer.split("\r\n\r\n", 1)
        assert "application/openmetrics-text" in head
        assert {f.name for f in openmetrics(body)} >= {
            "flowedge_source_rows",
            "flowedge_sink_latency_seconds",
        }
        run.stop()


@pytest.fixture
def port():
    """A port of a run that has published nothing but a source, a sink and a node with names that want quotes."""
    monitor = Monitor('a "b"\\c.flow', is_watched=True)
    found = Latencies()
    found.record(3_000_000, 5)
    ugly = 'where x == "é\n"'
    monitor.publish(
        {"sources": {"s": SourceStatus("tcp", "tcp://x", 5, 40, 0, None, True, False, 0, "", {})},
         "sinks": {"k": SinkStatus("mqtt", "mqtt://x", 5, 40, 0, 0, 0, found, PeerReport("at least once"))},
         "nodes": {ugly: dict.fromkeys(("rows_in", "rows_out", "held", *FATES), 0)}},
        None, saves=False,
    )  # fmt: skip
    monitor.ready()
    with_port = Port("127.0.0.1", 0, monitor)
    with_port.monitor = monitor
    yield with_port
    with_port.close()


def asked(port, request, *, closes=True):
    host, number = port.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(number)), 20) as sock:
        sock.sendall(request)
        if closes:
            sock.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: sock.recv(1 << 16), b""))


def body(port, path):
    return asked(port, f"GET {path} HTTP/1.0\r\n\r\n".encode()).split(b"\r\n\r\n", 1)[1].decode()


def test_names_with_quotes_and_lines_stay_what_they_are(port):
    found = samples(body(port, "/metrics"))
    (labels,) = found["flowedge_node_rows_in_total"]
    assert dict(labels)["node"] == 'where x == \\"é\\n\\"'
    assert json.loads(body(port, "/status"))["nodes"].keys() == {'where x == "é\n"'}
    assert only(found["flowedge_sink_latency_seconds_bucket"], le="0.0025") == 0
    assert only(found["flowedge_sink_latency_seconds_bucket"], le="0.005") == 5
    assert only(found["flowedge_sink_latency_seconds_sum"]) == pytest.approx(0.015, rel=0.01)


@pytest.mark.parametrize(("request_", "code"), [
    (b"GET / HTTP/1.0\r\n\r\n", 200), (b"GET /health?x=1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 200),
    (b"HEAD /ready HTTP/1.0\r\n\r\n", 200), (b"GET /../../etc/passwd HTTP/1.0\r\n\r\n", 404),
    (b"POST /metrics HTTP/1.0\r\n\r\n", 501), (b"GET " + b"x" * 70_000 + b" HTTP/1.0\r\n\r\n", 414),
    (b"GET /metrics HTTP/1.0\r\nAccept: application/openmetrics-text; version=x.y, text/plain; version=z\r\n\r\n", 200),
    (b"GET / HTTP/1.0\r\n" + b"".join(b"h%d: x\r\n" % k for k in range(200)) + b"\r\n", 431),
])  # fmt: skip
def test_what_is_asked_wrongly_is_answered_so(port, request_, code):
    assert int(asked(port, request_).split()[1]) == code


def test_garbage_and_connections_that_ask_nothing_keep_nobody_from_an_answer(port, capfd):
    host, number = port.url.removeprefix("http://").split(":")
    rng = random.Random(1)
    idle = [socket.create_connection((host, int(number)), 20) for _ in range(100)]
    try:
        for sock in idle[::3]:
            sock.sendall(b"GET /metr")
        for size in (1, 100, 5000):
            asked(port, rng.randbytes(size))
        for _ in range(5):
            assert json.loads(body(port, "/health"))["ok"]
    finally:
        for sock in idle:
            sock.close()
    assert capfd.readouterr() == ("", "")


# ---- health and readiness, with a clock that the test sets


class Hands(Clock):
    """A clock that stands until it is moved [s]."""

    def __init__(self):
        self.at = 10**12

    def ns(self):
        return self.at

    def wall_ns(self):
        return self.at

    def pass_s(self, span):
        self.at += int(span * 1e9)


def sink(away=""):
    return SinkStatus(
        "mqtt", "mqtt://x", 0, 0, 0, 0, 0, Latencies(), PeerReport("at least once", away=away)
    )


def publish(monitor, **sinks):
    monitor.publish({"sinks": sinks}, None, saves=False)


def test_a_run_is_healthy_as_long_as_its_loop_comes_around():
    clock = Hands()
    monitor = Monitor("x", clock)
    clock.pass_s(10 * HANG_S)
    assert monitor.health()[
        "ok"
    ]  # it is starting, which has no loop; systemd has a limit of its own for that
    monitor.turn()
    monitor.ready()
    clock.pass_s(HANG_S)
    assert monitor.health() == {
        "ok": True,
        "reasons": [],
        "flow": "x",
        "phase": "running",
        "loop_age_s": HANG_S,
    }
    clock.pass_s(1)
    told = monitor.health()
    assert (told["ok"], told["reasons"]) == (
        False,
        ["the loop has not come around for 31 s (allowed: 30 s)"],
    )
    assert monitor.readiness()["reasons"] == told["reasons"]
    monitor.turn()
    assert monitor.health()["ok"]


def test_a_run_is_ready_from_its_first_turn_until_it_stops_but_for_peers_that_stay_away():
    clock = Hands()
    monitor = Monitor("x", clock)
    assert monitor.readiness()["reasons"] == ["starting: models are loaded, sources are opened"]
    monitor.ready()
    publish(monitor, a=sink(), b=sink("refused"))
    for _ in range(int(AWAY_S)):
        clock.pass_s(1)
        monitor.turn()
        publish(monitor, a=sink(), b=sink("refused"))
    assert monitor.readiness()["ok"]  # a peer may be away for a moment
    clock.pass_s(1)
    assert monitor.readiness()["reasons"] == ["the peer of sink b has been away for 31 s: refused"]
    publish(monitor, a=sink(), b=sink())
    assert monitor.readiness()["ok"]
    monitor.stopping()
    assert monitor.readiness()["reasons"] == ["stopping"]


def test_lag_and_ages_go_on_while_nothing_is_published():
    clock = Hands()
    monitor = Monitor("x", clock)
    source = SourceStatus("tcp", "tcp://x", 1, 8, 0, clock.at - 10**9, True, False, 0, "", {})
    parts = {
        "sources": {
            "live": source,
            "over": replace(source, is_over=True),
            "file": replace(source, is_live=False),
        }
    }
    monitor.publish(parts, None, saves=True)
    clock.pass_s(4)
    found = samples(Exposition(monitor, clock).text()[0].decode())
    assert only(found["flowedge_source_lag_seconds"]) == 5
    assert only(found["flowedge_run_status_age_seconds"]) == 4
    assert only(found["flowedge_checkpoint_age_seconds"]) == 4
    assert only(found["flowedge_run_loop_age_seconds"]) == 4


# ---- where it listens


@pytest.mark.parametrize(("text", "wanted"), [
    (":9464", ("127.0.0.1", 9464)), ("0.0.0.0:1", ("0.0.0.0", 1)), ("[::]:9464", ("::", 9464)), ("box.local:80", ("box.local", 80)),
])  # fmt: skip
def test_without_a_host_this_machine_alone_may_ask(text, wanted):
    assert address_of(text) == wanted


@pytest.mark.parametrize(
    "text", ["9464", "", ":", ":99999", "http://x:1", "a b:1", "::1:9464", ":-1"]
)
def test_what_is_no_address_is_a_usage_error(text, tmp_path):
    recording(tmp_path / "in.arrow")
    (tmp_path / "p.flow").write_text(
        'source s from arrow("in.arrow")\nsink s to arrow("out.arrow")\n'
    )
    code, _, err = cli("run", "p.flow", "--metrics", text, cwd=tmp_path)
    assert (code, "is no address; give `:9464`" in err) == (2, True)


def test_a_port_that_is_taken_is_told(port):
    host, number = port.url.removeprefix("http://").split(":")
    with pytest.raises(
        RunError, match=r"cannot listen on 127.0.0.1:.* for `--metrics`: Address already in use"
    ):
        Port(host, int(number), Monitor())
