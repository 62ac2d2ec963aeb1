"""Rows become messages of a real broker: in order, none missing, whatever happens to the broker."""

import contextlib
import json
import ssl
import subprocess
import threading

import pyarrow as pa
import pytest
from support.services import mosquitto, program, until
from support.subscriber import Subscriber

from flowedge.lang.errors import SinkError
from flowedge.runtime import delivery
from flowedge.runtime.plan import compile_flow
from flowedge.runtime.run import Run
from flowedge.sinks import publishing
from flowedge.sinks.mqtt import Mqtt
from flowedge.sinks.remote import Unreachable
from flowedge.sources.payloads import Decoder

ROWS = pa.RecordBatch.from_pydict(
    {
        "time": pa.array([1_700_000_000_123_456_789, 0, 1, 2], pa.timestamp("ns", "UTC")),
        "device": pa.array(["a", "b/+#", "", None]).dictionary_encode(),
        "v": [1.5, float("nan"), 2.5, 3.5],
    }
)


@contextlib.contextmanager
def connected(address, schema=ROWS.schema, **options):
    """A sink that is let in."""
    sink = Mqtt(address, **options)
    try:
        sink.connect(schema)
        yield sink
    finally:
        sink.disconnect()


@pytest.mark.parametrize("version", ["5", "3.1.1"])
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_each_row_is_a_message_under_its_topic(broker, qos, version):
    address = f"mqtt://127.0.0.1:{broker.port}/t/{{device}}/x"
    with Subscriber(broker.port, qos=2) as heard:
        with connected(address, qos=qos, version=version) as sink:
            sink.deliver(ROWS, 0)
        until(lambda: len(heard.found) == 4)
    assert [(topic, json.loads(payload)) for topic, payload, _ in heard.found] == [
        ("t/a/x", {"time": "2023-11-14T22:13:20.123456789Z", "device": "a", "v": 1.5}),
        ("t/b%2F%2B%23/x", {"time": "1970-01-01T00:00:00.000000000Z", "device": "b/+#"}),
        ("t/%empty/x", {"time": "1970-01-01T00:00:00.000000001Z", "device": "", "v": 2.5}),
        ("t/%missing/x", {"time": "1970-01-01T00:00:00.000000002Z", "v": 3.5}),
    ]


def test_many_rows_are_one_message_as_long_as_the_broker_takes(tmp_path):
    lines = ("listener PORT 127.0.0.1", "allow_anonymous true", "max_packet_size 600")
    rows = pa.RecordBatch.from_pydict({"k": ["x", "y"] * 200, "v": [float(i) for i in range(400)]})
    with mosquitto(tmp_path, *lines) as broker, Subscriber(broker.port) as heard:
        with connected(
            f"mqtt://127.0.0.1:{broker.port}/{{k}}", rows.schema, rows="columns", format="msgpack"
        ) as sink:
            sink.deliver(rows, 0)
            long = pa.RecordBatch.from_pydict({"k": ["x"], "v": [0.0]})
            sink.deliver(long, 400)
            longer = pa.RecordBatch.from_pydict({"k": ["x" * 700], "v": [0.0]})
            with pytest.raises(SinkError, match="and the broker takes"):
                sink.deliver(longer, 401)
        found = {"x": [], "y": []}
        decoder = Decoder(rows.schema)

        def all_there():
            for topic, payload, _ in heard.found[:]:
                heard.found.pop(0)
                decoder.add(payload)
                found[topic] += decoder.take().to_pylist()
            return sum(map(len, found.values())) == 401

        until(all_there)
    for topic, first in (("x", 0.0), ("y", 1.0)):
        assert [r["v"] for r in found[topic]][:200] == [first + 2 * i for i in range(200)]
        assert {r["k"] for r in found[topic]} == {topic}


def test_the_last_message_is_kept_for_whoever_comes_later(broker):
    with connected(f"mqtt://127.0.0.1:{broker.port}/{{device}}", retain=True) as sink:
        sink.deliver(ROWS.slice(0, 1), 0)
    with Subscriber(broker.port) as heard:
        until(lambda: heard.found)
    assert heard.found[0][0] == "a"
    assert heard.found[0][2]


def test_what_never_will_work_ends_the_run_with_its_reason(broker):
    at = f"mqtt://127.0.0.1:{broker.port}"
    for address, options, told in (
        (f"{at}/a/+", {}, "rows are not sent to"),
        (at, {}, "there is no topic"),
        (f"{at}/a", {"qos": 3}, "qos 0, 1 and 2"),
        (f"{at}/a", {"rows": "list", "batch": 0}, "one row or more"),
        ("nats://host/a", {}, "does not begin with"),
    ):
        with pytest.raises(SinkError, match=told):
            Mqtt(address, **options)
    with pytest.raises(SinkError, match="has no column `who`"):
        Mqtt(f"{at}/{{who}}").connect(ROWS.schema)
    bytes_ = pa.schema([("b", pa.binary())])
    with pytest.raises(SinkError, match="holds bytes, which json has not"):
        Mqtt(f"{at}/a").connect(bytes_)
    with pytest.raises(SinkError, match="cannot read the authorities"):
        Mqtt(f"mqtts://127.0.0.1:{broker.port}/a", ca="nowhere.pem").connect(ROWS.schema)


def test_wrong_credentials_end_the_run_and_right_ones_do_not(tmp_path, monkeypatch):
    words = tmp_path / "words"
    subprocess.run([program("mosquitto_passwd"), "-b", "-c", words, "me", "opensesame"], check=True, capture_output=True)  # fmt: skip
    (tmp_path / "acl").write_text("user me\ntopic write mine/#\n")
    lines = (
        "listener PORT 127.0.0.1",
        f"password_file {words}",
        f"acl_file {tmp_path / 'acl'}",
    )
    monkeypatch.setenv("WORD", "opensesame")
    with mosquitto(tmp_path, *lines) as broker:
        at = f"mqtt://127.0.0.1:{broker.port}"
        with pytest.raises(SinkError, match="the broker refuses: Not authorized"):
            Mqtt(f"{at}/mine/a").connect(ROWS.schema)
        with connected(f"{at}/mine/a", user="me", password="env:WORD") as sink:
            sink.deliver(ROWS, 0)
        with (
            connected(f"{at}/yours/a", user="me", password="env:WORD") as sink,
            pytest.raises(SinkError, match=r"refuses a message to `yours/a`: Not authorized"),
        ):
            sink.deliver(ROWS, 0)


def test_a_broker_is_spoken_to_over_tls_and_its_certificate_checked(tmp_path):
    openssl = program("openssl")
    subprocess.run(
        [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "key.pem", "-out", "ca.pem", "-days", "2",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"],
        cwd=tmp_path, check=True, capture_output=True,
    )  # fmt: skip
    lines = (
        "listener PORT 127.0.0.1",
        "allow_anonymous true",
        f"certfile {tmp_path}/ca.pem",
        f"keyfile {tmp_path}/key.pem",
    )
    with mosquitto(tmp_path, *lines) as broker:
        trusting = ssl.create_default_context(cafile=tmp_path / "ca.pem")
        trusting.check_hostname = False
        with Subscriber(broker.port, tls_set_context=(trusting,)) as heard:
            address = f"mqtts://localhost:{broker.port}/a"
            with connected(address, ca=str(tmp_path / "ca.pem")) as sink:
                for first in range(0, 40, 4):
                    sink.deliver(ROWS, first)
            until(lambda: len(heard.found) == 40)
        with pytest.raises(Unreachable, match="certificate verify failed"):
            Mqtt(address).connect(ROWS.schema)


def test_a_broker_that_is_not_there_and_one_that_says_nothing_are_away(broker, monkeypatch):
    monkeypatch.setattr(publishing, "_ANSWER_S", 1.0)
    address = f"mqtt://127.0.0.1:{broker.port}/a"
    with connected(address) as sink:
        sink.deliver(ROWS, 0)
        broker.freeze()
        with pytest.raises(Unreachable, match="said nothing") as told:
            sink.deliver(ROWS, 4)
        assert told.value.done == 0
        with pytest.raises(Unreachable):
            sink.connect(ROWS.schema)
        broker.thaw()
        sink.connect(ROWS.schema)
        sink.deliver(ROWS, 4)
        broker.kill()
        with pytest.raises(Unreachable):
            sink.deliver(ROWS, 8)
    with pytest.raises(Unreachable, match="refused"):
        sink.connect(ROWS.schema)


# ---- whole runs

FLOW = """
source s (time, device: key, n: i64) from arrow("in.arrow")
sink s to mqtt("mqtt://127.0.0.1:{port}/rows/{{device}}", qos={qos}, {more})
"""
COUNT = 4000


@pytest.fixture
def recording(tmp_path, monkeypatch):
    """Rows to be published, and the folder to run in."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(delivery.Backoff, "next_s", lambda _: 0.1)
    monkeypatch.setattr(publishing, "_ANSWER_S", 2.0)
    table = pa.table(
        {
            "time": pa.array(range(0, COUNT * 10**6, 10**6), pa.int64()).cast(
                pa.timestamp("ns", "UTC")
            ),
            "device": ["a", "b"] * (COUNT // 2),
            "n": range(COUNT),
        }
    )
    with pa.ipc.new_file(tmp_path / "in.arrow", table.schema) as file:
        file.write_table(table)
    return tmp_path


def harmed(broker, recording, how, qos, more='rows="each"'):
    """The numbers that a listener heard of each device, while the broker was harmed thrice."""
    (recording / "p.flow").write_text(FLOW.format(port=broker.port, qos=qos, more=more))
    plan = compile_flow(recording / "p.flow")
    failures = []

    def run():
        try:
            Run(plan)()
        except BaseException as error:
            failures.append(error)
            raise

    with Subscriber(broker.port, qos=2) as heard:
        thread = threading.Thread(target=run)
        thread.start()
        for turn in range(1, 4):
            until(lambda turn=turn: len(heard.found) > turn * 600 or not thread.is_alive(), 60)
            how(broker)
        thread.join(120)
        assert not thread.is_alive()
        assert not failures
        size = -1
        while size < len(heard.found):  # until nothing comes for a while
            size = len(heard.found)
            threading.Event().wait(2.0)
    found = {"rows/a": [], "rows/b": []}
    for topic, payload, _ in heard.found:
        found[topic].append(json.loads(payload)["n"])
    return found


def stopped(broker):
    broker.stop()
    broker.start()


def frozen(broker):
    broker.freeze()
    threading.Event().wait(3.0)
    broker.thaw()


@pytest.mark.parametrize("how", [stopped, frozen])
@pytest.mark.parametrize("qos", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_no_row_is_missing_and_all_are_in_order_whatever_happens_to_the_broker(
    broker, recording, how, qos
):
    found = harmed(broker, recording, how, qos)
    for topic, first in (("rows/a", 0), ("rows/b", 1)):
        assert list(dict.fromkeys(found[topic])) == list(range(first, COUNT, 2))


def test_at_most_once_means_that_none_comes_twice(broker, recording):
    found = harmed(broker, recording, stopped, 0)
    for topic, first in (("rows/a", 0), ("rows/b", 1)):
        assert found[topic] == sorted(set(found[topic]))
        assert set(found[topic]) <= set(range(first, COUNT, 2))


def test_what_a_killed_broker_had_not_acknowledged_comes_again(broker, recording):
    """It loses what it had acknowledged and not saved; all that it had not is there."""

    def killed(broker):
        broker.kill()
        broker.start()

    found = harmed(broker, recording, killed, 1)
    for topic, first in (("rows/a", 0), ("rows/b", 1)):
        heard = list(dict.fromkeys(found[topic]))
        assert heard == sorted(heard)
        assert heard[-1] == COUNT - 2 + first


def test_the_promise_is_that_of_the_quality_of_service():
    assert Mqtt.promises({}) == "at least once"
    assert Mqtt.promises({"qos": 0}) == "at most once"
