"""What a run asks of the system, and gives back."""

import gc
import os
import threading
import weakref
from pathlib import Path

import pytest
import typer

from flowedge.lang.errors import RunError
from flowedge.runtime.clock import Clock
from flowedge.runtime.realtime import Collector, RealTime
from flowedge.ui.options import numbers


class Told(Clock):
    now = 0

    def ns(self):
        return self.now


def test_a_run_and_its_threads_stay_on_their_processors():
    have = sorted(os.sched_getaffinity(0))
    seen = []
    with RealTime(cpus=(have[-1],)).granted():
        seen.append(os.sched_getaffinity(0))
        thread = threading.Thread(target=lambda: seen.append(os.sched_getaffinity(0)))
        thread.start()
        thread.join()
    assert seen == [{have[-1]}] * 2
    assert sorted(os.sched_getaffinity(0)) == have


@pytest.mark.parametrize("cpus", [(9000,), (2**70,)])
def test_processors_that_are_not_there_are_refused(cpus):
    with pytest.raises(RunError, match="cannot run on the processors"), RealTime(cpus=cpus).granted():  # fmt: skip
        pass


def status(word):
    """A line of the system's account of this process (proc(5))."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(line.split()[1] for line in lines if line.startswith(word))


def had(one, look):
    """What `look` gives while it is granted; where it is refused, why."""
    try:
        with one.granted():
            return look(), ""
    except RunError as refused:
        return None, str(refused)


def test_priority_is_had_or_refused_with_what_is_missing():
    before = os.sched_getscheduler(0)
    found, refused = had(
        RealTime(priority=5),
        lambda: (os.sched_getscheduler(0), os.sched_getparam(0).sched_priority),
    )
    assert found == (os.SCHED_FIFO, 5) or "LimitRTPRIO" in refused
    assert os.sched_getscheduler(0) == before


def test_memory_is_locked_or_refused_with_what_is_missing():
    before = int(status("VmLck"))
    found, refused = had(RealTime(lock_memory=True), lambda: int(status("VmLck")))
    assert "LimitMEMLOCK" in refused if found is None else found > before
    assert int(status("VmLck")) == before


class Node:
    """Refers to itself."""

    def __init__(self):
        self.me = self


def test_garbage_is_collected_while_nothing_comes_and_not_before():
    clock = Told()
    collector = Collector(clock)
    with collector.aside():
        assert not gc.isenabled()
        clock.now = 10 * 10**9
        gone = weakref.ref(Node())
        collector.rest(is_quiet=False)
        assert gone() is not None
        collector.rest(is_quiet=True)
        assert gone() is None
        gone = weakref.ref(Node())
        collector.rest(is_quiet=True)
        assert gone() is not None, "once a second is enough"
        clock.now += 10**9
        collector.rest(is_quiet=True)
        assert gone() is None
    assert gc.isenabled()
    assert gc.get_freeze_count() == 0


def test_a_run_without_a_pause_collects_when_much_was_made():
    collector = Collector(Told())
    with collector.aside():
        gone = weakref.ref(Node())
        keep = [[] for _ in range(60_000)]
        collector.rest(is_quiet=False)
        assert gone() is None
    assert len(keep) == 60_000


def test_numbers_of_processors():
    assert numbers(None) == ()
    assert numbers("1") == (1,)
    assert numbers("0, 2-4") == (0, 2, 3, 4)
    for wrong in ("", "a", "3-1", "1-", "-1", "1,,2", "99999", "\u0661"):
        with pytest.raises(typer.BadParameter):
            numbers(wrong)
