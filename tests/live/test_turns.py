"""Sockets that the run and a thread serve in turn."""

import socket
import threading
import time

import pytest
from support.services import until

from flowedge.links.turns import Turns


class Reader:
    """Reads what comes, and notes on which thread; has room for so many pieces."""

    def __init__(self):
        self.ours, self.theirs = socket.socketpair()
        self.ours.setblocking(False)
        self.came, self.threads, self.room = [], [], 100
        self.calls, self._busy = 0, threading.Lock()
        self.turns = Turns(self.ours.fileno(), self._work, "reader", 0.05)
        self.turns.start()

    def _work(self):
        assert self._busy.acquire(blocking=False), "two at a time"
        self.calls += 1
        try:
            if len(self.came) < self.room:
                self.came.append(self.ours.recv(1))
                self.threads.append(threading.get_ident())
        except BlockingIOError:
            pass
        finally:
            self._busy.release()
        return len(self.came) < self.room

    def close(self):
        self.turns.close()
        self.ours.close()
        self.theirs.close()


@pytest.fixture
def reader():
    found = Reader()
    yield found
    found.close()


def test_the_thread_reads_while_nobody_has_borrowed_it(reader):
    reader.theirs.send(b"ab")
    until(lambda: len(reader.came) == 2)
    assert threading.get_ident() not in reader.threads


def test_who_has_borrowed_it_reads_alone_and_the_thread_when_he_stays_away(reader):
    for _ in range(20):
        reader.turns.borrow(10.0)
        reader.theirs.send(b"a")
        reader.turns.serve()
        reader.turns.borrow(10.0)
    mine = len(reader.came)
    assert set(reader.threads[1:]) <= {threading.get_ident()}, "but for one under way at first"
    reader.turns.serve()  # from now on he is at work
    reader.theirs.send(b"b")
    until(lambda: len(reader.came) == mine + 1)
    assert reader.threads[-1] != threading.get_ident()


def test_what_is_full_is_left_alone_until_there_is_room(reader):
    reader.room = 1
    reader.theirs.send(b"ab")
    until(lambda: len(reader.came) == 1)
    before = reader.calls
    time.sleep(0.3)
    assert reader.calls - before < 20, "it does not turn in circles"
    reader.room = 2
    reader.turns.wake()
    until(lambda: len(reader.came) == 2)


def test_it_is_looked_after_though_nothing_comes(reader):
    until(lambda: reader.calls >= 3)
    assert reader.came == []
