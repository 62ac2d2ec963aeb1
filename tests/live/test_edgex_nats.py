"""EdgeX over NATS: what its bus carries becomes rows, and rows become what its bus carries."""

import base64
import json
import os
import time
from pathlib import Path

import pyarrow as pa
import pytest
from support.nats_peer import Peer
from support.services import nats_server, require, until

from flowedge.lang.errors import SinkError, SourceError
from flowedge.sinks.edgex import Edgex as Sink
from flowedge.sources.edgex import Edgex, OverMqtt, OverNats
from flowedge.sources.live import Bell, Shell
from flowedge.sources.nats import header_map
from flowedge.sources.payloads.cbor import unpacked
from flowedge.types.metadata import UNIT

SHARED = Path(os.environ.get("FLOWEDGE_SHARED", Path(__file__).parents[3] / "shared"))
TRUE = SHARED / "data" / "edgex"
ORIGIN = 1_700_000_000_123_456_789
STAMP = pa.timestamp("ns", "UTC")
SUBJECT = "edgex.events.device.svc.prof-1.dev-1.all"
TYPES = {"json": "application/json", "cbor": "application/cbor"}


@pytest.fixture
def server(tmp_path):
    """A NATS server of the test's own."""
    with nats_server(tmp_path) as found:
        yield found


class Listener:
    """A source by itself, on a server."""

    def __init__(self, port, declared=None, state=None, covers=False, **options):
        self.source = Edgex(
            f"nats://127.0.0.1:{port}", declared=declared, on_error="quarantine", **options
        )
        self.bad = []
        self.source.begin(Shell(Bell(), time.time_ns, covers), state)
        until(lambda: self.source.told()["connects"] or self.source.take())

    def take(self, count):
        found = []

        def enough():
            for arrival in self.source.take():
                found.extend(arrival.rows.to_pylist())
                if arrival.rejected is not None:
                    self.bad += arrival.rejected["reason"].to_pylist()
            return len(found) >= count

        until(enough)
        return found

    def __enter__(self):
        return self

    def __exit__(self, *_error):
        self.source.close()


def true_messages():
    """Messages that EdgeX's own code has made, and the payload and header that each is over NATS."""
    require(f"`{TRUE}`", TRUE.exists())
    for path in sorted(p for p in TRUE.iterdir() if p.suffix in (".json", ".cbor")):
        data = path.read_bytes()
        envelope = json.loads(data) if path.suffix == ".json" else unpacked(data)
        payload = envelope["payload"]
        kind = envelope["contentType"]
        if isinstance(payload, str):
            payload = base64.b64decode(payload)
        elif isinstance(payload, dict):
            payload, kind = (
                json.dumps(payload, default=lambda b: base64.b64encode(b).decode()).encode(),
                TYPES["json"],
            )
        yield data, payload, kind


def test_true_messages_come_in_envelopes_and_under_headers(server):
    messages = list(true_messages())
    with Listener(server.port) as listener, Peer(server.port) as peer:
        for data, _, _ in messages:
            peer.send(SUBJECT, data)
        in_envelopes = listener.take(11 + 24)
        for _, payload, kind in messages:
            header = {
                "Content-Type": kind,
                "X-Correlation-ID": "c",
                "RequestId": "",
                "ApiVersion": "v3",
                "ErrorCode": "0",
            }
            peer.send(SUBJECT, payload, header)
        under_headers = listener.take(11 + 24)
    assert not listener.bad
    assert {r["origin"] for r in in_envelopes} == {ORIGIN}
    assert under_headers == in_envelopes


def event(name, value, **more):
    made = {"deviceName": "d", "profileName": "p", "sourceName": "s", "origin": ORIGIN}
    reading = {"resourceName": name, "valueType": "Int64", "value": str(value)}
    return json.dumps({"event": {**made, **more, "readings": [reading]}})


def test_a_header_that_tells_of_an_error_is_a_reason(server):
    declared = pa.schema(
        [("x", pa.int64()), ("_header_x_correlation_id", pa.string()), ("_subject", pa.string())]
    )
    with (
        Listener(server.port, declared, topic="edgex/events/+/#") as listener,
        Peer(server.port) as peer,
    ):
        peer.send(
            "edgex.events.core.a", event("x", 1), {"X-Correlation-ID": "one", "ErrorCode": "0"}
        )
        peer.send("edgex.events.core.a", "it went wrong", {"ErrorCode": "1"})
        peer.send("edgex.events.core.a", event("y", 1))
        peer.send("edgex.events.device.b", event("x", 2), {"X-Correlation-ID": "two"})
        rows = listener.take(2)
        assert listener.source.told()["others"] == 1
    assert [tuple(r.values()) for r in rows] == [
        (1, "one", "edgex.events.core.a"),
        (2, "two", "edgex.events.device.b"),
    ]
    assert listener.bad == ["its sender tells of error 1: it went wrong"]


def test_a_stream_of_events_is_read_each_once(server):
    declared = pa.schema([("x", pa.int64()), ("_sequence", pa.int64())])
    options = {"jetstream": "E", "covers": True}
    with Peer(server.port) as peer:
        peer.stream("E", "edgex.>")
        peer.keep(SUBJECT, *(event("x", n) for n in range(5)))
        with Listener(server.port, declared, **options) as listener:
            assert [r["x"] for r in listener.take(5)] == [0, 1, 2, 3, 4]
            state = listener.source.state()
        peer.keep(SUBJECT, event("x", 5))
        with Listener(server.port, declared, state, **options) as listener:
            assert listener.take(1) == [{"x": 5, "_sequence": 6}]
            assert listener.source.told()["doubled"] == 5


ROWS = pa.RecordBatch.from_arrays(
    [
        pa.array([ORIGIN, ORIGIN + 1], STAMP), pa.array(["dev.1", None]), pa.array([23.5, float("nan")], pa.float32()),
        pa.array([2**64 - 1, None], pa.uint64()),
    ],
    schema=pa.schema([
        ("time", STAMP), ("device", pa.string()), pa.field("temp", pa.float32(), metadata={UNIT: b"degC"}), ("count", pa.uint64()),
    ]),
)  # fmt: skip
SENT = "edgex.events.device.flowedge.prof-1.dev%2E1.flowedge"


def sent(server, rows, **options):
    """(subject, header, payload) of what a sink publishes of rows."""
    sink = Sink(f"nats://127.0.0.1:{server.port}", profile="prof-1", **options)
    sink.stream = "test"
    with Peer(server.port, "edgex.>") as peer:
        sink.connect(rows.schema)
        sink.deliver(rows, 0)
        sink.disconnect()
        until(lambda: len(peer.found) == rows.num_rows)
    return peer.found


def test_a_row_is_a_request_under_a_header_or_in_an_envelope(server):
    bare = sent(server, ROWS)
    wrapped = sent(server, ROWS, format="json")
    assert [subject for subject, _, _ in bare] == [SENT, SENT.replace("dev%2E1", "missing")]
    for (_, header, payload), (_, none, envelope) in zip(bare, wrapped, strict=True):
        told, whole = header_map(header), json.loads(envelope)
        assert not none
        assert json.loads(payload) == whole["payload"]
        assert told == {
            "Content-Type": "application/json", "X-Correlation-ID": whole["correlationID"], "ApiVersion": "v3", "RequestId": "", "ErrorCode": "0",
        }  # fmt: skip
    (binary,) = sent(server, pa.RecordBatch.from_arrays(
        [pa.array([ORIGIN], STAMP), pa.array(["cam-1"]), pa.array([b"\0\1\2\xff"])], names=["time", "device", "frame"]
    ))  # fmt: skip
    assert header_map(binary[1])["Content-Type"] == "application/cbor"
    assert unpacked(binary[2])["event"]["readings"][0]["binaryValue"] == b"\0\1\2\xff"


@pytest.mark.parametrize("form", ["nats", "json"])
def test_what_is_published_into_a_stream_is_read_back(server, form):
    declared = pa.schema(
        [
            ("device", pa.string()),
            ("_origin", STAMP),
            ("temp", pa.float32()),
            ("count", pa.uint64()),
            ("_units", pa.string()),
        ]
    )
    with Peer(server.port) as peer:
        peer.stream("E", "edgex.>")
        for _ in range(2):  # the second time as after an outage
            sink = Sink(f"nats://127.0.0.1:{server.port}", profile="p", jetstream="E", format=form)
            sink.stream = "test"
            sink.connect(ROWS.schema)
            sink.deliver(ROWS, 0)
            sink.disconnect()
        assert len(peer.kept("E")) == 2
        with Listener(server.port, declared, jetstream="E") as listener:
            rows = listener.take(2)
    assert [r.pop("_origin").value for r in rows] == [ORIGIN, ORIGIN + 1]
    assert rows[0] == {
        "device": "dev.1",
        "temp": 23.5,
        "count": 2**64 - 1,
        "_units": '{"temp":"degC"}',
    }
    assert [rows[1][name] for name in ("device", "temp", "count")] == ["missing", None, None]


def test_each_way_has_its_options_and_promises():
    assert isinstance(Edgex("nats://h"), OverNats)
    assert isinstance(Edgex("mqtt://h"), OverMqtt)
    for address, given, told in (
        ("nats://h", {"qos": 1}, "has no `qos` over NATS"), ("mqtt://h", {"jetstream": "S"}, "has no `jetstream` over MQTT"), ("redis://h", {}, "does not begin with"),
    ):  # fmt: skip
        with pytest.raises(SourceError, match=told):
            Edgex(address, **given)
    for address, given, told in (
        ("nats://h", {"retain": True}, "has no `retain` over NATS"), ("mqtt://h", {"token": "env:A"}, "has no `token` over MQTT"),
        ("mqtt://h", {"format": "nats"}, "a message bus on NATS"), ("nats://h/a", {}, "leave the path away"), ("redis://h", {}, "does not begin with"),
    ):  # fmt: skip
        with pytest.raises(SinkError, match=told):
            Sink(address, profile="p", **given)
    for options, address, once, again in (
        ({}, "nats://h", "at most once", False), ({"jetstream": "S"}, "nats://h", "at least once", True), ({"qos": 1}, "mqtt://h", "at least once", True),
        ({"qos": 0}, "mqtt://h", "at most once", False),
    ):  # fmt: skip
        assert Sink.promises(options, address) == once
        assert Edgex.comes_again(options, address) is again
