"""Blocks of exactly so many rows, and the memory of those that wait for one."""

import pyarrow as pa

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
