"""Asking a model: calls of one size, and what became of each frame."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from flowedge.compile.program import CallSpec, Field
from flowedge.lang.errors import InternalError, LateError, ModelError
from flowedge.session.batch import MISSING, WIRE, Array, Batch
from flowedge.session.breaker import Breaker
from flowedge.session.channels import Channels

ANSWERED, FAILED, LATE, RESTED, UNSEEN = range(5)
"""What becomes of a frame; one with a missing value is not shown to the model."""

WARM_UP = 3
"""Calls before the first row: TorchScript looks at two before it optimises."""
_MOST_REASONS = 8
_LONGEST_REASON = 200


class Infers(Protocol):
    """What a session asks of a model.

    One whose input is the frames' channels one after the other has also ``shape_of(shapes) -> tuple | None`` and
    ``answer(inputs)`` (see `flowedge.models.load.Model`). One that keeps time has also ``within(limit_ns, waits) -> Infers``:
    it raises LateError, or waits and says so in ``was_late``; its ``unbound`` is the model itself.
    """

    def infer(self, inputs: list[Array]) -> list[Array]:
        """Answers for a batch of one fixed size, row by row."""


@dataclass(frozen=True, slots=True)
class Frames:
    """Frames without a missing value, as a model takes them.

    Attributes
    ----------
    which : their numbers in their batch, shape ``(n,)``; None: all of it
    inputs : one for each column, or the one input made of all, shape ``(n, …)``
    """

    which: Array | None
    inputs: list[Array]


@dataclass(slots=True)
class Answers:
    """What a model said to some frames.

    Attributes
    ----------
    which : numbers of the frames in their batch, shape ``(n,)``; None: all of them
    raw : by the number of the output, shape ``(n, …)``, without meaning where `fate` is not ANSWERED
    fate : shape ``(n,)``
    late : frames whose answer came late and was waited for, shape ``(n,)``; None: none
    reasons : by the place of a frame, why it got no answer
    """

    which: Array | None
    raw: dict[int, Array]
    fate: Array
    late: Array | None = None
    reasons: dict[int, str] = field(default_factory=dict)


class Asker:
    """Calls one model with exactly `batch` frames each time, zeros in the place of those that lack.

    A call that fails is repeated frame by frame, so that what becomes of a frame does not depend on which others
    came with it. What is not a number, has another shape than promised, or is raised, is a failure of the frame.

    Parameters
    ----------
    spec : how it is called
    before : fields of the frames
    after : fields that its answers become
    model : whom to ask

    Attributes
    ----------
    channels : how frames become the one input of the model; None: it takes the columns as they are
    call : the model, as it is called
    reasons : why frames got no answer, and how many
    memory : of a recurrent model, what it remembers of each key: shape ``(slots, …)``
    """

    def __init__(
        self, spec: CallSpec, before: Mapping[str, Field], after: Mapping[str, Field], model: Infers
    ) -> None:
        self.spec = spec
        self._fields = [before[name] for name in spec.inputs_by_name]
        self.model = model
        self._sizes = _sizes(spec, after)
        self._softmax = {at for kind, _, at in spec.heads if kind == "softmax"}
        self.reasons: dict[str, int] = {}
        self.memory = [np.zeros((0, *shape), np.float32) for _, shape in spec.states]

    @property
    def model(self) -> Infers:
        """Whom it asks."""
        return self._model

    @model.setter
    def model(self, model: Infers) -> None:
        """Ask another one from now on."""
        self._model = model
        self.channels = self._direct(model)
        self.call = model.infer if self.channels is None else model.answer  # type: ignore[attr-defined]

    def _direct(self, model: Infers) -> Channels | None:
        shape_of = getattr(model, "shape_of", None)
        shapes = [f.shape for f in self._fields]
        if (
            shape_of is None
            or self.spec.states
            or any(f.store not in ("f32", "f64") for f in self._fields)
        ):
            return None
        shape = shape_of(shapes)
        if shape is None or any(len(mean) > 1 for mean, _ in self.spec.scaling):
            return None
        return Channels(self._fields, self.spec.scaling, shape)

    # ---- frames

    def frames(self, batch: Batch, rows: Array | None = None) -> Frames:
        """What to ask about: the frames of a batch that lack no value.

        Parameters
        ----------
        rows : the numbers of those in question; None: all
        """
        columns = [batch.columns[f.name] for f in self._fields]
        if rows is not None:
            columns = [column[rows] for column in columns]
        if self.channels is not None:
            x, good = self.channels.fill(columns)
            inputs = [x]
        else:
            good = self._complete(columns)
            inputs = self._inputs(columns)
        if good is None:
            return Frames(rows, inputs)
        which = np.flatnonzero(good)
        return Frames(which if rows is None else rows[which], [x[which] for x in inputs])

    def _complete(self, columns: Sequence[Array]) -> Array | None:
        """Which frames have no missing value, shape ``(n,)``; None: all."""
        good: Any = None
        for each, column in zip(self._fields, columns, strict=True):
            gone = np.isnan(column) if column.dtype.kind == "f" else column == MISSING[each.store]
            if gone.any():
                fine = ~gone.reshape(len(column), -1).any(axis=1)
                good = fine if good is None else good & fine
        return good

    def _inputs(self, columns: Sequence[Array]) -> list[Array]:
        inputs = []
        for k, (each, column) in enumerate(zip(self._fields, columns, strict=True)):
            plain = column.astype(WIRE.get(each.store, column.dtype), copy=False)
            if self.spec.scaling:
                plain = scaled(plain, *self.spec.scaling[k])
            inputs.append(plain)
        return inputs

    def ask(self, batch: Batch, frames: Frames, breaker: Breaker | None = None) -> Answers:
        """Ask about frames of a batch, in order; a frame while the breaker is open is not asked about."""
        which, inputs = frames.which, frames.inputs
        times = batch.time if which is None else batch.time[which]
        slots, gaps, left = self._remembered(batch, which)
        n, size = len(times), self.spec.batch
        fate = np.zeros(n, np.uint8)
        out = Answers(which, {}, fate)
        at = 0
        while at < n:
            if breaker is not None and breaker.rests(times[at]):
                stop = at + 1
                while stop < n and breaker.rests(times[stop]):
                    stop += 1
                fate[at:stop] = RESTED
                self._restart(slots, gaps, at, stop)
                at = stop
                continue
            stop = min(at + (1 if breaker is not None and breaker.is_trying else size), n)
            if slots is not None:
                stop = _before_repeat(slots, at, stop)
                self._restart(slots, gaps, at, stop)
            answers = self._answers(inputs, slots, at, stop, out)
            if breaker is not None and (breaker.failures or fate[at:stop].any()):
                stop = _noted(breaker, fate, times, at, stop)
            if slots is not None and answers is not None:
                self._remember(slots, answers, fate, at, stop)
            at = stop
        for memory in self.memory:
            memory[left] = 0
        if out.reasons:
            self._note(out)
        return out

    def _answers(
        self, inputs: Sequence[Array], slots: Array | None, at: int, stop: int, out: Answers
    ) -> dict[int, Array] | None:
        """Ask about frames at … stop - 1: their answers go into `out`, and are given; None: all failed."""
        parts = [c[at:stop] for c in inputs]
        if slots is not None:
            parts += [memory[slots[at:stop]] for memory in self.memory]
        out.fate[at:stop] = ANSWERED
        try:
            answers = self._call(parts, self.call)
        except LateError as error:
            out.reasons.update(dict.fromkeys(range(at, stop), reason_of(error)))
            out.fate[at:stop] = LATE
            return None
        except InternalError:
            raise
        except Exception as error:  # noqa: BLE001  # whatever a model raises is a failure of the model
            if stop - at == 1:
                out.reasons[at] = reason_of(error)
                out.fate[at] = FAILED
                return None
            each = [self._answers(inputs, slots, i, i + 1, out) for i in range(at, stop)]
            found = next((one for one in each if one is not None), None)
            if found is None:
                return None
            return {k: out.raw[k][at:stop] for k in found}
        bad = self.unusable(answers)
        if bad is not None:
            wrong = at + np.flatnonzero(bad)
            out.reasons.update(dict.fromkeys(wrong.tolist(), "its answer is not a number"))
            out.fate[wrong] = FAILED
        if getattr(self.model, "was_late", False):
            if out.late is None:
                out.late = np.zeros(len(out.fate), np.bool_)
            out.late[at:stop] = True
        n = len(out.fate)
        for k, values in answers.items():
            if stop - at == n:
                out.raw[k] = values
            else:
                if k not in out.raw:
                    out.raw[k] = np.zeros((n, *values.shape[1:]), values.dtype)
                out.raw[k][at:stop] = values
        return answers

    def _call(
        self, parts: list[Array], ask: Callable[[list[Array]], list[Array]]
    ) -> dict[int, Array]:
        """One call of the fixed size; the answers to the frames that are there, by the number of the output."""
        n, size = len(parts[0]), self.spec.batch
        if n < size:
            parts = [
                np.concatenate([c, np.zeros((size - n, *c.shape[1:]), c.dtype)]) for c in parts
            ]
        return self.read(ask(parts), n)

    def read(self, given: Sequence[Any], n: int) -> dict[int, Array]:
        """Of what a call gave the answers to the first `n` frames, by the number of the output; raises ModelError."""
        size = self.spec.batch
        answers = [np.asarray(x) for x in given]
        wanted = [*self._sizes.items()]
        wanted += self._state_sizes(len(answers))
        out = {}
        for k, elements in wanted:
            if k >= len(answers):
                raise ModelError(f"it gives {len(answers)} outputs, {k + 1} are needed")
            found = answers[k]
            if not found.ndim or len(found) != size:
                raise ModelError(
                    f"it answers {len(found) if found.ndim else 'no'} frames when asked about {size}"
                )
            if elements is not None and found.size != size * elements:
                raise ModelError(
                    f"it gives {list(found.shape[1:])} for a frame, where {elements} numbers are declared"
                )
            if not found.size:
                raise ModelError("it gives no numbers for a frame")
            out[k] = found[:n]
        return out

    def unusable(self, answers: Mapping[int, Array]) -> Array | None:
        """Frames whose answer is not a number, or no share of anything can be told of it; None: none."""
        bad: Any = None
        for k, values in answers.items():
            if values.dtype.kind != "f":
                continue
            with np.errstate(invalid="ignore"):
                total = values.sum(dtype=np.float64)
            if np.isfinite(total):
                continue  # as most are: a sum is not finite if one of its terms is not
            flat = values.reshape(len(values), -1)
            wrong = np.isnan(flat).any(axis=1)
            if k in self._softmax and flat.shape[1]:
                wrong |= ~np.isfinite(flat.max(axis=1))
            if wrong.any():
                bad = wrong if bad is None else bad | wrong
        return bad

    def _note(self, out: Answers) -> None:
        """Remember why frames got no answer, for some reasons."""
        for i, reason in out.reasons.items():
            if out.fate[i] in (FAILED, LATE):
                if reason not in self.reasons and len(self.reasons) >= _MOST_REASONS:
                    reason = "other reasons"  # noqa: PLW2901
                self.reasons[reason] = self.reasons.get(reason, 0) + 1

    def warm_up(self, model: Infers | None = None) -> None:
        """Ask about frames of zeros a few times, before the first row comes: some models are optimised as they run.

        Raises
        ------
        ModelError
            the model cannot answer, or not what is declared
        """
        inputs = [
            np.zeros((self.spec.batch, *f.shape), np.float32 if self.spec.scaling else WIRE.get(f.store, np.dtype(np.uint8)))
            for f in self._fields
        ]  # fmt: skip
        inputs += [np.zeros((self.spec.batch, *m.shape[1:]), np.float32) for m in self.memory]
        model = self.model if model is None else model
        try:
            for _ in range(WARM_UP):
                self._call(inputs, getattr(model, "unbound", model).infer)
        except InternalError:
            raise
        except Exception as error:  # noqa: BLE001  # whatever a model raises
            raise ModelError(
                f"model `{self.spec.model}` cannot answer frames of zeros: {reason_of(error)}"
            ) from None

    # ---- what a recurrent model remembers

    def _state_sizes(self, given: int) -> list[tuple[int, int | None]]:
        """Numbers of the outputs that are states, the last ones, and their elements."""
        first = given - len(self.memory)
        return [(first + i, int(np.prod(m.shape[1:]))) for i, m in enumerate(self.memory)]

    def _remembered(
        self, batch: Batch, which: Array | None
    ) -> tuple[Array | None, Array | None, list[int]]:
        """Slots of the frames asked about, and where memory restarts, with room for the memory of their keys.

        A gap in front of a frame that is not asked about counts for the next one of its key; the slots that have none
        in this batch are given, too.
        """
        if not self.memory:
            return None, None, []
        slots = np.zeros(batch.n, np.int32) if batch.slot is None else batch.slot
        more = int(slots.max(initial=-1)) + 1 - len(self.memory[0])
        if more > 0:
            room = max(more, len(self.memory[0]))
            self.memory = [
                np.concatenate([m, np.zeros((room, *m.shape[1:]), m.dtype)]) for m in self.memory
            ]
        if which is None:
            return slots, batch.gap, []
        if batch.gap is None:
            return slots[which], None, []
        asked = np.zeros(batch.n, np.bool_)
        asked[which] = True
        gaps, owed = np.zeros(batch.n, np.uint8), set()
        for i in np.flatnonzero(asked | (batch.gap == 1)):
            slot = int(slots[i])
            if batch.gap[i]:
                owed.add(slot)
            if asked[i] and slot in owed:
                gaps[i] = 1
                owed.remove(slot)
        return slots[which], gaps[which], sorted(owed)

    def _remember(
        self, slots: Array, answers: Mapping[int, Array], fate: Array, at: int, stop: int
    ) -> None:
        good = fate[at:stop] == ANSWERED
        states = sorted(answers)[len(answers) - len(self.memory) :]
        for memory, k in zip(self.memory, states, strict=True):
            new = answers[k][: stop - at].reshape(stop - at, *memory.shape[1:])
            memory[slots[at:stop][good]] = new[good]

    def forget(self, gone: Array) -> None:
        """Forget slots that are about to be given to other keys."""
        for memory in self.memory:
            memory[np.flatnonzero(gone[: len(memory)])] = 0

    def _restart(self, slots: Array | None, gaps: Array | None, at: int, stop: int) -> None:
        """Forget the keys of the frames at … stop - 1 that stand behind a gap."""
        if slots is not None and gaps is not None and gaps[at:stop].any():
            for memory in self.memory:
                memory[slots[at:stop][gaps[at:stop] == 1]] = 0

    @property
    def nbytes(self) -> int:
        """Bytes that it keeps between pushes."""
        return sum(m.nbytes for m in self.memory)

    def state(self) -> dict[str, Any]:
        """Plain data for a snapshot."""
        return {"reasons": dict(self.reasons), "memory": [m.tobytes() for m in self.memory]}

    def load(self, state: Any) -> None:  # noqa: ANN401
        """Take a snapshot over; raises ValueError or KeyError where it does not fit."""
        self.reasons = {str(k)[:_LONGEST_REASON]: int(v) for k, v in state["reasons"].items()}
        self.memory = [
            np.frombuffer(data, np.float32).reshape(-1, *m.shape[1:]).copy()
            for m, data in zip(self.memory, state["memory"], strict=True)
        ]


def reason_of(error: Exception) -> str:
    """One line that says what a model raised."""
    text = str(error).strip() or type(error).__name__
    if not isinstance(error, ModelError):
        text = f"{type(error).__name__}: {text}"
    return text.splitlines()[0][:_LONGEST_REASON]


def _sizes(spec: CallSpec, after: Mapping[str, Field]) -> dict[int, int | None]:
    """By number of an output that is read: how many numbers it has for a frame; None: any."""
    out: dict[int, int | None] = {}
    for name, what, at in spec.made:
        if what in ("raw", "samples"):
            out[at] = int(np.prod(after[name].shape))
    for kind, labels, at in spec.heads:
        if any(k == at for _, _, k in spec.made):
            out[at] = len(labels) if kind == "softmax" else None
    return dict(sorted(out.items()))


def _before_repeat(slots: Array, at: int, stop: int) -> int:
    """The end of the frames from `at` on, up to `stop`, in which no key stands twice."""
    seen = set()
    for i in range(at, stop):
        if slots[i] in seen:
            return i
        seen.add(slots[i])
    return stop


def _noted(breaker: Breaker, fate: Array, times: Array, at: int, stop: int) -> int:
    """Tell the breaker of frames in order, up to the one that opens it; the end of those that count."""
    for i in range(at, stop):
        breaker.note(fate[i] == ANSWERED, int(times[i]))
        if breaker.is_trying:
            return i + 1
    return stop


def scaled(column: Array, mean: tuple[float, ...], std: tuple[float, ...]) -> Array:
    """``(x - mean) / std`` in float32, channel by channel; as it is where none are told."""
    if not mean:
        return column
    middle, width = (_by_channel(x, column.shape) for x in (mean, std))
    with np.errstate(over="ignore"):
        return (column.astype(np.float32) - middle) / width


def _by_channel(values: tuple[float, ...], shape: tuple[int, ...]) -> Array:
    """One value, or one for each element of a sample: the last lengths of a column's shape."""
    at = len(shape)
    while len(values) > 1 and int(np.prod(shape[at:])) < len(values):
        at -= 1
    return np.array(values, np.float32).reshape(shape[at:])
