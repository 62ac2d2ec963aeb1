"""Work in a copy of the process."""

import os
import signal
import threading

import pytest

from flowedge.runtime.apart import apart

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system makes no copies")


def test_what_the_copy_makes_comes_back_and_nothing_else():
    here = []

    def make():
        here.append(os.getpid())
        return b"\0" * (1 << 20) + str(os.getpid()).encode()

    made = apart(make)
    assert made is not None
    assert made[: 1 << 20] == bytes(1 << 20)
    assert int(made[1 << 20 :]) != os.getpid()
    assert here == []


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt(), SystemExit(0)])
def test_a_copy_that_fails_makes_nothing_and_says_nothing(error, capfd):
    def make():
        raise error

    assert apart(make) is None
    assert capfd.readouterr() == ("", "")


def test_a_copy_that_is_killed_makes_nothing():
    def make():
        os.kill(os.getpid(), 9)
        return b"never"

    assert apart(make) is None


def test_a_process_with_threads_is_not_copied():
    over = threading.Event()
    other = threading.Thread(target=over.wait)
    other.start()
    try:
        assert apart(lambda: b"made") is None
    finally:
        over.set()
        other.join()
    assert apart(lambda: b"made") == b"made"


def test_where_no_copy_can_be_made_there_is_none(monkeypatch):
    def refuses():
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(os, "fork", refuses)
    assert apart(lambda: b"made") is None


def test_a_parent_that_is_interrupted_leaves_no_copy_behind():
    reads, writes = os.pipe()

    def make():
        os.close(reads)
        threading.Event().wait(60)
        return b""

    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        with pytest.raises(KeyboardInterrupt):
            apart(make)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    os.close(writes)
    assert os.read(reads, 1) == b""  # nobody holds the other end any more
    os.close(reads)
