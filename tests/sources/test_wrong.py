"""What is wrong with a file is one sentence: what, where, and what to do."""

import errno
import gzip
import lzma
import os
import re
import warnings

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flowedge.lang.errors import SourceError
from flowedge.sources import catalog
from flowedge.sources.paths import os_error

ALL = ["arrow", "parquet", "csv", "tsv", "jsonl", "npz", "wfdb", "wfdb.annotations", "wav", "flac"]
HEADER_OF = {"wfdb": ".hea", "wfdb.annotations": ".hea"}


def complaint(name, address, columns=None, **arguments):
    """What the source says, in one line."""
    with pytest.raises(SourceError) as caught:
        for _ in catalog.get(name)(str(address), **arguments).batches(columns):
            pass
    text = str(caught.value)
    assert "\n" not in text
    assert not text.endswith(".")
    assert "Traceback" not in text
    return text


def quietly(call, *args, **named):
    """The package meets warnings of pandas that are not ours."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return call(*args, **named)


def valid(name, directory):
    """A small good file of this format."""
    path = directory / f"good.{name}"
    table = pa.table(
        {"t": np.arange(500), "v": np.arange(500.0), "s": [f"x{i}" for i in range(500)]}
    )
    match name:
        case "arrow":
            with pa.ipc.new_file(path, table.schema) as writer:
                writer.write_table(table, 100)
        case "parquet":
            pq.write_table(table, path, row_group_size=100, write_page_checksum=True)
        case "csv" | "tsv":
            sep = "," if name == "csv" else "\t"
            path.write_text("".join(f"{i}{sep}{i / 3}\n" for i in ["t", *range(500)] if i != "t"))
            path.write_text(f"t{sep}v\n" + path.read_text())
        case "jsonl":
            path.write_text("".join(f'{{"t": {i}, "v": {i / 3}}}\n' for i in range(500)))
        case "npz":
            np.savez(path, t=np.arange(500), v=np.random.default_rng(1).normal(size=500))
        case "wav" | "flac":
            soundfile = pytest.importorskip("soundfile")
            soundfile.write(path, np.random.default_rng(1).normal(size=5000) / 9, 8000)
        case _:
            wfdb = pytest.importorskip("wfdb")
            signal = np.random.default_rng(1).normal(size=(5000, 1))
            quietly(
                wfdb.wrsamp, "good", fs=360, units=["mV"], sig_name=["x"], p_signal=signal, fmt=["16"],
                write_dir=str(directory),
            )  # fmt: skip
            beats = np.arange(1, 400, 7)
            quietly(wfdb.wrann, "good", "atr", beats, ["N"] * len(beats), write_dir=str(directory))
            return directory / "good"
    return path


@pytest.mark.parametrize("name", ALL)
def test_a_missing_file_names_the_nearest(name, tmp_path):
    suffix = HEADER_OF.get(name, f".{name}")
    (tmp_path / f"record{suffix}").write_text("x")
    address = tmp_path / ("recrod" if name in HEADER_OF else f"recrod{suffix}")
    assert complaint(name, address) == (
        f"there is no file `{tmp_path}/recrod{suffix}`; did you mean `{tmp_path}/record{suffix}`?"
    )


def test_a_missing_directory_is_said(tmp_path):
    (tmp_path / "data").mkdir()
    assert complaint("arrow", tmp_path / "dat" / "a.arrow") == (
        f"there is no file `{tmp_path}/dat/a.arrow`; did you mean `{tmp_path}/data`?"
    )
    assert complaint("arrow", tmp_path / "data" / "a.arrow").endswith("; the directory is empty")
    (tmp_path / "data/f").write_text("x")
    assert complaint("arrow", tmp_path / "data/f/a.arrow").endswith(
        f"`{tmp_path}/data/f` is a file, not a directory"
    )


@pytest.mark.parametrize("name", [n for n in ALL if n != "parquet" and n not in HEADER_OF])
def test_a_directory_is_no_file(name, tmp_path):
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "x.bin").write_text("x")
    assert complaint(name, tmp_path / "d") == (
        f"`{tmp_path}/d` is a directory, not a file; name a file in it, such as `{tmp_path}/d/x.bin`"
    )


def test_a_directory_without_parquet_is_said(tmp_path):
    assert complaint("parquet", tmp_path) == f"the directory `{tmp_path}` holds no `.parquet` file"


@pytest.mark.parametrize("name", ALL)
def test_an_empty_file_is_said(name, tmp_path):
    path = tmp_path / f"a{HEADER_OF.get(name, '.x')}"
    path.write_bytes(b"")
    address = tmp_path / "a" if name in HEADER_OF else path
    assert complaint(name, address) == f"`{path}` is empty (0 bytes); was it written to the end?"


@pytest.mark.parametrize("name", ["arrow", "csv"])
def test_no_permission_is_said(name, tmp_path):
    if os.geteuid() == 0:
        pytest.skip("the superuser may read anything")
    path = tmp_path / "a.x"
    path.write_text("x")
    path.chmod(0)
    assert complaint(name, path) == f"no permission to read `{path}`; allow it with `chmod u+r`"


def test_a_pattern_without_a_match_says_what_there_is(tmp_path):
    (tmp_path / "a.csv").write_text("x")
    assert complaint("parquet", tmp_path / "*.parquet") == (
        f"no file matches `{tmp_path}/*.parquet`; `{tmp_path}` holds `a.csv`"
    )
    assert complaint("csv", tmp_path / "{site}/{day}.csv") == (
        f"no file matches `{tmp_path}/{{site}}/{{day}}.csv`; `{tmp_path}` holds `a.csv`"
    )


@pytest.mark.parametrize("name", ["arrow", "parquet", "npz", "wav", "flac"])
@pytest.mark.parametrize("part", [0.1, 0.5, 0.9, 0.999])
def test_a_file_that_is_cut_short_is_said(name, part, tmp_path):
    path = valid(name, tmp_path)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * part)])
    text = complaint(name, path)
    assert f"`{path}`" in text
    assert re.search(r"cut short|is no readable|damaged", text)


def test_a_stream_that_is_cut_between_two_batches_is_said(tmp_path):
    table = pa.table({"v": np.arange(300)})
    path = tmp_path / "a.arrow"
    with pa.OSFile(str(path), "wb") as file:
        writer = pa.ipc.new_stream(file, table.schema)
        writer.write_table(table, 100)
        ends = file.tell()
        writer.close()
    path.write_bytes(path.read_bytes()[:ends])
    assert complaint("arrow", path).startswith(f"`{path}` is cut short: its stream has no end mark")


def test_another_format_is_named(tmp_path):
    arrow, parquet = valid("arrow", tmp_path), valid("parquet", tmp_path)
    assert "is a Parquet file, not Arrow; read it with `parquet(…)`" in complaint("arrow", parquet)
    assert "is an Arrow file, not Parquet; read it with `arrow(…)`" in complaint("parquet", arrow)
    assert "is not an Arrow file: it begins with b't,v" in complaint(
        "arrow", valid("csv", tmp_path)
    )
    assert "is not text: it contains NUL bytes" in complaint("csv", arrow)


def test_a_flipped_bit_in_parquet_is_found(tmp_path):
    path = valid("parquet", tmp_path)
    data = bytearray(path.read_bytes())
    data[300] ^= 16
    path.write_bytes(data)
    assert "is damaged or cut short and cannot be read as parquet" in complaint("parquet", path)


def test_text_in_a_number_column_names_the_row(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("time,v\n" + "1,1.5\n" * 200_000 + "2,twelve\n")
    declared = pa.schema([("v", pa.float32())])
    assert complaint("csv", path, declared=declared) == (
        f"`{path}` row 200001: `v` is not a number: `twelve`; "
        "mend the row, or add `on error skip` to the source"
    )
    assert complaint("csv", path).endswith(
        "row 200001: `v` is not a number: `twelve`; the type was inferred from the first rows: "
        "declare `v: string` or `v: f64`, or add `on error skip`"
    )


def test_a_row_of_another_length_is_said(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("a,b\n1,2\n3\n")
    assert complaint("csv", path) == (
        f"`{path}` row 2: has 1 cell, expected 2: `3`; "
        "mend the row, or add `on error skip` to the source"
    )


def test_a_time_that_is_none_is_said(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("time,v\n2024-05-01,1\nyesterday,2\n")
    declared = pa.schema([("time", pa.timestamp("ns"))])
    assert "row 2: `time` is not a time: `yesterday`" in complaint("csv", path, declared=declared)


def test_bytes_that_are_no_text_are_said(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(b"s,v\nok,1\nGr\xf6\xdfe,2\n")
    assert complaint("csv", path) == (
        f"`{path}` row 2: `s` is not UTF-8: `Gr\\xf6\\xdfe`; "
        'give its `encoding`, for example `encoding="latin-1"`'
    )


def test_a_header_with_a_name_too_few_or_twice_is_said(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("date,v\n1,x,5\n")
    assert complaint("csv", path).endswith("if the first cell is a row number, say `index=true`")
    path.write_text("v,v\n1,2\n")
    assert complaint("csv", path).endswith("has two columns named `v`; rename one of them")


@pytest.mark.parametrize("name", ["arrow", "parquet"])
def test_two_columns_of_one_name_are_said(tmp_path, name):
    twice = pa.schema([("v", pa.int64()), ("w", pa.int64()), ("v", pa.int64())])
    table = pa.Table.from_arrays([pa.array([1])] * 3, schema=twice)
    path = tmp_path / f"a.{name}"
    if name == "parquet":
        pq.write_table(table, path)
    else:
        with pa.ipc.new_file(str(path), twice) as out:
            out.write_table(table)
    with pytest.raises(SourceError, match=r"has two columns named `v`; rename one of them$"):
        catalog.get(name)(str(path)).schema()
    if name == "parquet":
        assert complaint(name, path).endswith("has two columns named `v`; rename one of them")


def test_a_declared_column_that_is_absent_names_the_nearest(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("Temperature,v\n1,2\n")
    declared = pa.schema([("temprature", pa.float32())])
    assert complaint("csv", path, declared=declared) == (
        f"`{path}` has no column `temprature`; did you mean `Temperature`?"
    )


def test_rows_that_a_damaged_page_hides_are_not_lost_in_silence(tmp_path):
    path = tmp_path / "a.parquet"
    pq.write_table(
        pa.table({"v": np.arange(500.0)}), path, use_dictionary=False, compression="none"
    )
    data = bytearray(path.read_bytes())
    assert data[4:6] == b"\x15\x00"  # the page's header begins with its kind, 0: data
    data[5] = 2  # 1: an index, which readers pass over
    path.write_bytes(data)
    assert complaint("parquet", path) == (
        f"`{path}` is damaged: row group 1 has 0 of its 500 rows; restore it from a good copy"
    )


def test_a_packed_file_that_is_cut_short_is_said(tmp_path):
    path = tmp_path / "a.csv.gz"
    text = "".join(f"{i},{i * 7919 % 1000}\n" for i in range(100_000))
    data = gzip.compress(b"a,b\n" + text.encode())
    path.write_bytes(data[: len(data) // 2])
    assert re.search(r"damaged or cut short|no readable", complaint("csv", path))


def test_files_of_different_types_do_not_mix(tmp_path):
    pq.write_table(pa.table({"v": [1]}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"v": ["x"]}), tmp_path / "b.parquet")
    assert complaint("parquet", tmp_path / "*.parquet") == (
        f"column `v` is string in `{tmp_path}/b.parquet` and int64 in `{tmp_path}/a.parquet`; "
        "read files of one type at a time"
    )


def test_objects_in_an_archive_are_never_loaded(tmp_path):
    np.savez(tmp_path / "a.npz", v=np.array([{"x": 1}], dtype=object))
    assert complaint("npz", tmp_path / "a.npz") == (
        f"`{tmp_path}/a.npz`: the array `v` holds Python objects, which is not read; "
        "store numbers, times or text"
    )


def test_arrays_of_different_lengths_do_not_mix(tmp_path):
    np.savez(tmp_path / "a.npz", t=np.arange(3), v=np.arange(4))
    assert "has 3 rows in `t` and 4 in `v`" in complaint("npz", tmp_path / "a.npz")


def test_a_record_whose_signal_is_cut_short_is_said(tmp_path):
    valid("wfdb", tmp_path)
    data = (tmp_path / "good.dat").read_bytes()
    (tmp_path / "good.dat").write_bytes(data[: len(data) // 2])
    assert complaint("wfdb", tmp_path / "good").startswith(
        f"the signal file of the record `{tmp_path}/good` is damaged, or shorter than its header says"
    )
    (tmp_path / "good.dat").unlink()
    assert complaint("wfdb", tmp_path / "good") == (
        f"`{tmp_path}/good.hea` names the signal file `{tmp_path}/good.dat`, which is not there"
    )
    (tmp_path / "good.dat.xz").write_bytes(lzma.compress(data)[:50])
    assert f"`{tmp_path}/good.dat.xz` is damaged or cut short" in complaint(
        "wfdb", tmp_path / "good"
    )


def test_a_record_or_recording_of_length_zero_is_said(tmp_path):
    valid("wfdb", tmp_path)
    header = (tmp_path / "good.hea").read_text()
    (tmp_path / "good.hea").write_text(header.replace("360 5000", "360 0"))
    assert complaint("wfdb", tmp_path / "good") == (
        f"the record `{tmp_path}/good` has no samples (length 0)"
    )
    soundfile = pytest.importorskip("soundfile")
    soundfile.write(tmp_path / "a.wav", np.zeros(0), 8000)
    assert complaint("wav", tmp_path / "a.wav") == (
        f"the recording `{tmp_path}/a.wav` has no samples (length 0)"
    )


def test_a_header_without_sense_is_said(tmp_path):
    (tmp_path / "a.hea").write_text("this is no header\n")
    assert f"`{tmp_path}/a" in complaint("wfdb", tmp_path / "a")


def test_annotations_that_are_absent_name_the_nearest(tmp_path):
    valid("wfdb", tmp_path)
    assert complaint("wfdb.annotations", tmp_path / "good", ext="atrr").endswith(
        f"there is no file `{tmp_path}/good.atrr`; did you mean `{tmp_path}/good.atr`?"
    )


@pytest.mark.parametrize("name", ALL)
@settings(
    max_examples=60, deadline=None, derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)  # fmt: skip
@given(flips=st.lists(st.tuples(st.floats(0, 0.9999), st.integers(1, 255)), min_size=1, max_size=8))
def test_hostile_bytes_give_rows_or_a_sentence(name, flips, tmp_path):
    target = {"wfdb": "good.hea", "wfdb.annotations": "good.atr"}.get(name, f"good.{name}")
    pristine, spoiled = tmp_path / "pristine", tmp_path / target
    if not pristine.exists():
        valid(name, tmp_path)
        pristine.write_bytes(spoiled.read_bytes())
    path = tmp_path / "good" if name in HEADER_OF else spoiled
    data = bytearray(pristine.read_bytes())
    for at, flip in flips:
        data[int(at * len(data))] ^= flip
    spoiled.write_bytes(data)
    try:
        for batch, _ in catalog.get(name)(str(path)).batches():
            batch.validate(full=True)
    except SourceError as error:
        assert "\n" not in str(error)  # noqa: PT017


@pytest.mark.parametrize(
    ("number", "sentence"),
    [
        (errno.EACCES, "no permission to read `a.csv`; allow it with `chmod u+r`"),
        (errno.EIO, "cannot read `a.csv`: Input/output error"),
        (errno.ELOOP, "`a.csv` is a link that leads back to itself"),
    ],
)
def test_what_the_system_says_becomes_a_sentence(number, sentence):
    assert str(os_error("a.csv", OSError(number, os.strerror(number)))) == sentence
