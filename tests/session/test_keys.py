"""Keys to slots: numbered by first appearance, ordered by value."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowedge.compile.kernels import slots as k
from flowedge.lang.errors import CheckpointError
from flowedge.session import keys
from flowedge.session.keys import KeyTable
from flowedge.session.strings import StringPool

WORDS = st.integers(-(2**63), 2**63 - 1) | st.integers(-5, 5)


def numbered(rows):
    """The slow way: a dict."""
    seen = {}
    return [seen.setdefault(r, len(seen)) for r in rows], list(seen)


@given(values=st.lists(WORDS, max_size=80), cut=st.integers(0, 80), seed=WORDS)
def test_keys_of_one_column_are_numbered_by_first_appearance(values, cut, seed):
    table = KeyTable([False], seed=seed)
    column = np.array(values, np.int64)
    found = np.concatenate([table.slots([column[:cut]]), table.slots([column[cut:]])])
    expected, seen = numbered(values)
    assert found.dtype == np.int32
    assert found.tolist() == expected
    assert table.values(0).tolist() == seen
    order, rank = table.order()
    assert table.values(0)[order].tolist() == sorted(seen)
    assert order[rank].tolist() == list(range(len(seen)))


@given(
    rows=st.lists(st.tuples(st.integers(-3, 3), WORDS, st.integers(0, 2)), max_size=80),
    cut=st.integers(0, 80),
)
def test_keys_of_several_columns_are_numbered_and_ordered(rows, cut):
    table = KeyTable([False, False, False])
    found = []
    for part in (rows[:cut], rows[cut:]):
        columns = [np.array([r[c] for r in part], np.int64) for c in range(3)]
        found += table.slots(columns).tolist()
        order, _ = table.order()
        _, seen = numbered(rows[:cut] if part is rows[:cut] else rows[: len(found)])
        assert [seen[s] for s in order] == sorted(seen)
    assert found == numbered(rows)[0]


@given(
    names=st.lists(st.tuples(st.none() | st.text(max_size=10), st.integers(0, 3)), max_size=60),
    cut=st.integers(0, 60),
)
def test_texts_are_ordered_by_their_bytes_and_a_missing_one_stands_first(names, cut):
    pool = StringPool()
    table = KeyTable([True, False], pool)
    for part in (names[:cut], names[cut:]):
        ids = pool.intern(pa.array([n for n, _ in part], pa.string()))
        table.slots([ids, np.array([v for _, v in part], np.int64)])
        order, rank = table.order()
        raw = [
            (b"" if t < 0 else b"\1" + pool.raw(t), v)
            for t, v in zip(*(table.values(c) for c in (0, 1)), strict=True)
        ]
        assert [raw[s] for s in order] == sorted(raw)
        assert order[rank].tolist() == list(range(table.count))


@pytest.mark.parametrize("pattern", ["sequence", "stride", "high", "negative", "random"])
def test_many_keys_grow_the_table_and_keep_their_slots(pattern):
    n = 50_000
    values = {
        "sequence": np.arange(n), "stride": np.arange(n) * 4096, "high": np.arange(n) << 40,
        "negative": -np.arange(n) - 1, "random": np.unique(np.random.default_rng(0).integers(-(2**62), 2**62, n)),
    }[pattern]  # fmt: skip
    table = KeyTable([False])
    slots = np.concatenate(
        [table.slots([values[i : i + 7000]]) for i in range(0, len(values), 7000)]
    )
    np.testing.assert_array_equal(slots, np.arange(len(values)))
    np.testing.assert_array_equal(table.slots([values[::-1]]), np.arange(len(values))[::-1])
    if pattern in ("sequence", "negative"):
        assert table._ctx[k.HASHED] == 0
        return
    full = np.flatnonzero(table._table)
    distance = (full - (table._table[full] >> 32)) & (len(table._table) - 1)
    assert distance.mean() < 2


def test_a_million_keys_take_less_than_40_mb():
    table = KeyTable([False])
    table.slots([np.arange(1_000_000) * 13])
    table.order()
    assert table.count == 1_000_000
    assert table.nbytes < 40e6


def test_a_key_beyond_the_limit_gets_no_slot():
    table = KeyTable([False], limit=2)
    assert table.slots([np.array([5, 6, 7, 5, 8])]).tolist() == [0, 1, -1, 0, -1]
    assert (table.count, table.refused) == (2, 2)
    pair = KeyTable([False, False], limit=1)
    assert pair.slots([np.array([1, 1, 1]), np.array([2, 3, 2])]).tolist() == [0, -1, 0]


@pytest.mark.parametrize("columns", [1, 2])
def test_the_kernels_do_the_same_in_plain_python(monkeypatch, columns):
    rng = np.random.default_rng(2)
    values = [rng.integers(0, 40, 3000) * 2**33 for _ in range(columns)]
    fast = KeyTable([False] * columns, seed=3)
    expected = fast.slots(values)
    monkeypatch.setattr(keys, "ready", lambda run: run)
    slow = KeyTable([False] * columns, seed=3)
    assert slow.slots(values).tolist() == expected.tolist()
    np.testing.assert_array_equal(slow._table, fast._table)


def test_the_kernels_of_a_window_do_the_same_in_plain_python(monkeypatch):
    rng = np.random.default_rng(3)
    parts = [
        rng.integers(0, 900, 500),
        rng.integers(-5000, 5000, 2000),
        rng.integers(0, 40, 300) * 2**40,
    ]

    def run():
        table = KeyTable([False], seed=3)
        out = [table.slots([part]) for part in parts]
        table.forget(np.arange(table.count) % 3 == 0)
        out += [table.slots([part[::-1].copy()]) for part in parts]
        return table, np.concatenate(out).tolist()

    fast, expected = run()
    monkeypatch.setattr(keys, "ready", lambda run: run)
    slow, found = run()
    assert found == expected
    assert fast._ctx[k.SPAN] > 0
    for name in ("_table", "_places"):
        np.testing.assert_array_equal(getattr(slow, name), getattr(fast, name))


def test_the_kernel_for_large_tables_does_the_same_as_that_for_small_ones(monkeypatch):
    values = np.random.default_rng(2).integers(0, 3000, 30_000) * 2**33
    near = KeyTable([False]).slots([values])
    monkeypatch.setattr(k, "CACHED", 0)
    np.testing.assert_array_equal(KeyTable([False]).slots([values]), near)


@pytest.mark.parametrize("columns", [1, 2])
def test_a_snapshot_brings_the_same_slots_back(columns):
    rng = np.random.default_rng(columns)
    values = [rng.integers(0, 200, 5000) for _ in range(columns)]
    table = KeyTable([False] * columns)
    table.slots(values)
    again = KeyTable.restore(table.state(), [False] * columns, seed=9)
    assert again.state() == table.state()
    more = [np.append(v, -1) for v in values]
    np.testing.assert_array_equal(again.slots(more), table.slots(more))
    for a, b in zip(again.order(), table.order(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_damaged_snapshot_is_refused():
    table = KeyTable([False])
    table.slots([np.array([1, 2, 3])])
    state = table.state()
    for wrong in (
        {},
        {**state, "format": 0},
        {**state, "columns": [b"123"]},
        {**state, "refused": "x"},
    ):
        with pytest.raises(CheckpointError):
            KeyTable.restore(wrong, [False])
    with pytest.raises(CheckpointError):
        KeyTable.restore(state, [False, False])
    with pytest.raises(CheckpointError):
        KeyTable.restore(state, [True], StringPool(["a"]))
    twice = {**state, "columns": [np.array([1, 1, 3]).tobytes()]}
    with pytest.raises(CheckpointError, match="twice"):
        KeyTable.restore(twice, [False])


def test_columns_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="column"):
        KeyTable([])
    with pytest.raises(ValueError, match="unequal"):
        KeyTable([False, False]).slots([np.array([1])])
    with pytest.raises(ValueError, match="unequal"):
        KeyTable([False, False]).slots([np.array([1]), np.array([1, 2])])


def test_order_that_is_asked_for_seldom_is_that_of_all_keys():
    """Keys come, go, and get slots of others between two looks at their order; sorting some gives the same."""
    draw = np.random.default_rng(3)
    table = KeyTable([False, False])
    for step in range(400):
        keys = [draw.integers(-2, 3, 20), draw.integers(0, 3, 20)]
        table.slots(keys)
        if draw.random() < 0.3:
            table.forget(draw.random(table.count) < draw.choice([0.0, 0.3, 0.9]))
        if draw.random() < 0.3 or step == 399:
            order, rank = table.order()
            assert table.is_in_order
            assert sorted(order) == list(range(table.count))
            assert np.array_equal(rank[order], np.arange(table.count))
            taken = order[table.is_taken[order]]
            found = list(zip(*(table.values(c)[taken].tolist() for c in range(2)), strict=True))
            assert found == sorted(found)
            assert len(found) == len(table)
            some = draw.permutation(taken)[: draw.integers(0, len(taken) + 1)].astype(np.int32)
            expected = some[np.argsort(rank[some])]
            assert table.sort(some)
            assert np.array_equal(some, expected)


class Slow:
    """A table of one column by a dict, with its free slots."""

    def __init__(self):
        self.slot, self.free, self.count = {}, [], 0

    def slots(self, column):
        for key in column.tolist():
            if key not in self.slot:
                self.count += not self.free
                self.slot[key] = self.free.pop() if self.free else self.count - 1
        return [self.slot[key] for key in column.tolist()]

    def forget(self, gone):
        fresh = sorted(s for s in self.slot.values() if gone[s])
        self.slot = {key: s for key, s in self.slot.items() if not gone[s]}
        self.free += fresh[::-1]


LEAST = -(2**63)
SHAPES = {
    "ids": lambda draw, step, n: draw.integers(0, 50 * (step + 1), n),
    "ids and missing": lambda draw, step, n: np.where(draw.random(n) < 0.1, LEAST, draw.integers(1, 300, n)),
    "ever new": lambda draw, step, n: 10**12 + step * n + np.arange(n) - draw.integers(0, 5, n),
    "falling": lambda draw, step, n: -step * n - np.arange(n),
    "some far out": lambda draw, step, n: np.where(draw.random(n) < 0.05, draw.integers(LEAST, 2**63 - 1, n), draw.integers(0, 4000, n)),
    "both ends": lambda draw, step, n: draw.choice([LEAST, LEAST + 1, -1, 0, 2**63 - 1, 2**63 - 2], n) + 0,
    "wider and wider": lambda draw, step, n: draw.integers(0, 4 ** (step % 28) + 1, n),
    "one, then others": lambda draw, step, n: draw.integers(5000, 5001 if step == 0 else 9000, n),
}  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_keys_have_the_slots_of_a_dict_however_they_lie(shape, seed):
    """Windows of keys come, move and go; some keys are forgotten, and snapshots go on as the table does."""
    draw = np.random.default_rng(seed)
    table, slow = KeyTable([False]), Slow()
    for step in range(60):
        column = SHAPES[shape](draw, step, int(draw.integers(1, 400))).astype(np.int64)
        narrow = column.astype(np.int32)
        is_narrow = draw.random() < 0.5 and (narrow == column).all()
        assert table.slots([narrow if is_narrow else column]).tolist() == slow.slots(column)
        if draw.random() < 0.1:
            gone = draw.random(table.count) < draw.choice([0.1, 0.5, 1.0])
            table.forget(gone)
            slow.forget(gone)
        if draw.random() < 0.1:
            table = KeyTable.restore(table.state(), [False], seed=step)
        assert len(table) == len(slow.slot)


def test_keys_that_lie_close_together_are_not_hashed():
    draw = np.random.default_rng(4)
    for low in (0, 10**12, -(2**63) + 1, 2**63 - 10_000):
        table = KeyTable([False])
        for _ in range(20):
            table.slots([low + draw.integers(0, 10_000, 300)])
        assert table._ctx[k.HASHED] * 8 <= len(table)
        assert table._ctx[k.SPAN] <= 2**17
    table = KeyTable([False])
    for step in range(200):  # and those that grow for ever are looked at seldom
        table.slots([np.arange(step * 1000, step * 1000 + 1000)])
    assert table._ctx[k.HASHED] < 1000
    assert table.nbytes < 40 * 200_000


def test_a_key_that_is_one_too_many_has_no_place_in_the_window():
    table = KeyTable([False], limit=2)
    for _ in range(3):
        assert table.slots([np.array([5, 6, 7, 5])]).tolist() == [0, 1, -1, 0]
    assert table.refused == 3
    table.forget(np.array([True, False]))
    assert table.slots([np.array([7, 5, 6])]).tolist() == [0, -1, 1]
