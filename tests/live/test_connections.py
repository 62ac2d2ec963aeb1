"""Rows of real connections; strangers who send garbage, too much or nothing are counted and closed."""

import contextlib
import json
import random
import socket
import ssl
import struct
import subprocess
import threading
import time

import msgpack
import pyarrow as pa
import pytest
from support.services import free_port, require, until

from flowedge.lang.errors import SourceError
from flowedge.sources import catalog
from flowedge.sources.live import Bell, Shell

V = pa.schema([("v", pa.float64())])


class Listener:
    """A source by itself, and what it gave by partition."""

    def __init__(self, kind, address, *, declared=V, state=None, **options):
        self.source = catalog.get(kind)(
            address, declared=declared, **{"on_error": "skip", **options}
        )
        self.bell = Bell()
        self.source.begin(Shell(self.bell, time.time_ns), state)
        self.rows, self.ended, self.rejected = [], [], 0

    def look(self):
        for arrival in self.source.take():
            assert arrival.partition not in self.ended
            arrival.rows.validate(full=True)
            self.rows += [(arrival.partition, row) for row in arrival.rows.to_pylist()]
            if arrival.rejected is not None:
                self.rejected += arrival.rejected.num_rows
            if arrival.ends:
                self.ended.append(arrival.partition)
        return self

    def until(self, holds):
        until(lambda: holds(self.look()))
        return self

    def count(self, what, least=1):
        return self.until(lambda s: s.source.told().get(what, 0) >= least)

    @property
    def values(self):
        return [row["v"] for _, row in self.rows]

    def __enter__(self):
        return self

    def __exit__(self, *_error):
        self.source.close()


class Tcp(Listener):
    """A source that listens on a port."""

    def __init__(self, **options):
        self.port = free_port()
        super().__init__("tcp", f"tcp://127.0.0.1:{self.port}", **options)

    def connect(self, data=b""):
        sock = socket.create_connection(("127.0.0.1", self.port), 20)
        sock.sendall(data)
        return sock


def test_each_connection_is_a_partition_that_ends_with_it():
    declared = pa.schema([("v", pa.float64()), ("_peer", pa.string()), ("_received", pa.timestamp("ns", "UTC"))])  # fmt: skip
    with Tcp(declared=declared) as found:
        one = found.connect(b'{"v": 1}\n')
        found.until(lambda s: len(s.rows) == 1)
        two = found.connect(msgpack.packb([{"v": 2}, {"v": 3}]))
        found.until(lambda s: len(s.rows) == 3)
        names = [f"{s.getsockname()[0]}:{s.getsockname()[1]}" for s in (one, two, two)]
        assert [row["_peer"] for _, row in found.rows] == names
        assert all(row["_received"] is not None for _, row in found.rows)
        first, second = (found.rows[k][0] for k in (0, 1))
        assert first != second
        one.sendall(b'{"v": 4}')  # the last line needs no end
        one.close()
        found.until(lambda s: s.ended == [first])
        assert found.rows[-1][0] == first
        state = found.source.state()
        two.close()
    with Tcp(declared=declared, state=state) as found:  # killed while the second was open
        found.until(lambda s: s.ended == [second])
        found.connect(b'{"v": 5}\n').close()
        found.until(lambda s: len(s.ended) == 2)
        assert found.rows[0][0] not in (first, second)


@pytest.mark.parametrize("size", [10, 20_000])
def test_batches_of_arrow_are_rows_as_they_come(size):
    declared = pa.schema([("n", pa.int64()), ("k", pa.string()), ("_peer", pa.string())])
    batches = [
        pa.RecordBatch.from_pydict({"n": range(k, k + size), "k": ["x"] * size})
        for k in range(0, 5 * size, size)
    ]
    with Tcp(declared=declared) as found:
        with (
            found.connect() as sock,
            sock.makefile("wb") as file,
            pa.ipc.new_stream(file, batches[0].schema) as writer,
        ):
            for batch in batches:
                writer.write_batch(batch)
        found.until(lambda s: s.ended)
        assert [row["n"] for _, row in found.rows] == list(range(5 * size))
        assert {row["_peer"] for _, row in found.rows} != {None}


def test_the_unix_socket_of_a_killed_run_is_replaced_and_a_file_is_not(tmp_path):
    path = tmp_path / "a.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    with Listener("unix", str(path), framing="length", format="json") as found:
        with pytest.raises(SourceError, match="another program listens"):
            Listener("unix", str(path))
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(path))
            for payload in (b'{"v": 1}', b"", b'{"v": 2}'):
                sock.sendall(struct.pack(">I", len(payload)) + payload)
        found.until(lambda s: s.ended)
        assert found.values == [1, 2]
    assert not path.exists()
    path.write_text("x")
    with pytest.raises(SourceError, match="is no socket"):
        Listener("unix", str(path))


def test_a_device_that_listens_is_connected_to_again_and_again():
    port = free_port()
    with Listener("tcp", f"tcp://127.0.0.1:{port}", mode="connect") as found:
        found.count("failed")
        with socket.create_server(("127.0.0.1", port)) as device:
            for v in range(3):
                sock, _ = device.accept()
                sock.sendall(json.dumps({"v": v}).encode() + b"\n")
                found.until(lambda s, v=v: len(s.rows) == v + 1)
                sock.close()
            found.until(lambda s: len(s.ended) == 3)
        assert found.values == [0, 1, 2]
        assert len(set(found.ended)) == 3


@pytest.mark.parametrize("kind", ["plain", "group"])
def test_a_datagram_is_a_payload(kind):
    port = free_port()
    declared = pa.schema([("v", pa.float64()), ("_peer", pa.string())])
    host = "127.0.0.1" if kind == "plain" else "239.255.7.7"
    more = {} if kind == "plain" else {"interface": "127.0.0.1"}
    with (
        Listener("udp", f"udp://{host}:{port}", declared=declared, **more) as found,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock,
    ):
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("127.0.0.1"))
        for payload in (
            b'{"v": 1}',
            b"\xff\x00",
            b"",
            msgpack.packb({"v": 2}),
            b'{"v": "x"}',
            b"3.5",
        ):
            sock.sendto(payload, (host, port))
        found.until(lambda s: len(s.rows) == 3 and s.rejected == 3)
        assert found.values == [1, 2, 3.5]
        assert {row["_peer"] for _, row in found.rows} == {f"127.0.0.1:{sock.getsockname()[1]}"} or kind == "group"  # fmt: skip


def test_datagrams_that_find_no_room_are_counted(monkeypatch):
    port = free_port()
    with Listener("udp", f"udp://127.0.0.1:{port}") as found:
        found.source._inbox._most_bytes = 10_000
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:

            def lost():
                for _ in range(200):
                    sock.sendto(b'{"v": 1}', ("127.0.0.1", port))
                return found.source.told().get("lost", 0) > 20

            until(lost)
        found.until(lambda s: len(s.rows) == s.source.told()["datagrams"] - s.source.told()["lost"])
        assert found.rows


GARBAGE = {
    "random": random.Random(1).randbytes(100_000),
    "a length above 64 MiB": struct.pack(">I", (64 << 20) + 1) + b"x" * 1000,
    "half a message": struct.pack(">I", 1000) + b"x" * 10,
    "half of Arrow": b"\xff\xff\xff\xff\x10\x00\x00\x00abc",
    "a long Arrow": b"\xff\xff\xff\xff\xff\xff\xff\x00" + bytes(100),
    "half of msgpack": b"\xdf\xff\xff\xff\xff\xa1",
    "no reading": b"hello\r\n\r\n",
    "zeros": bytes(1000) + b"\x09",
    "HTTP": b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00",
}


def test_garbage_is_counted_and_disturbs_nobody():
    with Tcp() as found:
        good = found.connect(b'{"v": 0}\n')
        found.until(lambda s: s.rows)
        for k, data in enumerate(GARBAGE.values()):
            with found.connect() as sock:
                try:
                    sock.sendall(data)
                    sock.shutdown(socket.SHUT_WR)
                    sock.settimeout(20)
                    sock.recv(1)  # until it is closed there
                except OSError:
                    pass  # closed before all of it was sent
            good.sendall(json.dumps({"v": k + 1}).encode() + b"\n")
        found.until(lambda s: s.values == list(range(len(GARBAGE) + 1)))
        told = found.source.told()
        assert told["connects"] == len(GARBAGE) + 1
        assert sum(told.get(n, 0) for n in ("framing_lost", "too_long", "cut_short", "unknown_framing")) == 8, told  # fmt: skip
        assert found.rejected == 3
        good.close()


def test_a_length_of_1_gb_is_refused_before_it_is_believed():
    with Tcp(framing="length") as found, found.connect(struct.pack(">I", 1 << 30)) as sock:
        assert sock.recv(1) == b""
        assert found.source.told()["too_long"] == 1


def test_thousands_of_connections_opened_and_left_leave_room_for_those_who_send():
    with Tcp(connections=50) as found:
        good = found.connect(b'{"v": 0}\n')
        found.until(lambda s: s.rows)
        left = []
        for k in range(2000):
            sock = found.connect()
            left.append(sock) if k % 100 == 0 else sock.close()
        more = found.connect(b'{"v": 1}\n')
        found.until(lambda s: len(s.rows) == 2)
        good.sendall(b'{"v": 2}\n')
        found.until(lambda s: len(s.rows) == 3)
        found.count("connects", 2002)
        for sock in (*left, good, more):
            sock.close()


def test_places_of_those_who_have_sent_are_not_taken_by_others():
    with Tcp(connections=2) as found:
        both = [found.connect(b'{"v": 0}\n') for _ in range(2)]
        found.until(lambda s: len(s.rows) == 2)
        with found.connect() as third:
            assert third.recv(1) == b""
        assert found.source.told()["turned_away"] == 1
        for sock in both:
            sock.close()


def test_who_gives_nothing_whole_for_long_is_closed():
    with Tcp(patience=0.2) as found:
        slow, fast = found.connect(struct.pack(">I", 100)), found.connect()

        def sends(s):
            slow.sendall(b"x") if "silent" not in s.source.told() else None
            fast.sendall(b'{"v": 1}\n')
            return s.source.told().get("silent")

        try:
            found.until(sends)
        except OSError:
            found.count("silent")
        assert found.values
        slow.close()
        fast.close()


def test_unfinished_payloads_are_bounded_together(monkeypatch):
    monkeypatch.setattr("flowedge.sources.connections.MOST_UNFINISHED", 1 << 20)
    with Tcp() as found:
        socks = [found.connect(struct.pack(">I", 1 << 24) + bytes(400_000)) for _ in range(4)]
        found.count("over_memory", 2)
        for sock in socks:
            sock.close()


def test_who_sends_faster_than_rows_are_taken_has_to_wait():
    with Tcp() as found:
        found.source._inbox._most_bytes = 50_000
        sent = threading.Event()

        def send():
            with found.connect() as sock:
                for v in range(2000):
                    sock.sendall(json.dumps([{"v": v}] * 200).encode() + b"\n")
            sent.set()

        thread = threading.Thread(target=send)
        thread.start()
        until(lambda: not found.source._inbox.has_room)
        most = 0

        def look(s):
            nonlocal most
            most = max(most, s.source.nbytes)
            s.look()
            return s.ended

        until(lambda: look(found))
        thread.join()
        assert sent.is_set()
        assert found.values == [v for v in range(2000) for _ in range(200)]
        assert most < 6_000_000


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """An authority, and what it has signed for this machine and for a device."""
    folder = tmp_path_factory.mktemp("tls")

    def openssl(*words):
        found = subprocess.run(["openssl", *words], cwd=folder, capture_output=True, check=False)
        assert found.returncode == 0, found.stderr

    require(
        "openssl",
        subprocess.run(["which", "openssl"], capture_output=True, check=False).returncode == 0,
    )
    openssl(
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-keyout",
        "ca.key",
        "-out",
        "ca.pem",
        "-subj",
        "/CN=ca",
        "-days",
        "30",
    )
    (folder / "names").write_text("subjectAltName=IP:127.0.0.1")
    for name in ("server", "device"):
        openssl(
            "req",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-keyout",
            f"{name}.key",
            "-out",
            f"{name}.csr",
            "-subj",
            f"/CN={name}",
        )
        openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-out", f"{name}.pem", "-days", "30", "-extfile", "names")  # fmt: skip
    return folder


def test_over_tls_only_devices_with_a_certificate_are_let_in(certificates):
    files = {"cert": str(certificates / "server.pem"), "key": str(certificates / "server.key")}
    client = ssl.create_default_context(cafile=str(certificates / "ca.pem"))
    with Tcp(tls=True, ca=str(certificates / "ca.pem"), **files) as found:
        with (
            contextlib.suppress(OSError),
            client.wrap_socket(found.connect(), server_hostname="127.0.0.1") as sock,
        ):
            sock.sendall(b'{"v": 1}\n')
            sock.recv(1)
        found.connect(b'{"v": 2}\n' * 10).close()
        found.count("tls_failed", 2)
        client.load_cert_chain(certificates / "device.pem", certificates / "device.key")
        with client.wrap_socket(found.connect(), server_hostname="127.0.0.1") as sock:
            sock.sendall(b'{"v": 3}\n' * 50_000)
        found.until(lambda s: s.ended)
        assert found.values == [3] * 50_000


def test_a_device_that_listens_with_tls_is_connected_to(certificates):
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificates / "server.pem", certificates / "server.key")
    with socket.create_server(("127.0.0.1", 0)) as device:
        port = device.getsockname()[1]
        with Listener(
            "tcp",
            f"tcp://127.0.0.1:{port}",
            mode="connect",
            tls=True,
            ca=str(certificates / "ca.pem"),
        ) as found:
            sock, _ = device.accept()
            with server.wrap_socket(sock, server_side=True) as secure:
                secure.sendall(b'{"v": 1}\n')
                found.until(lambda s: s.values == [1])


@pytest.mark.parametrize(("address", "told"), [
    ("127.0.0.1:9000", "does not begin with tcp://"), ("tcp://127.0.0.1", "lacks its port"),
    ("tcp://a:1/x", "more than a host and a port"), ("tcp://203.0.113.9:9", "Cannot assign"),
])  # fmt: skip
def test_an_address_that_is_none_is_told(address, told):
    with pytest.raises(SourceError, match=told):
        Listener("tcp", address)
