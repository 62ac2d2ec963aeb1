"""Runs a target in a child process, so that nothing an input does to it goes unseen.

The child writes each input to shared memory before it tries it. A crash, a hang or too much memory is then told
with the very input; the child begins again behind it.
"""

import faulthandler
import gc
import mmap
import os
import resource
import signal
import struct
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field

HANG_S = 1.0
"""Processor time that an input may take: not the clock's, so that a busy machine makes nothing hang."""
STALL_S = 60.0
"""By the clock, for an input that waits without working."""
GROWTH = 200 << 20
_HEAD = struct.Struct("<QQQdQ")
"""Next number, bytes of the input, number of the slowest, its seconds, peak growth."""
_ROOM = 1 << 22


@dataclass
class Violation:
    """An input that did what none may."""

    kind: str
    number: int
    data: bytes
    told: str = ""


@dataclass
class Report:
    """What became of the inputs of a target."""

    inputs: int = 0
    seconds: float = 0.0
    slowest_s: float = 0.0
    slowest: int = 0
    growth: int = 0
    violations: list[Violation] = field(default_factory=list)


def attack(
    one_input: Callable[[bytes], None],
    make: Callable[[int], bytes],
    inputs: int,
    *,
    warm: tuple[bytes, ...] = (),
    most: int = 20,
    stall_s: float = STALL_S,
) -> Report:
    """Try inputs 0 to `inputs`, until `most` violations are found.

    Parameters
    ----------
    one_input : raises what it finds wrong
    make : the input of a number
    warm : tried once in this process before: what is built only once is no growth
    """
    for data in warm:
        one_input(data)
    report, begin = Report(), time.monotonic()
    shared = mmap.mmap(-1, _HEAD.size + _ROOM)
    first = 0
    while first < inputs and len(report.violations) < most:
        _HEAD.pack_into(shared, 0, first, 0, report.slowest, report.slowest_s, report.growth)
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(read)
            os._exit(_child(one_input, make, first, inputs, shared, write))
        os.close(write)
        status = _wait(child, shared, stall_s)
        with os.fdopen(read, "rb") as told:
            text = told.read().decode("utf-8", "replace")
        number, size, report.slowest, report.slowest_s, report.growth = _HEAD.unpack_from(shared, 0)
        report.inputs = min(inputs, number + (status != 0))
        if status == 0:
            break
        kind = _kind(status)
        data = shared[_HEAD.size : _HEAD.size + size]
        report.violations.append(Violation(kind, number, data, text))
        first = number + 1
    report.seconds = time.monotonic() - begin
    return report


def _kind(status: int) -> str:
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        return "hang" if number in (signal.SIGPROF, signal.SIGKILL) else signal.Signals(number).name
    return {1: "traceback", 2: "growth"}.get(os.WEXITSTATUS(status), "exit")


def _wait(child: int, shared: mmap.mmap, stall_s: float) -> int:
    """The child's status; one that stands still is killed."""
    seen, since = -1, time.monotonic()
    pause = 0.001
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return status
        (now,) = struct.unpack_from("<Q", shared, 0)
        if now != seen:
            seen, since = now, time.monotonic()
        elif time.monotonic() - since > stall_s:
            os.kill(child, signal.SIGKILL)
        time.sleep(pause)
        pause = min(2 * pause, 0.1)


def _child(
    one_input: Callable[[bytes], None],
    make: Callable[[int], bytes],
    first: int,
    last: int,
    shared: mmap.mmap,
    write: int,
) -> int:
    faulthandler.disable()  # the input says more than the stack
    gc.freeze()  # to look through what the parent had copies its pages, in the time of some input
    signal.signal(signal.SIGPROF, signal.SIG_DFL)  # ends the process, even inside of C
    _, _, slowest, slowest_s, peak = _HEAD.unpack_from(shared, 0)
    base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if resource.getrlimit(resource.RLIMIT_AS)[0] == resource.RLIM_INFINITY:
        size = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()  # noqa: SIM115, PTH123
        resource.setrlimit(resource.RLIMIT_AS, (size + 8 * GROWTH, resource.RLIM_INFINITY))
    for number in range(first, last):
        data = make(number)[:_ROOM]
        shared[_HEAD.size : _HEAD.size + len(data)] = data
        _HEAD.pack_into(shared, 0, number, len(data), slowest, slowest_s, peak)
        signal.setitimer(signal.ITIMER_PROF, HANG_S)
        begin = time.process_time()
        try:
            one_input(data)
        except BaseException:  # noqa: BLE001  # whatever it is, it is told
            os.write(write, traceback.format_exc()[-4000:].encode("utf-8", "replace"))
            return 1
        took = time.process_time() - begin
        if took > slowest_s:
            slowest, slowest_s = number, took
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - base) << 10
        peak = max(peak, grown)
        _HEAD.pack_into(shared, 0, number, len(data), slowest, slowest_s, peak)
        if grown > GROWTH:
            os.write(write, f"{grown >> 20} MB".encode())
            return 2
    signal.setitimer(signal.ITIMER_PROF, 0)
    _HEAD.pack_into(shared, 0, last, 0, slowest, slowest_s, peak)
    return 0
