"""What a run asks of the system so that nothing gets in its way: cores of its own, priority, memory that stays, no garbage collection."""

import contextlib
import ctypes
import gc
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from flowedge.lang.errors import RunError
from flowedge.runtime.clock import SYSTEM, Clock

_MCL_CURRENT, _MCL_FUTURE = 1, 2
"""Of `mlockall` (POSIX.1-2001; `sys/mman.h` of Linux)."""
_QUIET_S = 1.0
"""Between two collections while nothing comes."""
_MOST_YOUNG = 50_000
"""Objects that may have been made since the last collection, while rows come without a pause."""
_OLD_EACH = 64
"""Of so many collections one looks through the old, too."""


@dataclass(frozen=True, slots=True)
class RealTime:
    """What is asked for; nothing by default.

    Attributes
    ----------
    cpus : numbers of the processors that the run may use; empty: all
    priority : of SCHED_FIFO, 1 to 99: it goes before all work without one, and before what has a lower one; 0: none
    lock_memory : pages stay in memory, those to come, too
    """

    cpus: tuple[int, ...] = ()
    priority: int = 0
    lock_memory: bool = False

    @contextlib.contextmanager
    def granted(self) -> Iterator[None]:
        """Have it, in this thread and in all that it starts, and give it back.

        Raises
        ------
        RunError
            the system does not grant it; the message says what is missing
        """
        with contextlib.ExitStack() as stack:
            if self.cpus:
                stack.enter_context(_on(self.cpus))
            if self.lock_memory:
                stack.enter_context(_locked())
            if self.priority:
                stack.enter_context(_first_in_first_out(self.priority))
            yield


@contextlib.contextmanager
def _on(cpus: Sequence[int]) -> Iterator[None]:
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, cpus)
    except (OSError, OverflowError, ValueError):
        have = ", ".join(map(str, sorted(before)))
        raise RunError(f"cannot run on the processors {', '.join(map(str, cpus))}; there are {have}") from None  # fmt: skip
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextlib.contextmanager
def _first_in_first_out(priority: int) -> Iterator[None]:
    policy, parameters = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(priority))
    except PermissionError:
        raise RunError(
            "the system grants no real-time priority; run with CAP_SYS_NICE, `LimitRTPRIO=` in the unit of a service, or "
            "`rtprio` in limits.conf"
        ) from None
    except (OSError, ValueError) as error:
        raise RunError(f"a real-time priority of {priority} cannot be had: {error}") from None
    try:
        yield
    finally:
        os.sched_setscheduler(0, policy, parameters)


@contextlib.contextmanager
def _locked() -> Iterator[None]:
    system = ctypes.CDLL(None, use_errno=True)
    if system.mlockall(_MCL_CURRENT | _MCL_FUTURE):
        why = os.strerror(ctypes.get_errno())
        raise RunError(
            f"the system does not lock the memory ({why}); run with CAP_IPC_LOCK, or with `LimitMEMLOCK=infinity` in the unit of a service"
        )
    try:
        yield
    finally:
        system.munlockall()


@dataclass
class Collector:
    """Collects garbage while nothing comes, instead of in the middle of work.

    What is there when a run begins (the libraries, the plan) is never looked through again. What a run makes goes by
    counting references; what refers to itself is looked for when nothing has come, or when very many objects have been made.

    Parameters
    ----------
    clock : of the run
    """

    clock: Clock = SYSTEM
    _next_s: float = 0.0
    _collected: int = 0

    @contextlib.contextmanager
    def aside(self) -> Iterator[None]:
        """Keep the collector away from here on, and bring it back."""
        was_on = gc.isenabled()
        gc.collect()
        gc.freeze()
        gc.disable()
        try:
            yield
        finally:
            gc.unfreeze()
            if was_on:
                gc.enable()

    @property
    def is_due(self) -> bool:
        """Whether a moment in which nothing comes is wanted."""
        return self.clock.s() >= self._next_s

    def rest(self, *, is_quiet: bool) -> None:
        """Between two turns of the run; `is_quiet`: nothing has come."""
        is_much = gc.get_count()[0] > _MOST_YOUNG
        if not is_much:
            if not (is_quiet and self.is_due):
                return
            self._next_s = self.clock.s() + _QUIET_S
        self._collected += 1
        # The old take milliseconds, for which a row would wait that comes meanwhile.
        gc.collect(1 if self._collected % _OLD_EACH else 2)
