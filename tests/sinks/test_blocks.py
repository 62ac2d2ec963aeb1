"""Blocks of exactly so many rows, and the memory of those that wait for one."""

import numpy as np
import pyarrow as pa
import pytest

from flowedge.sinks import catalog
from flowedge.sinks.blocks import Blocks

SCHEMA = pa.schema({"n": pa.int64(), "text": pa.string(), "label": pa.dictionary(pa.int16(), pa.string())})  # fmt: skip
LABELS = ["calm", "loud", "odd"]


def rows(first, count):
    """Rows numbered from `first` on."""
    numbers = range(first, first + count)
    return pa.record_batch(
        [
            pa.array(numbers),
            pa.array([f"row {n}" for n in numbers]),
            pa.DictionaryArray.from_arrays(pa.array([n % 3 for n in numbers], pa.int16()), LABELS),
        ],
        schema=SCHEMA,
    )


def test_blocks_do_not_depend_on_the_parts():
    count, found = 10_000, []
    for size in (1, 7, 512, count):
        blocks = Blocks(SCHEMA, 4096)
        parts = (rows(at, min(size, count - at)) for at in range(0, count, size))
        whole = [block for part in parts for block in blocks.push(part)]
        assert [block.num_rows for block in whole] == [4096, 4096]
        found.append(pa.Table.from_batches([*whole, blocks.rest()]))
    assert found[0].column("n").to_pylist() == list(range(count))
    assert all(table.equals(found[0]) for table in found)


def test_waiting_goes_on_from_its_state():
    first, second = Blocks(SCHEMA, 4096), Blocks(SCHEMA, 4096)
    for at in range(1000):
        assert not list(first.push(rows(at, 1)))
    second.load(first.state())
    for blocks in (first, second):
        for at in range(1000, 1100):
            assert not list(blocks.push(rows(at, 1)))
    assert second.rest().equals(first.rest())


def test_a_few_rows_do_not_keep_the_batch_that_they_are_of():
    blocks = Blocks(SCHEMA, 65_536)
    before = pa.total_allocated_bytes()
    for at in range(2000):
        assert not list(blocks.push(rows(at, 1000).slice(17, 1)))
    kept = pa.total_allocated_bytes() - before
    assert blocks.pending_rows == 2000
    assert kept < 100 * rows(0, 1000).nbytes, kept


KINDS = {
    "on": lambda rng, n: pa.array(rng.random(n) < 0.5),
    "small": lambda rng, n: pa.array(rng.integers(0, 99, n).astype(np.int8)),
    "time": lambda rng, n: pa.array(rng.integers(0, 99, n)).cast(pa.timestamp("ns", "UTC")),
    "v": lambda rng, n: pa.array(rng.normal(size=n), mask=rng.random(n) < 0.1),
    "seldom": lambda rng, n: pa.array(np.arange(n), mask=np.arange(n) == n - 1),
    "text": lambda rng, n: pa.array([str(k) for k in rng.integers(0, 99, n)]),
    "label": lambda rng, n: pa.array(rng.choice(["a", "b"], n)).dictionary_encode(),
}


@pytest.mark.parametrize("compression", ["none", "zstd"])
@pytest.mark.parametrize("rows_in_block", [512, 521, 1024])
def test_blocks_that_are_taken_as_they_are_give_the_same_bytes(
    rows_in_block, compression, tmp_path
):
    """Whole blocks at the beginning of a batch, at an odd place within it, and blocks of many parts."""
    rng = np.random.default_rng(3)
    count = 4 * rows_in_block + 17
    wide = pa.record_batch({name: make(rng, count + 11) for name, make in KINDS.items()})
    found = set()
    for cut, before in [(count, 0), (count, 11), (count, 8), (rows_in_block, 5), (100, 11), (1, 3)]:
        batch = wide.take(pa.array(np.r_[rng.integers(0, count, before), np.arange(count)]))
        sink = catalog.get("arrow")(str(tmp_path / "x.arrow"), compression=compression)
        sink.block_rows = rows_in_block
        sink.open(batch.schema)
        for at in range(before, before + count, cut):
            sink.write(batch.slice(at, min(cut, before + count - at)))
        sink.close()
        found.add((tmp_path / "x.arrow").read_bytes())
    assert len(found) == 1


def test_a_whole_block_of_numbers_is_not_copied():
    batch = pa.record_batch({"v": np.arange(2048.0), "text": [str(k) for k in range(2048)]})
    (block,) = Blocks(batch.schema, 2048).push(batch)
    is_same = [
        a.buffers()[-1].address == b.buffers()[-1].address
        for a, b in zip(block.columns, batch.columns, strict=True)
    ]
    assert is_same == [True, False]
