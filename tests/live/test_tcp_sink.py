"""Rows over bare connections: the source reads what the sink writes; whatever happens to a receiver, no row comes twice."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import threading
import time

import pyarrow as pa
import pytest
from support.proxy import Proxy
from support.services import free_port, program, until

from flowedge.lang.diagnostics import FlowError
from flowedge.lang.errors import SinkError
from flowedge.runtime import delivery
from flowedge.runtime.plan import compile_flow
from flowedge.runtime.run import Interrupted, Run
from flowedge.sinks import catalog
from flowedge.sinks.remote import Unreachable
from flowedge.sources import catalog as sources
from flowedge.sources.live import Bell, Shell

ROWS = pa.RecordBatch.from_pydict({
    "time": pa.array([1_700_000_000_123_456_789, 1, 2, 3], pa.timestamp("ns", "UTC")), "device": pa.array(["a", "b\n", "a", None]).dictionary_encode(),
    "v": [1.5, None, 2.5, float("inf")], "n": pa.array([1, 2, 3, 4], pa.int32()),
})  # fmt: skip
DECLARED = pa.schema([("time", pa.timestamp("ns", "UTC")), ("device", pa.string()), ("v", pa.float64()), ("n", pa.int32())])  # fmt: skip


class Reader:
    """A source by itself, and what it gave."""

    def __init__(self, kind, address, declared=DECLARED, **options):
        self.source = sources.get(kind)(address, declared=declared, on_error="stop", **options)
        self.source.begin(Shell(Bell(), time.time_ns), None)
        self.rows, self.ends = [], 0

    def look(self):
        for arrival in self.source.take():
            self.rows += arrival.rows.to_pylist()
            self.ends += arrival.ends
        return self

    def until(self, holds):
        until(lambda: holds(self.look()))

    def __enter__(self):
        return self

    def __exit__(self, *_error):
        self.source.close()


def sink_of(kind, address, **options):
    return contextlib.closing(_Ending(catalog.get(kind)(address, **options)))


class _Ending:
    """A sink that is ended in the place of closed."""

    def __init__(self, sink):
        self.sink = sink

    def close(self):
        self.sink.end()


def joined(sink, schema=ROWS.schema):
    """Connect, as often as it takes."""

    def tries():
        with contextlib.suppress(Unreachable):
            sink.connect(schema)
            return True
        return False

    until(tries)


@pytest.mark.parametrize("kind", ["tcp", "unix"])
@pytest.mark.parametrize("mode", ["connect", "listen"])
@pytest.mark.parametrize(("framing", "options"), [
    ("arrow", {}), ("msgpack", {}), ("msgpack", {"rows": "columns"}), ("msgpack", {"rows": "list"}), ("lines", {}), ("lines", {"rows": "list"}),
    ("length", {}), ("length", {"format": "json"}), ("length", {"format": "cbor", "rows": "columns"}), ("length", {"format": "arrow", "rows": "list"}),
])  # fmt: skip
def test_the_source_reads_what_the_sink_writes(tmp_path, kind, mode, framing, options):
    address = f"tcp://127.0.0.1:{free_port()}" if kind == "tcp" else str(tmp_path / "a.sock")
    other = "listen" if mode == "connect" else "connect"
    with (
        sink_of(kind, address, mode=mode, framing=framing, **options) as ending,
        Reader(kind, address, mode=other, framing=framing, format=options.get("format", "auto")) as reader,
    ):  # fmt: skip
        sink = ending.sink
        joined(sink)
        for first in range(0, 40, 4):
            sink.deliver(ROWS, first)
        reader.until(lambda r: len(r.rows) == 40)
        sink.end()
        reader.until(lambda r: r.ends == 1)
    wanted = ROWS.to_pylist()
    if "json" in options.values() or framing == "lines":
        wanted[3]["v"] = None
    for row in reader.rows:  # in columns, a number that is missing is none
        row["v"] = None if row["v"] != row["v"] else row["v"]
    assert reader.rows == wanted * 10
    assert not (tmp_path / "a.sock").exists()


def test_a_batch_longer_than_a_reader_takes_is_sent_in_parts(monkeypatch):
    monkeypatch.setattr("flowedge.sinks.streams._LONGEST", 20_000)
    rows = pa.RecordBatch.from_pydict({"n": range(20_000)})
    address = f"tcp://127.0.0.1:{free_port()}"
    with Reader("tcp", address, pa.schema([("n", pa.int64())])) as reader, sink_of("tcp", address) as ending:  # fmt: skip
        joined(ending.sink, rows.schema)
        ending.sink.deliver(rows, 0)
        reader.until(lambda r: len(r.rows) == 20_000)
        assert [r["n"] for r in reader.rows] == list(range(20_000))
        long = pa.RecordBatch.from_pydict({"n": pa.array([[0] * 5000], pa.list_(pa.int64(), 5000))})
        ending.sink.connect(long.schema)
        with pytest.raises(SinkError, match="a row makes"):
            ending.sink.deliver(long, 0)


def test_both_ends_may_ask_for_a_certificate(tmp_path):
    for name in ("server", "client"):
        subprocess.run(
            [program("openssl"), "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", f"{name}.key", "-out", f"{name}.pem", "-days", "2",
             "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"],
            cwd=tmp_path, check=True, capture_output=True,
        )  # fmt: skip

    def tls(mine, theirs):
        return {"tls": True, "cert": str(tmp_path / f"{mine}.pem"), "key": str(tmp_path / f"{mine}.key"), "ca": str(tmp_path / f"{theirs}.pem")}  # fmt: skip

    for mode, other in (("connect", "listen"), ("listen", "connect")):
        address = f"tcp://localhost:{free_port()}"
        one, two = ("client", "server") if mode == "connect" else ("server", "client")
        with (
            sink_of("tcp", address, mode=mode, **tls(one, two)) as ending,
            Reader("tcp", address, mode=other, **tls(two, one)) as reader,
        ):
            joined(ending.sink)
            for first in range(0, 400, 4):
                ending.sink.deliver(ROWS, first)
            reader.until(lambda r: len(r.rows) == 400)
            ending.sink.end()
            reader.until(lambda r: r.ends == 1)
    address = f"tcp://localhost:{free_port()}"
    with Reader("tcp", address, **tls("server", "client")), sink_of("tcp", address, tls=True) as ending, pytest.raises(Unreachable, match="certificate verify failed"):  # fmt: skip
        ending.sink.connect(ROWS.schema)


def test_what_is_written_wrong_is_said_before_the_work(tmp_path):
    for kind, address, options, why in (
        ("tcp", "tcp://host", {}, "not a host and a port"),
        ("tcp", "tcp://host:1/x", {}, "not a host and a port"),
        ("tcp", "http://host:1", {}, "does not begin with"),
        ("tcp", "tcp://host:1", {"ca": "x"}, "want `tls=true`"),
        ("tcp", "tcp://host:1", {"patience": 0.0}, "above 0"),
        ("tcp", "tcp://host:1", {"format": "json"}, "told by `framing`"),
        ("tcp", "tcp://host:1", {"rows": "list"}, "has batches"),
        ("unix", "x" * 108, {}, "no path"),
    ):
        with pytest.raises(SinkError, match=why):
            catalog.get(kind)(address, **options)
    bytes_ = pa.schema([("b", pa.binary())])
    for options, why in (({"framing": "lines"}, "holds bytes"), ({"tls": True, "ca": "none.pem"}, "cannot read")):  # fmt: skip
        with sink_of("tcp", "tcp://127.0.0.1:1", **options) as ending, pytest.raises(SinkError, match=why):  # fmt: skip
            ending.sink.connect(bytes_)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"tcp://127.0.0.1:{server.getsockname()[1]}"
        with sink_of("tcp", address, mode="listen") as ending, pytest.raises(SinkError, match="in use"):  # fmt: skip
            ending.sink.connect(bytes_)


def delivered(sink, rows):
    """Deliver them again and again."""
    for turn in range(100):
        sink.deliver(rows, turn * rows.num_rows)


def test_a_receiver_that_is_not_there_or_takes_nothing_is_away():
    with sink_of("tcp", f"tcp://127.0.0.1:{free_port()}") as ending, pytest.raises(Unreachable, match="refused"):  # fmt: skip
        ending.sink.connect(ROWS.schema)
    with sink_of("tcp", f"tcp://127.0.0.1:{free_port()}", mode="listen") as ending:
        with pytest.raises(Unreachable, match="nobody has connected"):
            ending.sink.connect(ROWS.schema)
        threading.Timer(0.2, ending.sink.interrupt).start()
        with pytest.raises(Unreachable, match="interrupted"):
            ending.sink.connect(ROWS.schema)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"tcp://127.0.0.1:{server.getsockname()[1]}"
        large = pa.RecordBatch.from_pydict({"n": range(1 << 20)})
        for options, why in (({"patience": 0.3}, r"has taken nothing for 0\.3 s"), ({}, "interrupted")):  # fmt: skip
            with sink_of("tcp", address, **options) as ending:
                ending.sink.connect(large.schema)
                near, _ = server.accept()
                if not options:
                    threading.Timer(0.3, ending.sink.interrupt).start()
                with near, pytest.raises(Unreachable, match=why) as told:
                    delivered(ending.sink, large)
                assert (told.value.done, told.value.begun) in ((0, 1 << 20), (0, 0))


def test_rows_that_were_not_begun_are_kept_when_the_receiver_has_gone():
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        sink_of("tcp", f"tcp://127.0.0.1:{server.getsockname()[1]}", framing="lines") as ending,
    ):
        ending.sink.connect(ROWS.schema)
        near, _ = server.accept()
        near.sendall(b"what a receiver says is thrown away")
        ending.sink.deliver(ROWS, 0)
        assert near.recv(10)
        near.close()
        until(lambda: ending.sink._wire.has_ended)
        with pytest.raises(Unreachable, match="has closed") as told:
            ending.sink.deliver(ROWS, 4)
        assert (told.value.done, told.value.begun) == (0, 0)


# ---- whole runs

FLOW = """
source s (time, device: key, n: i64) from arrow("in.arrow")
sink s to tcp("tcp://127.0.0.1:{port}", {more})
"""
COUNT = 40_000


@pytest.fixture
def recording(tmp_path, monkeypatch):
    """Rows to be sent, and the folder to run in."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(delivery.Backoff, "next_s", lambda _: 0.05)
    times = pa.array(range(0, COUNT * 10**6, 10**6), pa.int64()).cast(pa.timestamp("ns", "UTC"))
    table = pa.table({"time": times, "device": ["a", "b"] * (COUNT // 2), "n": range(COUNT)})
    with pa.ipc.new_file(tmp_path / "in.arrow", table.schema) as file:
        file.write_table(table, max_chunksize=1000)
    return tmp_path


class Lines:
    """A receiver that keeps the numbers of whole lines; it may be slow, or break off again and again."""

    def __init__(self, breaks=0, pause_s=0.0, begins=True):
        self.numbers, self._breaks, self._pause_s = [], breaks, pause_s
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        self.rests = threading.Event()
        self.rests.set()
        self._thread = threading.Thread(target=self._serve)
        if begins:
            self._thread.start()

    def _serve(self):
        while True:
            try:
                sock, _ = self._server.accept()
            except OSError:
                return
            with sock, contextlib.suppress(OSError):
                rest, got = b"", 0
                while data := sock.recv(20_000):
                    self.rests.wait()
                    time.sleep(self._pause_s)
                    *whole, rest = (rest + data).split(b"\n")
                    self.numbers += [json.loads(line)["n"] for line in whole]
                    got += len(data)
                    if self._breaks and got > 300_000:
                        self._breaks -= 1
                        break

    def __enter__(self):
        return self

    def __exit__(self, *_error):
        self.rests.set()
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self._thread.join()


def quiet(receiver):
    """What has come once nothing comes for a while."""
    size = -1
    while size < len(receiver.numbers):
        size = len(receiver.numbers)
        time.sleep(0.5)
    return receiver.numbers


def sent(recording, port, more="framing=lines"):
    """A run to its end; what it tells of its peer."""
    (recording / "p.flow").write_text(FLOW.format(port=port, more=more))
    task = Run(compile_flow(recording / "p.flow"))
    task()
    return task.report.sinks["s"].peer


def test_a_slow_receiver_is_waited_for(recording):
    with Lines(pause_s=0.002) as receiver:
        peer = sent(recording, receiver.port)
        until(lambda: len(receiver.numbers) == COUNT)
        assert receiver.numbers == list(range(COUNT))
    assert (peer.delivered, peer.lost, peer.guarantee) == (COUNT, 0, "at most once")


def test_a_receiver_that_breaks_off_gets_no_row_twice(recording):
    with Lines(breaks=3) as receiver:
        peer = sent(recording, receiver.port)
        numbers = quiet(receiver)
    assert numbers == sorted(set(numbers))
    assert peer.delivered + peer.lost == COUNT
    assert len(numbers) <= peer.delivered
    # Where all rows were on their way before the first break, nobody could notice it: they are lost there.
    assert peer.outages >= 1 or len(numbers) < peer.delivered


@pytest.mark.parametrize("how", ["cut", "cut_after", "hang"])
def test_a_wire_that_is_cut_costs_what_was_on_it_and_nothing_comes_twice(recording, how):
    with Lines(pause_s=0.001) as receiver:
        wire = Proxy(receiver.port)
        try:
            peers = []
            thread = threading.Thread(target=lambda: peers.append(sent(recording, wire.port)))
            thread.start()
            for turn in range(1, 4):
                until(lambda turn=turn: len(receiver.numbers) > turn * 5000 or not thread.is_alive())  # fmt: skip
                if how == "cut_after":
                    wire.cut_after(77_777)
                    until(lambda: wire._server.fileno() < 0 or not thread.is_alive())
                else:
                    getattr(wire, how)()
                    time.sleep(0.2)
                wire.mend()
            thread.join(60)
            assert not thread.is_alive()
            if how == "hang":  # nothing was lost, all was late
                until(lambda: len(receiver.numbers) == COUNT)
            else:
                quiet(receiver)
        finally:
            wire.close()
        numbers = receiver.numbers
    assert numbers == sorted(set(numbers))
    assert peers[0].delivered + peers[0].lost == COUNT


def test_a_receiver_that_stands_still_is_let_go_and_the_run_goes_on(recording):
    with Lines() as receiver:
        receiver.rests.clear()
        threading.Timer(3.0, receiver.rests.set).start()
        peer = sent(recording, receiver.port, "framing=lines, patience=500 ms")
        quiet(receiver)
    assert peer.delivered + peer.lost == COUNT
    assert receiver.numbers == sorted(set(receiver.numbers))


def test_rows_wait_for_a_receiver_that_comes_late(recording):
    port = free_port()
    peers = []
    thread = threading.Thread(target=lambda: peers.append(sent(recording, port, "mode=listen, framing=msgpack")))  # fmt: skip
    thread.start()
    declared = pa.schema([("n", pa.int64())])
    with Reader("tcp", f"tcp://127.0.0.1:{port}", declared, mode="connect") as reader:
        reader.until(lambda r: len(r.rows) == COUNT)
        thread.join(60)
        assert not thread.is_alive()
        assert [r["n"] for r in reader.rows] == list(range(COUNT))
    assert (peers[0].delivered, peers[0].lost) == (COUNT, 0)


def test_one_flow_flows_into_the_other(recording):
    port = free_port()
    (recording / "r.flow").write_text(
        f'source r (time, device: key string, n: i64) from tcp("tcp://127.0.0.1:{port}")\n    expire key after 1 h\n'
        'sink r to arrow("out.arrow")\n'
    )
    thread = threading.Thread(target=lambda: sent(recording, port, "framing=arrow"))

    def progress(report):
        if not thread.ident:
            thread.start()
        elif report.rows_in == COUNT:
            os.kill(os.getpid(), signal.SIGINT)

    task = Run(compile_flow(recording / "r.flow"), progress=progress)
    with pytest.raises(Interrupted):
        task()
    thread.join(60)
    with pa.memory_map("out.arrow") as file:
        rows = pa.ipc.open_file(file).read_all()
    assert sorted(rows.column("n").to_pylist()) == list(range(COUNT))
    assert rows.schema.field("time").type == pa.timestamp("ns", "UTC")


def test_the_promise_is_honest():
    assert catalog.get("tcp").promises({}) == catalog.get("unix").promises({}) == "at most once"


def test_else_keep_wants_a_peer_that_answers():
    text = (
        'source s from host(every=1 s)\nsink s deadline 5 s else {} to tcp("tcp://127.0.0.1:1")\n'
    )
    with pytest.raises(FlowError) as told:
        compile_flow(text=text.format("keep"))
    assert [d.code for d in told.value.diagnostics] == ["FE703"]
    compile_flow(text=text.format("drop"))
