"""Latency of single messages, from the socket of who sends to the socket of who receives, through a pipeline of rules.

Run:  python benchmarks/latency.py [--rate 10000] [--seconds 30] [--rounds 3] [--keys 16] [--bare]

Each message has its own time in the schedule and is sent when it is due; one that is sent late counts from when it was due, and
so does all that waits behind it (no coordinated omission). What comes is only kept with the time at which it came, and read
once all is over. `--bare` measures the same way through a relay that does nothing but receive and send (`socat`'s work, in
Python), which is what the machine and the measure themselves take.
"""

import argparse
import ctypes
import multiprocessing
import socket
import struct
import tempfile
import threading
import time
from pathlib import Path

import msgpack
import numpy as np
from common import machine
from live import Engine, free_port, wait_for

RULES = """
source s (at: time, device: {key}string, x: f64, y: f64, z: f64) from tcp("tcp://127.0.0.1:{port}", framing=msgpack)
    time at
    late 0 s
    {bound}
sink s | classify rules {{ "alarm" when x > 1.5 and y < 0.5  "warm" when x > 1 or z >= 2  otherwise "fine" }} to tcp("tcp://127.0.0.1:{out}", framing=msgpack)
"""
QUANTILES = (50, 90, 99, 99.9, 99.99, 100)
WARM_S = 3
PR_SET_TIMERSLACK = 29


def messages(keys: int) -> list[tuple[bytearray, int]]:
    """A reading of each device as a map of msgpack, and the place of its time (u64, ns)."""
    draw, out = np.random.default_rng(3), []
    for number in range(keys):
        body = bytearray(b"\x85" + msgpack.packb("at") + b"\xcf")
        place = len(body)
        body += bytes(8) + msgpack.packb("device") + msgpack.packb(f"d{number:03}")
        for name, value in zip("xyz", draw.uniform(0, 3, 3), strict=True):
            body += msgpack.packb(name) + struct.pack(">Bd", 0xCB, value)
        out.append((body, place))
    return out


def send(port: int, rate: float, seconds: float, keys: int) -> None:
    """A process: each message when it is due."""
    ctypes.CDLL(None).prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0)
    sock = socket.create_connection(("127.0.0.1", port))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    bodies, step_ns = messages(keys), round(1e9 / rate)
    began = time.time_ns() + 10_000_000
    for number in range(round(rate * seconds)):
        body, place = bodies[number % keys]
        due = began + number * step_ns
        body[place : place + 8] = due.to_bytes(8, "big")
        ahead = due - time.time_ns()
        if ahead > 0:
            time.sleep(ahead / 1e9)
        sock.sendall(body)
    time.sleep(0.5)
    sock.close()


def relay(port: int, out: int) -> None:
    """A process: what comes goes on."""
    with socket.create_server(("127.0.0.1", port)) as server:
        target = socket.create_connection(("127.0.0.1", out))
        target.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while True:
            source, _ = server.accept()
            while data := source.recv(65_536):
                target.sendall(data)


class Receiver:
    """Keeps what comes, with the time at which it came [ns]."""

    def __init__(self) -> None:
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        self.pieces: list[tuple[int, bytes]] = []
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        sock, _ = self._server.accept()
        while data := sock.recv(65_536):
            self.pieces.append((time.time_ns(), data))

    def ages_us(self) -> np.ndarray:
        """Of each message, from when it was due to when it came [µs]."""
        unpacker, out = msgpack.Unpacker(timestamp=2, strict_map_key=False), []
        for at, data in self.pieces:
            unpacker.feed(data)
            out += [(at - _ns(row)) / 1e3 for row in unpacker]
        return np.array(out)


def _ns(row: dict) -> int:
    """Its time: what a relay passes on as it was sent, or what FlowEdge writes."""
    at = row["at"] if "at" in row else row["time"]
    return at if isinstance(at, int) else at.to_unix_nano()


def measured(rate: float, seconds: float, keys: int, key: str, bare: bool) -> np.ndarray:
    """Ages of all messages of a round [µs]; raises AssertionError if one is missing."""
    receiver, port = Receiver(), free_port()
    context = multiprocessing.get_context("spawn")

    def sending(seconds: float) -> None:
        process = context.Process(target=send, args=(port, rate, seconds, keys))
        process.start()
        process.join()

    with tempfile.TemporaryDirectory() as name:
        engine, other = None, None
        if bare:
            other = context.Process(target=relay, args=(port, receiver.port), daemon=True)
            other.start()
        else:
            bound = "max keys 10_000" if key else ""
            flow = RULES.format(port=port, out=receiver.port, key=key, bound=bound)
            engine = Engine(Path(name), flow)
        wait_for(port)
        sending(WARM_S)
        time.sleep(1)
        before = len(receiver.ages_us())
        sending(seconds)
        time.sleep(1)
        if engine is not None:
            engine.stop()
        if other is not None:
            other.terminate()
        ages = receiver.ages_us()[before:]
    assert len(ages) == round(rate * seconds), (len(ages), rate * seconds)
    return ages


def row(name: str, ages: np.ndarray) -> str:
    """A line of the table."""
    return f"| {name} | {len(ages):,} | " + " | ".join(f"{np.percentile(ages, q):,.0f}" for q in QUANTILES) + " |"  # fmt: skip


def histogram(ages: np.ndarray) -> list[str]:
    """How many took how long, by steps of the square root of two."""
    edges = 2.0 ** np.arange(4, 20.5, 0.5)
    counts = np.histogram(np.clip(ages, edges[0], edges[-1] - 1), edges)[0]
    shown = np.flatnonzero(counts)
    lines = ["up to µs | messages | below or at", "---:|---:|---:"]
    total = np.cumsum(counts)
    lines += [f"{edges[k + 1]:,.0f} | {counts[k]:,} | {total[k] / len(ages):.5%}" for k in range(shown[0], shown[-1] + 1)]  # fmt: skip
    return lines


def main() -> None:
    """Measure, and print Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("--rate", type=float, default=10_000, help="messages a second")
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--keys", type=int, default=16, help="devices")
    parser.add_argument("--bare", action="store_true", help="through a relay as well")
    given = parser.parse_args()
    print(machine(), "", "| | messages | " + " | ".join(f"p{q:g}" if q < 100 else "most" for q in QUANTILES) + " |", "|---" * (2 + len(QUANTILES)) + "|", sep="\n")  # fmt: skip
    ways = {"no key": ("", False), "key `device`": ("key ", False)}
    if given.bare:
        ways["relay"] = ("", True)
    all_of: dict[str, list[np.ndarray]] = {name: [] for name in ways}
    for _ in range(given.rounds):
        for name, (key, bare) in ways.items():
            ages = measured(given.rate, given.seconds, given.keys, key, bare)
            all_of[name].append(ages)
            print(row(name, ages), flush=True)
    for name, found in all_of.items():
        print("", f"{name}, all rounds [µs]:", "", *histogram(np.concatenate(found)), sep="\n")


if __name__ == "__main__":
    main()
