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


def test_what_will_never_be_taken_ends_the_run():
    server = Server()
    sink = Lines(str(server.port))
    sink.refusal = 33
    delivery, waiting, _ = delivering(server, sink)
    until(lambda: delivery._error is not None)
    with pytest.raises(SinkError, match="33 is not welcome"):
        delivery.check()
    delivery.close()
    server.close()
    assert waiting.count >= 67


def test_a_peer_that_has_less_than_it_had_is_found_out():
    server = Server([50])
    sink = Lines(str(server.port))
    sink.place = lambda: 0
    delivery, _, _ = delivering(server, sink)
    until(lambda: delivery._error is not None)
    with pytest.raises(CheckpointError, match="DATA LOSS"):
        delivery.check()
    delivery.close()
    server.close()


def test_a_peer_that_never_was_there_is_tried_for_as_long_as_the_run_lasts():
    server = Server()
    server.close()
    delivery, waiting, told = delivering(server)
    until(lambda: told.attempts > 20)
    assert delivery.is_away
    assert (told.outages, waiting.count) == (1, 100)
    delivery.close()
