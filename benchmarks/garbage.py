"""Garbage on every port, while good readings come beside it: random bytes, half messages, lengths of 1 GB, connections left, slow senders.

Run:  python benchmarks/garbage.py [--connections 100000] [--rate 500]

One engine listens at seven ports. A good sender sends to each at a fixed rate as long as the others do their worst. What came of the
good ones is compared by count with what was sent; what became of the others is in the report; memory is sampled.
"""

import argparse
import contextlib
import json
import random
import socket
import struct
import tempfile
import threading
import time
from collections import deque
from pathlib import Path

import msgpack
from common import machine
from live import Engine, free_port, settled, wait_for

PORTS = {"length": "tcp", "lines": "tcp", "msgpack": "tcp", "arrow": "tcp", "auto": "tcp", "udp": "udp", "http": "http"}  # fmt: skip
SOURCE = """
source {name} (at: time, n: i64, x: f64) from {address}
    time at
    late 0 s
    on error skip
    idle after 2 s
sink {name} to arrow("{name}.arrow") as {name}
"""
LEFT_OPEN = 4000
"""Of the connections that are left, so many stay open on this side at a time."""
HEAD = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"


def address(name: str, port: int) -> str:
    """The connector of a port."""
    if name == "udp":
        return f'udp("udp://127.0.0.1:{port}")'
    if name == "http":
        return f'http("http://127.0.0.1:{port}/")'
    return f'tcp("tcp://127.0.0.1:{port}", framing={name})'


def reading(name: str, n: int) -> bytes:
    """A good message as a port wants it."""
    row = {"at": time.time_ns(), "n": n, "x": 1.5}
    if name in ("msgpack", "udp"):
        return msgpack.packb(row)
    if name == "length":
        body = msgpack.packb(row)
        return struct.pack(">I", len(body)) + body
    body = json.dumps(row).encode()
    return HEAD % len(body) + body if name == "http" else body + b"\n"


class Good:
    """Sends readings to each port at a rate until it is told to stop; an own stream of Arrow for that framing."""

    def __init__(self, ports: dict[str, int], rate: float) -> None:
        self.ports, self.rate, self.over = ports, rate, threading.Event()
        self.sent = dict.fromkeys(ports, 0)
        self.threads = [threading.Thread(target=self._send, args=(n, p)) for n, p in ports.items()]
        for thread in self.threads:
            thread.start()

    def _send(self, name: str, port: int) -> None:
        kind = socket.SOCK_DGRAM if name == "udp" else socket.SOCK_STREAM
        sock = socket.socket(socket.AF_INET, kind)
        sock.connect(("127.0.0.1", port))
        began, schema, n = time.perf_counter(), None, 0
        while not self.over.is_set():
            while n < (time.perf_counter() - began) * self.rate and not self.over.is_set():
                if name == "arrow":
                    import pyarrow as pa

                    schema = schema or pa.schema([("at", pa.timestamp("ns", "UTC")), ("n", pa.int64()), ("x", pa.float64())])  # fmt: skip
                    batch = pa.record_batch([pa.array([time.time_ns()], pa.int64()).cast(schema[0].type), [n], [1.5]], schema=schema)  # fmt: skip
                    data = (schema.serialize().to_pybytes() if n == 0 else b"") + batch.serialize().to_pybytes()  # fmt: skip
                else:
                    data = reading(name, n)
                sock.sendall(data)
                if name == "http":
                    assert sock.recv(65_536).startswith(b"HTTP/1.1 2")
                n += 1
                self.sent[name] = n
            time.sleep(0.001)
        time.sleep(1)
        sock.close()

    def stop(self) -> None:
        """Send no more."""
        self.over.set()
        for thread in self.threads:
            thread.join()


def reached(port: int, source: int) -> socket.socket | None:
    """A connection from one of many addresses of this machine, which has 28,000 ports for each; None: it was not taken."""
    sock = socket.socket()
    try:
        sock.bind((f"127.0.0.{2 + source % 200}", 0))
        sock.settimeout(5)
        sock.connect(("127.0.0.1", port))
    except OSError:
        sock.close()
        return None
    return sock


def leave(ports: dict[str, int], count: int) -> int:
    """Open connections and say nothing; how many could be opened. The oldest are closed here when too many are open."""
    held: deque[socket.socket] = deque()
    opened = 0
    streams = [p for n, p in ports.items() if n != "udp"]
    for k in range(count):
        sock = reached(streams[k % len(streams)], k)
        if sock is None:
            continue
        opened += 1
        held.append(sock)
        if len(held) > LEFT_OPEN:
            held.popleft().close()
    for sock in held:
        sock.close()
    return opened


def garbage(ports: dict[str, int], seconds: float) -> int:
    """Random bytes, halves of messages, and lengths of 1 GB, to each port in turn; bytes sent."""
    draw = random.Random(2)
    pieces = [
        draw.randbytes(50_000), struct.pack(">I", 1 << 30) + b"x" * 1000, struct.pack(">I", 1000) + b"x" * 10, b"\xff\xff\xff\xff\xff\xff\xff\x7f" + bytes(100),
        b"\xdf\xff\xff\xff\xff\xa1", b'{"at": 1, "n": ', b"[" * 100_000, b"\xc6\x40\x00\x00\x00", b'{"x": "' + b"y" * 1_000_000,
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1073741824\r\n\r\n{", b"\x16\x03\x01\x02\x00\x01\x00", bytes(100_000),
    ]  # fmt: skip
    end, sent, k = time.perf_counter() + seconds, 0, 0
    while time.perf_counter() < end:
        for name, port in ports.items():
            data = pieces[k % len(pieces)]
            k += 1
            with contextlib.suppress(OSError):
                if name == "udp":
                    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                        sent += sock.sendto(data[:60_000], ("127.0.0.1", port))
                elif (found := reached(port, k)) is not None:
                    with found:
                        found.sendall(data)
                        sent += len(data)
        time.sleep(0.01)
    return sent


def slowly(ports: dict[str, int], seconds: float) -> int:
    """Whole messages, a byte each 20 ms; how many were sent to their end."""
    whole, lock = [0], threading.Lock()

    def one(name: str, port: int) -> None:
        end = time.perf_counter() + seconds
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)) as sock:
            while time.perf_counter() < end:
                for byte in reading(name, 0):
                    sock.sendall(bytes([byte]))
                    time.sleep(0.02)
                with lock:
                    whole[0] += 1
            time.sleep(1)

    threads = [threading.Thread(target=one, args=x) for x in ports.items() if x[0] not in ("udp", "arrow", "http")]  # fmt: skip
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return whole[0]


def main() -> None:
    """Measure, and print Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("--connections", type=int, default=100_000)
    parser.add_argument(
        "--rate", type=float, default=500, help="good messages a second at each port"
    )
    given = parser.parse_args()
    ports = {name: free_port() for name in PORTS}
    flow = "".join(SOURCE.format(name=n, address=address(n, p)) for n, p in ports.items())
    with tempfile.TemporaryDirectory() as name:
        engine = Engine(Path(name), flow, "--max-memory", "1 GB")
        for kind, port in ports.items():
            if kind != "udp":
                wait_for(port)
        good = Good(ports, given.rate)
        time.sleep(3)
        before = engine.look()
        began = time.perf_counter()
        results: dict[str, int] = {}
        work = {
            "connections left": lambda: leave(ports, given.connections),
            "bytes of garbage": lambda: garbage(ports, 20),
            "readings sent byte by byte": lambda: slowly(ports, 20),
        }

        def run(what: str) -> None:
            results[what] = work[what]()

        threads = [threading.Thread(target=run, args=(what,)) for what in work]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            assert engine.process.poll() is None, "the engine has ended"
            engine.look()
            time.sleep(0.2)
        took = time.perf_counter() - began
        good.stop()
        settled(engine)
        report = engine.stop()
    print(machine(), "")
    told = ", ".join(f"{n:,} {what}" for what, n in results.items())
    print(f"In {took:.0f} s: {told}; good readings beside them at {given.rate:g}/s a port. Memory {before:.0f} MB before, {engine.memory_mb:.0f} MB at most.")  # fmt: skip
    print(
        "\n| port | good sent | rows used | turned away | what became of the others |\n|---|---|---|---|---|"
    )
    for name, one in report["sources"].items():
        page = report["streams"][name]
        print(f"| {name} | {good.sent[name]:,} | {page['used']:,} | {one['rows_unreadable'] + page['rejected']:,} | {', '.join(f'{k} {v:,}' for k, v in sorted(one['live'].items()))} |")  # fmt: skip


if __name__ == "__main__":
    main()
