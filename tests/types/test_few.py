"""Record batches of a few rows as messages of Arrow IPC."""

import ctypes
import struct

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowedge.types import few
from flowedge.types.few import ROWS, TEXT_BYTES, few_of

NUMBERS = [pa.float64(), pa.float32(), pa.int64(), pa.int32(), pa.int16(), pa.int8(), pa.uint64(), pa.uint8(), pa.timestamp("ns", "UTC"), pa.timestamp("us")]  # fmt: skip
KINDS = st.sampled_from([*NUMBERS, pa.string(), pa.bool_()])


def written(rows, column, kind, values):
    """Put values where a kernel would."""
    room = rows.rooms[column]
    if pa.types.is_string(kind):
        data = [v.encode() for v in values]
        ends = np.cumsum([0, *map(len, data)]).astype(np.int32)
        ctypes.memmove(room.offsets, ends.tobytes(), 4 * len(ends))
        ctypes.memmove(room.values, b"".join(data), int(ends[-1]))
    else:
        array = pa.array(values, kind)
        data = bytes(array.buffers()[1])
        ctypes.memmove(room.values, data, (kind.bit_width * len(values) + 7) // 8)


@given(kinds=st.lists(KINDS, min_size=1, max_size=6), data=st.data())
def test_what_is_written_is_what_the_batch_has(kinds, data):
    schema = pa.schema([pa.field(f"c{k}", kind, metadata={"unit": "m"}) for k, kind in enumerate(kinds)])  # fmt: skip
    memory = few_of(schema)
    kept = []
    for _ in range(2):
        n = data.draw(st.integers(0, ROWS))
        columns, there = [], {}
        for column, kind in enumerate(kinds):
            one = st.text(max_size=6) if pa.types.is_string(kind) else st.booleans() if pa.types.is_boolean(kind) else st.integers(0, 100)  # fmt: skip
            cells = data.draw(st.lists(st.none() | one, min_size=n, max_size=n))
            filler = "" if pa.types.is_string(kind) else False if pa.types.is_boolean(kind) else 0
            written(memory, column, kind, [filler if v is None else v for v in cells])
            if None in cells:
                bits = np.packbits([v is not None for v in cells], bitorder="little")
                there[column] = bits.tobytes()
            columns.append(pa.array(cells, kind))
        batch = memory.batch(n, there)
        batch.validate(full=True)
        kept.append((batch, pa.RecordBatch.from_arrays(columns, schema=schema)))
    for batch, expected in kept:  # and what was made later changed nothing
        assert batch.equals(expected, check_metadata=True)
        assert [c.null_count for c in batch.columns] == [c.null_count for c in expected.columns]


def test_a_batch_takes_the_bytes_of_its_rows():
    memory = few_of(pa.schema([("v", pa.float64()), ("s", pa.string()), ("b", pa.bool_())]))
    written(memory, 1, pa.string(), ["ab", "c"])
    assert [b.size for c in memory.batch(2).columns for b in c.buffers() if b is not None] == [16, 12, 3, 1]  # fmt: skip


@pytest.mark.parametrize("n", [0, 1, ROWS])
def test_as_many_rows_and_bytes_as_there_is_room_for(n):
    memory = few_of(pa.schema([("s", pa.string()), ("v", pa.int16())]))
    texts = ["x" * (TEXT_BYTES // ROWS)] * n
    written(memory, 0, pa.string(), texts)
    written(memory, 1, pa.int16(), [7] * n)
    batch = memory.batch(n)
    batch.validate(full=True)
    assert batch.to_pydict() == {"s": texts, "v": [7] * n}


@pytest.mark.parametrize("kind", [pa.binary(), pa.list_(pa.float64(), 2), pa.large_string(), pa.dictionary(pa.int32(), pa.string()), pa.null()])  # fmt: skip
def test_other_columns_are_left_to_others(kind):
    assert few_of(pa.schema([("v", pa.float64()), ("other", kind)])) is None
    assert few_of(pa.schema([])) is None


def test_many_texts_would_take_too_much_memory():
    assert few_of(pa.schema([(f"s{k}", pa.string()) for k in range(20)])) is None


def test_messages_that_are_made_otherwise_are_left_alone(monkeypatch):
    monkeypatch.setattr(few, "_NUMBER", struct.Struct(">q"))
    assert few_of(pa.schema([("v", pa.float64())])) is None
