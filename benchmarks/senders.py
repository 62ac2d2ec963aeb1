"""Who sends, in a process of its own: messages made ahead, sent when they are due, never later because the last ones were slow.

Run:  python benchmarks/senders.py mqtt|tcp|udp|arrow|msgpack PORT RATE SECONDS [READINGS]

Prints how many readings it has sent, and for how long.
"""

import socket
import struct
import sys
import time

import msgpack
import numpy as np
import pyarrow as pa

BLOCK_S = 0.002
DEVICES = 16


def template(devices: int = DEVICES) -> tuple[list[bytes], int]:
    """A reading of each device as a map of msgpack, with the place of its time: u64 ns, then three f64."""
    out = []
    for _ in range(devices):
        body = b"\x84" + msgpack.packb("at") + b"\xcf" + bytes(8)
        for name in "xyz":
            body += msgpack.packb(name) + b"\xcb" + struct.pack(">d", 1.25)
        out.append(body)
    return out, 1 + len(msgpack.packb("at")) + 1


def published(topic: str, payload: bytes) -> tuple[bytes, int]:
    """A PUBLISH of QoS 0 (MQTT 3.1.1, 3.3), and where its payload begins."""
    name = topic.encode()
    body = len(name).to_bytes(2, "big") + name + payload
    length, size = b"", len(body)
    while True:
        size, digit = size >> 7, size & 127
        length += bytes([digit | (128 if size else 0)])
        if not size:
            break
    return b"\x30" + length + body, 1 + len(length) + 2 + len(name)


def udp(port: int, rate: float, seconds: float, readings: int = 1) -> int:
    """Datagrams of `readings` each; readings sent. Those that are due in two milliseconds go one after the other."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.connect(("127.0.0.1", port))
    bodies, place = template()
    head = b"\xdc" + readings.to_bytes(2, "big")
    message = bytearray(head + bodies[0] * readings)
    where = (len(head) + place + len(bodies[0]) * np.arange(readings))[:, None] + np.arange(8)
    view, step = np.frombuffer(message, np.uint8), np.arange(readings)
    began, wall, sent = time.perf_counter(), time.time_ns(), 0
    while (now := time.perf_counter() - began) < seconds:
        while sent < now * rate:
            due = wall + round(sent * 1e9 / rate)
            view[where] = (due + step).astype(">u8").view(np.uint8).reshape(-1, 8)
            sock.send(message)
            sent += 1
        time.sleep(BLOCK_S / 2)
    sock.close()
    return sent * readings


def paced(sock: socket.socket, messages: list[tuple[bytes, list[int]]], rate: float, seconds: float) -> int:  # fmt: skip
    """Send messages in turn at a rate; each has the time at which it is due at its places. How many.

    What is due in two milliseconds goes together. A block that could not be sent in time is sent late, with the times of
    when it was due: what waits here counts (no coordinated omission).
    """
    each = max(1, round(rate * BLOCK_S))
    step_s = each / rate
    blocks = []
    for first in range(len(messages)):
        turn = [messages[(first + k) % len(messages)] for k in range(each)]
        block, places, at = bytearray(b"".join(m for m, _ in turn)), [], 0
        for number, (message, offsets) in enumerate(turn):
            places += [(at + offset, number) for offset in offsets]
            at += len(message)
        where = np.array([p for p, _ in places])[:, None] + np.arange(8)
        due = np.array([round(n * 1e9 / rate) for _, n in places])
        blocks.append((block, np.frombuffer(block, np.uint8), where, due))
        if len(blocks) * each >= len(messages):
            break
    began, wall = time.perf_counter(), time.time_ns()
    sent = number = 0
    while (due_s := number * step_s) < seconds:
        block, view, where, due = blocks[number % len(blocks)]
        stamps = (wall + round(due_s * 1e9) + due).astype(">u8").view(np.uint8).reshape(-1, 8)
        view[where] = stamps
        ahead = began + due_s - time.perf_counter()
        if ahead > 0:
            time.sleep(ahead)
        sock.sendall(block)
        sent += each
        number += 1
    return sent


def mqtt(port: int, rate: float, seconds: float, readings: int = 1) -> int:
    """Publish at QoS 0, `readings` of them in a message; readings sent."""
    sock = socket.create_connection(("127.0.0.1", port))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    name = b"sender"
    body = b"\x00\x04MQTT\x04\x02\x00\x00" + len(name).to_bytes(2, "big") + name
    sock.sendall(b"\x10" + bytes([len(body)]) + body)
    assert sock.recv(4)[:1] == b"\x20"
    bodies, place = template()
    messages = []
    for device, one in enumerate(bodies):
        head = b"" if readings == 1 else b"\xdc" + readings.to_bytes(2, "big")
        message, begins = published(f"d/{device:02}", head + one * readings)
        offsets = [begins + len(head) + k * len(one) + place for k in range(readings)]
        messages.append((message, offsets))
    sent = paced(sock, messages, rate, seconds)
    sock.sendall(b"\xe0\x00")
    sock.close()
    return sent * readings


def tcp(port: int, rate: float, seconds: float, readings: int = 1) -> int:
    """Maps of msgpack, one after the other, over one connection."""
    del readings
    sock = socket.create_connection(("127.0.0.1", port))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    bodies, place = template()
    sent = paced(sock, [(one, [place]) for one in bodies], rate, seconds)
    sock.close()
    return sent


STEP_NS = 20
"""Between two rows of columns: event time is behind the clock up to 50 M rows/s."""
COLUMNS = pa.schema([("at", pa.timestamp("ns", "UTC")), ("x", pa.float64()), ("y", pa.float64()), ("z", pa.float64())])  # fmt: skip


def arrow(port: int, rate: float, seconds: float, readings: int = 16_384) -> int:
    """A stream of Arrow IPC, as fast as it is taken; `rate` is not looked at."""
    del rate
    sock = socket.create_connection(("127.0.0.1", port))
    values = [pa.array(np.arange(readings) * k) for k in (1.0, 2.0, -1.0)]
    step, since = np.arange(readings) * STEP_NS, time.time_ns()
    sent, end = 0, time.perf_counter() + seconds
    with sock.makefile("wb", buffering=1 << 20) as file, pa.ipc.new_stream(file, COLUMNS) as writer:
        while time.perf_counter() < end:
            at = pa.Array.from_buffers(COLUMNS.field(0).type, readings, [None, pa.py_buffer(step + (since + sent * STEP_NS))])  # fmt: skip
            writer.write_batch(pa.record_batch([at, *values], schema=COLUMNS))
            sent += readings
    sock.close()
    return sent


def msgpack_columns(port: int, rate: float, seconds: float, readings: int = 16_384) -> int:
    """Maps of typed binary columns, each behind its length, as fast as they are taken."""
    del rate
    sock = socket.create_connection(("127.0.0.1", port))
    step, since = np.arange(readings) * STEP_NS, time.time_ns()
    told = {
        "at": b"\xff" * (8 * readings),
        **{n: (np.arange(readings) * 1.0).tobytes() for n in "xyz"},
    }
    body = bytearray(msgpack.packb(told))
    begins = body.index(b"\xff" * 64)
    message = bytearray(len(body).to_bytes(4, "big")) + body
    view = np.frombuffer(message, np.uint8)[begins + 4 : begins + 4 + 8 * readings]
    sent, end = 0, time.perf_counter() + seconds
    while time.perf_counter() < end:
        view[:] = (step + (since + sent * STEP_NS)).view(np.uint8)
        sock.sendall(message)
        sent += readings
    sock.close()
    return sent


if __name__ == "__main__":
    kinds = {"mqtt": mqtt, "tcp": tcp, "udp": udp, "arrow": arrow, "msgpack": msgpack_columns}
    kind, port, rate, seconds, *more = sys.argv[1:]
    began = time.perf_counter()
    count = kinds[kind](int(port), float(rate), float(seconds), *map(int, more))
    print(count, time.perf_counter() - began)
