"""Messages of a real broker become rows: each once, whatever happens to the broker or the run."""

import json
import signal
import subprocess
import sys
import time

import msgpack
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.publisher import Publisher
from support.services import mosquitto, until

from flowedge.lang.errors import SourceError
from flowedge.sources.live import Bell, Shell
from flowedge.sources.mqtt import Mqtt

V = pa.schema([("v", pa.float64())])


class Listener:
    """A source by itself, taken from until enough has come."""

    def __init__(self, address, *, declared=V, state=None, covers=False, **options):
        self.source = Mqtt(address, declared=declared, **options)
        self.bell = Bell()
        self.source.begin(Shell(self.bell, time.time_ns, covers), state)
        self.rows = []

    def take(self, count, seconds=20.0):
        """Rows until there are `count` since the last call."""
        found = []

        def enough():
            for arrival in self.source.take():
                found.extend(arrival.rows.to_pylist())
            return len(found) >= count

        until(enough, seconds)
        return found

    def comes_back(self, times):
        """Wait until it has been let in so many times; nothing new may come."""
        until(lambda: self.source.take() or self.source.told()["connects"] >= times, 40)
        time.sleep(0.3)
        assert self.source.take() == []

    def __enter__(self):
        until(lambda: self.source.told()["connects"] or self.source.take())
        time.sleep(0.2)  # the subscription is on its way
        return self

    def __exit__(self, *_error):
        self.source.close()


def test_levels_of_the_topic_become_keys_and_payloads_rows(broker):
    declared = pa.schema([
        ("site", pa.string()), ("device", pa.int32()), ("v", pa.float64()), ("_topic", pa.string()),
        ("_received", pa.timestamp("ns", "UTC")), ("_qos", pa.int64()), ("_retained", pa.bool_()),
    ])  # fmt: skip
    address = f"mqtt://127.0.0.1:{broker.port}/{{site}}/{{device}}/imu"
    with Publisher(broker.port) as publish:
        publish("é/7/imu", b'{"v": 0.5}', qos=1, retain=True)
        with Listener(address, declared=declared, captures=("site", "device"), qos=1) as listener:
            publish("north/3/imu", msgpack.packb([{"v": 1.5}, {"v": 2.5}]))
            publish("north/x/imu", b'{"v": 3.5}')
            publish("north/3/other", b'{"v": 4.5}')
            publish("south/-1/imu", b'{"v": 5.5}', qos=2)
            rows = listener.take(5)
    told = [(r["site"], r["device"], r["v"], r["_topic"], r["_qos"], r["_retained"]) for r in rows]
    assert told == [
        ("é", 7, 0.5, "é/7/imu", 1, True),
        ("north", 3, 1.5, "north/3/imu", 0, False),
        ("north", 3, 2.5, "north/3/imu", 0, False),
        ("north", None, 3.5, "north/x/imu", 0, False),
        ("south", -1, 5.5, "south/-1/imu", 1, False),
    ]
    assert all(r["_received"] is not None for r in rows)


@pytest.mark.parametrize("version", ["5", "3.1.1"])
@pytest.mark.parametrize("qos", [1, 2])
def test_what_no_checkpoint_covers_comes_again_and_what_one_does_never(broker, version, qos):
    address = f"mqtt://127.0.0.1:{broker.port}/a"
    options = {"qos": qos, "version": version, "client_id": "session-of-a-test", "session": 600.0}
    with Publisher(broker.port) as publish:
        with Listener(address, covers=True, **options) as listener:
            for v in range(4):
                publish("a", json.dumps({"v": v}), qos)
            assert [r["v"] for r in listener.take(4)] == [0, 1, 2, 3]
            covered = listener.source.state()
            listener.source.covered(covered)
            for v in range(4, 7):
                publish("a", json.dumps({"v": v}), qos)
            listener.take(3)
            later = listener.source.state()
        publish("a", b'{"v": 7}', qos)
        # Killed before the checkpoint `later` was on the disk: its messages come again.
        with Listener(address, covers=True, state=covered, **options) as listener:
            assert [r["v"] for r in listener.take(4)] == [4, 5, 6, 7]
        # Killed behind it, before the broker heard of it: those that it covers are left out.
        with Listener(address, covers=True, state=later, **options) as listener:
            assert [r["v"] for r in listener.take(1)] == [7]
            assert listener.source.told()["doubled"] == 3


def test_nothing_comes_twice_from_a_broker_that_is_started_again(broker):
    with Listener(f"mqtt://127.0.0.1:{broker.port}/a", covers=True, qos=1) as listener:
        found = []
        for turn in range(3):
            with Publisher(broker.port) as publish:
                for v in range(20):
                    publish("a", json.dumps({"v": 20 * turn + v}), 1)
            found += listener.take(20)
            broker.stop()  # which saves its sessions; killed, it forgets what it has not saved
            broker.start()
            listener.comes_back(turn + 2)
        assert [r["v"] for r in found] == list(range(60))
        told = listener.source.told()
        assert told["drops"] >= 3
        assert told["doubled"] == 20 + 40 + 60, told


def test_a_broker_that_never_lets_in_ends_the_run_with_its_reason(tmp_path):
    (tmp_path / "nobody").write_text("")
    lines = ("listener PORT 127.0.0.1", "allow_anonymous false")
    with mosquitto(tmp_path, *lines) as found:
        listener = Listener(f"mqtt://127.0.0.1:{found.port}/a")
        with pytest.raises(SourceError, match="the broker refuses: Not authorized"):
            listener.take(1)
        listener.source.close()


def test_a_broker_that_is_not_there_yet_is_waited_for(tmp_path):
    found = mosquitto(tmp_path, "listener PORT 127.0.0.1", "allow_anonymous true")
    listener = Listener(f"mqtt://127.0.0.1:{found.port}/a")
    assert listener.source.take() == []
    with found, listener, Publisher(found.port) as publish:
        publish("a", b'{"v": 1}')
        assert listener.take(1) == [{"v": 1.0}]


def test_what_cannot_be_read_is_kept_or_stops_the_run(broker):
    address = f"mqtt://127.0.0.1:{broker.port}/#"
    with Publisher(broker.port) as publish:
        with Listener(address, on_error="quarantine") as listener:
            for payload in (b'{"v": 1}', b"\xff\xfe", b"", b'{"v": "x"}', b'{"v": 2}'):
                publish("a/b", payload)
            arrivals = []
            until(
                lambda: (
                    arrivals.extend(listener.source.take())
                    or sum(a.rows.num_rows for a in arrivals) == 2
                )
            )
            bad = [a.rejected for a in arrivals if a.rejected is not None]
            assert sum(b.num_rows for b in bad) == 3
        with Listener(address) as listener:
            publish("a/b", b'{"v": "x"}')
            with pytest.raises(SourceError, match="`v` is not a number"):
                listener.take(1)


PIPELINE = """
source m (n: i64, at: time, device: key) from mqtt("mqtt://127.0.0.1:{port}/{{device}}", qos=1)
    time at
    expire key after 1 h
sink m to parquet("out/rows", roll=1 s)
"""
START_MS, STEP_MS = 1_700_000_000_000, 50


def rows_of(folder):
    """The numbers in the files that are shown, in order."""
    return [
        n
        for path in sorted((folder / "out" / "rows").rglob("*.parquet"))
        for n in pq.read_table(path)["n"].to_pylist()
    ]


def test_a_run_that_is_killed_again_and_again_has_each_message_once(broker, tmp_path):
    (tmp_path / "m.flow").write_text(PIPELINE.format(port=broker.port))
    command = [sys.executable, "-m", "flowedge", "run", "m.flow", "--checkpoint", "state", "--every", "0.2 s", "--quiet"]  # fmt: skip
    sent = 0
    with Publisher(broker.port) as publish:
        for turn in range(5):
            run = subprocess.Popen(command, cwd=tmp_path, stdin=subprocess.DEVNULL)
            if not turn:
                until(lambda: any((tmp_path / "state").glob("checkpoint-*")), 60)
                time.sleep(0.5)
            for _ in range(40):
                at_ns = (START_MS + STEP_MS * sent) * 10**6
                publish("a", json.dumps({"n": sent, "at": at_ns}), 1)
                sent += 1
            time.sleep(0.5)
            if turn < 4:
                run.kill()
                run.wait()
        publish(
            "a", json.dumps({"n": sent, "at": (START_MS + 10**7) * 10**6}), 1
        )  # ends the last file
        wanted = list(range(sent))
        until(lambda: rows_of(tmp_path)[-1:] == [wanted[-1]], 60)
        run.send_signal(signal.SIGINT)
        assert run.wait(60) == 130
    assert rows_of(tmp_path) == wanted
