"""Files that ask for more than any recording: told in one sentence, before memory is taken."""

import resource

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flowedge.lang.errors import SourceError
from flowedge.sources.catalog import get


def read(kind, path, **options):
    source = get(kind)(str(path), **options)
    source.schema()
    return sum(b.num_rows for b, _ in source.batches())


def peak_mb():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def test_an_archive_that_unpacks_to_a_thousand_times_its_size_is_not_unpacked(tmp_path):
    path = tmp_path / "bomb.npz"
    np.savez_compressed(path, v=np.zeros(20_000_000))
    before = peak_mb()
    with pytest.raises(SourceError, match=r"unpack to 160,000,128, and 1,000 to 1 is the limit"):
        read("npz", path)
    assert peak_mb() - before < 64
    assert read("npz", path, trusted=True) == 20_000_000


def test_a_parquet_column_that_unpacks_to_a_thousand_times_its_size_is_not_read(tmp_path):
    path = tmp_path / "bomb.parquet"
    text = pa.array(["x" * 1_000_000] * 100)
    pq.write_table(pa.table({"v": text}), path, compression="zstd", use_dictionary=False)
    with pytest.raises(SourceError, match=r"row group 0 is .* bytes that unpack to"):
        read("parquet", path)


def test_a_value_of_many_megabytes_is_refused_with_its_column(tmp_path):
    path = tmp_path / "long.parquet"
    noise = np.random.default_rng(1).integers(33, 126, 17 << 20, np.uint8).tobytes().decode()
    pq.write_table(pa.table({"v": [noise, "short"]}), path)
    with pytest.raises(SourceError, match=r"has a value of 17,825,792 bytes in `v`"):
        read("parquet", path)
    assert read("parquet", path, trusted=True) == 2


def test_too_many_columns_and_too_deep_types_are_refused(tmp_path):
    wide = pa.table({f"c{k}": [1] for k in range(17_000)})
    deep = pa.array([1])
    for _ in range(20):
        deep = pa.ListArray.from_arrays([0, 1], deep)
    for name, table in (("wide", wide), ("deep", pa.table({"v": deep}))):
        path = tmp_path / f"{name}.arrow"
        with pa.ipc.new_file(path, table.schema) as writer:
            writer.write_table(table)
        with pytest.raises(SourceError, match=r"17,000 columns|17 deep"):
            read("arrow", path)
