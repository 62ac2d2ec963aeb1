"""EdgeX: what its bus carries becomes rows, and rows become what its bus carries."""

import base64
import json
import os
import re
import time
from pathlib import Path

import pyarrow as pa
import pytest
from support.publisher import Publisher
from support.services import require, until
from support.subscriber import Subscriber

from flowedge.lang.errors import SinkError, SourceError
from flowedge.sinks.edgex import Edgex as Sink
from flowedge.sources import edgex_values
from flowedge.sources.edgex import Edgex
from flowedge.sources.edgex_envelopes import Reading, events_of
from flowedge.sources.live import Bell, Shell
from flowedge.sources.payloads import PayloadError
from flowedge.sources.payloads.cbor import unpacked
from flowedge.sources.payloads.values import MisfitError
from flowedge.types.metadata import UNIT

SHARED = Path(os.environ.get("FLOWEDGE_SHARED", Path(__file__).parents[3] / "shared"))
TRUE = SHARED / "data" / "edgex"
ORIGIN = 1_700_000_000_123_456_789
STAMP = pa.timestamp("ns", "UTC")
NAMES = [
    "v3_binary.json", "v3_single.json", "v41_cborenv_binary.cbor", "v41_cborenv_optimized_single.cbor", "v41_cborenv_single.cbor",
    "v41_optimized_multi.json", "v41_optimized_single.json", "v4_allcbor_single.json", "v4_base64_single.json", "v4_binary.json",
    "v4_default_multi.json", "v4_default_single.json", "v4_event_messagetype_single.json",
]  # fmt: skip
RESOURCES = pa.schema([
    ("device", pa.string()), ("_origin", STAMP), ("temp", pa.float32()), ("press", pa.float64()), ("count", pa.uint64()), ("neg", pa.int8()),
    ("on", pa.bool_()), ("label", pa.string()), ("ecg", pa.list_(pa.float32(), 3)), ("imu", pa.list_(pa.int16(), 3)),
    ("bits", pa.list_(pa.bool_(), 2)), ("names", pa.string()), ("obj", pa.string()), ("missing", pa.float64()),
    ("_units", pa.string()), ("_tags", pa.string()), ("_reading_tags", pa.string()),
])  # fmt: skip


def true_message(name):
    """A message that EdgeX's own code has made."""
    require(f"`{TRUE / name}`", (TRUE / name).exists())
    return (TRUE / name).read_bytes()


def decoded(messages, declared=None, **options):
    """Rows of messages, and what was turned away."""
    source = Edgex("mqtt://127.0.0.1:1883", declared=declared, **options)
    decoder = source.decoder()
    extra = {name: [None] * len(messages) for name in source.about if declared and name in declared.names}  # fmt: skip
    decoder.add_many(messages, extra)
    return decoder.take().to_pylist(), [r.reason for r in decoder.rejected], decoder


def request(readings, **event):
    """A message as a device service of EdgeX 4 sends it."""
    made = {"deviceName": "d", "profileName": "p", "sourceName": "s", "origin": ORIGIN, **event}
    return json.dumps(
        {"payload": {"event": {**made, "readings": readings}}, "errorCode": 0}
    ).encode()


def reading(kind, value, name="x"):
    return {"resourceName": name, "valueType": kind, "value": value}


@pytest.mark.parametrize("name", NAMES)
def test_each_true_message_gives_its_readings(name):
    rows, bad, _ = decoded([true_message(name)])
    assert not bad
    assert {r["origin"] for r in rows} == {ORIGIN}
    assert {r["time"].value for r in rows} == {ORIGIN}
    assert {r["profile"] for r in rows} == {"prof-1"}
    if "binary" in name:
        (row,) = rows
        assert (row["device"], row["resource"], row["bytes"]) == ("cam-1", "frame", b"\0\1\2\xff")
    elif "multi" in name:
        assert len(rows) == 12
        assert (rows[0]["units"], json.loads(rows[0]["tags"])) == (
            "degC",
            {"site": "A", "loc": "lab"},
        )
        assert rows[2]["text"] == "18446744073709551615"
        assert (rows[11]["value"], rows[11]["text"]) == (None, None)
    else:
        (row,) = rows
        assert (row["device"], row["resource"], row["value"]) == ("dev-1", "temp", 23.5)


@pytest.mark.parametrize("name", ["v4_default_multi.json", "v41_optimized_multi.json"])
def test_an_event_is_a_row_of_the_declared_resources(name):
    (row,), bad, _ = decoded([true_message(name)], RESOURCES)
    assert not bad
    assert row.pop("_origin").value == ORIGIN
    assert [row.pop(key) for key in ("ecg", "press")] == [
        pytest.approx([0.1, -2.0, 1e-7], rel=1e-6), 101.325,
    ]  # fmt: skip
    assert row == {
        "device": "dev-1", "temp": 23.5, "count": 2**64 - 1, "neg": -7, "on": True, "label": "ok", "imu": [1, -2, 3],
        "bits": [True, False], "names": '["a","b c"]', "obj": '{"x":1,"y":"z"}', "missing": None, "_units": '{"temp":"degC"}',
        "_tags": '{"site":"A"}', "_reading_tags": '{"temp":{"loc":"lab"}}',
    }  # fmt: skip


def test_events_without_the_resources_or_of_other_devices_are_no_rows():
    messages = [request([reading("Int8", "1", n)], deviceName=d) for n, d in ("xd", "yd", "xe")]
    rows, bad, decoder = decoded(messages, pa.schema([("x", pa.int8())]), device="d")
    assert (rows, bad, decoder.others) == ([{"x": 1}], [], 2)


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("Float64", "2.350000e+01", 23.5), ("float32", "NaN", None), ("Float64", "+Inf", float("inf")), ("Float64", 1.5, 1.5),
        ("INT64", "-9223372036854775808", -(2**63)), ("Uint64", "18446744073709551615", 2**64 - 1), ("Int8", -128, -128),
        ("Bool", "true", True), ("Bool", False, False), ("String", "", ""), ("StringArray", '["a", "b,c"]', ["a", "b,c"]),
        ("Float32Array", "[1e-01, NaN, +Inf]", None), ("Int16Array", '["1", "-2"]', [1, -2]), ("Uint8Array", "[]", []),
        ("BoolArray", "[true, false]", [True, False]), ("Int32Array", [1, 2], [1, 2]), ("ObjectArray", [{"a": 1}], [{"a": 1}]),
    ],
)  # fmt: skip
def test_a_value_is_read_by_its_type(kind, text, value):
    found = edgex_values.value(Reading("d", "p", "s", "r", 1, kind.lower(), text, None, {}))
    if value is None:
        assert "nan" in repr(found)
    else:
        assert found == value
        assert type(found) is type(value)


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("Int8", "128"), ("Uint8", "-1"), ("Int64", "1.5"), ("Float64", "1_0"), ("Float64", "0x1p3"), ("Bool", "yes"), ("String", 1),
        ("Float32Array", "1, 2"), ("Float32Array", "[1, x]"), ("StringArray", "[1"), ("Int8Array", "[999]"), ("Quaternion", "1"),
        ("Float64", " 1"), ("Int64", "9223372036854775808"), ("Bool", 1), ("StringArray", "[1]"),
    ],
)  # fmt: skip
def test_a_value_that_is_not_of_its_type_is_turned_away(kind, text):
    with pytest.raises(MisfitError):
        edgex_values.value(Reading("d", "p", "s", "r", 1, kind.lower(), text, None, {}))
    rows, bad, _ = decoded([request([reading(kind, text), reading("Int8", "1", "y")])])
    assert [r["resource"] for r in rows] == ["y"]
    assert len(bad) == 1
    rows, bad, _ = decoded([request([reading(kind, text)])], pa.schema([("x", pa.string())]))
    assert not rows
    assert re.match("`x` is not of (the|a) value type", bad[0])


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (b"", "empty"), (b"{", "no JSON"), (b"\xff\xff", ""), (b"[]x", "no JSON"), (b"7", ""), (b'{"a":1}', "holds no event"),
        (b'{"payload":"@@"}', "neither an event nor base64"), (b'{"payload":"e30="}', "holds no event"),
        (b'{"errorCode":1,"payload":"it went wrong"}', "tells of error 1: it went wrong"), (b'{"payload":null}', "holds no event"),
        (request(7), "holds no event"), (request([reading("Int8", "1")], origin=None), "has no origin"),
        (request([reading("Int8", "1")], origin=1.7e18), "no whole number of nanoseconds"), (request([7]), "a reading is no map"),
        (request([{"valueType": "Int8"}] * 2), "names no resource"), (request([reading("Int8", "1")], deviceName=3), "`deviceName` is no text"),
        (b"[" * 100_000, "nested"), (b'{"payload":"' + base64.b64encode(b"[" * 9) + b'"}', "nested"), (b"[7]", "holds no event"),
    ],
)  # fmt: skip
def test_what_is_no_event_is_turned_away_with_its_reason(message, reason):
    rows, bad, _ = decoded([message, request([reading("Int8", "1")])])
    assert [r["value"] for r in rows] == [1.0]
    assert bad
    assert all(reason in one for one in bad)


def test_a_message_of_edgex_2_has_keys_of_its_own():
    event = {"event": {"deviceName": "d", "sourceName": "s", "origin": ORIGIN, "readings": [reading("Float32", "2.350000e+01", "t")]}}  # fmt: skip
    payload = base64.b64encode(json.dumps(event).encode()).decode()
    message = {"Checksum": "", "CorrelationID": "c", "Payload": payload, "ContentType": "application/json"}  # fmt: skip
    rows, bad, _ = decoded([json.dumps(message).encode()])
    assert not bad
    assert (rows[0]["resource"], rows[0]["value"], rows[0]["origin"]) == ("t", 23.5, ORIGIN)


def test_what_is_declared_and_is_not_there_is_refused():
    with pytest.raises(SourceError, match="has no `_who`"):
        decoded([], pa.schema([("_who", pa.string())]))
    with pytest.raises(SourceError, match="a reading has no `temp`"):
        decoded([], pa.schema([("temp", pa.float64())]), rows="readings")
    twice = request([reading("Int8", "1"), reading("Int8", "2")])
    rows, bad, _ = decoded([twice], pa.schema([("x", pa.int8())]))
    assert not rows
    assert "is read twice" in bad[0]


def test_policies_say_what_becomes_of_values_that_do_not_fit():
    declared = pa.schema([("x", pa.int8()), ("y", pa.int8())])
    messages = [request([reading("Int16", "300"), reading("Int16", "300", "y")])]
    source = Edgex("mqtt://127.0.0.1:1883", declared=declared, fitting={"x": "clamp", "y": "null"})
    decoder = source.decoder()
    decoder.add_many(messages, {})
    assert decoder.take().to_pylist() == [{"x": 127, "y": None}]
    assert decoder.take_altered() == {"x": (0, 1), "y": (1, 0)}
    source = Edgex("mqtt://127.0.0.1:1883", declared=declared, fitting={"x": "reject"})
    decoder = source.decoder()
    decoder.add_many(messages, {})
    assert decoder.take().num_rows == 0
    assert [r.by_policy for r in decoder.rejected] == [True]


class Listener:
    """A source by itself, on a broker."""

    def __init__(self, port, declared=None, **options):
        self.source = Edgex(f"mqtt://127.0.0.1:{port}", declared=declared, **options)
        self.source.begin(Shell(Bell(), time.time_ns), None)
        until(lambda: self.source.told()["connects"] or self.source.take())
        time.sleep(0.2)  # the subscription is on its way

    def take(self, count):
        found = []

        def enough():
            for arrival in self.source.take():
                found.extend(arrival.rows.to_pylist())
            return len(found) >= count

        until(enough)
        return found

    def __enter__(self):
        return self

    def __exit__(self, *_error):
        self.source.close()


def test_all_true_messages_come_over_a_broker(broker):
    topic = "edgex/events/device/svc/prof-1/dev-1/all"
    with Listener(broker.port) as listener, Publisher(broker.port) as publish:
        for name in NAMES:
            publish(topic, true_message(name))
        rows = listener.take(11 + 24)
    assert sum(r["bytes"] is not None for r in rows) == 3
    assert {r["origin"] for r in rows} == {ORIGIN}


ROWS = pa.RecordBatch.from_arrays(
    [
        pa.array([ORIGIN, ORIGIN + 1], STAMP), pa.array(["dev/1", None]), pa.array([23.5, float("nan")], pa.float32()),
        pa.array([2**64 - 1, None], pa.uint64()), pa.array([True, None]), pa.array([[0.1, float("nan")], None], pa.list_(pa.float32(), 2)),
        pa.array(["ok", None]).dictionary_encode(),
    ],
    schema=pa.schema([
        ("time", STAMP), ("device", pa.string()), pa.field("temp", pa.float32(), metadata={UNIT: b"degC"}), ("count", pa.uint64()),
        ("on", pa.bool_()), ("ecg", pa.list_(pa.float32(), 2)), ("label", pa.dictionary(pa.int32(), pa.string())),
    ]),
)  # fmt: skip


def sent(broker, rows, **options):
    """(topic, message) of what a sink publishes of rows."""
    sink = Sink(f"mqtt://127.0.0.1:{broker.port}", profile="prof-1", **options)
    sink.stream = "test"
    with Subscriber(broker.port) as heard:
        sink.connect(rows.schema)
        sink.deliver(rows, 0)
        sink.deliver(rows, 0)  # as after an outage
        sink.disconnect()
        until(lambda: len(heard.found) == 2 * rows.num_rows)
    again = [payload for _, payload, _ in heard.found[rows.num_rows :]]
    assert [payload for _, payload, _ in heard.found[: rows.num_rows]] == again  # ids and all
    return [(topic, payload) for topic, payload, _ in heard.found[: rows.num_rows]]


def shape(value):
    """Keys in their order, and the types behind them."""
    if isinstance(value, dict):
        return {key: shape(one) for key, one in value.items()}
    if isinstance(value, list):
        return [shape(value[0])] if value else []
    return type(value).__name__


def test_an_event_has_the_shape_that_edgex_writes(broker):
    rows = ROWS.select(["time", "device", "temp"]).slice(0, 1)
    bare = rows.replace_schema_metadata(None).cast(pa.schema([pa.field(f.name, f.type) for f in rows.schema]))  # fmt: skip
    ((topic, payload),) = sent(broker, bare)
    made, true = json.loads(payload), json.loads(true_message("v4_default_single.json"))
    assert json.dumps(shape(made)) == json.dumps(shape(true))
    ours, theirs = (one["payload"]["event"]["readings"][0] for one in (made, true))
    for key in ("valueType", "value", "origin", "resourceName", "profileName"):
        assert ours[key] == theirs[key]
    assert topic == "edgex/events/device/flowedge/prof-1/dev%2F1/temp"
    binary = pa.RecordBatch.from_arrays(
        [pa.array([ORIGIN], STAMP), pa.array(["cam-1"]), pa.array([b"\0\1\2\xff"])], names=["time", "device", "frame"]
    )  # fmt: skip
    ((_, payload),) = sent(broker, binary)
    made, true = json.loads(payload), json.loads(true_message("v4_binary.json"))
    assert json.dumps(shape(made)) == json.dumps(shape(true))
    ours, theirs = (unpacked(base64.b64decode(one["payload"])) for one in (made, true))
    assert shape(ours) == shape(theirs)


def test_what_is_published_is_read_back(broker):
    declared = pa.schema([("device", pa.string()), ("_origin", STAMP), *[ROWS.schema.field(k) for k in range(2, 6)], ("label", pa.string()), ("_units", pa.string())])  # fmt: skip
    found = sent(broker, ROWS)
    rows, bad, _ = decoded([payload for _, payload in found], declared)
    assert not bad
    assert [r["device"] for r in rows] == ["dev/1", "missing"]
    assert [r["_origin"].value for r in rows] == [ORIGIN, ORIGIN + 1]
    assert (rows[0]["temp"], rows[0]["count"], rows[0]["on"], rows[0]["label"]) == (23.5, 2**64 - 1, True, "ok")  # fmt: skip
    assert rows[0]["ecg"][0] == pytest.approx(0.1)
    assert rows[0]["_units"] == '{"temp":"degC"}'
    assert [rows[1][name] for name in ("temp", "count", "on", "ecg", "label")] == [None] * 5
    events = [list(events_of(payload)) for _, payload in found]
    assert [len(e[0].readings) for e in events] == [5, 5]


def test_rows_that_edgex_cannot_hold_are_refused():
    sink = Sink("mqtt://127.0.0.1:1883", profile="p")
    for schema, told in (
        (pa.schema([("device", pa.string()), ("v", pa.float64())]), "has no `time`"),
        (pa.schema([("time", STAMP), ("v", pa.float64())]), "has no column `device`"),
        (pa.schema([("time", STAMP), ("device", pa.string())]), "no column that could be a reading"),
        (pa.schema([("time", STAMP), ("device", pa.string()), ("v", pa.list_(pa.list_(pa.int8(), 2), 2))]), "has no value type"),
    ):  # fmt: skip
        with pytest.raises(SinkError, match=told):
            sink.fits(schema)
    with pytest.raises(SinkError, match="leave the path away"):
        Sink("mqtt://127.0.0.1:1883/a", profile="p")


@pytest.mark.parametrize("message", [b"\xa7" * 40, bytes(range(256)), b'{"payload":' * 5])
def test_hostile_bytes_are_one_reason(message):
    with pytest.raises(PayloadError):
        list(events_of(message))
