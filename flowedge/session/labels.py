"""The labels of a model straight into the record batches of a sink."""

from array import array
from collections.abc import Sequence
from typing import Any

import numpy as np

from flowedge.compile import program as p
from flowedge.compile.kernels import frames as k
from flowedge.compile.kernels.library import ready
from flowedge.session.ahead import Ahead
from flowedge.session.batch import Array
from flowedge.session.kernel import KernelNode
from flowedge.session.model import ModelNode
from flowedge.session.node import Node
from flowedge.session.sink import SinkNode
from flowedge.session.words import address


class Labels:
    """What makes rows of a sink of a model's scores, where nothing else is between them.

    Parameters
    ----------
    model : whose labels they are
    after : kernels that only choose columns
    sink : where they go, which `takes_labels`
    time, start : of the frames, where they stay; shape ``(batch,)`` of int64 [ns]

    Attributes
    ----------
    behind : the nodes behind the model
    """

    def __init__(
        self,
        model: ModelNode,
        after: Sequence[KernelNode],
        sink: SinkNode,
        time: Array,
        start: Array | None,
    ) -> None:
        self.model, self.sink = model, sink
        self.behind: list[Node] = [*after, sink]
        spec, room = model.spec.call, model.spec.call.batch
        ((kind, labels, self._out),) = spec.heads
        self._best, self._top = np.empty(room, np.int64), np.empty(room)
        self._probs = np.empty((room, len(labels)))
        self._shapes = {(room, len(labels)): 0}
        if kind == "sigmoid" and len(labels) == 2:
            self._shapes[room, 1] = 1
        made = {name: what for name, what, _ in spec.made}
        names = [f.name for f in sink.spec.fields if f.name in made]
        self._ahead = Ahead(sink.schema, {n: labels for n in names if made[n] == "label"}, room)
        best, top = address(self._best), address(self._top)
        columns = [(k.COPY, address(time))]
        if start is not None:
            columns.append((k.COPY, address(start)))
        for field in sink.spec.fields:
            if made.get(field.name) == "label":
                columns.append((k.LABEL, best))
            elif field.name in made:
                columns.append((k.DOUBLE if field.store == "f64" else k.SINGLE, top))
        self._kept = time, start
        words = self._words = array("q", [0] * k.LABELS_FIRST)
        words[k.SHARES_KIND] = k.SOFTMAX if kind == "softmax" else k.SIGMOID
        words[k.SHARES_PROBS], words[k.SHARES_BEST], words[k.SHARES_TOP] = (
            address(self._probs),
            best,
            top,
        )
        words[k.LABELS_COLUMNS] = len(columns)
        for what, source in columns:
            words.extend((what, source, 0))
        self._outs = range(k.LABELS_FIRST + 2, len(words), k.LABELS_EACH)
        self._run = ready(k.labels).bound(words.buffer_info()[0])

    def take(self, answers: Sequence[Any], n: int) -> bool:
        """Make rows of the answers to `n` frames; whether they are as they should be."""
        if self.sink.has_rows or len(answers) <= self._out:
            return False
        raw = answers[self._out]
        if type(raw) is not np.ndarray or raw.dtype.char not in "fd" or not raw.flags.c_contiguous:
            return False
        is_binary = self._shapes.get(raw.shape)
        if is_binary is None:
            return False
        words = self._words
        words[k.SHARES_FRAMES], words[k.SHARES_SCORES] = n, raw.shape[1]
        words[k.SHARES_IN], words[k.SHARES_IS_DOUBLE] = address(raw), raw.dtype.char == "d"
        words[k.SHARES_IS_BINARY] = is_binary
        for word, out in zip(self._outs, self._ahead.room(n), strict=True):
            words[word] = out
        self._run()
        if words[k.LABELS_LACKING]:
            return False
        self.sink.take_ready(self._ahead.take(n))
        return True


def takes_labels(sink: p.SinkSpec, call: p.CallSpec) -> bool:
    """Whether a sink takes the one label of a model, its score, and the start of the window at most."""
    if sink.keys or len(call.heads) != 1:
        return False
    made, (_, labels, _) = {name: what for name, what, _ in call.made}, call.heads[0]
    for field in sink.fields:
        what = made.get(field.name)
        is_label = what == "label" and field.labels == labels and not field.literals
        is_score = what == "score" and field.store in ("f32", "f64")
        is_start = field.name == "start" and what is None and sink.has_start
        if field.shape or not (is_label or is_score or is_start):
            return False
    return True
