"""Models that keep time: a call that is not back at its deadline is given up, or waited for and marked."""

import threading
from collections.abc import Callable, Sequence
from typing import Any

from flowedge.lang.errors import LateError
from flowedge.runtime.clock import SYSTEM, Clock

Acts = Callable[[int], bool]
"""Whether the call of this number, from 0, is late: as it was in the run that is done again."""

_left_behind: set[int] = set()
"""Calls that nobody waits for any more, and that have not come back."""


def is_left_behind() -> bool:
    """Whether a thread is still inside a model that was given up."""
    return bool(_left_behind)


class Timed:
    """A model whose calls end at a deadline, counted from when the rows came that made its frames whole.

    A model in a process of its own is killed there. Another is called on a thread: a call that is late goes on to its
    end, which nobody waits for, and until then the model answers nothing else.

    Parameters
    ----------
    model : whom to ask: has ``infer``, and ``infer_within`` where it can end a call
    clock : of the run
    again : which calls are late, in the place of the clock
    on_late : hears the numbers of those that were

    Attributes
    ----------
    came_ns : when the rows came that are being worked on, by the clock
    calls : calls with a deadline so far
    """

    def __init__(
        self,
        model: Any,  # noqa: ANN401
        clock: Clock = SYSTEM,
        again: Acts | None = None,
        on_late: Callable[[int], None] | None = None,
    ) -> None:
        self.model, self.clock = model, clock
        self.again, self._on_late = again, on_late
        self.calls = 0
        self.came_ns = clock.ns()
        self._calls: _Calls | None = None

    def infer(self, inputs: Sequence[Any]) -> list[Any]:
        """As the model does, however long it takes."""
        return list(self.model.infer(inputs))

    def shape_of(self, shapes: Sequence[tuple[int, ...]]) -> tuple[int, ...] | None:
        """As the model's own; None where it has none."""
        found = getattr(self.model, "shape_of", None)
        return None if found is None else found(shapes)

    def answer(self, inputs: Sequence[Any]) -> list[Any]:
        """As the model does, however long it takes."""
        return list(self.model.answer(inputs))

    def within(self, limit_ns: int, *, waits: bool) -> "_Bound":
        """The same model with a deadline; `waits`: the answer is waited for, and `was_late` says so."""
        return _Bound(self, limit_ns, waits=waits)

    def bounded(
        self, inputs: Sequence[Any], limit_ns: int, *, waits: bool
    ) -> tuple[list[Any], bool]:
        """Answers, and whether they came too late; raises LateError where nobody waits for them."""
        number, self.calls = self.calls, self.calls + 1
        if self.again is not None:
            is_late = self.again(number)
            if is_late and not waits:
                raise LateError("it was late when this was recorded")
            return self.infer(inputs), is_late
        until = self.came_ns + limit_ns
        try:
            if waits:
                answers, is_late = self.infer(inputs), self.clock.ns() > until
                if is_late and self._on_late is not None:
                    self._on_late(number)
                return answers, is_late
            left_s = (until - self.clock.ns()) * 1e-9
            if left_s <= 0:
                raise LateError(f"no time is left of its {limit_ns * 1e-6:.4g} ms")
            return self.call(inputs, left_s), False
        except LateError:
            if self._on_late is not None:
                self._on_late(number)
            raise

    def call(self, inputs: Sequence[Any], left_s: float) -> list[Any]:
        """An answer within so many seconds; raises LateError."""
        if hasattr(self.model, "infer_within"):
            return list(self.model.infer_within(inputs, left_s))
        if self._calls is None:
            self._calls = _Calls(self.model.infer)
        return list(self._calls.ask(inputs, left_s))


class _Bound:
    """What a node asks that has a deadline."""

    def __init__(self, timed: Timed, limit_ns: int, *, waits: bool) -> None:
        self._timed, self._limit_ns, self._waits = timed, limit_ns, waits
        self.was_late = False

    @property
    def unbound(self) -> Timed:
        """The model without the deadline."""
        return self._timed

    def infer(self, inputs: Sequence[Any]) -> list[Any]:
        """Answers, in time or marked as late; raises LateError."""
        answers, self.was_late = self._timed.bounded(inputs, self._limit_ns, waits=self._waits)
        return answers


class _Calls:
    """Calls on a thread of their own, one at a time; it ends with the process."""

    def __init__(self, infer: Callable[[Sequence[Any]], Sequence[Any]]) -> None:
        self._infer = infer
        self._changed = threading.Condition()
        self._asked: Sequence[Any] | None = None
        self._answer: Sequence[Any] | BaseException | None = None
        self._is_busy = False
        self._is_wanted = False
        threading.Thread(target=self._work, name="flowedge-model", daemon=True).start()

    def ask(self, inputs: Sequence[Any], left_s: float) -> Sequence[Any]:
        """An answer in time; raises LateError, and what the model raises."""
        with self._changed:
            if not self._changed.wait_for(lambda: not self._is_busy, left_s):
                raise LateError("it is still at work on frames that are given up")
            # The inputs may be views of memory that is used again once nobody waits.
            self._asked, self._is_busy, self._is_wanted = [x.copy() for x in inputs], True, True
            self._answer = None
            self._changed.notify_all()
            if not self._changed.wait_for(lambda: not self._is_busy, left_s):
                self._is_wanted = False
                _left_behind.add(id(self))
                raise LateError(f"no answer within {left_s * 1e3:.4g} ms")
            answer, self._answer = self._answer, None
        if isinstance(answer, BaseException):
            raise answer
        assert answer is not None
        return answer

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._asked is not None)
                inputs, self._asked = self._asked, None
            assert inputs is not None
            answer: Sequence[Any] | BaseException
            try:
                answer = self._infer(inputs)
            except BaseException as error:  # noqa: BLE001  # it is raised where it was asked
                answer = error
            with self._changed:
                self._answer = answer if self._is_wanted else None
                self._is_busy = False
                _left_behind.discard(id(self))
                self._changed.notify_all()
