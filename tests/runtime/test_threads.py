"""What waits between two threads is bounded in bytes and in number, and nobody waits for ever."""

import threading

import pytest

from flowedge.runtime.threads import MOST_ITEMS, Ahead, Behind, Line


class Watched(Line):
    """Says when somebody is about to wait, so that a test need not sleep."""

    def __init__(self, *args):
        super().__init__(*args)
        self.waits = threading.Event()
        real = self._changed.wait

        def wait(timeout=None):
            self.waits.set()
            return real(timeout)

        self._changed.wait = wait


def test_who_brings_more_than_the_bound_waits_until_there_is_room():
    line = Watched(100, 10)
    assert line.put("a", 60)
    assert line.put("b", 40)
    more = threading.Thread(target=line.put, args=("c", 1))
    more.start()
    line.waits.wait(60)
    assert (line.nbytes, len(line._items)) == (100, 2)
    assert line.get() == (True, "a")
    more.join(60)
    assert not more.is_alive()
    assert line.nbytes == 41
    assert [line.get()[1] for _ in range(2)] == ["b", "c"]


def test_a_batch_larger_than_the_bound_passes_alone():
    line = Watched(100, 10)
    assert line.put("huge", 10**9)
    other = threading.Thread(target=line.put, args=("small", 1))
    other.start()
    line.waits.wait(60)
    assert len(line._items) == 1
    assert line.get() == (True, "huge")
    other.join(60)
    assert line.get() == (True, "small")
    assert line.nbytes == 0


def test_so_many_wait_at_most():
    line = Watched(10**9, MOST_ITEMS)
    for number in range(MOST_ITEMS):
        line.put(number, 0)
    other = threading.Thread(target=line.put, args=("more", 0))
    other.start()
    line.waits.wait(60)
    assert len(line._items) == MOST_ITEMS
    line.close()
    other.join(60)
    assert not other.is_alive()
    assert not line.put("late", 0)
    assert line.get() == (False, None)


def test_a_reader_that_is_closed_while_it_waits_ends():
    made = []

    def items():
        for number in range(10**9):
            made.append(number)
            yield number

    ahead = Ahead(items(), lambda _: 60, 100)
    taken = iter(ahead)
    assert [next(taken) for _ in range(5)] == [0, 1, 2, 3, 4]
    assert ahead.nbytes <= 100
    ahead.close()
    assert len(made) <= 9


def test_calls_are_made_in_order_and_drained():
    behind, done = Behind(100), []
    for number in range(50):
        behind(lambda number=number: done.append(number), 30)
    behind.drain()
    assert done == list(range(50))
    behind.close()


def test_a_thread_that_is_closed_ends_after_the_call_at_hand():
    behind, done = Behind(10**9), []
    begun, go = threading.Event(), threading.Event()

    def slow():
        begun.set()
        go.wait(60)
        done.append("slow")

    behind(slow)
    begun.wait(60)
    behind(lambda: done.append("never"))
    closing = threading.Thread(target=behind.close)
    with behind._waiting._changed:
        closing.start()
    while not behind._waiting._is_closed:
        pass
    go.set()
    closing.join(60)
    assert done == ["slow"]


def test_an_error_comes_back_once_and_stops_the_rest():
    behind, done = Behind(), []
    behind(lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        behind.drain()
    with pytest.raises(ZeroDivisionError):
        behind(lambda: done.append(1))
    behind.close()
    assert not done
