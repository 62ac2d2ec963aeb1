"""A model inside the stream: frames gathered into calls of one size, answers as columns."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from flowedge.compile.program import NEVER, CallSpec, ModelSpec
from flowedge.lang.errors import ModelError
from flowedge.session.asking import ANSWERED, FAILED, LATE, RESTED, Asker, Frames, Infers
from flowedge.session.batch import Array, Batch, concat
from flowedge.session.breaker import Breaker
from flowedge.session.heads import Heads, columns_of
from flowedge.session.instead import Instead
from flowedge.session.node import Node, Shared
from flowedge.session.shadow import Shadow
from flowedge.session.snapshot import tally, whole

if TYPE_CHECKING:
    from flowedge.session.tail import Tail


class ModelNode(Node):
    """Calls a model with exactly `batch` frames each time, zeros in the place of those that lack.

    The answer to a frame does not depend on what else is in the call, so frames are gathered for
    the length of a push only, and every answer is out when the push returns. A frame with a
    missing value is not shown to the model; its answers are missing. A frame that gets no answer, because the
    model fails, is late, or rests after many failures, becomes what the policy says.
    """

    spec: ModelSpec
    is_waiting = True

    def __init__(self, spec: ModelSpec, shared: Shared, models: Mapping[str, Infers]) -> None:
        super().__init__(spec, shared)
        self._fields = {f.name: f for f in spec.fields}
        self._before = {f.name: f for n in shared.program.nodes if n.id in spec.inputs for f in n.fields}  # fmt: skip
        main = models[spec.call.model]
        within = getattr(main, "within", None)
        if within is not None and spec.deadline_ns >= 0:
            main = within(spec.deadline_ns, waits=spec.otherwise[0] == "keep")
        self._main, self._heads = self._asker(spec.call, main)
        self._made = [f for f in spec.fields if any(f.name == name for name, _, _ in spec.call.made)]  # fmt: skip
        self._other = None if spec.other is None else self._asker(spec.other, models[spec.other.model])  # fmt: skip
        self._shadow = None
        if spec.shadow is not None:
            self._shadow = Shadow(*self._asker(spec.shadow, models[spec.shadow.model]))
        self._instead = Instead(spec, self._fields, shared.pool)
        self.breaker = Breaker(*spec.breaker)
        self._waiting: list[Batch] = []
        self._rows = 0
        self._watermark_in = self.watermark
        self.tail: Tail | None = None
        self.unseen = 0
        """Frames that the model was not shown, as a value was missing."""

    def _asker(self, spec: CallSpec, model: Infers) -> tuple[Asker, Heads]:
        asker = Asker(spec, self._before, self._fields, model)
        return asker, Heads(spec, self._fields, self.shared.pool)

    def warm_up(self, name: str | None = None, model: Infers | None = None) -> None:
        """Ask every model, or one in the place of that of a name, about frames of zeros; raises ModelError."""
        for asker in self._askers:
            if name in (None, asker.spec.model):
                asker.warm_up(model)

    def replace(self, name: str, model: Infers) -> None:
        """Go on with another model in the place of the one of this name; what is remembered stays."""
        for asker in self._askers:
            if asker.spec.model == name:
                within = getattr(model, "within", None)
                timed = asker is self._main and within is not None and self.spec.deadline_ns >= 0
                waits = self.spec.otherwise[0] == "keep"
                asker.model = within(self.spec.deadline_ns, waits=waits) if timed else model  # type: ignore[misc]

    @property
    def asker(self) -> Asker:
        """What asks the model itself."""
        return self._main

    @property
    def is_plain(self) -> bool:
        """Whether an answer depends on nothing but its frame, and nothing is remembered of it."""
        spec = self.spec
        return (
            spec.other is None and spec.shadow is None and spec.deadline_ns < 0
            and spec.otherwise[0] in ("missing", "label") and not spec.call.states and self._main.channels is not None
        )  # fmt: skip

    def went_through(self, rows: int, watermark: int) -> None:
        """Note frames that took the short way."""
        super().went_through(rows, watermark)
        self._watermark_in = max(self._watermark_in, watermark)

    @property
    def _askers(self) -> list[Asker]:
        out = [self._main]
        out += [] if self._other is None else [self._other[0]]
        return out if self._shadow is None else [*out, self._shadow.asker]

    def take(self, place: int, batch: Batch | None, watermark: int) -> None:
        """Gather frames, and ask the model as soon as a call is full."""
        self._watermark_in = max(self._watermark_in, watermark)
        if batch is not None:
            self.counts.rows_in += batch.n
            self._waiting.append(batch)
            self._rows += batch.n
        size = self.spec.call.batch
        if self._rows >= size:
            gathered = concat(self._waiting)
            full = gathered.n - gathered.n % size
            rest = gathered.slice(full, gathered.n)
            self._waiting, self._rows = ([rest] if rest.n else []), rest.n
            self._answer(gathered.slice(0, full), self.watermark if rest.n else watermark)
        elif not self._rows:
            self.give(None, watermark)

    def made_of(self, answers: Sequence[Array], frames: int) -> dict[str, Array] | None:
        """Columns that the answers of a call become; None where one of the frames got none."""
        try:
            raw = self._main.read(answers, frames)
        except ModelError:
            return None
        if self._main.unusable(raw) is not None:
            return None
        return self._heads.columns(raw)

    def flush(self) -> None:
        """Ask about the frames that are left, in a call filled up with zeros."""
        if self.tail is not None:
            self.tail.flush()
        if self._rows:
            gathered = concat(self._waiting)
            self._waiting, self._rows = [], 0
            self._answer(gathered, self._watermark_in)

    def give_answered(self, batch: Batch, watermark: int) -> None:
        """Pass frames on that have their answers already."""
        self._watermark_in = max(self._watermark_in, watermark)
        self.counts.rows_in += batch.n
        self.counts.used += batch.n
        self.give(batch, watermark)

    def take_filled(self, batch: Batch, x: Array, watermark: int) -> None:
        """Take frames that are a call's input already, shape ``(n, …)``; their columns need not be there."""
        self._watermark_in = max(self._watermark_in, watermark)
        self.counts.rows_in += batch.n
        self._answer(batch, watermark, Frames(None, [x]))

    def _answer(self, batch: Batch, watermark: int, frames: Frames | None = None) -> None:
        n = batch.n
        frames = self._main.frames(batch) if frames is None else frames
        which = frames.which
        answers = self._main.ask(batch, frames, self.breaker)
        self.unseen += 0 if which is None else n - len(which)
        is_whole = which is None and not answers.fate.any()
        answered: Array | None = None
        lacking = np.empty(0, np.int64)
        raw = answers.raw
        if not is_whole:
            asked = np.arange(n) if which is None else which
            good = answers.fate == ANSWERED
            answered, lacking = asked[good], asked[~good]
            raw = {k: values[good] for k, values in raw.items()}
        found = self._heads.columns(raw) if answered is None or len(answered) else {}
        made = columns_of(self._made, n, found, answered)
        gap, stays = batch.gap, None
        if len(lacking):
            self._count(answers.fate)
            gap, stays = self._without(batch, made, answered, lacking)
        elif self._instead.owes(batch):
            _, gap = self._instead.kept(batch, lacking)
        if self._instead.policy == "hold":
            self._instead.note(batch, made, np.arange(n) if answered is None else answered)
        if self._instead.policy == "keep":
            made["late"] = self._late(n, which, answers.late)
        if self._shadow is not None:
            self._shadow.compare(batch, answers, self._heads)
        columns = {**batch.columns, **made}
        out = Batch(n, batch.time, batch.slot, gap, columns)
        if stays is not None:
            self.counts.shed += n - len(stays)
            n = len(stays)
            out = out.take(stays)
        self.counts.used += n
        self.give(out, watermark)

    def _count(self, fate: Array) -> None:
        self.counts.failed += int((fate == FAILED).sum())
        self.counts.missed += int((fate == LATE).sum())
        self.counts.rested += int((fate == RESTED).sum())

    def _without(
        self, batch: Batch, made: dict[str, Array], answered: Array | None, lacking: Array
    ) -> tuple[Array | None, Array | None]:
        """Do as the policy says with frames that got no answer; where memory restarts, and the rows that stay."""
        if self._instead.policy == "drop":
            stays, gap = self._instead.kept(batch, lacking)
            return gap, stays
        if self._other is not None:
            asker, heads = self._other
            frames = asker.frames(batch, lacking)
            todo = lacking if frames.which is None else frames.which
            second = asker.ask(batch, frames)
            good = second.fate == ANSWERED
            if good.any():
                found = heads.columns({k: v[good] for k, v in second.raw.items()})
                for name, values in found.items():
                    made[name][todo[good]] = values
        else:
            assert answered is not None
            self._instead.fill(batch, made, answered, lacking)
        return batch.gap, None

    def _late(self, n: int, which: Array | None, late: Array | None) -> Array:
        """The column that says of each row whether its answer was waited for beyond the deadline."""
        out = np.zeros(n, np.uint8)
        if late is not None:
            out[slice(None) if which is None else which] = late
            self.counts.missed += int(late.sum())
        return out

    def held(self) -> int:
        """Frames that wait here for the end of the push."""
        return self._rows

    @property
    def nbytes(self) -> int:
        """Bytes of what is remembered of keys, and of what is laid out for a call."""
        laid_out = 0 if self.tail is None else self.tail.nbytes
        return laid_out + self._instead.nbytes + sum(asker.nbytes for asker in self._askers)

    def forget_slots(self, table: int, gone: Array) -> None:
        """Begin afresh for slots that are about to be given to other keys."""
        if table == self.spec.table:
            self._instead.forget(gone)
            for asker in self._askers:
                asker.forget(gone)

    def told(self) -> dict[str, Any]:
        """What became of the frames, as plain data for the report."""
        c = self.counts
        out: dict[str, Any] = {
            "model": self.spec.call.model,
            "frames": c.rows_in - self._rows,
            "unseen": self.unseen,
            "failed": c.failed,
            "missed": c.missed,
            "rested": c.rested,
            "policy": self._policy,
            "deadline_ms": self.spec.deadline_ns * 1e-6 if self.spec.deadline_ns >= 0 else None,
            "reasons": dict(self._main.reasons),
            "breaker": {
                "after": self.breaker.most,
                "opened": self.breaker.opened,
                "first_ns": None if self.breaker.first == NEVER else self.breaker.first,
                "is_open": self.breaker.is_trying,
            },
        }
        if self._shadow is not None:
            out["shadow"] = self._shadow.told()
        return out

    @property
    def _policy(self) -> str:
        word, text = self.spec.otherwise
        return f'label "{text}"' if word == "label" else f"{word} {text}".strip()

    def state(self) -> dict[str, Any]:
        """Between pushes no frame waits."""
        assert not self._rows
        return {
            "watermark_in": self._watermark_in,
            "unseen": self.unseen,
            "breaker": self.breaker.state(),
            "instead": self._instead.state(),
            "askers": [asker.state() for asker in self._askers],
            "shadow": None if self._shadow is None else self._shadow.state(),
        }

    def load(self, state: dict[str, Any]) -> None:
        """Take a snapshot over."""
        self._watermark_in, self.unseen = whole(state["watermark_in"]), tally(state["unseen"])
        self.breaker.load(state["breaker"])
        self._instead.load(state["instead"])
        for asker, part in zip(self._askers, state["askers"], strict=True):
            asker.load(part)
        if self._shadow is not None:
            self._shadow.load(state["shadow"])
