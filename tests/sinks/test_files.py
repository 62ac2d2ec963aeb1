"""What every file sink promises: bytes that do not depend on the pushes, all or nothing."""

import errno
import json
import os
import resource
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from support.flow import CATALOG

from flowedge.lang.errors import SinkError
from flowedge.runtime.plan import compile_flow
from flowedge.sinks import catalog, disk
from flowedge.sinks.atomic import AtomicFile, explained
from flowedge.sinks.parquet import Parquet
from flowedge.types.connectors import Limit

FORMATS = ["arrow", "parquet", "csv", "jsonl"]


def table(rows, seed=1):
    """A bit of everything, with values missing."""
    rng = np.random.default_rng(seed)
    v = rng.normal(size=rows)
    v[rng.random(rows) < 0.01] = np.nan
    labels = np.array(["ok", "hot", "cöld", "rare"])[
        np.minimum(rng.integers(0, 3, rows) + (np.arange(rows) > 0.9 * rows), 3)
    ]
    gone = rng.random(rows) < 0.05
    schema = pa.schema(
        [
            pa.field("time", pa.timestamp("ns", "UTC")),
            pa.field("device", pa.int32()),
            pa.field("v", pa.float64(), metadata={"flowedge.unit": "mV"}),
            pa.field("on", pa.bool_()),
            pa.field("label", pa.dictionary(pa.int32(), pa.string())),
            pa.field("note", pa.string()),
            pa.field("xyz", pa.list_(pa.float32(), 3)),
        ],
        metadata={"flowedge.version": "0.1.0"},
    )
    return pa.RecordBatch.from_arrays(
        [
            pa.array(np.arange(rows) * 10**9).cast(schema.field(0).type),
            pa.array(rng.integers(0, 5, rows).astype(np.int32)),
            pa.array(v),
            pa.array(rng.random(rows) < 0.5, mask=gone),
            pa.array(labels, mask=gone).dictionary_encode(),
            pa.array([f'n "{i % 7}", …' for i in range(rows)]),
            pa.FixedSizeListArray.from_arrays(pa.array(rng.normal(size=3 * rows).astype("f4")), 3),
        ],
        schema=schema,
    )


def write(name, address, batch, cuts=(), **options):
    sink = catalog.get(name)(str(address), **options)
    sink.open(batch.schema)
    edges = [0, *sorted(cuts), batch.num_rows]
    for a, b in pairwise(edges):
        sink.write(batch.slice(a, b - a))
    return sink.close()


def tree(directory):
    return sorted(
        str(p.relative_to(directory))
        for p in directory.rglob("*")
        if p.is_file() and p.parent.name != "_manifest"
    )


@pytest.mark.parametrize("name", FORMATS)
def test_the_same_bytes_however_the_rows_are_pushed(name, tmp_path):
    batch = table(150_000 if name in ("arrow", "parquet") else 70_000)
    whole = tmp_path / f"a.{name}"
    write(name, whole, batch)
    rng = np.random.default_rng(7)
    for cuts in (
        rng.integers(0, batch.num_rows, 9),
        range(0, batch.num_rows, 977),
        rng.integers(0, 400, 200),
    ):
        cut = tmp_path / f"b.{name}"
        write(name, cut, batch, [int(c) for c in cuts])
        assert cut.read_bytes() == whole.read_bytes()


@pytest.mark.parametrize("name", FORMATS)
def test_dictionaries_of_other_orders_give_the_same_bytes(name, tmp_path):
    schema = pa.schema([("label", pa.dictionary(pa.int32(), pa.string()))])

    def one(codes, texts):
        column = pa.DictionaryArray.from_arrays(pa.array(codes, pa.int32()), pa.array(texts))
        return pa.RecordBatch.from_arrays([column], schema=schema)

    a = catalog.get(name)(str(tmp_path / f"a.{name}"))
    b = catalog.get(name)(str(tmp_path / f"b.{name}"))
    a.open(schema)
    b.open(schema)
    a.write(one([2, 1, None], ["never", "x", "y"]))
    a.write(one([0], ["z"]))
    b.write(one([0, 1, None, 2], ["y", "x", "z"]))
    a.close()
    b.close()
    assert (tmp_path / f"a.{name}").read_bytes() == (tmp_path / f"b.{name}").read_bytes()


def test_a_text_that_comes_late_continues_the_dictionary(tmp_path):
    batch = table(150_000)
    write("arrow", tmp_path / "a.arrow", batch)
    with pa.ipc.open_file(tmp_path / "a.arrow") as reader:
        back = reader.read_all()
        assert reader.get_batch(0).num_rows == 65_536
        assert len(reader.get_batch(0).column("label").dictionary) >= 3
    assert back.column("label").cast(pa.string()).to_pylist() == batch.column("label").to_pylist()


def test_known_labels_begin_the_dictionary(tmp_path):
    kind = pa.dictionary(pa.int32(), pa.string())
    field = pa.field("label", kind, metadata={"flowedge.labels": json.dumps(["N", "S", "V"])})
    batch = pa.RecordBatch.from_arrays(
        [pa.array(["V", "N"]).dictionary_encode()], schema=pa.schema([field])
    )
    write("arrow", tmp_path / "a.arrow", batch)
    column = pa.ipc.open_file(tmp_path / "a.arrow").get_batch(0).column("label")
    assert column.dictionary.to_pylist() == ["N", "S", "V"]
    assert column.to_pylist() == ["V", "N"]


@pytest.mark.parametrize("compression", ["none", "lz4", "zstd"])
def test_arrow_comes_back_with_units(compression, tmp_path):
    batch = table(1000)
    (done,) = write("arrow", tmp_path / "a.arrow", batch, compression=compression)
    back = pa.ipc.open_file(tmp_path / "a.arrow").read_all()
    assert back.schema.equals(batch.schema, check_metadata=True)
    assert done.rows == 1000
    assert done.size_bytes == (tmp_path / "a.arrow").stat().st_size


def test_parquet_comes_back_in_exact_row_groups_with_checksums(tmp_path):
    batch = table(300_000)
    write("parquet", tmp_path / "a.parquet", batch, cuts=[5, 99, 250_000])
    file = pq.ParquetFile(tmp_path / "a.parquet", page_checksum_verification=True)
    groups = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
    assert groups == [131_072, 131_072, 37_856]
    assert file.schema_arrow.field("v").metadata[b"flowedge.unit"] == b"mV"
    note = file.read(["note", "time"])
    assert note.column("note").to_pylist() == batch.column("note").to_pylist()
    assert note.column("time").type == pa.timestamp("ns", "UTC")


@pytest.mark.parametrize("suffix", ["csv", "csv.gz"])
def test_csv_comes_back(suffix, tmp_path):
    batch = table(50)
    write("csv", tmp_path / f"a.{suffix}", batch)
    back = pacsv.read_csv(tmp_path / f"a.{suffix}")
    assert back.column_names[-3:] == ["xyz_0", "xyz_1", "xyz_2"]
    assert back.column("note").to_pylist() == batch.column("note").to_pylist()
    np.testing.assert_array_equal(
        back.column("v").to_pandas(), batch.column("v").to_numpy(zero_copy_only=False)
    )
    assert back.column("time").cast(pa.int64()).to_pylist() == [i * 10**9 for i in range(50)]


def test_jsonl_comes_back_with_null_for_what_is_missing(tmp_path):
    inf = float("inf")
    batch = pa.record_batch(
        {
            "v": pa.array([1.5, float("nan"), None, inf, -inf]),
            "s": pa.array(['"a"\n', None, "…", "", "b"]),
            "l": pa.array([[1.0, float("nan")], None, [], [2.0], [3.0]]),
            "b": pa.array([b"\xff", None, b"", b"a", b"b"]),
            "t": pa.array([1, None, 2, 3, 4], pa.timestamp("ns", "UTC")),
        }
    )
    write("jsonl", tmp_path / "a.jsonl", batch)
    rows = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert [r["v"] for r in rows] == [1.5, None, None, inf, -inf]
    assert [r["s"] for r in rows] == ['"a"\n', None, "…", "", "b"]
    assert [r["l"] for r in rows] == [[1.0, None], None, [], [2.0], [3.0]]
    assert [r["b"] for r in rows] == ["ff", None, "", "61", "62"]
    assert rows[0]["t"] == "1970-01-01T00:00:00.000000001Z"


@pytest.mark.parametrize("name", FORMATS)
def test_no_rows_leave_a_readable_file(name, tmp_path):
    (done,) = write(name, tmp_path / f"a.{name}", table(0))
    assert done.rows == 0
    assert (tmp_path / f"a.{name}").exists()


@pytest.mark.parametrize("name", FORMATS)
def test_nothing_is_visible_before_it_is_closed(name, tmp_path):
    batch = table(70_000)
    target = tmp_path / "deep" / "er" / f"a.{name}"
    sink = catalog.get(name)(str(target))
    sink.open(batch.schema)
    sink.write(batch)
    assert not target.exists()
    assert tree(tmp_path) == [f"deep/er/.a.{name}.inprogress"]
    sink.abort()
    sink.abort()
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(SinkError, match="given up"):
        sink.write(batch)


def test_an_abort_keeps_the_file_of_the_run_before(tmp_path):
    write("arrow", tmp_path / "a.arrow", table(10))
    before = (tmp_path / "a.arrow").read_bytes()
    sink = catalog.get("arrow")(str(tmp_path / "a.arrow"))
    sink.open(table(1).schema)
    sink.write(table(20))
    sink.abort()
    assert (tmp_path / "a.arrow").read_bytes() == before
    assert tree(tmp_path) == ["a.arrow"]


def test_a_file_of_a_killed_run_is_written_over(tmp_path):
    (tmp_path / ".a.arrow.inprogress").write_bytes(b"x" * 100_000)
    write("arrow", tmp_path / "a.arrow", table(10))
    assert pa.ipc.open_file(tmp_path / "a.arrow").read_all().num_rows == 10


def test_two_runs_cannot_write_one_file(tmp_path):
    first = AtomicFile(tmp_path / "a.arrow")
    with pytest.raises(SinkError, match=r"another run is writing `.*a.arrow` now"):
        AtomicFile(tmp_path / "a.arrow")
    first.discard()
    AtomicFile(tmp_path / "a.arrow").discard()


def test_a_directory_in_the_place_of_a_file_is_refused(tmp_path):
    (tmp_path / "a.arrow").mkdir()
    sink = catalog.get("arrow")(str(tmp_path / "a.arrow"))
    with pytest.raises(SinkError, match=r"`.*a\.arrow` is a directory; give the sink the name"):
        sink.open(table(1).schema)


def test_a_device_or_a_pipe_is_not_replaced_by_a_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    sink = catalog.get("csv")(str(tmp_path / "pipe"))
    with pytest.raises(SinkError, match="is a device or a pipe"):
        sink.open(table(1).schema)
    assert (tmp_path / "pipe").is_fifo()


@pytest.mark.parametrize(("name", "address"), [("arrow", "f/a.arrow"), ("parquet", "f/deep/out")])
def test_a_file_in_the_place_of_a_directory_is_refused(name, address, tmp_path):
    (tmp_path / "f").write_text("x")
    sink = catalog.get(name)(str(tmp_path / address))
    with pytest.raises(SinkError, match=r"`.*f` is a file, not a directory"):
        sink.open(table(1).schema)


def test_no_permission_is_said(tmp_path):
    if os.geteuid() == 0:
        pytest.skip("the superuser may write anywhere")
    tmp_path.chmod(0o500)
    sink = catalog.get("arrow")(str(tmp_path / "a.arrow"))
    with pytest.raises(SinkError, match="no permission to write"):
        sink.open(table(1).schema)


def test_a_name_that_is_too_long_is_said(tmp_path):
    sink = catalog.get("arrow")(str(tmp_path / ("x" * 300)))
    with pytest.raises(SinkError, match="too long for this system"):
        sink.open(table(1).schema)


@pytest.mark.parametrize("name", FORMATS)
def test_a_full_disk_spoils_the_output_and_leaves_nothing(name, tmp_path, monkeypatch):
    batch = table(70_000)
    sink = catalog.get(name)(str(tmp_path / f"a.{name}"))
    sink.open(batch.schema)
    limit, inner = 100_000, AtomicFile.write

    def full(self, data):
        if self.size_bytes > limit and self.error is None:
            self.error = SinkError("the disk is full: cannot write `x`; free some space")
        return inner(self, data)

    monkeypatch.setattr(AtomicFile, "write", full)
    with pytest.raises(SinkError, match="the disk is full"):  # noqa: PT012  # either may be first
        sink.write(batch)
        sink.close()
    with pytest.raises(SinkError, match="the disk is full"):
        sink.write(batch)
    with pytest.raises(SinkError, match="the disk is full"):
        sink.close()
    sink.abort()
    assert list(tmp_path.iterdir()) == []


def test_the_system_s_limit_on_a_file_is_one_sentence(tmp_path):
    """A real error of `write`, from a limit that the kernel holds."""
    program = (
        "import resource, signal, sys\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "import pyarrow as pa, numpy as np\n"
        "from flowedge.sinks import catalog\n"
        "from flowedge.lang.errors import SinkError\n"
        "for name in ('parquet', 'arrow'):\n"
        "    sink = catalog.get(name)(sys.argv[1] + '/a.' + name)\n"
        "    b = pa.record_batch({'v': np.random.default_rng(1).normal(size=100_000)})\n"
        "    sink.open(b.schema)\n"
        "    try:\n"
        "        sink.write(b); sink.close()\n"
        "    except SinkError as error: print(error)\n"
        "    sink.abort()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=True
    )
    lines = done.stdout.splitlines()
    assert [("is larger than the system allows" in line) for line in lines] == [True, True]
    assert list(tmp_path.iterdir()) == []


def test_partitions_are_folders_and_rows_keep_their_order(tmp_path):
    batch = table(200_000)
    done = write("parquet", tmp_path / "out", batch, partition=("device", "day"))
    names = tree(tmp_path / "out")
    assert "device=0/day=1970-01-01/part-00000.parquet" in names
    assert "device=4/day=1970-01-03/part-00000.parquet" in names
    assert len(names) == 5 * 3 == len(done)
    part = pq.read_table(
        tmp_path / "out/device=3/day=1970-01-02/part-00000.parquet", partitioning=None
    )
    assert "device" not in part.column_names
    times = part.column("time").cast(pa.int64()).to_numpy()
    assert (np.diff(times) > 0).all()
    assert ds.dataset(tmp_path / "out", partitioning="hive").count_rows() == batch.num_rows
    assert sum(d.rows for d in done) == batch.num_rows


def test_partitions_have_the_same_bytes_however_the_rows_are_pushed(tmp_path):
    batch = table(150_000)
    options = {"partition": ("device",), "roll": Limit(seconds=40_000.0)}
    write("parquet", tmp_path / "a", batch, **options)
    write("parquet", tmp_path / "b", batch, cuts=range(0, 150_000, 1_313), **options)
    assert tree(tmp_path / "a") == tree(tmp_path / "b")
    for name in tree(tmp_path / "a"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_parts_roll_by_event_time(tmp_path):
    done = write("parquet", tmp_path / "out", table(10_000), roll=Limit(seconds=3600.0))
    assert [d.rows for d in done] == [3600, 3600, 2800]
    assert [d.path[-18:] for d in done] == [f"part-0000{i}.parquet"[-18:] for i in range(3)]


def test_parts_roll_by_size_and_full_ones_are_visible_at_once(tmp_path):
    batch = table(400_000)
    sink = catalog.get("parquet")(str(tmp_path / "out"), roll=Limit(size_bytes=1_000_000))
    sink.open(batch.schema)
    sink.write(batch)
    assert (tmp_path / "out/part-00000.parquet").exists()
    sink.abort()  # what was finished stays
    names = [n for n in tree(tmp_path / "out") if n.endswith(".parquet")]
    assert names == [f"part-0000{i}.parquet" for i in range(3)]
    assert pq.read_metadata(tmp_path / "out/part-00000.parquet").num_rows == 131_072


def test_a_new_run_replaces_its_own_parts_and_no_others(tmp_path):
    out = tmp_path / "out"
    write("parquet", out, table(10_000), roll=Limit(seconds=3600.0))
    (out / "mine.parquet").write_bytes(b"mine")
    write("parquet", out, table(100))
    assert tree(out) == ["mine.parquet", "part-00000.parquet"]
    write("parquet", out, table(100), partition=("device",))
    assert "part-00000.parquet" not in tree(out)


def test_many_partitions_stay_within_the_bound_on_open_files(tmp_path):
    rows = 60_000
    batch = pa.record_batch(
        {"k": pa.array(np.arange(rows) % 700), "v": np.arange(rows, dtype=float)}
    )
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (400, limit[1]))
    try:
        done = write("parquet", tmp_path / "out", batch, partition=("k",))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limit)
    assert sum(d.rows for d in done) == rows


@pytest.mark.parametrize("name", ["arrow", "csv", "jsonl"])
def test_a_name_in_braces_gives_each_value_a_file(name, tmp_path):
    batch = pa.record_batch({"who": ["a", "../b", None, "a"], "v": [1, 2, 3, 4]})
    done = write(name, f"{tmp_path}/out/{{who}}/x.{name}", batch)
    assert tree(tmp_path / "out") == sorted(
        [f"a/x.{name}", f"%2E.%2Fb/x.{name}", f"__HIVE_DEFAULT_PARTITION__/x.{name}"]
    )
    assert [d.rows for d in done] == [2, 1, 1]


def test_a_name_in_braces_must_be_a_column(tmp_path):
    sink = catalog.get("jsonl")(f"{tmp_path}/{{who}}.jsonl")
    with pytest.raises(SinkError, match="the stream has no column `who`; it has `v`"):
        sink.open(pa.schema([("v", pa.int64())]))


def test_a_brace_that_is_no_name_stays(tmp_path):
    write("jsonl", f"{tmp_path}/{{x}}.jsonl", pa.record_batch({"x": [1]}))
    write("jsonl", f"{tmp_path}/{{x}}.jsonl", pa.record_batch({"x": [1]}), names=())
    assert tree(tmp_path) == ["1.jsonl", "{x}.jsonl"]


def test_one_file_can_be_neither_partitioned_nor_rolled(tmp_path):
    with pytest.raises(SinkError, match=r"`partition` needs a directory, and `.*` is one file"):
        catalog.get("parquet")(f"{tmp_path}/a.parquet", partition=("k",))


def test_an_unknown_option_names_the_nearest():
    with pytest.raises(
        SinkError, match="`arrow` has no option `compresion`; did you mean `compression`"
    ):
        catalog.get("arrow")("a", compresion="zstd")
    with pytest.raises(SinkError, match=r'cannot be "xz"; one of "none", "lz4", "zstd"'):
        catalog.get("arrow")("a", compression="xz")


def test_the_console_prints_a_plain_table(capsys):
    sink = catalog.get("console")(rows=2)
    batch = pa.record_batch(
        {
            "time": pa.array([0, 5 * 10**8, 10**9], pa.timestamp("ns", "UTC")),
            "v": [1.0, float("nan"), 3.0],
            "label": ["ok", "\x1b[31m", "x"],
        }
    )
    sink.open(batch.schema)
    sink.write(batch)
    assert sink.close() == []
    assert capsys.readouterr().out.splitlines() == [
        "time                    v  label",
        "1970-01-01T00:00:00Z    1  ok",
        "1970-01-01T00:00:00.5Z  -  \N{REPLACEMENT CHARACTER}[31m",
        "… and 1 more rows",
    ]


def test_the_catalogue_names_what_is_there():
    here = {name for name in catalog.names() if catalog.about(name).promises is None}
    assert here == {*FORMATS, "console"}
    assert catalog.about("sqlite").promises is not None
    assert catalog.about("files") is None


@pytest.mark.parametrize(
    ("number", "sentence"),
    [
        (
            errno.ENOSPC,
            "the disk is full: cannot write `out/a.arrow`; free some space and run again",
        ),
        (errno.EACCES, "no permission to write `out/a.arrow`; choose another place"),
        (errno.EROFS, "cannot write `out/a.arrow`: the file system is read-only"),
        (errno.EMFILE, "too many open files: cannot write `out/a.arrow`; raise the limit"),
        (errno.EIO, "cannot write `out/a.arrow`: Input/output error"),
    ],
)
def test_what_the_system_says_becomes_a_sentence(number, sentence):
    error = explained(Path("out/a.arrow"), OSError(number, os.strerror(number)))
    assert str(error).startswith(sentence)


def test_lists_of_labels_are_lists_of_texts_that_parquet_gives_back(tmp_path, monkeypatch):
    """Of lists of dictionaries in several row groups pyarrow says that they are not implemented."""
    monkeypatch.setattr(Parquet, "block_rows", 2)
    text = (
        "source a (time, v: f64) from given()\nsource b (time, v: f64) from given()\n"
        "stream both = a, b\nsink both | window 2 samples to expected()"
    )
    session = compile_flow(text=text, catalog=CATALOG).open()
    time = pa.array(np.arange(8) * 10**9).cast(pa.timestamp("ns", "UTC"))
    out = []
    for name, first in (("a", 0), ("b", 3)):
        rows = pa.record_batch({"time": time, "v": [1.0] * 8}).slice(first)
        out += session.push(name, rows).values()
    out = pa.Table.from_batches([*out, *session.finish().values()]).combine_chunks()
    assert out.schema.field("branch").type == pa.list_(pa.string(), 2)
    write("parquet", tmp_path / "o.parquet", out.to_batches()[0])
    file = pq.ParquetFile(tmp_path / "o.parquet")
    assert file.num_row_groups > 2
    assert file.read()["branch"].to_pylist() == out["branch"].to_pylist()
    assert {len(set(pair)) for pair in out["branch"].to_pylist()} == {1, 2}


def test_bytes_are_on_their_way_to_the_disk_before_a_sync_asks_for_them(tmp_path, monkeypatch):
    begun = []

    class Noting(disk.Disk):
        def begin_writing(self, descriptor, start, size):
            assert os.fstat(descriptor).st_size == start + size
            begun.append((start, size))
            super().begin_writing(descriptor, start, size)

    monkeypatch.setattr(disk, "calls", Noting())
    data = np.random.default_rng(0).bytes(1 << 20)
    file = AtomicFile(tmp_path / "a")
    for _ in range(20):
        file.write(data)
    file.finish()
    file.publish()
    assert begun == [(0, 8 << 20), (8 << 20, 8 << 20)]
    assert (tmp_path / "a").read_bytes() == 20 * data
    begun.clear()
    quick = AtomicFile(tmp_path / "b", syncs=False)
    for _ in range(20):
        quick.write(data)
    quick.finish()
    assert not begun
