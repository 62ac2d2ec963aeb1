"""Where columns lie, and rows whose memory stands ready: against what Arrow itself says."""

import ctypes
import gc

import numpy as np
import pyarrow as pa
import pytest

from flowedge.session.ahead import ROWS, Ahead
from flowedge.session.places import Places

KINDS = {pa.float64(): 8, pa.float32(): 4, pa.int64(): 8, pa.timestamp("ns", "UTC"): 8}


@pytest.fixture
def rng():
    return np.random.default_rng(3)


def batch_of(n, rng, missing=()):
    columns = {}
    for number, kind in enumerate(KINDS):
        mask = np.zeros(n, bool)
        mask[[row for column, row in missing if column == number]] = True
        columns[str(number)] = pa.array(rng.integers(0, 99, n), mask=mask).cast(kind)
    return pa.record_batch(columns)


@pytest.mark.parametrize("first", [0, 1, 7, 8, 13])
@pytest.mark.parametrize("rows", [1, 5, 64])
def test_a_column_lies_where_its_buffer_says(rng, first, rows):
    part = batch_of(100, rng).slice(first, rows)
    found = Places([(3, 8), (1, 4), (0, 8)]).of(part)
    for number, at in zip((3, 1, 0), found, strict=True):
        column = part.column(number)
        width = column.type.bit_width // 8
        assert at == column.buffers()[1].address + column.offset * width


@pytest.mark.parametrize("rows", [1, 3, 8, 9, 40])
def test_missing_values_are_seen_in_the_part_that_is_asked_about(rng, rows):
    whole = batch_of(60, rng, missing=[(1, 10), (1, 50), (2, 30)])
    places = Places([(1, 4), (0, 8)])
    for first in range(60 - rows):
        is_whole = not {10, 50} & set(range(first, first + rows))
        assert (places.of(whole.slice(first, rows)) is not None) == is_whole


def test_what_was_exported_is_given_back(rng):
    places, before = Places([(0, 8)]), pa.total_allocated_bytes()
    for _ in range(2000):
        assert places.of(batch_of(1000, rng)) is not None
    gc.collect()
    assert pa.total_allocated_bytes() - before < 100_000


SCHEMA = pa.schema([
    pa.field("time", pa.timestamp("ns", "UTC"), nullable=False),
    ("label", pa.dictionary(pa.int32(), pa.string())),
    ("score", pa.float32()),
])  # fmt: skip


@pytest.mark.parametrize("most", [1, 3, 200])
def test_rows_given_out_stay_as_they_are(rng, most):
    ahead, given, wanted = Ahead(SCHEMA, {"label": ("a", "é", "c")}, most), [], []
    while len(wanted) < 5 * ROWS:
        n = int(rng.integers(1, most + 1))
        time, label, score = rng.integers(0, 2**60, n), rng.integers(0, 3, n, np.int32), rng.random(n).astype("f4")  # fmt: skip
        for at, values in zip(ahead.room(n), (time, label, score), strict=True):
            ctypes.memmove(at, values.ctypes.data, values.nbytes)
        given.append(ahead.take(n))
        wanted += zip(time.tolist(), label.tolist(), score.tolist(), strict=True)
    table = pa.Table.from_batches(given)
    table.validate(full=True)
    assert table.schema == SCHEMA
    names = ("a", "é", "c")
    assert table["time"].cast(pa.int64()).to_pylist() == [t for t, _, _ in wanted]
    assert table["label"].to_pylist() == [names[at] for _, at, _ in wanted]
    assert table["score"].to_pylist() == [s for _, _, s in wanted]


def test_room_that_was_not_taken_is_offered_again():
    ahead = Ahead(SCHEMA, {"label": ("a",)}, 4)
    assert ahead.room(4) == ahead.room(2)
