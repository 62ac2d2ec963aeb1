"""From a cut through a model in memory that stays where it is.

A window costs a few microseconds in kernels. What stands around them in the nodes, which ask of every batch anew what
it holds and take new memory for it, costs as much as a small network does. So where a chain is a cut, kernels over its
frames, and a model of one input, all arrays are laid out once, for as many frames as a call of the model takes. They
are filled, scaled and shown to the model while they are still in the cache, by kernels whose arguments stand ready.
What is not as usual (a missing value, a model that fails, a breaker that counts) goes to the model's node, which does
what the pipeline says.
"""

from array import array
from collections.abc import Iterable, Mapping, Sequence
from math import prod
from typing import Any

import numpy as np

from flowedge.compile import program as p
from flowedge.lang.errors import InternalError
from flowedge.session.batch import DTYPES, Array, Batch
from flowedge.session.kernel import KernelNode
from flowedge.session.labels import Labels, takes_labels
from flowedge.session.model import ModelNode
from flowedge.session.node import Node
from flowedge.session.sink import SinkNode
from flowedge.session.words import address

MOST_BYTES = 2**24
"""Of the memory that is laid out for one chain; where more is needed, frames go from node to node."""

BLOCK_BYTES, LEAST_BLOCK = 2**19, 16
"""Of the columns of a block, if it is of so many frames."""

_FLOATS = ("f32", "f64")


class Tail:
    """What follows a cut, up to and with a model. Make it with `lay_out_tails`.

    Frames go through the kernels in blocks that the cache holds, and wait in the model's input until a call is full or
    the push ends.

    Parameters
    ----------
    cut : the kernel that gives the frames
    over : kernels over them, in order
    model : what is asked about them
    """

    def __init__(self, cut: KernelNode, over: Sequence[KernelNode], model: ModelNode) -> None:
        self.cut, self._over, self.model = cut, over, model
        self._room = room = model.spec.call.batch
        stay = set(_read_behind(model))
        width = sum(_width(f) for node in (cut, *over) for f in _written(node))
        self._block = block = min(room, max(LEAST_BLOCK, BLOCK_BYTES // max(width, 1)))
        self._time = np.zeros(room, np.int64)
        slot = np.zeros(room, np.int32) if cut.spec.table >= 0 else None
        gap = np.zeros(room, np.uint8) if cut.spec.gaps else None
        self._own: tuple[Array, Array | None, Array | None] = (self._time, slot, gap)
        gaps: Any = np.empty(0, np.uint8) if gap is None else gap
        self._gaps, self._no_gaps = memoryview(gaps), bytes(room)
        self._own_first = [0 if x is None else address(x) for x in self._own]
        here: dict[str, Array] = {}
        self._stops: list[_Addresses] = []
        for node in (cut, *over):
            made = {f.name: _laid_out(f, room if f.name in stay else block) for f in _written(node)}
            if node is cut:
                self._stops.append(
                    _Addresses(node, len(node.spec.reads), list(made.values()), room)
                )
            elif made:
                given = [self._time if n == "time" else here[n] for _, n in node.spec.reads]
                self._stops.append(_Addresses(node, 0, [*given, *made.values()], room))
            here = {**{name: here[name] for name in node.spec.passed}, **made}
        self._frames = here
        self._kept = {name: here[name] for name in stay & here.keys()}
        channels = model.asker.channels
        assert channels is not None
        self._x = channels.empty(room)
        self._fill = channels.fixed(
            [here[name] for name in model.asker.spec.inputs_by_name], self._x
        )
        self._at = self._have = self._dirty = 0
        self._beyond = p.NEVER
        self.labels = _labels_of(cut, model, self._time, self._kept.get("start"))

    @property
    def nbytes(self) -> int:
        """Bytes of what is laid out."""
        return self._x.nbytes + sum(stop.nbytes for stop in self._stops)

    def run(self, rows: int) -> None:
        """Run the cut dry over the rows at hand, as `KernelNode.run` does."""
        cut, ctx, out = self.cut, self.cut.runner.ctx, self._stops[0]
        cut.runner.spare = None  # the kernel is told of other arrays than that
        while True:
            out.write(self._at)
            ctx[p.OUT], ctx[p.OUT_ROOM] = self._have, min(self._block, self._room - self._at)
            ctx[p.OUT_TIME], ctx[p.OUT_SLOT], ctx[p.OUT_GAP] = self._own_at()
            status = cut.runner.call()
            self._have = ctx[p.OUT]
            is_done = status == p.DONE
            if is_done:
                self._beyond = ctx[p.OUT_WATERMARK]
            if self._have == ctx[p.OUT_ROOM]:
                self._pass_on(self._beyond if is_done else cut.watermark, is_last=False)
            elif not is_done:  # the next frames want more room than there is
                self.flush()
                cut.run_from_node_to_node(rows)
                return
            if is_done:
                if not self._have + self._at and self._beyond > cut.watermark:
                    self._note(0, self._beyond)
                    self.model.take(0, None, self._beyond)
                return

    def flush(self) -> None:
        """Ask about the frames that wait."""
        if self._have or self._at:
            self._pass_on(self._beyond, is_last=True)

    def _own_at(self) -> list[int]:
        """Addresses of time, slot and gap of the block at hand; 0 for what there is not."""
        if not self._at:
            return self._own_first
        return [
            0 if x is None else first + self._at * x.itemsize
            for x, first in zip(self._own, self._own_first, strict=True)
        ]

    def _pass_on(self, watermark: int, *, is_last: bool) -> None:
        """Run the kernels over the block at hand into the model's input, and ask once that is full."""
        n, self._have = self._have, 0
        before, model = self.cut.watermark, self.model
        watermark = max(watermark, before)
        if n:
            time_at, slot_at, gap_at = self._own_at()
            for stop in self._stops[1:]:
                ctx = stop.ctx
                stop.node.ready()
                stop.write(self._at)
                ctx[p.ROW] = ctx[p.OUT] = ctx[p.FINISH] = 0
                ctx[p.ROWS] = ctx[p.OUT_ROOM] = n
                ctx[p.WATERMARK], ctx[p.TIME] = watermark, time_at
                ctx[p.SLOT], ctx[p.GAP] = slot_at, gap_at
                if stop.call() != p.DONE:
                    raise InternalError(
                        "a kernel over frames stands still", expected="DONE", seen="FULL"
                    )
            self._note(n, watermark)
            if model.held() or model.breaker.failures or self._fill(n, self._at):
                if self._at:
                    self._ask(before)
                model.take(0, self._rows(n, self._at, self._frames), watermark)
                self._restart(self._at + n)
                return
            self._at += n
        if self._at == self._room or (is_last and self._at):
            self._ask(watermark)

    def _restart(self, stop: int) -> None:
        self._at = 0
        gap = self._own[2]
        if gap is not None and self._gaps[:stop] != self._no_gaps[:stop]:
            gap[:stop] = 0

    def _note(self, frames: int, watermark: int) -> None:
        """Note in the nodes before the model that frames went by, and how far time has come."""
        self.cut.counts.rows_out += frames
        self.cut.watermark = watermark
        for node in self._over:
            node.went_through(frames, watermark)

    def _ask(self, watermark: int) -> None:
        """Ask about the frames in the model's input; what is not answered as usual goes to the model's node."""
        n, model, x = self._at, self.model, self._x
        if n < self._dirty:
            x[n : self._dirty] = 0
        self._dirty = n
        try:
            answers = model.asker.call([x])
        except InternalError:
            raise
        except Exception:  # noqa: BLE001  # it is asked again, and what it raises is noted then
            answers = []
        if self.labels is not None and self.labels.take(answers, n):
            model.went_through(n, watermark)
            for node in self.labels.behind:
                node.went_through(n, watermark)
        else:
            batch = self._rows(n, 0, self._kept)
            made = model.made_of(answers, n)
            if made is None:
                model.take_filled(batch, x[:n].copy(), watermark)
            else:
                for name, column in made.items():  # some give back what they were asked about
                    batch.columns[name] = (
                        column.copy() if np.may_share_memory(column, x) else column
                    )
                model.give_answered(batch, watermark)
        self._restart(n)

    def _rows(self, n: int, at: int, columns: Mapping[str, Array]) -> Batch:
        """Rows for nodes, which may keep them: those from `at` on, of what has room for a call, else of the block."""
        time, slot, gap = (None if x is None else x[at : at + n].copy() for x in self._own)
        assert time is not None
        found = {}
        for name, column in columns.items():
            first = at if len(column) == self._room else 0
            found[name] = column[first : first + n].copy()
        return Batch(n, time, slot, gap, found)


class _Addresses:
    """Addresses of arrays that stay, for the context of a kernel.

    Parameters
    ----------
    first : number of the first one among the kernel's columns
    room : rows of an array that has one for each frame of a call; others are of a block
    """

    def __init__(self, node: KernelNode, first: int, arrays: Sequence[Array], room: int) -> None:
        self.node, self.ctx, self.call = node, node.runner.ctx, node.runner.call
        self._arrays = arrays
        self._first = array("q", [address(x) for x in arrays])
        self._widths = [x.nbytes // len(x) if len(x) == room else 0 for x in arrays]
        self._at = slice(p.COLUMNS + first, p.COLUMNS + first + len(arrays))

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays."""
        return sum(x.nbytes for x in self._arrays)

    def write(self, at: int) -> None:
        """Hand them in for a block that begins with frame `at` of the call."""
        words = self._first
        if at:
            words = array(
                "q", [word + at * width for word, width in zip(words, self._widths, strict=True)]
            )
        self.ctx[self._at] = words


def lay_out_tails(nodes: Iterable[Node]) -> None:
    """Give every cut that a model follows its tail."""
    order = list(nodes)
    for node in order:
        if isinstance(node, ModelNode):
            node.tail = None
    for node in order:
        if isinstance(node, KernelNode) and not node.spec.is_dense:
            node.tail = tail = _tail_of(node)
            if tail is not None:
                tail.model.tail = tail


def _tail_of(cut: KernelNode) -> Tail | None:
    """What follows a cut up to a model; None where something else comes of its frames."""
    if not _are_simple(cut.spec.fields) or {f.name for f in cut.spec.fields} != set(
        cut.spec.writes
    ):
        return None
    over: list[KernelNode] = []
    node = _only(cut)
    while isinstance(node, KernelNode) and _is_over(node):
        over.append(node)
        node = _only(node)
    if not isinstance(node, ModelNode) or not node.is_plain:
        return None
    width = sum(_width(f) for each in (cut, *over) for f in _written(each))
    if width * node.spec.call.batch > MOST_BYTES:
        return None
    return Tail(cut, over, node)


def _labels_of(
    cut: KernelNode, model: ModelNode, time: Array, start: Array | None
) -> Labels | None:
    """The end at a sink that takes labels of a stream without keys; None where the rows go on otherwise."""
    after: list[KernelNode] = []
    node = _only(model)
    while isinstance(node, KernelNode) and _chooses(node):
        after.append(node)
        node = _only(node)
    if (
        cut.spec.table >= 0
        or not isinstance(node, SinkNode)
        or not takes_labels(node.spec, model.spec.call)
    ):
        return None
    return Labels(model, after, node, time, start)


def _read_behind(model: ModelNode) -> Sequence[str]:
    """Columns of a model's rows that any node reads."""
    node = _only(model)
    if isinstance(node, KernelNode) and _chooses(node):
        return node.spec.passed
    return [f.name for f in model.spec.fields]


def _only(node: Node) -> Node | None:
    """What reads a node, if it is one alone."""
    return node.readers[0][0] if len(node.readers) == 1 else None


def _are_simple(fields: Iterable[p.Field]) -> bool:
    return all(f.store in (*_FLOATS, "time", "i64") for f in fields)


def _is_over(node: KernelNode) -> bool:
    """Whether a kernel gives a frame for each frame, from columns that are there."""
    spec = node.spec
    fields = {f.name: f for f in spec.fields}
    if (
        not spec.is_dense
        or len(spec.inputs) != 1
        or not _are_simple(fields[name] for name in spec.writes)
    ):
        return False
    return node.reads_no_key


def _chooses(node: KernelNode) -> bool:
    return node.spec.is_dense and not node.spec.writes and node.reads_no_key


def _written(node: KernelNode) -> list[p.Field]:
    """Columns that a kernel writes."""
    fields = {f.name: f for f in node.spec.fields}
    return [fields[name] for name in node.spec.writes]


def _width(field: p.Field) -> int:
    return int(DTYPES[field.store].itemsize * prod(field.shape))


def _laid_out(field: p.Field, room: int) -> Array:
    return np.empty((room, *field.shape), DTYPES[field.store])
