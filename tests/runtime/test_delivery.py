"""The thread that delivers: what it does again, what it counts, and when it gives up."""

import random
import socket
import threading

import pyarrow as pa
import pytest
from support.services import until

from flowedge.lang.errors import CheckpointError, SinkError
from flowedge.links.backoff import Backoff
from flowedge.runtime.delivery import Delivery
from flowedge.runtime.report import PeerReport
from flowedge.runtime.waiting import Waiting
from flowedge.sinks.remote import RemoteSink, Unreachable


class Server:
    """Reads numbers, a line each, and answers each with a line; breaks off where it is told to, before or after it has read."""

    def __init__(self, breaks=()):
        self.got, self.breaks = [], list(breaks)
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            try:
                connection, _ = self._server.accept()
            except OSError:
                return
            with connection, connection.makefile("rb") as lines:
                for line in lines:
                    if self.breaks and len(self.got) >= self.breaks[0]:
                        self.breaks.pop(0)
                        self.got.append(int(line))  # read, and not answered
                        break
                    self.got.append(int(line))
                    connection.sendall(b"ok\n")

    def close(self):
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()


class Lines(RemoteSink):
    """Writes numbers to a `Server`."""

    name = "lines"
    most_rows = 10
    refusal = None
    _socket = None

    def connect(self, schema):
        try:
            self._socket = socket.create_connection(("127.0.0.1", int(self.address)), 5)
            self._answers = self._socket.makefile("rb")
        except OSError as error:
            raise Unreachable(str(error)) from None

    def deliver(self, batch, first):
        for k, n in enumerate(batch.column("n").to_pylist()):
            if n == self.refusal:
                raise SinkError(f"{n} is not welcome")
            try:
                self._socket.sendall(b"%d\n" % n)
                answer = self._answers.readline()
            except OSError as error:
                raise Unreachable(str(error), done=k) from None
            if not answer:
                raise Unreachable("closed", done=k)

    def disconnect(self):
        if self._socket is not None:
            self._answers.close()
            self._socket.close()


def rows(first, count):
    return pa.record_batch({"n": pa.array(range(first, first + count), pa.int64())})


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    monkeypatch.setattr(Backoff, "next_s", lambda _: 0.001)


def delivering(server, sink=None, count=100):
    """(delivery, what waits, what is told) under way."""
    sink = sink or Lines(str(server.port))
    waiting, told = Waiting(), PeerReport(sink.promised)
    delivery = Delivery(sink, rows(0, 0).schema, waiting, told)
    for k in range(0, count, 5):
        waiting.put(rows(k, 5))
    delivery.start(5.0)
    return delivery, waiting, told


def test_rows_whose_fate_is_not_known_come_again_and_no_others():
    drawn = random.Random(3)
    breaks = sorted(drawn.sample(range(100), 6))
    server = Server(breaks)
    delivery, waiting, told = delivering(server)
    until(lambda: waiting.count == 0)
    delivery.close()
    server.close()
    assert sorted(set(server.got)) == list(range(100))
    assert len(server.got) == 100 + 6
    assert (told.delivered, told.outages, told.attempts) == (100, 6, 7)
    assert (told.lost, told.away) == (0, "")


def test_at_most_once_sends_nothing_twice_and_counts_what_may_be_lost(monkeypatch):
    monkeypatch.setattr(Lines, "guarantee", "at most once")
    server = Server([13, 57])
    delivery, waiting, told = delivering(server)
    until(lambda: waiting.count == 0)
    delivery.close()
    server.close()
    assert len(set(server.got)) == len(server.got)
    assert told.lost == 100 - told.delivered > 0


def until_it_fails(server, sink):
    """The error may come at once, or later."""
    delivery, _, _ = delivering(server, sink)
    until(lambda: delivery._error is not None)
    delivery.check()


def test_what_will_never_be_taken_ends_the_run():
    server = Server()
    sink = Lines(str(server.port))
    sink.refusal = 33
    with pytest.raises(SinkError, match="33 is not welcome"):
        until_it_fails(server, sink)
    server.close()
    assert max(server.got) == 32


def test_a_peer_that_has_less_than_it_had_is_found_out():
    server = Server([50])
    sink = Lines(str(server.port))
    sink.place = lambda: 0
    with pytest.raises(CheckpointError, match="DATA LOSS"):
        until_it_fails(server, sink)
    server.close()


def test_a_peer_that_never_was_there_is_tried_for_as_long_as_the_run_lasts():
    server = Server()
    server.close()
    delivery, waiting, told = delivering(server)
    until(lambda: told.attempts > 20)
    assert delivery.is_away
    assert (told.outages, waiting.count) == (1, 100)
    delivery.close()


# ---- few rows, which the run takes to the peer itself


class AtOnce(Lines):
    """Notes who delivers; takes few rows at once as long as it is connected."""

    def __init__(self, address):
        super().__init__(address)
        self.threads, self.is_there = [], False

    @property
    def takes_at_once(self):
        return self.is_there

    def connect(self, schema):
        super().connect(schema)
        self.is_there = True

    def deliver(self, batch, first):
        self.threads.append(threading.get_ident())
        try:
            super().deliver(batch, first)
        except Unreachable:
            self.is_there = False
            raise


def idle(delivery):
    until(lambda: delivery._is_idle)


def test_few_rows_go_to_the_peer_on_the_thread_of_the_run_and_many_do_not():
    server, here = Server(), threading.get_ident()
    sink = AtOnce(str(server.port))
    delivery, waiting, told = delivering(server, sink, count=0)
    idle(delivery)
    for k in range(0, 30, 3):
        delivery.put(rows(k, 3))
        assert server.got == list(range(k + 3)), "it is there when `put` is back"
    assert set(sink.threads) == {here}
    delivery.put(rows(30, 65))
    until(lambda: waiting.count == 0)
    assert here not in sink.threads[10:]
    delivery.close()
    server.close()
    assert server.got == list(range(95))
    assert told.delivered == 95


@pytest.mark.parametrize("seed", range(3))
def test_rows_stay_in_order_and_come_once_whoever_takes_them(seed):
    drawn, server = random.Random(seed), Server()
    sink = AtOnce(str(server.port))
    delivery, waiting, told = delivering(server, sink, count=0)
    at = 0
    for _ in range(200):
        count = drawn.choice([1, 1, 2, 3, 40, 70])
        delivery.put(rows(at, count))
        at += count
        if drawn.random() < 0.3:
            idle(delivery)
    until(lambda: waiting.count == 0)
    delivery.close()
    server.close()
    assert server.got == list(range(at))
    assert told.delivered == at
    assert len(set(sink.threads)) == 2


def test_an_outage_that_the_run_finds_is_one_for_the_thread():
    """It connects again, and the rows whose fate is not known come again."""
    server = Server([3])
    sink = AtOnce(str(server.port))
    delivery, waiting, told = delivering(server, sink, count=0)
    idle(delivery)
    for k in range(0, 20, 2):
        delivery.put(rows(k, 2))
    until(lambda: waiting.count == 0)
    delivery.close()
    server.close()
    assert sorted(set(server.got)) == list(range(20))
    assert len(server.got) == 21
    assert (told.delivered, told.outages, told.attempts, told.away) == (20, 1, 2, "")


def test_what_will_never_be_taken_is_raised_where_the_run_hands_it_over():
    server = Server()
    sink = AtOnce(str(server.port))
    sink.refusal = 1
    delivery, _, _ = delivering(server, sink, count=0)
    idle(delivery)
    with pytest.raises(SinkError, match="1 is not welcome"):
        delivery.put(rows(0, 2))
    delivery.close()
    server.close()
