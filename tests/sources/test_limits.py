"""Files that ask for more than any recording: told in one sentence, before memory is taken."""

import random
import resource
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flowedge.lang.errors import SourceError
from flowedge.sources.arrow_messages import Messages
from flowedge.sources.catalog import get
from flowedge.sources.limits import check_ratio


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


# ---- Arrow IPC


BOMB = """
import sys
from flowedge.lang.errors import SourceError
from flowedge.sources.catalog import get
def peak():
    return int(next(l for l in open("/proc/self/status") if l.startswith("VmHWM")).split()[1]) // 1024
def drain(path):
    source = get("arrow")(path)
    source.schema()
    return sum(b.num_rows for b, _ in source.batches(["v"]))
drain(sys.argv[1])
before = peak()
try:
    drain(sys.argv[2])
except SourceError as error:
    print(peak() - before, error)
"""


def write_ipc(path, batches, is_file, **options):
    opener = pa.ipc.new_file if is_file else pa.ipc.new_stream
    with opener(path, batches[0].schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        for batch in batches:
            writer.write_batch(batch)


@pytest.mark.parametrize("codec", ["zstd", "lz4"])
@pytest.mark.parametrize("where", ["batch", "later batch", "dictionary"])
@pytest.mark.parametrize("is_file", [True, False], ids=["file", "stream"])
def test_an_arrow_bomb_is_refused_before_it_is_unpacked(tmp_path, is_file, where, codec):
    zeros = pa.py_buffer(bytes(1 << 30 if codec == "zstd" else 66_543_216))
    one, claimed = pa.record_batch({"v": [1.0]}), 1 << 30
    if where == "dictionary":
        text = pa.Array.from_buffers(
            pa.large_string(), 1, [None, pa.array([0, zeros.size]).buffers()[1], zeros]
        )
        one = pa.record_batch(
            {"v": pa.DictionaryArray.from_arrays(pa.array([0], pa.int32()), text)}
        )
        batches = [one]
    else:
        big = pa.record_batch(
            {"v": pa.Array.from_buffers(pa.float64(), zeros.size // 8, [None, zeros])}
        )
        batches = [big] if where == "batch" else [one, big]
    bomb, small = tmp_path / "bomb", tmp_path / "small"
    write_ipc(bomb, batches, is_file, compression=codec)
    if codec == "lz4":  # 255 to 1 at most: so it lies about how much it unpacks to
        data = bomb.read_bytes()
        assert struct.pack("<q", zeros.size) in data
        bomb.write_bytes(data.replace(struct.pack("<q", zeros.size), struct.pack("<q", claimed)))
    write_ipc(small, [pa.record_batch({"v": [1.0]})], is_file, compression=codec)
    done = subprocess.run(
        [sys.executable, "-c", BOMB, str(small), str(bomb)],
        capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    grown, said = done.stdout.split(" ", 1)
    assert "1,000 to 1 is the limit" in said
    assert f"a {where.removeprefix('later ')} is" in said
    assert said.count("\n") == 1
    assert int(grown) < 64


@pytest.mark.parametrize("is_file", [True, False], ids=["file", "stream"])
def test_an_arrow_batch_of_more_rows_than_memory_takes_is_refused(tmp_path, is_file):
    many = pa.record_batch({"v": pa.Array.from_buffers(pa.null(), 1 << 30, [None])})
    write_ipc(tmp_path / "rows", [many], is_file)
    with pytest.raises(
        SourceError, match=r"a batch has 1,073,741,824 rows, and 268,435,456 is the limit"
    ):
        read("arrow", tmp_path / "rows")


@pytest.mark.parametrize("is_file", [True, False], ids=["file", "stream"])
def test_an_arrow_schema_of_many_megabytes_is_refused_before_it_is_built(tmp_path, is_file):
    one = pa.record_batch({"v": [1.0]}).replace_schema_metadata({"note": "x" * (17 << 20)})
    write_ipc(tmp_path / "note", [one], is_file)
    with pytest.raises(SourceError, match=r"has metadata of 17,8\d\d,\d\d\d bytes"):
        read("arrow", tmp_path / "note")
    assert read("arrow", tmp_path / "note", trusted=True) == 1


@pytest.mark.parametrize("is_file", [True, False], ids=["file", "stream"])
@pytest.mark.parametrize("codec", [None, "zstd", "lz4"])
def test_an_honest_recording_is_within_the_limits(tmp_path, is_file, codec):
    noise = np.random.default_rng(1).normal(size=100_000)
    batch = pa.record_batch({
        "v": noise, "still": np.zeros(100_000), "k": pa.array(["a", None] * 50_000).dictionary_encode(),
        "l": pa.array([[1.0], [], None, [2.0, 3.0]] * 25_000),
    })  # fmt: skip
    write_ipc(
        tmp_path / "a", [batch, batch.slice(0, 10), batch.slice(0, 0)], is_file, compression=codec
    )
    assert read("arrow", tmp_path / "a") == 100_010


@pytest.mark.parametrize("is_file", [True, False], ids=["file", "stream"])
def test_damaged_metadata_is_damage_and_nothing_else(tmp_path, is_file):
    batch = pa.record_batch({
        "v": np.arange(300.0), "k": pa.array(["a", "b", None] * 100).dictionary_encode(),
    })  # fmt: skip
    write_ipc(tmp_path / "a", [batch, batch], is_file, compression="zstd")
    whole, draw, told = (tmp_path / "a").read_bytes(), random.Random(1), 0
    for _ in range(4000):
        data = bytearray(whole)
        for _ in range(draw.randrange(1, 6)):
            data[draw.randrange(len(data))] = draw.choice([0, 1, 0x7F, 0x80, 0xFF])
        try:
            list(Messages("a", bytes(data), trusted=False).pieces(is_file=is_file))
        except (SourceError, ValueError):
            told += 1
    assert told > 400


def test_a_piece_that_unpacks_to_more_than_memory_takes_is_refused():
    with pytest.raises(
        SourceError, match=r"row group 1 unpacks to 4,294,967,297 bytes, and 4,294,967,296 is"
    ):
        check_ratio("a", "row group 1", 1 << 30, (4 << 30) + 1)
    check_ratio("a", "row group 1", 1 << 30, 4 << 30)


# ---- text


@pytest.mark.parametrize("on_error", ["stop", "skip"])
@pytest.mark.parametrize("before", [0, 5, 200_000])
def test_a_row_of_csv_that_is_too_long_is_told_with_its_place(tmp_path, before, on_error):
    path = tmp_path / "long.csv"
    rows = [*(f"{k},x" for k in range(before)), "7," + "y" * 3_000_000, "8,x"]
    path.write_text("\n".join(["a,b", *rows]) + "\n")
    with pytest.raises(
        SourceError, match=rf"1,048,576 bytes in row {before + 1}, .* `trusted=true`"
    ):
        read("csv", path, on_error=on_error)
    assert read("csv", path, on_error=on_error, trusted=True) == before + 2


def test_a_header_that_is_too_long_is_told(tmp_path):
    path = tmp_path / "long.csv"
    path.write_text("a" * 2_000_000 + ",b\n1,2\n")
    with pytest.raises(SourceError, match="1,048,576 bytes in row 1,"):
        read("csv", path)
    assert read("csv", path, trusted=True) == 1


@pytest.mark.parametrize("before", [0, 200_000])
def test_a_line_of_json_that_is_too_long_is_told_with_its_place(tmp_path, before):
    path = tmp_path / "long.jsonl"
    rows = ['{"a": 1, "b": "x"}'] * before
    path.write_text("\n".join([*rows, '{"a": 1, "b": "' + "y" * (16 << 20) + '"}']) + "\n")
    with pytest.raises(
        SourceError, match=rf"16,777,216 bytes in line {before + 1}, .* `trusted=true`"
    ):
        read("jsonl", path)


def test_a_line_of_json_from_a_known_place_may_be_long(tmp_path):
    path = tmp_path / "long.jsonl"
    path.write_text('{"a": 1, "b": [' + "1," * (9 << 20) + "1]}\n" + '{"a": 2}\n')
    with pytest.raises(SourceError, match="in line 1,"):
        read("jsonl", path)
    assert read("jsonl", path, trusted=True) == 2
