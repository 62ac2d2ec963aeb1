"""From a broker to a database and to files: nothing lost, nothing doubled, whoever is killed or stopped on the way."""

import json
import signal
import subprocess
import sys
import threading
import time

import adbc_driver_postgresql.dbapi as driver
import pyarrow.parquet as pq
from support.publisher import Publisher
from support.services import until

FLOW = """
source m (n: i64, at: time, device: key) from mqtt("mqtt://127.0.0.1:{port}/site/{{device}}", qos=1)
    time at
    max keys 10
sink m to postgres("{database}", table="rows")
sink m to parquet("out/rows", roll=1 s) as files
"""
START_MS, STEP_MS, MESSAGES = 1_700_000_000_000, 20, 400


class Sender(threading.Thread):
    """Publishes at QoS 2, one message after the other; where the broker is away, Paho keeps them until it is back."""

    def __init__(self, port):
        super().__init__(daemon=True)
        self.port, self.sent = port, 0

    def run(self):
        answered = set()
        with Publisher(self.port, reconnect_delay_set=(1, 1)) as publish:
            publish.client.on_publish = lambda _client, _data, mid, *_more: answered.add(mid)
            while self.sent < MESSAGES:
                at_ns = (START_MS + STEP_MS * self.sent) * 10**6
                told = publish.client.publish(
                    "site/a", json.dumps({"n": self.sent, "at": at_ns}), 2
                )
                while told.mid not in answered:
                    time.sleep(0.002)
                self.sent += 1
                time.sleep(0.008)


def in_database(address):
    """The numbers in the table, as they were inserted."""
    with driver.connect(address) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT n FROM rows ORDER BY time, n")
        return [n for (n,) in cursor.fetchall()]


def in_files(folder):
    paths = sorted((folder / "out" / "rows").rglob("*.parquet"))
    return [n for path in paths for n in pq.read_table(path)["n"].to_pylist()]


def test_broker_database_and_run_are_stopped_and_killed_and_each_row_is_there_once(
    broker, cluster, tmp_path, request
):
    (tmp_path / "m.flow").write_text(FLOW.format(port=broker.port, database=cluster.address))
    command = [sys.executable, "-m", "flowedge", "run", "m.flow", "--checkpoint", "state", "--every", "0.2 s", "--quiet", "--report", "r.json"]  # fmt: skip

    def run():
        return subprocess.Popen(command, cwd=tmp_path, stdin=subprocess.DEVNULL)

    def reaches(part):
        until(lambda: sender.sent >= part * MESSAGES, 120)

    process, sender = run(), Sender(broker.port)
    request.addfinalizer(lambda: (process.kill(), process.wait()))
    until(lambda: any((tmp_path / "state").glob("checkpoint-*")), 60)
    time.sleep(0.5)
    sender.start()
    reaches(0.2)
    broker.stop()
    broker.start()
    reaches(0.4)
    process.kill()
    process.wait()
    process = run()
    reaches(0.6)
    cluster.kill()
    time.sleep(0.5)
    cluster.start()
    reaches(0.8)
    broker.freeze()
    time.sleep(1)
    broker.thaw()
    reaches(1)
    wanted = list(range(MESSAGES))
    until(lambda: len(in_database(cluster.address)) >= MESSAGES, 120)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    assert json.loads((tmp_path / "r.json").read_text())["sources"]["m"]["live"]["connects"] >= 1
    assert in_database(cluster.address) == wanted
    found = in_files(tmp_path)
    assert len(found) >= MESSAGES - 2 * 1000 // STEP_MS
    assert found == wanted[: len(found)]
