"""The pool of texts: what goes in comes out, numbered by first appearance."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowedge.compile.kernels import intern as k
from flowedge.lang.errors import CheckpointError
from flowedge.session import strings
from flowedge.session.strings import StringPool

TEXTS = st.lists(st.none() | st.text(max_size=30), max_size=60)


def numbered(texts):
    """The slow way: a dict."""
    seen = {}
    return [-1 if t is None else seen.setdefault(t, len(seen)) for t in texts], list(seen)


@given(texts=TEXTS, cut=st.integers(0, 60), seed=st.integers(-(2**63), 2**63 - 1))
def test_texts_are_numbered_by_first_appearance(texts, cut, seed):
    pool = StringPool(seed=seed)
    array = pa.array(texts, pa.string())
    ids = np.concatenate([pool.intern(array[:cut]), pool.intern(array[cut:])])
    expected, seen = numbered(texts)
    assert ids.tolist() == expected
    assert [pool.text(i) for i in range(pool.count)] == seen
    assert pool.arrow(ids).equals(array)


@pytest.mark.parametrize(
    "kind",
    ["string", "large_string", "binary", "large_binary", "string_view", "binary_view", "dictionary", "wide dictionary"],
)  # fmt: skip
def test_every_arrow_form_of_text_is_taken(kind):
    texts = ["b", None, "a", "b", "", "a much longer name that is over 16 bytes", None, "a"]
    array = pa.array(texts, pa.string())
    if kind == "dictionary":
        array = array.dictionary_encode().cast(pa.dictionary(pa.int8(), pa.string()))
    elif kind == "wide dictionary":
        array = array.dictionary_encode().cast(pa.dictionary(pa.int64(), pa.large_string()))
    else:
        array = array.cast(getattr(pa, kind)())
    pool = StringPool(["x"])
    assert pool.intern(array).tolist() == [1, -1, 2, 1, 3, 4, -1, 2]
    assert pool.intern(array[2:5]).tolist() == [2, 1, 3]
    assert pool.intern(pa.chunked_array([array[:2], array[5:]])).tolist() == [1, -1, 4, -1, 2]


def test_fixed_size_bytes_and_nulls_are_taken():
    pool = StringPool()
    assert pool.intern(pa.array([b"ab", b"cd", b"ab"], pa.binary(2))).tolist() == [0, 1, 0]
    assert pool.intern(pa.nulls(3)).tolist() == [-1, -1, -1]
    assert pool.intern(pa.array([], pa.string())).tolist() == []
    assert pool.intern(pa.chunked_array([], pa.string())).tolist() == []


@pytest.mark.parametrize(
    "kind", [pa.string(), pa.large_string(), pa.binary(), pa.dictionary(pa.int32(), pa.string())]
)
@pytest.mark.parametrize("rows", [0, 3, 500])
def test_texts_come_back_in_the_type_asked_for(kind, rows):
    texts = [None if n % 7 == 3 else f"text {n % 20}" for n in range(rows)]
    pool = StringPool()
    ids = pool.intern(pa.array(texts, pa.string()))
    out = pool.arrow(ids, kind)
    assert out.type == kind
    assert out.cast(pa.string()).to_pylist() == texts
    out.validate(full=True)


def test_table_and_heap_grow_in_the_middle_of_a_call():
    texts = [f"name {n} {'x' * (n % 50)}" for n in range(20_000)]
    pool = StringPool()
    assert pool.intern(pa.array(texts)).tolist() == list(range(20_000))
    assert pool.intern(pa.array(texts[::-1])).tolist() == list(range(20_000))[::-1]
    one = StringPool()
    assert one.intern(pa.array(["y" * 1_000_000, "z"])).tolist() == [0, 1]
    assert one.text(0) == "y" * 1_000_000


def test_the_kernel_does_the_same_in_plain_python(monkeypatch):
    texts = [f"{n * n % 701}" * (n % 5) for n in range(1500)]
    fast = StringPool(seed=5)
    expected = fast.intern(pa.array(texts))
    monkeypatch.setattr(strings, "ready", lambda run: run)
    slow = StringPool(seed=5)
    assert slow.intern(pa.array(texts)).tolist() == expected.tolist()
    np.testing.assert_array_equal(slow._table, fast._table)


@given(texts=TEXTS, gone=st.sets(st.integers(0, 59)))
def test_a_snapshot_brings_the_same_numbers_back(texts, gone):
    pool = StringPool()
    pool.intern(pa.array(texts, pa.string()))
    pool.forget(np.array([i not in gone for i in range(pool.count)], np.bool_))
    again = StringPool.restore(pool.state(), seed=77)
    assert again.state() == pool.state()
    more = pa.array([*texts, "something new", *(f"new {i}" for i in range(5))])
    assert again.intern(more).tolist() == pool.intern(more).tolist()
    assert again.state() == pool.state()


@given(rounds=st.lists(st.tuples(TEXTS, st.sets(st.integers(0, 99))), max_size=6))
def test_what_is_held_keeps_its_number_and_the_rest_is_forgotten(rounds):
    pool, known = StringPool(["label"]), {"label": 0}
    pinned = pool.pin(pa.array(["pinned"]))
    known["pinned"] = int(pinned[0])
    for texts, gone in rounds:
        ids = pool.intern(pa.array(texts, pa.string()))
        for text, number in zip(texts, ids.tolist(), strict=True):
            if text is None:
                assert number == -1
                continue
            assert known.setdefault(text, number) == number
        assert len(set(known.values())) == len(known) == len(pool)
        numbers = np.array([-1, *known.values()])
        assert pool.arrow(numbers).to_pylist() == [None, *known]
        assert [pool.text(i) for i in known.values()] == list(known)
        held = np.array([i not in gone for i in range(pool.count)], np.bool_)
        pool.forget(held)
        known = {t: i for t, i in known.items() if held[i] or t in ("label", "pinned")}
        assert len(pool) == len(known)


def test_a_pool_of_ever_new_texts_stays_small():
    pool = StringPool(["ok"])
    pool.slack = 100, 2**20
    largest = 0
    for n in range(300):
        ids = pool.intern(pa.array([f"message {n} {q}" for q in range(50)]))
        assert pool.text(int(ids[-1])) == f"message {n} 49"
        if pool.is_swollen:
            held = np.zeros(pool.count, np.bool_)
            held[ids] = True
            pool.forget(held)
        largest = max(largest, pool.count)
    assert largest < 400
    assert pool.text(0) == "ok"


def test_a_damaged_state_is_refused():
    state = StringPool(["a", "bc", "def"]).state()
    wrong = [
        {k: v for k, v in state.items() if k != gone} for gone in state
    ] + [
        {**state, "heap": b"abcde"}, {**state, "heap": 5}, {**state, "ends": b""}, {**state, "ends": b"123"},
        {**state, "ends": np.array([0, 3, 1, 6]).tobytes()}, {**state, "format": 0}, {**state, "kept": [1]},
        {**state, "free": np.array([9]).tobytes()}, {**state, "free": np.array([3, 3]).tobytes()},
    ]  # fmt: skip
    for value in wrong:
        with pytest.raises(CheckpointError):
            StringPool.restore(value)
    twice = StringPool(["a", "b"]).state() | {"heap": b"aa"}
    with pytest.raises(CheckpointError, match="twice"):
        StringPool.restore(twice)


def test_unknown_ids_and_double_literals_are_refused():
    pool = StringPool(["a"])
    for number in (-1, 1):
        with pytest.raises(IndexError):
            pool.raw(number)
    with pytest.raises(ValueError, match="twice"):
        StringPool(["a", "a"])


def test_memory_stays_near_the_bytes_of_the_texts():
    pool = StringPool()
    pool.intern(pa.array([f"device-{n:08d}" for n in range(100_000)]))
    assert pool.nbytes < 100_000 * (15 * 2.2 + 16 * 2.1 + 8 * 4.2)
    assert pool.count <= len(pool._spans)
    assert len(pool._hashes) == k.BLOCK
