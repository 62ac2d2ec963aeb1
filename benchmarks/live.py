"""Live: readings through a broker and over connections, under load that grows, twice what can be served, and outages.

Run:  python benchmarks/live.py [--parts mqtt,tcp,overload,outage] [--seconds 10] [--minutes 10]

Sender, broker and engine share the machine's cores. What was sent and what came is compared by count; nothing waits
for an answer before it sends on.
"""

import argparse
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from common import machine

HERE = Path(__file__).parent
WINDOWED = """
source s (at: time, {key}x: f64, y: f64, z: f64) from {source}
    time at
    late {late}
    idle after 2 s
    {expire}
stream w = s | window 1 s | aggregate count() as n, mean(x) as x, max(y) as y, std(z) as z
sink w to arrow("out.arrow")
"""


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def is_open(port: int) -> bool:
    """Whether somebody listens."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


def wait_for(port: int) -> None:
    """Until somebody listens."""
    end = time.monotonic() + 60
    while not is_open(port):
        assert time.monotonic() < end, "nobody listens"
        time.sleep(0.05)


@contextlib.contextmanager
def broker(folder: Path, *more: str) -> Iterator[int]:
    """Mosquitto on a port of its own."""
    port = free_port()
    lines = [f"listener {port} 127.0.0.1", "allow_anonymous true", "user root", "log_dest none", "max_queued_messages 0", *more]  # fmt: skip
    (folder / "mosquitto.conf").write_text("\n".join(lines) + "\n")
    found = shutil.which("mosquitto") or "/usr/sbin/mosquitto"
    process = subprocess.Popen([found, "-c", str(folder / "mosquitto.conf")])
    try:
        wait_for(port)
        yield port
    finally:
        process.terminate()
        process.wait()


def wait_for_datagrams(port: int) -> None:
    """Until somebody takes datagrams."""
    end = time.monotonic() + 60
    while f":{port:04X} " not in Path("/proc/net/udp").read_text():
        assert time.monotonic() < end, "nobody listens"
        time.sleep(0.05)


class Engine:
    """A run of a pipeline in a process of its own.

    Attributes
    ----------
    report : what it told at its end
    memory_mb : the most it held, sampled
    """

    def __init__(self, folder: Path, flow: str, *args: str) -> None:
        self.folder = folder
        (folder / "p.flow").write_text(flow)
        self.report: dict = {}
        self.memory_mb = 0.0
        subprocess.run([sys.executable, "-m", "flowedge", "check", "p.flow"], cwd=folder, check=True, stdout=subprocess.DEVNULL)  # fmt: skip
        self.process = subprocess.Popen(
            [sys.executable, "-m", "flowedge", "run", "p.flow", "--quiet", "--report", "r.json", *args], cwd=folder, stderr=subprocess.PIPE,
        )  # fmt: skip

    def look(self) -> float:
        """Megabytes that it holds now."""
        with contextlib.suppress(OSError):
            pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
            self.memory_mb = max(self.memory_mb, pages * os.sysconf("SC_PAGESIZE") / 1e6)
        return self.memory_mb

    def cpu_s(self) -> float:
        """Processor seconds so far."""
        words = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")

    def stop(self) -> dict:
        """End it as a manager of services does (SIGINT is ignored by what a shell starts in the background); its report."""
        self.process.send_signal(signal.SIGTERM)
        self.process.communicate(timeout=60)
        self.report = json.loads((self.folder / "r.json").read_text())
        return self.report


def sender(kind: str, port: int, rate: float, seconds: float, readings: int = 1) -> subprocess.Popen:  # fmt: skip
    """Begin to send."""
    command = [sys.executable, str(HERE / "senders.py"), kind, str(port), str(rate), str(seconds), str(readings)]  # fmt: skip
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def sent_by(process: subprocess.Popen, engine: Engine) -> tuple[int, float]:
    """Readings sent, and for how long; the engine's memory is looked at meanwhile."""
    while process.poll() is None:
        engine.look()
        time.sleep(0.1)
    count, seconds = process.communicate()[0].split()
    return int(count), float(seconds)


def settled(engine: Engine) -> None:
    """Wait until the engine has nothing to do."""
    before = -1.0
    while (now := engine.cpu_s()) - before > 0.15:
        before = now
        engine.look()
        time.sleep(0.5)
    time.sleep(2.5)  # windows close by the clock


def over_mqtt(seconds: float) -> list[str]:
    """Small readings at QoS 0 into windows, at rates that grow."""
    lines = [
        "| messages/s | readings/s | sent | came | lost | engine, cores | engine, MB |",
        "|---|---|---|---|---|---|---|",
    ]
    for readings, rates in ((1, (20_000, 30_000, 40_000, 50_000)), (50, (10_000, 15_000, 20_000, 25_000))):  # fmt: skip
        for rate in rates:
            with tempfile.TemporaryDirectory() as name:
                folder = Path(name)
                with broker(folder) as port:
                    source = f'mqtt("mqtt://127.0.0.1:{port}/d/{{device}}", qos=0)'
                    flow = WINDOWED.format(source=source, key="device: key, ", late="1 s", expire="expire key after 1 h")  # fmt: skip
                    engine = Engine(folder, flow)
                    warm(engine, port, "mqtt", readings)
                    cpu = engine.cpu_s()
                    count, took = sent_by(sender("mqtt", port, rate, seconds, readings), engine)
                    cpu = engine.cpu_s() - cpu
                    settled(engine)
                    report = engine.stop()
                    came = report["sources"]["s"]["rows_in"] - WARM * readings
                    lines.append(
                        f"| {rate:,} | {count / took:,.0f} | {count:,} | {came:,} | {(count - came) / count:.2%} | {cpu / took:.2f} | {engine.memory_mb:.0f} |"
                    )
                    print(lines[-1], flush=True)
    return ["Over MQTT, QoS 0, three values a reading; sender, Mosquitto and a windowed pipeline of 16 devices on the same cores.", "", *lines]  # fmt: skip


WARM = 2000
"""Messages before those that count."""


def warm(engine: Engine, port: int, kind: str, readings: int) -> None:
    """Wait until the engine listens, and let some messages through."""
    time.sleep(6)
    assert engine.process.poll() is None, engine.process.communicate()
    process = sender(kind, port, WARM / 2, 2, readings)
    sent_by(process, engine)
    settled(engine)


def over_tcp(seconds: float) -> list[str]:
    """Columns as fast as they are taken."""
    lines = ["| payload | rows in a batch | M rows/s | engine, cores | engine, MB |", "|---|---|---|---|---|"]  # fmt: skip
    for kind, framing in (("arrow", "arrow"), ("msgpack", "length")):
        for readings in (4096, 65_536):
            with tempfile.TemporaryDirectory() as name:
                folder, port = Path(name), free_port()
                source = f'tcp("tcp://127.0.0.1:{port}", framing={framing})'
                engine = Engine(folder, WINDOWED.format(source=source, key="", late="0 s", expire=""))  # fmt: skip
                wait_for(port)
                sent_by(sender(kind, port, 0, 1, readings), engine)
                settled(engine)
                cpu = engine.cpu_s()
                count, took = sent_by(sender(kind, port, 0, seconds, readings), engine)
                cpu = engine.cpu_s() - cpu
                settled(engine)
                report = engine.stop()
                assert report["sources"]["s"]["rows_in"] > count, report["sources"]
                lines.append(f"| {kind} | {readings:,} | {count / took / 1e6:.1f} | {cpu / took:.2f} | {engine.memory_mb:.0f} |")  # fmt: skip
                print(lines[-1], flush=True)
    return ["Over one TCP connection, time and three f64 a row, into windows of a second.", "", *lines]  # fmt: skip


PRIORITIES = """
source s (at: time, x: f64, y: f64, z: f64) from {source}
    time at
    late 0 s
sink s | where x > 1 | derive h = x + y deadline 100 ms else keep to arrow("alarms.arrow") as alarms priority 9
sink s | derive a = ema(x, 1 s), b = mean(y) over 10 s, c = std(z) over 10 s, d = p95(x) over 2000 rows, e = median(y) over 2000 rows
    | window 1 s | aggregate mean(a) as a, mean(b) as b, mean(c) as c, mean(d) as d, mean(e) as e to arrow("archive.arrow") as archive
"""


def overload(seconds: float) -> list[str]:
    """Twice what can be served, by datagrams, whose sender cannot be made to wait."""
    with tempfile.TemporaryDirectory() as name:
        folder, port = Path(name), free_port()
        flow = PRIORITIES.format(source=f'tcp("tcp://127.0.0.1:{port}", framing=msgpack)')
        engine = Engine(folder, flow.replace(" priority 9", ""))  # nothing is left out
        wait_for(port)
        sent_by(sender("tcp", port, 1000, 2), engine)
        count, took = sent_by(sender("tcp", port, 1e6, seconds), engine)
        settled(engine)
        served = engine.stop()["sources"]["s"]["rows_in"] / took
    lines = ["| load | readings/s | came | lost before it | alarms | late | archive, left out | MB at half time | MB at the end |", "|---|---|---|---|---|---|---|---|---|"]  # fmt: skip
    for times in (0.5, 1.0, 2.0):
        with tempfile.TemporaryDirectory() as name:
            folder, port = Path(name), free_port()
            engine = Engine(folder, PRIORITIES.format(source=f'udp("udp://127.0.0.1:{port}")'))
            wait_for_datagrams(port)
            process = sender("udp", port, served * times / 20, seconds, 20)
            time.sleep(seconds / 2)
            half = engine.look()
            count, took = sent_by(process, engine)
            settled(engine)
            report = engine.stop()
            source, sinks = report["sources"]["s"], report["sinks"]
            left_out = sum(v["shed"] for k, v in report["streams"].items() if ": gate of" in k)
            lost = count - source["rows_in"]
            lines.append(
                f"| {times:g} | {count / took:,.0f} | {source['rows_in']:,} | {lost:,}, of which the source tells {(source['live'].get('lost', 0) + source['live'].get('lost_by_system', 0)) * 20:,} | {sinks['alarms']['rows']:,} "
                f"| {sinks['alarms']['late'] / max(1, sinks['alarms']['rows']):.2%} | {left_out:,} | {half:.0f} | {engine.memory_mb:.0f} |"
            )
            print(lines[-1], flush=True)
    return [f"Served over TCP, which waits: {served:,.0f} readings/s, one in a message. Over UDP, twenty in a datagram:", "", *lines]  # fmt: skip


OUTAGE = """
source m (n: i64, at: time, device: key) from mqtt("mqtt://127.0.0.1:{port}/site/{{device}}", qos=1)
    time at
    max keys 10
sink m to postgres("{database}", table="rows")
sink m to parquet("out/rows", roll=10 s) as files
"""
OUTAGE_S, STEP_S = 20, 0.01


def spans(numbers: list[int]) -> str:
    """Numbers in order as runs: ``3..7, 9..9``."""
    runs: list[list[int]] = []
    for n in numbers:
        if runs and n == runs[-1][1] + 1:
            runs[-1][1] = n
        else:
            runs.append([n, n])
    return ", ".join(f"{a}..{b}" for a, b in runs[:20]) or "none"


def outage(minutes: float) -> list[str]:
    """QoS 1 in, PostgreSQL and Parquet out, while the broker is ended and started again every 20 s."""
    sys.path.insert(0, str(HERE.parent / "tests"))
    import pyarrow.parquet as pq
    from support.postgres import Cluster
    from support.publisher import Publisher
    from support.services import mosquitto

    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        database = Cluster()
        stack.callback(database.close)
        database.start()
        service = stack.enter_context(mosquitto(folder))
        engine = Engine(folder, OUTAGE.format(port=service.port, database=database.address), "--checkpoint", "state", "--every", "1 s")  # fmt: skip
        end = time.monotonic() + 120
        while not any(
            (folder / "state").glob("checkpoint-*")
        ):  # it listens, and the broker knows its session
            assert time.monotonic() < end, "the run does not begin"
            time.sleep(0.1)
        time.sleep(1)
        publish = stack.enter_context(Publisher(service.port, reconnect_delay_set=(1, 1)))
        answered: set[int] = set()
        publish.client.on_publish = lambda _client, _data, mid, *_more: answered.add(mid)
        began, start_ns = time.monotonic(), time.time_ns()
        number = outages = 0
        while (now := time.monotonic() - began) < minutes * 60:
            if now > (outages + 1) * OUTAGE_S:
                service.stop()
                service.start()
                outages += 1
            at = start_ns + number * round(STEP_S * 1e9)
            told = publish.client.publish("site/a", json.dumps({"n": number, "at": at}), 2)
            number += 1
            while (
                told.mid not in answered
            ):  # one after the other: of several, Paho cannot tell after an outage which came
                time.sleep(0.001)
            answered.clear()
            time.sleep(STEP_S)
        end = time.monotonic() + 120
        rows: list[int] = []
        while len(rows) < number and time.monotonic() < end:
            time.sleep(1)
            rows = [n for (n,) in database.rows("SELECT n FROM rows ORDER BY n")]
        engine.look()
        report = engine.stop()
        files = sorted(n for path in (folder / "out" / "rows").rglob("*.parquet") for n in pq.read_table(path)["n"].to_pylist())  # fmt: skip
    want = list(range(number))
    return [
        f"MQTT QoS 1 into PostgreSQL and Parquet for {minutes:g} min, the broker ended and started {outages} times, {number:,} messages:",
        "",
        "| | rows | missing | doubled |",
        "|---|---|---|---|",
        *(f"| {name} | {len(found):,} | {len(set(want) - set(found)):,} | {len(found) - len(set(found)):,} |" for name, found in (("PostgreSQL", rows), ("Parquet", files))),
        "",
        *(f"Missing of {name}: {spans(sorted(set(want) - set(found)))}" for name, found in (("PostgreSQL", rows), ("Parquet", files))),
        f"Source: {report['sources']['m']['rows_in']:,} rows, {report['sources']['m']['live']}; connected {report['sources']['m']['live'].get('connects', 0)} times; {engine.memory_mb:.0f} MB. A file is shown when it is full or 10 s old.",
    ]  # fmt: skip


def main() -> None:
    """Measure, and print Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--parts", default="mqtt,tcp")
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--minutes", type=float, default=10)
    given = parser.parse_args()
    parts = {"mqtt": over_mqtt, "tcp": over_tcp, "overload": overload, "outage": outage}
    print(machine())
    for name in given.parts.split(","):
        print("\n".join(["", *parts[name](given.minutes if name == "outage" else given.seconds)]))


if __name__ == "__main__":
    main()
