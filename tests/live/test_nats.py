"""Messages of a real NATS server become rows: of a stream each once and in order, whatever happens to the server or the run."""

import contextlib
import json
import signal
import socket
import subprocess
import sys
import threading
import time

import msgpack
import nkeys
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.nats_peer import Peer
from support.proxy import Proxy
from support.services import nats_server, program, until

from flowedge.lang.errors import SourceError
from flowedge.links import nats_stream
from flowedge.sources.live import Bell, Shell
from flowedge.sources.nats import Nats, subject_filter

V = pa.schema([("v", pa.float64())])
STAMP = pa.timestamp("ns", "UTC")


class Listener:
    """A source by itself, taken from until enough has come."""

    def __init__(self, address, *, declared=V, state=None, covers=False, **options):
        self.source = Nats(address, declared=declared, **options)
        self.source.begin(Shell(Bell(), time.time_ns, covers), state)

    def take(self, count, seconds=20.0):
        """Rows until there are `count` since the last call."""
        found = []

        def enough():
            for arrival in self.source.take():
                found.extend(arrival.rows.to_pylist())
            return len(found) >= count

        until(enough, seconds)
        return found

    def values(self, count):
        return [row["v"] for row in self.take(count)]

    def comes_back(self, times):
        """Wait until it has been let in so many times; nothing new may come."""
        until(lambda: self.source.take() or self.source.told()["connects"] >= times, 40)
        assert self.source.take() == []

    def __enter__(self):
        until(lambda: self.source.told()["connects"] or self.source.take())
        return self

    def __exit__(self, *_error):
        self.source.close()


@pytest.fixture
def server(tmp_path):
    """A NATS server of the test's own."""
    with nats_server(tmp_path) as found:
        yield found


@pytest.fixture
def peer(server):
    """Someone who has made a stream `S` of all subjects below `s`."""
    with Peer(server.port) as found:
        found.stream("S", "s.>")
        yield found


def v(value):
    return json.dumps({"v": value})


def address(server, subject="s.a"):
    return f"nats://127.0.0.1:{server.port}/{subject}"


def test_tokens_of_the_subject_become_keys_and_payloads_rows(server):
    declared = pa.schema([
        ("site", pa.string()), ("device", pa.int32()), ("v", pa.float64()), ("_subject", pa.string()), ("_received", STAMP),
        ("_headers", pa.string()), ("_header_trace_id", pa.string()), ("_sequence", pa.int64()),
    ])  # fmt: skip
    captures = ("site", "device")
    with (
        Peer(server.port) as peer,
        Listener(
            address(server, "x.{site}.{device}.imu"), declared=declared, captures=captures
        ) as listener,
    ):
        peer(
            "x.north.3.imu", msgpack.packb([{"v": 1.5}, {"v": 2.5}]), {"Trace-Id": "a:1", "B": "é"}
        )
        peer("x.north.z.imu", v(3.5))
        peer("x.north.3.other", v(4.5))
        peer("x.é.-1.imu", v(5.5))
        rows = listener.take(4)
    names = ("site", "device", "v", "_subject", "_header_trace_id", "_headers", "_sequence")
    header = '{"Trace-Id": "a:1", "B": "é"}'
    assert [tuple(r[n] for n in names) for r in rows] == [
        ("north", 3, 1.5, "x.north.3.imu", "a:1", header, None),
        ("north", 3, 2.5, "x.north.3.imu", "a:1", header, None),
        ("north", None, 3.5, "x.north.z.imu", None, None, None),
        ("é", -1, 5.5, "x.é.-1.imu", None, None, None),
    ]
    assert all(r["_received"] is not None for r in rows)


def test_those_of_one_queue_share_the_messages(server):
    with (
        Peer(server.port) as peer,
        Listener(address(server), queue="q") as one,
        Listener(address(server), queue="q") as two,
    ):
        for n in range(40):
            peer.send("s.a", v(n))
        peer.flush()
        found = []
        until(lambda: found.extend(r["v"] for s in (one, two) for a in s.source.take() for r in a.rows.to_pylist()) or len(found) >= 40)  # fmt: skip
    assert sorted(found) == list(range(40))


def test_what_finds_no_room_is_counted(server, monkeypatch):
    with Peer(server.port) as peer, Listener(address(server)) as listener:
        monkeypatch.setattr(listener.source._inbox, "_most_bytes", 10_000)
        sent = kept = 0

        def all_there():
            nonlocal kept
            kept = sum(len(p[0]) for p in listener.source._inbox._waiting)
            return kept + listener.source.told()["lost"] == sent

        for _ in range(5):  # what comes together is kept or lost together
            for _ in range(100):
                peer.send("s.a", v(sent))
                sent += 1
            until(all_there)
        assert listener.source.told()["lost"] > 0
        assert listener.values(kept) == list(range(kept))


@pytest.mark.parametrize(("begin", "wanted"), [
    ("all", [0, 10, 1, 11, 2, 12, 99]), ("last", [2, 12, 99]), ("new", [99]), ("2020-01-01T00:00:00+02:00", [0, 10, 1, 11, 2, 12, 99]), ("in an hour", [99]),
])  # fmt: skip
def test_a_stream_is_read_from_where_it_is_asked(server, peer, begin, wanted):
    if begin == "in an hour":
        begin = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 3600))
    for n in range(3):
        peer.keep("s.a", v(n))
        peer.keep("s.b", v(10 + n))
    declared = pa.schema([("v", pa.float64()), ("_sequence", pa.int64()), ("_stored", STAMP)])
    with Listener(
        address(server, "s.*"), jetstream="S", begin=begin, declared=declared
    ) as listener:
        assert peer.keep("s.a", v(99)) == 7
        rows = listener.take(len(wanted))
    assert [r["v"] for r in rows] == wanted
    assert [r["_sequence"] for r in rows][-1:] == [7][: len(wanted)]
    assert all(abs(r["_stored"].value - time.time_ns()) < 60 * 10**9 for r in rows)


@pytest.mark.parametrize("named", [{"durable": "mine"}, {}])
def test_what_no_checkpoint_covers_comes_again_and_what_one_does_never(server, peer, named):
    options = {"jetstream": "S", "covers": True, **named}
    with Listener(address(server), **options) as listener:
        for n in range(4):
            peer.keep("s.a", v(n))
            peer.keep("s.b", v(-1))
        assert listener.values(4) == [0, 1, 2, 3]
        covered = listener.source.state()
        listener.source.covered(covered)
        for n in range(4, 7):
            peer.keep("s.a", v(n))
        assert listener.values(3) == [4, 5, 6]
        later = listener.source.state()
        name = later["durable"]
        until(lambda: peer.api(f"CONSUMER.INFO.S.{name}")["num_ack_pending"] == 3)
    peer.keep("s.a", v(7))
    # Killed before the checkpoint `later` was on the disk: its messages come again, before what is new.
    with Listener(address(server), state=covered, **options) as listener:
        assert listener.values(4) == [4, 5, 6, 7]
    # Killed behind it, before the server heard of it: those that it covers are left out.
    with Listener(address(server), state=later, **options) as listener:
        assert listener.values(1) == [7]
        assert listener.source.told()["doubled"] == 3
        until(lambda: peer.api(f"CONSUMER.INFO.S.{name}")["num_ack_pending"] == 1)
        listener.source.covered(listener.source.state())
        until(lambda: peer.api(f"CONSUMER.INFO.S.{name}")["num_ack_pending"] == 0)
    # Somebody has deleted the consumer: the state knows where to go on.
    peer.api(f"CONSUMER.DELETE.S.{name}")
    with Listener(address(server), state=later, **options) as listener:
        assert listener.values(1) == [7]


def test_a_state_that_the_server_has_left_behind_is_told(server, peer):
    options = {"jetstream": "S", "covers": True, "durable": "mine"}
    with Listener(address(server), **options) as listener:
        peer.keep("s.a", v(0), v(1))
        listener.take(2)
        early = listener.source.state()
        peer.keep("s.a", v(2), v(3))
        listener.take(2)
        listener.source.covered(listener.source.state())
        until(lambda: peer.api("CONSUMER.INFO.S.mine")["num_ack_pending"] == 0)
    listener = Listener(address(server), state=early, **options)
    with pytest.raises(SourceError, match="has acknowledged 4, and the state goes to 2"):
        listener.take(1)
    listener.source.close()
    peer.api("CONSUMER.DELETE.S.mine")
    with Listener(address(server), state=early, **options) as listener:
        assert listener.values(2) == [2, 3]


def restarted(server, _proxy):
    server.stop()
    server.start()


def killed(server, _proxy):
    server.kill()
    server.start()


def cut(_server, proxy):
    proxy.cut()
    proxy.mend()


@pytest.mark.parametrize("how", [restarted, killed, cut])
def test_each_comes_once_and_in_order_whatever_happens_to_the_server(server, peer, how):
    proxy = Proxy(server.port)
    options = {"jetstream": "S", "covers": True}
    with Listener(f"nats://127.0.0.1:{proxy.port}/s.a", **options) as listener:
        found = []
        for turn in range(3):
            peer.keep("s.a", *(v(200 * turn + n) for n in range(200)))
            found += listener.values(150)
            how(server, proxy)
            until(lambda turn=turn: listener.source.told()["connects"] >= turn + 2)
            until(peer.is_back)
        found += listener.values(600 - len(found))
        assert listener.source.take() == []
        told = listener.source.told()
    proxy.close()
    assert found == list(range(600))
    assert told["drops"] >= 3


def test_what_went_to_a_line_that_nobody_reads_any_more_comes_again_in_its_place(
    server, peer, monkeypatch
):
    """The server still takes the old connection for alive when the new one is there, and sends it what is new."""
    monkeypatch.setattr(nats_stream, "_SILENT_S", 0.5)
    monkeypatch.setattr(nats_stream, "_BEAT_S", 14)
    proxy = Proxy(server.port)
    with Listener(f"nats://127.0.0.1:{proxy.port}/s.a", jetstream="S", covers=True) as listener:
        peer.keep("s.a", v(0))
        found = listener.values(1)
        proxy.mute()
        for n in range(1, 50):
            peer.keep("s.a", v(n))
        until(lambda: listener.source.told()["drops"])
        proxy.mend()
        for n in range(50, 100):
            peer.keep("s.a", v(n))
        found += listener.values(99)
    proxy.close()
    assert found == list(range(100))


def test_a_stream_that_is_made_anew_is_read_from_its_beginning(server, peer):
    options = {"jetstream": "S", "covers": True, "durable": "mine"}
    with Listener(address(server), **options) as listener:
        for n in range(5):
            peer.keep("s.a", v(n))
        assert listener.values(5) == [0, 1, 2, 3, 4]
        state = listener.source.state()
        peer.api("STREAM.DELETE.S")
        peer.stream("S", "s.>")
        peer.keep("s.a", v(10))
        assert listener.values(1) == [10]
        assert listener.source.told()["streams_lost"] == 1
        listener.source.covered(state)  # of the other stream
        assert peer.api("CONSUMER.INFO.S.mine")["num_ack_pending"] == 1
    with Listener(address(server), state=state, **options) as listener:
        assert listener.values(1) == [10]


def test_a_queue_of_work_forgets_what_a_checkpoint_covers(server, peer):
    peer.stream("W", "w.>", retention="workqueue")
    with Listener(address(server, "w.>"), jetstream="W", covers=True) as listener:
        for n in range(5):
            peer.keep("w.a", v(n))
        listener.take(5)
        assert peer.api("STREAM.INFO.W")["state"]["messages"] == 5
        state = listener.source.state()
        listener.source.covered(state)
        until(lambda: peer.api("STREAM.INFO.W")["state"]["messages"] == 0)
        peer.keep("w.a", v(5))
    with Listener(address(server, "w.>"), jetstream="W", covers=True, state=state) as listener:
        assert listener.values(1) == [5]


def test_two_that_read_one_consumer_give_no_message_up(server, peer):
    """They take turns, and tell of each other; what one has not acknowledged comes to the other."""
    options = {"jetstream": "S", "covers": True, "durable": "mine"}
    with Listener(address(server), **options) as one, Listener(address(server), **options) as two:
        for n in range(20):
            peer.keep("s.a", v(n))
        found = {}

        def all_there():
            for name, listener in (("one", one), ("two", two)):
                found.setdefault(name, []).extend(
                    r["v"] for a in listener.source.take() for r in a.rows.to_pylist()
                )
            return set(found["one"]) | set(found["two"]) == set(range(20))

        until(all_there)
    assert all(rows == sorted(set(rows)) for rows in found.values())


@pytest.mark.parametrize(("given", "told"), [
    ({"jetstream": "T"}, "stream `T`: stream not found"), ({"jetstream": "S", "subject": "elsewhere.a"}, "stream `S`: consumer filter subject"),
    ({"jetstream": "S", "durable": "pushing"}, "the consumer `pushing` pushes"), ({"jetstream": "S", "durable": "other"}, "listens to `s.b`"),
    ({"jetstream": "S", "durable": "none"}, "wants no acknowledgement"), ({"jetstream": "S", "durable": "few"}, "after 3 deliveries"),
])  # fmt: skip
def test_a_stream_or_consumer_that_is_not_as_it_should_be_ends_the_run(server, peer, given, told):
    for name, more in (
        ("pushing", {"deliver_subject": "d"}), ("other", {"filter_subject": "s.b"}), ("none", {"ack_policy": "none", "filter_subject": "s.a"}),
        ("few", {"max_deliver": 3, "filter_subject": "s.a"}),
    ):  # fmt: skip
        config = {"durable_name": name, "ack_policy": "explicit", **more}
        peer.api(f"CONSUMER.DURABLE.CREATE.S.{name}", {"stream_name": "S", "config": config})
    listener = Listener(address(server), **given)
    with pytest.raises(SourceError, match=told):
        listener.take(1)
    listener.source.close()


@pytest.mark.parametrize(("given", "told"), [
    ({"subject": "a..b"}, "is no subject"), ({"subject": "a.>.b"}, "is no subject"), ({"subject": "a.b*"}, "is no subject"), ({"subject": "a b"}, "is no subject"),
    ({"subject": "a.x{b}"}, "a whole token"), ({"subject": "x" * 3000}, "longer than 2,048 bytes"), ({"jetstream": "a.b"}, "no name of a jetstream"),
    ({"begin": "new"}, "write `jetstream=`"), ({"jetstream": "S", "begin": "soon"}, "`begin` is"), ({"jetstream": "S", "queue": "q"}, "`queue` is for"),
    ({"jetstream": "S", "begin": "2026-05-01T00:00:00"}, "`begin` is"),
])  # fmt: skip
def test_what_can_never_work_is_said_at_once(given, told):
    with pytest.raises(SourceError, match=told):
        Nats("nats://127.0.0.1", declared=V, **{"subject": "a", **given})


def test_a_filter_is_that_of_nats_with_names():
    assert subject_filter("a.{x}.*.{y}") == ({"x": 1, "y": 3}, "a.*.*.*")
    with pytest.raises(SourceError, match="there is no subject"):
        Nats("nats://127.0.0.1", declared=V)
    with pytest.raises(SourceError, match="does not begin with"):
        Nats("mqtt://127.0.0.1/a", declared=V)


def test_a_server_that_is_not_there_yet_is_waited_for(tmp_path):
    found = nats_server(tmp_path)
    listener = Listener(address(found))
    assert listener.source.take() == []
    with found, listener, Peer(found.port) as peer:
        peer("s.a", v(1))
        assert listener.values(1) == [1.0]


def test_what_cannot_be_read_is_kept_or_stops_the_run(server):
    with Peer(server.port) as peer:
        with Listener(address(server, ">"), on_error="quarantine") as listener:
            for payload in (v(1), b"\xff\xfe", b"", '{"v": "x"}', v(2)):
                peer("s.a", payload)
            arrivals = []
            until(
                lambda: (
                    arrivals.extend(listener.source.take())
                    or sum(a.rows.num_rows for a in arrivals) == 2
                )
            )
            assert sum(a.rejected.num_rows for a in arrivals if a.rejected is not None) == 3
        with Listener(address(server)) as listener:
            peer("s.a", '{"v": "x"}')
            with pytest.raises(SourceError, match="`v` is not a number"):
                listener.take(1)


@contextlib.contextmanager
def as_who(folder, lines, **options):
    """A listener to a server that lets in by these lines."""
    with nats_server(folder, *lines) as server:
        scheme = options.pop("scheme", "nats")
        host = options.pop("host", "127.0.0.1")
        listener = Listener(f"{scheme}://{host}:{server.port}/s.a", **options)
        try:
            yield listener, server
        finally:
            listener.source.close()


@pytest.mark.parametrize("way", ["user", "token", "nkey"])
def test_those_who_are_known_are_let_in_and_others_end_the_run(tmp_path, monkeypatch, way):
    raw = nkeys.encode_seed(bytes(range(32)), nkeys.PREFIX_BYTE_USER)
    public = nkeys.from_seed(bytearray(raw)).public_key.decode()
    lines, secret, peer_as = {
        "user": (["authorization { user: me, password: opensesame }"], "opensesame", {"user": "me", "pass": "opensesame"}),
        "token": (["authorization { token: opensesame }"], "opensesame", {"auth_token": "opensesame"}),
        "nkey": ([f"authorization {{ users = [ {{ nkey: {public} }}, {{ user: a, password: b }} ] }}"], raw.decode(), {"user": "a", "pass": "b"}),
    }[way]  # fmt: skip
    monkeypatch.setenv("WORD", secret)
    given = {
        "user": {"user": "me", "password": "env:WORD"},
        "token": {"token": "env:WORD"},
        "nkey": {"nkey": "env:WORD"},
    }[way]
    with (
        as_who(tmp_path, lines, **given) as (listener, server),
        listener,
        Peer(server.port, **peer_as) as peer,
    ):
        peer("s.a", v(1))
        assert listener.values(1) == [1]
        stranger = Listener(address(server))
        with pytest.raises(SourceError, match="the server refuses: Authorization Violation"):
            stranger.take(1)
        stranger.source.close()


def test_a_subject_that_is_not_allowed_ends_the_run(tmp_path, monkeypatch):
    monkeypatch.setenv("WORD", "b")
    lines = [
        'authorization { users = [ { user: a, password: b, permissions: { subscribe: ["_INBOX.>", "t.>"] } } ] }'
    ]
    with (
        as_who(tmp_path, lines, user="a", password="env:WORD") as (listener, _),
        pytest.raises(SourceError, match=r"does not let this client listen to `s.a`"),
    ):
        listener.take(1)


@pytest.mark.parametrize(("given", "told"), [
    ({"password": "env:A", "token": "env:A"}, "two ways to log in"), ({"ca": "x.pem"}, "`ca` without TLS"), ({"nkey": "env:A"}, "seed of an nkey is damaged"),
    ({"credentials": "env:A"}, "hold no JWT"), ({"password": "env:NONE_SUCH"}, "NONE_SUCH"), ({"tls": True, "ca": "none.pem"}, "cannot read the authorities"),
])  # fmt: skip
def test_a_login_that_cannot_be_is_said_at_once(monkeypatch, given, told):
    monkeypatch.setenv("A", "opensesame")
    source = Nats("nats://127.0.0.1/s.a", declared=V, user="me", **given)
    with pytest.raises(SourceError, match=told) as raised:
        source.begin(Shell(Bell(), time.time_ns), None)
    assert "opensesame" not in str(raised.value)


def certificates(folder):
    """An authority, and certificates of a server and a client that it vouches for."""
    openssl = program("openssl")

    def run(*words):
        subprocess.run([openssl, *words], cwd=folder, check=True, capture_output=True)

    run(
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-keyout",
        "ca.key",
        "-out",
        "ca.pem",
        "-days",
        "2",
        "-subj",
        "/CN=authority",
    )
    for name in ("server", "client"):
        run(
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
        (folder / "ext").write_text("subjectAltName=DNS:localhost")
        run(
            "x509",
            "-req",
            "-in",
            f"{name}.csr",
            "-CA",
            "ca.pem",
            "-CAkey",
            "ca.key",
            "-CAcreateserial",
            "-days",
            "2",
            "-extfile",
            "ext",
            "-out",
            f"{name}.pem",
        )


@pytest.mark.parametrize("scheme", ["tls", "nats+tls", "nats"])
def test_a_server_is_spoken_to_over_tls_and_both_show_certificates(tmp_path, scheme, monkeypatch):
    monkeypatch.chdir(tmp_path)
    certificates(tmp_path)
    lines = [
        'tls { cert_file: "server.pem", key_file: "server.key", ca_file: "ca.pem", verify: true }'
    ]
    given = {
        "ca": "ca.pem",
        "cert": "client.pem",
        "key": "client.key",
        "scheme": scheme,
        "tls": scheme == "nats",
    }
    with as_who(tmp_path, lines, host="localhost", **given) as (listener, server), listener:
        assert listener.source.told()["connects"] == 1
        for more, told in (({"scheme": "nats", "tls": False}, "it wants TLS; write `tls://`"),):
            bad = Listener(f"{more['scheme']}://localhost:{server.port}/s.a")
            with pytest.raises(SourceError, match=told):
                bad.take(1)
            bad.source.close()
        stranger = Listener(
            f"tls://127.0.0.1:{server.port}/s.a", ca="ca.pem", cert="client.pem", key="client.key"
        )
        until(
            lambda: "certificate" in stranger.source._link.trouble.lower()
        )  # which is not of that name
        stranger.source.close()


def test_no_password_goes_to_a_server_that_speaks_no_tls(tmp_path, monkeypatch):
    monkeypatch.setenv("WORD", "opensesame")
    with (
        as_who(tmp_path, [], scheme="tls", user="me", password="env:WORD") as (listener, _),
        pytest.raises(SourceError, match="it does not speak TLS"),
    ):
        listener.take(1)


PIPELINE = """
source m (n: i64, at: time, device: key) from nats("nats://127.0.0.1:{port}/s.{{device}}", jetstream="S")
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


def test_a_run_that_is_killed_again_and_again_has_each_message_once(
    server, peer, tmp_path, request
):
    (tmp_path / "m.flow").write_text(PIPELINE.format(port=server.port))
    command = [sys.executable, "-m", "flowedge", "run", "m.flow", "--checkpoint", "state", "--every", "0.2 s", "--quiet"]  # fmt: skip
    sent = 0
    for turn in range(5):
        run = subprocess.Popen(command, cwd=tmp_path, stdin=subprocess.DEVNULL)
        request.addfinalizer(lambda run=run: (run.kill(), run.wait()))
        if not turn:
            until(lambda: any((tmp_path / "state").glob("checkpoint-*")), 60)
        for _ in range(40):
            peer.keep("s.a", json.dumps({"n": sent, "at": (START_MS + STEP_MS * sent) * 10**6}))
            sent += 1
        time.sleep(0.5)
        if turn < 4:
            run.kill()
            run.wait()
    peer.keep(
        "s.a", json.dumps({"n": sent, "at": (START_MS + 10**7) * 10**6})
    )  # ends the last file
    wanted = list(range(sent))
    until(lambda: rows_of(tmp_path)[-1:] == [wanted[-1]], 60)
    run.send_signal(signal.SIGINT)
    assert run.wait(60) == 130
    assert rows_of(tmp_path) == wanted


@pytest.mark.parametrize("said", [
    b"", b"\r\n", b"INFO []\r\n", b"INFO {}\r\nMSG\r\n", b"x" * 100_000, b"INFO {}\r\nPONG\r\n" + b"MSG a 1 99999999999\r\n" * 3, b"INFO {}\r\nPONG\r\n-ERR\r\n",
    b"INFO {}\r\nPONG\r\nMSG a 1 -5\r\n", b"INFO {}\r\nPONG\r\nHMSG a 1 9 5\r\nxxxxx\r\n", b"INFO {}\r\nPONG\r\n" + bytes(range(256)) * 40, b"INFO {}\r\nPONG\r\nMSG a x y z w 5\r\n",
])  # fmt: skip
def test_a_hostile_server_is_a_server_that_is_away(said):
    with socket.create_server(("127.0.0.1", 0)) as hostile:
        seen = []

        def serve():
            with contextlib.suppress(OSError):
                while True:
                    line, _ = hostile.accept()
                    seen.append(line)
                    line.sendall(said)
                    line.shutdown(socket.SHUT_WR)

        threading.Thread(target=serve, daemon=True).start()
        listener = Listener(f"nats://127.0.0.1:{hostile.getsockname()[1]}/s.a")
        until(lambda: len(seen) >= 3)
        assert listener.source.take() == []
        listener.source.close()
        hostile.shutdown(socket.SHUT_RDWR)
        for line in seen:
            line.close()
