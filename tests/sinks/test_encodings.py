"""How Parquet stores columns: what takes the least room, the same in all readers, and the same each time."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flowedge.sinks.parquet import Parquet

ROWS = 20_000
DRAW = np.random.default_rng(5)
COLUMNS = {
    "time": (pa.array(np.round(np.arange(ROWS) * 1e9 / 360).astype(np.int64)).cast(pa.timestamp("ns", "UTC")), "DELTA_BINARY_PACKED"),
    "count": (pa.array(np.arange(ROWS) + DRAW.integers(0, 4, ROWS)), "DELTA_BINARY_PACKED"),
    "device": (pa.array(DRAW.choice([3, 2**40, 2**50], ROWS)), "RLE_DICTIONARY"),
    "short": (pa.array(DRAW.choice([1, 30000, -7, 15000], ROWS).astype(np.int16)), "RLE_DICTIONARY"),
    "noise": (pa.array(20 + DRAW.normal(size=ROWS)), "BYTE_STREAM_SPLIT"),
    "level": (pa.array(DRAW.choice(DRAW.normal(size=9), ROWS)), "RLE_DICTIONARY"),
    "flag": (pa.array(DRAW.random(ROWS) < 0.5), "PLAIN"),
    "label": (pa.array(DRAW.choice(["a", "b"], ROWS)).dictionary_encode(), "RLE_DICTIONARY"),
    "vector": (pa.FixedSizeListArray.from_arrays(pa.array(DRAW.choice([1.0, 2.0], 3 * ROWS)), 3), "RLE_DICTIONARY"),
}  # fmt: skip


def written(path, table, **options):
    sink = Parquet(str(path), **options)
    sink.open(table.schema)
    for batch in table.to_batches(max_chunksize=7_000):
        sink.write(batch)
    sink.close()
    return pq.ParquetFile(path)


def encodings(file):
    group = file.metadata.row_group(0)
    return {
        group.column(k).path_in_schema.split(".")[0]: group.column(k).encodings
        for k in range(group.num_columns)
    }


@pytest.mark.parametrize("compression", ["zstd", "none", "gzip"])
def test_each_column_is_stored_as_it_takes_the_least_room(tmp_path, compression):
    table = pa.table({name: values for name, (values, _) in COLUMNS.items()})
    file = written(tmp_path / "out.parquet", table, compression=compression)
    found = encodings(file)
    for name, (_, way) in COLUMNS.items():
        in_planes = (
            way == "BYTE_STREAM_SPLIT" and compression != "none"
        )  # which gains nothing by itself
        assert ("PLAIN" if way == "BYTE_STREAM_SPLIT" and not in_planes else way) in found[name], (
            name
        )
    assert file.read().equals(table)
    bytes_of_time = file.metadata.row_group(0).column(0).total_compressed_size
    assert bytes_of_time < ROWS / 2


def test_other_readers_understand_it(tmp_path):
    duckdb = pytest.importorskip("duckdb")
    table = pa.table(
        {name: values for name, (values, _) in COLUMNS.items() if name not in ("time", "vector")}
    )
    written(tmp_path / "out.parquet", table)
    sums = duckdb.connect().execute(f"select sum(count), sum(device), sum(short), count(*) filter (flag), sum(noise), sum(level) from '{tmp_path}/out.parquet'")  # fmt: skip
    found = sums.fetchone()
    expected = [
        sum(table[n].to_pylist()) for n in ("count", "device", "short", "flag", "noise", "level")
    ]
    assert found == pytest.approx(expected)


def test_the_same_rows_give_the_same_bytes(tmp_path):
    table = pa.table({name: values for name, (values, _) in COLUMNS.items()})
    for name in ("a", "b"):
        written(tmp_path / f"{name}.parquet", table)
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()


def test_a_file_of_few_rows_or_none(tmp_path):
    table = pa.table({name: values for name, (values, _) in COLUMNS.items()})
    few = written(tmp_path / "few.parquet", table.slice(0, 10))
    assert few.read().equals(table.slice(0, 10))
    assert "DELTA_BINARY_PACKED" in encodings(few)["time"]
    assert written(tmp_path / "none.parquet", table.slice(0, 0)).read().equals(table.slice(0, 0))


def test_values_that_are_none(tmp_path):
    """Nulls, NaN, infinities and the ends of int64 come back as they are."""
    rows = 5_000
    whole = pa.array([None, 2**63 - 1, -(2**63), 0] * (rows // 4), pa.int64())
    floats = pa.array([None, float("nan"), float("-inf"), -0.0] * (rows // 4))
    table = pa.table({"whole": whole, "floats": floats, "nothing": pa.nulls(rows, pa.float64())})
    back = written(tmp_path / "out.parquet", table).read()
    assert back["whole"].equals(table["whole"])
    assert repr(back["floats"].to_pylist()) == repr(table["floats"].to_pylist())
    assert back["nothing"].null_count == rows
