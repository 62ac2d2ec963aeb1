"""Rows of a union: the kernel that copies columns beside a slow twin, for all stores, whatever comes together."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowedge.compile.kernels import weave
from flowedge.compile.kernels.weave import Part, woven
from flowedge.compile.program import FOREVER, Field, MergeSpec, NodeSpec
from flowedge.session.batch import DTYPES, Batch, layout, missing, restored
from flowedge.session.merge import MergeNode

WIDTHS = [("f8", ()), ("f4", ()), ("i8", ()), ("u1", ()), ("f4", (3,)), ("f8", (2, 2)), ("u1", (5,))]  # fmt: skip
IDS = np.array([5, 6, 7])
"""Of the texts of ``branch``."""
KEYS = 4


# ---- the kernel


def meeting(draw, inputs, n):
    port = draw.integers(0, inputs, n).astype(np.uint8)
    row = np.zeros(n, np.int64)
    for q in range(inputs):
        row[port == q] = np.arange(np.count_nonzero(port == q))
    return port, row


def slow(columns, port, row):
    out = []
    for parts in columns:
        first = next(part.values for part in parts if part is not None)
        made = np.empty((len(row), *first.shape[1:]), first.dtype)
        for q, part in enumerate(parts):
            if part is not None:
                mine = port == q
                made[mine] = part.values[0] if part.is_same else part.values[row[mine]]
        out.append(made)
    return out


def parts_of(draw, port, inputs):
    columns = []
    for kind, shape in WIDTHS:
        parts = []
        for q in range(inputs):
            size = int(np.count_nonzero(port == q))
            is_same = bool(draw.random() < 0.3)
            values = draw.integers(0, 200, (1 if is_same else size, *shape)).astype(kind)
            parts.append(Part(values, is_same=is_same) if size else None)
        columns.append(parts)
    return columns


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 5), st.integers(1, 80), st.integers(0, 2**32))
def test_each_row_is_that_of_its_input(inputs, n, seed):
    draw = np.random.default_rng(seed)
    port, row = meeting(draw, inputs, n)
    columns = parts_of(draw, port, inputs)
    for ours, theirs in zip(woven(columns, port, row), slow(columns, port, row), strict=True):
        assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(ours, theirs)


def test_it_is_a_plain_function(monkeypatch):
    draw = np.random.default_rng(2)
    port, row = meeting(draw, 3, 20)
    columns = parts_of(draw, port, 3)
    monkeypatch.setattr(weave, "ready", lambda run: run)
    for ours, theirs in zip(woven(columns, port, row), slow(columns, port, row), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_no_column_is_no_column():
    assert woven([], np.zeros(3, np.uint8), np.arange(3)) == []


# ---- the node


class Slow(MergeNode):
    """The same by NumPy: each input has all columns of the union, and masks say where its rows stand."""

    def _whole(self, place, batch):
        return batch

    def _joined(self, some, parts):
        has_gaps = any(b.gap is not None for _, b in some)
        time, port, _, slot, gap = self._meeting.interleave(
            parts, has_slots=self.spec.table >= 0, has_gaps=has_gaps, is_kept=True
        )
        n = len(time)
        columns = {f.name: np.empty((n, *f.shape), DTYPES[f.store]) for f in self.spec.fields}
        for q, part in some:
            mine = np.flatnonzero(port == q)
            for name, column in columns.items():
                column[mine] = part.columns[name]
        return Batch(n, time, slot, gap, columns)

    def _aligned(self, place, batch):
        columns = {}
        take = {here: more for here, *more in self.spec.take[place]}
        for field in self.spec.fields:
            name, factor, offset = take.get(field.name, (None, 1.0, 0.0))
            if field.name == "branch" and self.spec.branches:
                columns[field.name] = np.full(batch.n, IDS[place], np.int64)
            elif name is None:
                columns[field.name] = missing(field, batch.n)
            else:
                old = self._fields[place][name]
                values = restored(batch.columns[name], old, field, factor, offset)
                columns[field.name] = values.astype(DTYPES[field.store], copy=False)
        return Batch(batch.n, batch.time, batch.slot, batch.gap, columns)

    def state(self):
        return self._meeting.state()

    def load(self, state):
        self._meeting.load(state, [self.shared.layout(self.spec)] * len(self.spec.inputs))


ALL = (
    Field("a", "f64"), Field("b", "f32"), Field("c", "i64"), Field("d", "bool"), Field("e", "f32", shape=(3,)), Field("f", "u64"),
    Field("branch", "string"), Field("g", "time"),
)  # fmt: skip


def node_of(kind, spec, inputs):
    """A node and what it gives."""
    shared = SimpleNamespace(
        program=SimpleNamespace(nodes=inputs), pool=SimpleNamespace(pin=lambda texts: IDS[: len(texts)]),
        layout=lambda spec: layout(spec.fields, KEYS if spec.table >= 0 else None, 100),
    )  # fmt: skip
    node = kind(spec, shared)
    given = []
    node.readers = [(SimpleNamespace(take=lambda _, batch, mark: given.append((batch, mark))), 0)]
    return node, given


def union_of(draw, count, *, keyed, has_branch):
    inputs, takes = [], []
    fields = tuple(f for f in ALL if draw.random() < 0.8 and (f.name != "branch" or has_branch))
    for q in range(count):
        mine = tuple(Field(f"{f.name}{q}", "f32" if f.name == "a" and draw.random() < 0.5 else f.store, shape=f.shape)
                     for f in fields if draw.random() < 0.7)  # fmt: skip
        names = {m.name[:-1]: m.name for m in mine}
        inputs.append(NodeSpec(id=q, name=f"s{q}", inputs=(), fields=mine))
        scale = (1000.0, 1.0) if draw.random() < 0.3 else (1.0, 0.0)
        takes.append(tuple((f.name, names.get(f.name), *(scale if f.name == "a" else (1.0, 0.0))) for f in fields))  # fmt: skip
    spec = MergeSpec(
        id=count, name="u", inputs=tuple(range(count)), fields=fields, table=0 if keyed else -1, take=tuple(takes),
        branches=("x", "y", "z")[:count] if has_branch else (),
    )  # fmt: skip
    return spec, inputs


def rows(draw, n, first, fields, *, keyed, with_gap):
    time = first + np.sort(draw.integers(0, 10, n))
    columns = {}
    for f in fields:
        values = draw.integers(0, 2, (n, *f.shape)).astype(DTYPES[f.store])
        columns[f.name] = np.where(draw.random(values.shape) < 0.2, missing(f, n), values)
    slot = draw.integers(0, KEYS, n).astype(np.int32) if keyed else None
    gap = draw.integers(0, 2, n).astype(np.uint8) if with_gap else None
    return Batch(n, time, slot, gap, columns)


def assert_same(ours, theirs):
    assert len(ours) == len(theirs)
    for (a, mark), (b, expected) in zip(ours, theirs, strict=True):
        assert mark == expected
        assert (a is None) == (b is None)
        if a is None:
            continue
        assert list(a.columns) == list(b.columns)
        pairs = [(a.time, b.time), (a.slot, b.slot), (a.gap, b.gap)]
        for x, y in [*pairs, *((a.columns[name], b.columns[name]) for name in a.columns)]:
            assert (x is None) == (y is None)
            if x is not None:
                assert x.dtype == y.dtype
                np.testing.assert_array_equal(x, y)


@settings(max_examples=150, deadline=None)
@given(
    st.integers(1, 3), st.booleans(), st.booleans(), st.lists(st.tuples(st.integers(0, 2), st.integers(0, 12)), max_size=12),
    st.integers(0, 2**32),
)  # fmt: skip
def test_rows_are_what_masks_say(count, keyed, has_branch, pushes, seed):
    draw = np.random.default_rng(seed)
    spec, inputs = union_of(draw, count, keyed=keyed, has_branch=has_branch)
    (ours, given), (theirs, expected) = node_of(MergeNode, spec, inputs), node_of(Slow, spec, inputs)  # fmt: skip
    reached = [0] * count
    for number, (place, n) in enumerate(pushes):
        q = place % count
        batch = rows(draw, n, reached[q], inputs[q].fields, keyed=keyed, with_gap=draw.random() < 0.3) if n else None  # fmt: skip
        reached[q] = reached[q] if batch is None else int(batch.time[-1])
        reached[q] += int(draw.integers(0, 3))
        for node in (ours, theirs):
            node.take(q, batch, reached[q])
        assert ours.held() == theirs.held()
        if number == len(pushes) // 2:  # a snapshot is the same, and a session goes on from it
            state = ours.state()
            assert state == theirs.state()
            assert_same(given, expected)
            (ours, given), (theirs, expected) = node_of(MergeNode, spec, inputs), node_of(Slow, spec, inputs)  # fmt: skip
            ours.load(state)
            theirs.load(state)
    for node in (ours, theirs):
        for q in range(count):
            node.take(q, None, FOREVER)
    assert_same(given, expected)
    assert ours.counts == theirs.counts


@pytest.mark.parametrize("count", [2, 3])
def test_what_an_input_lacks_is_not_kept_for_rows_that_wait(count):
    fields = (Field("a", "f64"), Field("branch", "string"))
    inputs = [NodeSpec(id=q, name=f"s{q}", inputs=(), fields=()) for q in range(count)]
    take = ((("a", None, 1.0, 0.0), ("branch", None, 1.0, 0.0)),) * count
    spec = MergeSpec(id=9, name="u", inputs=tuple(range(count)), fields=fields, table=-1, take=take, branches=("x", "y", "z")[:count])  # fmt: skip
    node, _ = node_of(MergeNode, spec, inputs)
    node.take(0, Batch(1000, np.arange(1000), None, None, {}), 999)
    assert node.nbytes == 8000
