"""A model inside the stream: frames gathered into calls of one size, answers as columns."""

from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from flowedge.compile.program import ModelSpec
from flowedge.lang.errors import ModelError
from flowedge.session.batch import DTYPES, MISSING, WIRE, Array, Batch, concat, missing
from flowedge.session.node import Node, Shared
from flowedge.session.snapshot import tally, whole


class Infers(Protocol):
    """What a session asks of a model."""

    def infer(self, inputs: list[Array]) -> list[Array]:
        """Answers for a batch of one fixed size, row by row."""


class ModelNode(Node):
    """Calls a model with exactly `batch` frames each time, zeros in the place of those that lack.

    The answer to a frame does not depend on what else is in the call, so frames are gathered for
    the length of a push only, and every answer is out when the push returns. A frame with a
    missing value is not shown to the model; its answers are missing.
    """

    spec: ModelSpec
    is_waiting = True

    def __init__(self, spec: ModelSpec, shared: Shared, model: Infers) -> None:
        super().__init__(spec, shared)
        self._model = model
        self._labels = shared.pool.pin(pa.array(spec.labels, pa.string()))
        self._fields = {f.name: f for f in spec.fields}
        before = {f.name: f for n in shared.program.nodes if n.id in spec.inputs for f in n.fields}
        self._stores = [before[name].store for name in spec.inputs_by_name]
        self._waiting: list[Batch] = []
        self._rows = 0
        self._watermark_in = self.watermark
        self.missing = 0
        """Frames that the model was not asked about."""

    def take(self, place: int, batch: Batch | None, watermark: int) -> None:
        """Gather frames, and ask the model as soon as a call is full."""
        self._watermark_in = max(self._watermark_in, watermark)
        if batch is not None:
            self.counts.rows_in += batch.n
            self._waiting.append(batch)
            self._rows += batch.n
        if self._rows >= self.spec.batch:
            whole = concat(self._waiting)
            full = whole.n - whole.n % self.spec.batch
            rest = whole.slice(full, whole.n)
            self._waiting, self._rows = ([rest] if rest.n else []), rest.n
            self._answer(whole.slice(0, full), self.watermark if rest.n else watermark)
        elif not self._rows:
            self.give(None, watermark)

    def flush(self) -> None:
        """Ask about the frames that are left, in a call filled up with zeros."""
        if self._rows:
            whole = concat(self._waiting)
            self._waiting, self._rows = [], 0
            self._answer(whole, self._watermark_in)

    def _answer(self, batch: Batch, watermark: int) -> None:
        spec, n = self.spec, batch.n
        inputs = [batch.columns[name] for name in spec.inputs_by_name]
        good = np.ones(n, bool)
        for column, store in zip(inputs, self._stores, strict=True):
            gone = np.isnan(column) if column.dtype.kind == "f" else column == MISSING[store]
            good &= ~gone.reshape(n, -1).any(axis=1)
        asked = int(good.sum())
        self.missing += n - asked
        if asked < n:
            inputs = [column[good] for column in inputs]
        inputs = [
            c.astype(WIRE.get(store, c.dtype), copy=False)
            for c, store in zip(inputs, self._stores, strict=True)
        ]
        if spec.scaling:
            inputs = [_scaled(c, *by) for c, by in zip(inputs, spec.scaling, strict=True)]
        answers = [
            self._call([c[start : start + spec.batch] for c in inputs])
            for start in range(0, asked, spec.batch)
        ]
        raw: list[Array] = []
        if answers:
            raw = [np.concatenate(parts) for parts in zip(*answers, strict=True)]
        columns = {name: batch.columns[name] for name in spec.passed}
        made = self._head(raw) if raw else {}
        for name, what in spec.outputs:
            field = self._fields[name]
            column = missing(field, n)
            if asked:
                found = made[what] if what in made else raw[int(what.split(":")[1])]
                if name in self._fields and found.size != asked * int(np.prod(field.shape)):
                    raise ModelError(
                        f"model `{spec.model}` gives {found.shape[1:]} for `{name}`, which is declared {field.shape}"
                    )
                column[good] = found.reshape((asked, *field.shape)).astype(DTYPES[field.store])
            columns[name] = column
        columns = {f.name: columns[f.name] for f in spec.fields}
        self.counts.used += n
        self.give(Batch(n, batch.time, batch.slot, batch.gap, columns), watermark)

    def _call(self, parts: list[Array]) -> list[Array]:
        """One call of the fixed size; the answers to the frames that are there."""
        n, size = len(parts[0]), self.spec.batch
        if n < size:
            parts = [
                np.concatenate([c, np.zeros((size - n, *c.shape[1:]), c.dtype)]) for c in parts
            ]
        answers = self._model.infer([np.ascontiguousarray(c) for c in parts])
        for answer in answers:
            if len(answer) != size:
                raise ModelError(
                    f"model `{self.spec.model}` answers {len(answer)} frames when asked about {size}"
                )
        return [np.asarray(answer)[:n] for answer in answers]

    def _head(self, raw: list[Array]) -> dict[str, Array]:
        """Label, score and scores of all classes, of the first output; a score of NaN has no label."""
        spec = self.spec
        if spec.head not in ("softmax", "sigmoid"):
            return {}
        z = raw[0].reshape(len(raw[0]), -1).astype(np.float64)
        if spec.labels and spec.head == "softmax" and z.shape[1] != len(spec.labels):
            raise ModelError(
                f"model `{spec.model}` gives {z.shape[1]} scores, but {len(spec.labels)} labels are declared"
            )
        with np.errstate(over="ignore", invalid="ignore"):  # of what is infinite there is no share
            if spec.head == "softmax":
                e = np.exp(z - z.max(axis=1, keepdims=True))
                probs = e / e.sum(axis=1, keepdims=True)
            else:
                probs = 1 / (1 + np.exp(-z))
        best = probs.argmax(axis=1)
        score = probs[np.arange(len(probs)), best]
        if spec.head == "sigmoid" and z.shape[1] == 1 and len(spec.labels) == 2:
            best = (probs[:, 0] >= 0.5).astype(np.int64)
            score = np.where(best == 1, probs[:, 0], 1 - probs[:, 0])
        literal = "label" in self._fields and self._fields["label"].literals
        labels = best if literal else self._labels[best]
        labels = np.where(np.isnan(score), MISSING["string"], labels)
        return {"label": labels, "score": score, "probs": probs}

    def held(self) -> int:
        """Frames that wait for the end of the push."""
        return self._rows

    def state(self) -> dict[str, Any]:
        """Between pushes no frame waits."""
        assert not self._rows
        return {"watermark_in": self._watermark_in, "missing": self.missing}

    def load(self, state: dict[str, Any]) -> None:
        """Take a snapshot over."""
        self._watermark_in, self.missing = whole(state["watermark_in"]), tally(state["missing"])


def _scaled(column: Array, mean: tuple[float, ...], std: tuple[float, ...]) -> Array:
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
