"""Texts that come as Arrow dictionaries: the ids of plain texts, and each entry looked up once."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowedge.session import dictionaries
from flowedge.session.strings import StringPool

INDICES = [pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64()]  # fmt: skip
KINDS = [pa.string(), pa.large_string(), pa.string_view(), pa.binary(), pa.binary_view()]


class Counting(StringPool):
    """A pool that counts the texts that are looked up one by one."""

    looked_up = 0

    def intern(self, values):
        if not pa.types.is_dictionary(values.type):
            self.looked_up += len(values)
        return super().intern(values)


def dictionary(places, entries, index=None, kind=None):
    """A dictionary array; None for a missing place or entry."""
    texts = pa.array(entries, pa.string()).cast(kind or pa.string())
    return pa.DictionaryArray.from_arrays(pa.array(places, index or pa.int32()), texts)


@given(
    entries=st.lists(st.none() | st.text(max_size=4), min_size=1, max_size=12),
    places=st.lists(st.none() | st.integers(0, 11), max_size=40),
    index=st.sampled_from(INDICES), kind=st.sampled_from(KINDS), cut=st.integers(0, 40),
)  # fmt: skip
def test_rows_have_the_ids_of_their_texts(entries, places, index, kind, cut):
    array = dictionary([p if p is None else p % len(entries) for p in places], entries, index, kind)
    pool, plain = StringPool(["x"]), StringPool(["x"])
    for part in (array[:cut], array[cut:], array, array[1:]):
        ids = pool.intern(part)
        expected = plain.intern(pa.array(part.to_pylist(), part.type.value_type))
        assert ids.tolist() == expected.tolist()
        assert pool.count == plain.count


def test_fixed_bytes_nulls_and_nothing_are_taken():
    pool = StringPool()
    fixed = pa.DictionaryArray.from_arrays(
        pa.array([1, 0, 1]), pa.array([b"ab", b"cd"], pa.binary(2))
    )
    assert pool.intern(fixed).tolist() == [0, 1, 0]
    nulls = pa.DictionaryArray.from_arrays(pa.array([0, None]), pa.nulls(1))
    assert pool.intern(nulls).tolist() == [-1, -1]
    assert pool.intern(dictionary([None, None], [])).tolist() == [-1, -1]
    assert pool.intern(fixed[:0]).tolist() == []


def test_a_dictionary_that_comes_again_is_not_looked_up_again(monkeypatch):
    monkeypatch.setattr(dictionaries, "_FEW", 1)
    pool = Counting()
    first = dictionary([0, 1, 2, 1, None], ["a", "b", "c", "never"])
    for _ in range(3):
        assert pool.intern(first).tolist() == [0, 1, 2, 1, -1]
        assert pool.intern(first[1:3]).tolist() == [1, 2]
    assert pool.looked_up == 3
    copy = dictionary([2, 3, 3, 0], ["a", "b", "c", "never"])
    assert pool.intern(copy).tolist() == [2, 3, 3, 0]
    assert pool.looked_up == 4
    delta = dictionary([4, 2, 3, 0, 1], ["a", "b", "c", "never", "more"])
    assert pool.intern(delta).tolist() == [4, 2, 3, 0, 1]
    assert pool.looked_up == 5
    other = dictionary([0, 1, 2], ["c", "b", "new"])
    assert pool.intern(other).tolist() == [2, 1, 5]
    assert pool.looked_up == 8
    assert pool.intern(first).tolist() == [0, 1, 2, 1, -1]
    assert pool.looked_up == 8


def test_entries_that_do_not_occur_are_not_looked_up():
    pool = Counting()
    texts = [f"name {q}" for q in range(100_000)]
    large = dictionary([7, 99_999, 7, None], texts)
    assert pool.intern(large).tolist() == [0, 1, 0, -1]
    assert pool.intern(dictionary([99_999, 3], texts)).tolist() == [1, 2]
    assert (pool.looked_up, pool.count) == (4, 3)


@pytest.mark.parametrize("is_large", [False, True])
def test_dictionaries_of_files_and_streams_are_taken_as_they_change(monkeypatch, is_large):
    monkeypatch.setattr(dictionaries, "_FEW", 1)
    draw = np.random.default_rng(5)
    names = [f"n{q}" for q in range(3000 if is_large else 20)]
    batches = []
    for step in range(12):
        some = names[: 5 + step * len(names) // 12] if step % 5 else names[::-1]
        batches.append(pa.record_batch({"k": dictionary(draw.integers(0, len(some), 50), some)}))
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(emit_dictionary_deltas=True)
    with pa.ipc.new_stream(sink, batches[0].schema, options=options) as writer:
        for batch in batches:
            writer.write_batch(batch)
    pool, plain = StringPool(), StringPool()
    for batch in pa.ipc.open_stream(sink.getvalue()):
        found = batch.column(0)
        assert pool.intern(found).tolist() == plain.intern(found.cast(pa.string())).tolist()


def test_ids_that_were_given_to_other_texts_are_looked_up_again():
    pool = StringPool()
    array = dictionary([0, 1, 2], ["a", "b", "c"])
    assert pool.intern(array).tolist() == [0, 1, 2]
    pool.forget(np.array([False, True, False]))
    assert pool.intern(pa.array(["z"])).tolist() == [0]
    again = pool.intern(array).tolist()
    assert [pool.text(q) for q in again] == ["a", "b", "c"]
    assert again[1] == 1


def damaged_offsets(size):
    """A dictionary whose entry 1 ends beyond its bytes, and with so many entries more."""
    offsets = np.array([0, 1, 1_000_000, *[3] * size], np.int32)
    return pa.Array.from_buffers(pa.string(), 2 + size, [None, pa.py_buffer(offsets), pa.py_buffer(b"abc")])  # fmt: skip


def bad_texts(size):
    """A dictionary whose entry 1 is no UTF-8, and with so many entries more."""
    return pa.array([b"a", b"\xff", *[b"x"] * size]).view(pa.string())


@pytest.mark.parametrize("size", [1, 100])
@pytest.mark.parametrize("made", [damaged_offsets, bad_texts])
def test_a_damaged_entry_is_refused_and_leaves_nothing_half_known(made, size):
    entries = made(size)
    pool = StringPool()
    for _ in range(2):
        with pytest.raises(pa.ArrowInvalid):
            pool.intern(pa.DictionaryArray.from_arrays(pa.array([0, 2, 1]), entries, safe=False))
    fine = pa.DictionaryArray.from_arrays(pa.array([0, 2, 0]), pa.array(["a", "b", "c"]))
    assert [pool.text(q) for q in pool.intern(fine)] == ["a", "c", "a"]


@pytest.mark.parametrize(("places", "index"), [([0, 3], "int32"), ([-1], "int8"), ([200], "uint8"), ([-1], "int64")])  # fmt: skip
def test_an_index_without_an_entry_is_refused(places, index):
    entries = pa.array(["a", "b", "c"] if index != "int8" else [str(q) for q in range(300)])
    indices = pa.array(places, getattr(pa, index)())
    array = pa.DictionaryArray.from_arrays(indices, entries, safe=False)
    pool = StringPool()
    for _ in range(2):
        with pytest.raises(pa.ArrowInvalid, match="index"):
            pool.intern(array)
    assert pool.intern(dictionary([0, None], ["a", "b", "c"])).tolist() == [0, -1]


def test_only_so_many_dictionaries_are_kept(monkeypatch):
    pool = StringPool()
    for q in range(100):
        pool.intern(dictionary([0], [f"{q}"]))
    assert len(pool._dictionaries._seen) == 16
    before = StringPool().nbytes
    monkeypatch.setattr(dictionaries, "_MOST_BYTES", 100_000)
    pool = StringPool()
    for q in range(10):
        pool.intern(dictionary(np.arange(1000), [f"{q} {k}" for k in range(1000)]))
        assert len(pool._dictionaries._seen) <= 7
    assert 0 < pool._dictionaries.nbytes < 100_000
    assert pool.nbytes > before


def test_the_kernel_does_the_same_in_plain_python(monkeypatch):
    arrays = [
        dictionary([0, 2, None, 1, 2], ["a", None, "c"]),
        dictionary([1, 0, 1, 2], ["p", "q", "c"]),
        dictionary([1, 0, 3], ["p", "q", "c", "d"], pa.uint8()),
    ]
    fast, slow = StringPool(), StringPool()
    expected = [fast.intern(a).tolist() for a in (*arrays, *arrays)]
    monkeypatch.setattr(dictionaries, "ready", lambda run: run)
    assert [slow.intern(a).tolist() for a in (*arrays, *arrays)] == expected
