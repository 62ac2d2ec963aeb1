"""The pipelines that listen to a broker, run as they stand against one."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from support.publisher import Publisher
from support.services import until
from support.subscriber import Subscriber

ROOT = Path(__file__).parents[2]
START_NS = 1_700_000_000_000_000_000


@pytest.fixture
def run(broker, tmp_path):
    """Starts a pipeline against the broker, and ends it."""
    started = []

    def start(name):
        command = [
            sys.executable, "-m", "flowedge", "run", ROOT / "pipelines" / name, "--quiet",
            "-p", f"broker=mqtt://127.0.0.1:{broker.port}",
        ]  # fmt: skip
        process = subprocess.Popen(command, cwd=tmp_path, stdin=subprocess.DEVNULL)
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
            process.wait()


def subscribed(publish, topic, payload, heard, answered):
    """Publish until something is answered: the run is subscribed from then on."""

    def again():
        publish(topic, payload())
        time.sleep(0.3)
        return answered(heard.found)

    until(again, 90)


def event(device, at_ns, temperature):
    """A message as a device service of EdgeX 4 sends it."""
    readings = [{"resourceName": "Temperature", "valueType": "Float32", "value": f"{temperature:e}", "units": "degC"}]  # fmt: skip
    made = {"deviceName": device, "profileName": "p", "sourceName": "all", "origin": at_ns, "readings": readings}  # fmt: skip
    return json.dumps({"apiVersion": "v3", "errorCode": 0, "payload": {"event": made}})


def test_edgex(broker, run, tmp_path):
    topic = "edgex/events/device/svc/p/m-1/all"
    at = START_NS

    def cold():
        nonlocal at
        at += 61_000_000_000
        return event("m-1", at, 20.0)

    with Subscriber(broker.port) as heard, Publisher(broker.port) as publish:
        process = run("edgex.flow")
        minutes = "edgex/rules-events/flowedge/flowedge-minutes/m-1/flowedge"
        subscribed(publish, topic, cold, heard, lambda found: any(t == minutes for t, *_ in found))
        for temperature in (85.0, 90.0, 20.0):
            at += 61_000_000_000
            publish(topic, event("m-1", at, temperature))
        at += 600_000_000_000
        publish(topic, event("m-1", at, 20.0))
        until(lambda: any(t == "alarms/m-1/hot" for t, *_ in heard.found))
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
    alarms = [json.loads(p) for t, p, _ in heard.found if t == "alarms/m-1/hot"]
    assert [(a["device"], a["alarm"], a["temperature"]) for a in alarms] == [("m-1", "hot", 85.0)]
    means = [json.loads(p)["payload"]["event"] for t, p, _ in heard.found if t == minutes]
    assert all(m["deviceName"] == "m-1" for m in means)
    values = {r["resourceName"]: r["value"] for r in means[0]["readings"]}
    del values["start"]
    assert values == {"temperature": "2e+01", "events": "1"}
    kept = [row for path in (tmp_path / "out").rglob("*.parquet") for row in pq.read_table(path).to_pylist()]  # fmt: skip
    assert {r["units"] for r in kept} == {"degC"}


def test_home(broker, run):
    topic = "home/kitchen/climate"

    def reading(battery):
        return json.dumps({"temperature": 21.5, "humidity": 50.0, "battery": battery})

    with Subscriber(broker.port, "alarms/#") as heard, Publisher(broker.port) as publish:
        process = run("home.flow")
        good = [2.9, 2.2]

        def turns():
            good.reverse()
            return reading(good[0])

        battery = "alarms/kitchen/battery"
        subscribed(publish, topic, turns, heard, lambda found: any(t == battery for t, *_ in found))
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
    by_topic = {t: json.loads(p) for t, p, _ in heard.found}
    told = by_topic[battery]
    assert (told["room"], told["what"], told["battery"]) == ("kitchen", "battery", 2.2)
    assert by_topic["alarms/kitchen/damp"]["damp"] is False
