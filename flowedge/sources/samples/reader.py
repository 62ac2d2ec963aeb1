"""Reads bytes of samples on a thread, end after end of a wire."""

import contextlib
import os
import select
import threading
import time
from collections.abc import Callable

from flowedge.lang.errors import SourceError
from flowedge.links.backoff import Backoff
from flowedge.sources.samples.intake import Intake
from flowedge.sources.samples.timing import Timing
from flowedge.sources.samples.wav import Place, samples_of
from flowedge.sources.samples.wires import End, Pipe, Wire

_BLOCK = 1 << 16
_TICK_S = 0.1
_MOST_WAIT_S = 0.5
"""Between two looks for somebody who sends."""


class Reader:
    """The thread that reads a wire.

    Parameters
    ----------
    wire : where the bytes come from
    intake : what it hands samples to
    wall : the time of day
    where : the address, for messages
    skip : samples at the beginning that were taken before

    Attributes
    ----------
    is_over : nothing will come any more
    """

    def __init__(
        self, wire: Wire, intake: Intake, wall: Callable[[], int], where: str, skip: int = 0
    ) -> None:
        self._skip = skip * intake.form.width
        self._wire, self._intake, self._wall, self._where = wire, intake, wall, where
        self._timing = Timing(intake)
        self._closing = threading.Event()
        self._rest = b""
        self._place: Place | None = None
        self._left = -1  # bytes of samples to come; -1: without an end
        self.is_over = False
        self._thread = threading.Thread(target=self._run, name="flowedge-sound", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread."""
        self._closing.set()
        self._thread.join()
        self._wire.close()

    def _run(self) -> None:
        waits = Backoff(most_s=_MOST_WAIT_S)
        try:
            while not self._closing.is_set():
                end = self._wire.open()
                if end is None:
                    self._closing.wait(waits.next_s())
                    continue
                self._has_come = False
                with contextlib.closing(end):
                    self._listen(end)
                    if isinstance(self._wire, Pipe):
                        self._wire.again()
                if self._wire.ends:
                    break
                if self._has_come:
                    waits.reset()
                else:  # who hangs up at once is not asked again at once
                    self._closing.wait(waits.next_s())
        except (SourceError, OSError) as error:
            told = error if isinstance(error, SourceError) else SourceError(f"`{self._where}`: {error.strerror or error}")  # fmt: skip
            self._intake.inbox.put(told, 0)
        self.is_over = True
        self._intake.inbox.put_all([], 0)  # rings: the run sees that it is over

    def _listen(self, end: End) -> None:
        """All that comes of one end; raises SourceError."""
        inbox, counts = self._intake.inbox, self._intake.counts
        self._rest, self._place, self._left = b"", None, -1
        self._timing.begin()
        poll = select.poll()
        poll.register(end.fileno(), select.POLLIN)
        ahead_of_monotonic = self._wall() - time.monotonic_ns()
        heard = time.monotonic_ns()
        while not self._closing.is_set():
            now = time.monotonic_ns()
            ahead = self._timing.ahead_ns(now + ahead_of_monotonic)
            if ahead > 0 or not inbox.has_room:
                self._closing.wait(min(_TICK_S, max(ahead * 1e-9, 0.01)))
                heard = time.monotonic_ns()  # it is not the sender who keeps us waiting
                counts["held_up_ms"] += (heard - now) // 1_000_000
                continue
            found = poll.poll(int(_TICK_S * 1000))
            now = time.monotonic_ns()
            if not found:
                self._timing.settle(now + ahead_of_monotonic)
                continue
            try:
                data = os.read(end.fileno(), _BLOCK)
            except BlockingIOError:
                continue
            except ConnectionError:
                break
            if not data:
                break
            self._has_come = True
            whole = self._whole(data)
            if whole:
                self._timing.feed(
                    whole, now + ahead_of_monotonic, self._wall(), silent_ns=now - heard,
                    is_all=len(data) < _BLOCK,
                )  # fmt: skip
            heard = now
        self._timing.settle(time.monotonic_ns() + ahead_of_monotonic, is_end=True)
        counts["ends"] += not (self._closing.is_set() or self._wire.is_recording)
        counts["cut_bytes"] += len(self._rest)

    def _whole(self, data: bytes) -> bytes:
        """The samples that are whole by now, behind the head of a WAV; raises SourceError."""
        data = self._rest + data
        form = self._intake.form
        if self._place is None:
            self._place = samples_of(data, form, self._where)
            if self._place is None:
                self._rest = data
                return b""
            data, self._left = data[self._place.begin :], self._place.size
        if self._left >= 0:
            data = data[: self._left]
        size = len(data) - len(data) % form.width
        self._rest = data[size:]
        self._left -= size if self._left >= 0 else 0
        if self._skip:
            data = data[min(self._skip, size) : size]
            self._skip -= min(self._skip, size)
            return data
        return data[:size]
