"""Every connector: what is in the file comes out, from any position on, in any choice of columns."""

import gzip
import lzma
import os
import warnings
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest

from flowedge.lang.errors import SourceError
from flowedge.sources import catalog
from flowedge.sources.contract import BATCH_ROWS, Comparison, Position, Predicate

ROWS = 150_000
DATA = Path(__file__).parents[3] / "shared" / "data"


def source(name, address, **arguments):
    return catalog.get(name)(str(address), **arguments)


def read(one, columns=None, predicate=None, start=None):
    """All rows as one table; checks what holds for every source on the way."""
    pieces, last = [], start or Position()
    for batch, position in one.batches(columns, predicate, start):
        assert 0 < batch.num_rows <= BATCH_ROWS
        assert position > last
        last = position
        pieces.append(batch)
    table = pa.Table.from_batches(pieces)
    return table.unify_dictionaries().combine_chunks()


def plain(table):
    """The same with dictionaries as their texts."""
    columns = [
        c.cast(c.type.value_type) if pa.types.is_dictionary(c.type) else c for c in table.columns
    ]
    return pa.table(dict(zip(table.column_names, columns, strict=True))).to_pydict()


def sample(rows=ROWS):
    i = np.arange(rows)
    return pa.table(
        {
            "time": pa.array(i * 10**6).cast(pa.timestamp("ns", "UTC")),
            "v": pa.array(i / 7),
            "n": pa.array(i % 1000),
            "s": pa.array([f"é{k % 10}" for k in i]),
        }
    )


def write_arrow(path, table, batch=None, compression=None):
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with pa.ipc.new_file(path, table.schema, options=options) as writer:
        writer.write_table(table, batch)


def write_stream(path, table, batch=None):
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table, batch)


def write_parquet(path, table, batch=None):
    pq.write_table(table, path, row_group_size=batch or 40_000, write_page_checksum=True)


def write_csv(path, table, batch=None):
    pacsv.write_csv(table, path)


def write_jsonl(path, table, batch=None):
    import json  # noqa: PLC0415

    rows = table.set_column(0, "time", table["time"].cast(pa.string())).to_pylist()
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))


def write_npz(path, table, batch=None):
    np.savez(
        path,
        time=table["time"].to_numpy(),
        v=table["v"].to_numpy(),
        n=table["n"].to_numpy(),
        s=np.array(table["s"].to_pylist()),
    )


WRITERS = {
    "arrow": write_arrow,
    "arrow stream": write_stream,
    "parquet": write_parquet,
    "csv": write_csv,
    "jsonl": write_jsonl,
    "npz": write_npz,
}


@pytest.fixture(params=WRITERS)
def form(request):
    return request.param


def made(form, directory, table):
    path = directory / f"a.{form.split()[0]}"
    WRITERS[form](path, table)
    return source(form.split()[0], path)


def test_what_is_in_the_file_comes_out(form, tmp_path):
    table = sample(30_000)
    back = read(made(form, tmp_path, table))
    assert back.column_names == table.column_names
    assert back["time"].cast(pa.int64()).to_pylist() == table["time"].cast(pa.int64()).to_pylist()
    assert plain(back.drop_columns(["time"])) == plain(table.drop_columns(["time"]))


def test_the_schema_is_that_of_the_batches(form, tmp_path):
    one = made(form, tmp_path, sample(10))
    batch, _ = next(one.batches())
    assert one.schema().equals(batch.schema)
    assert one.paths() == [str(tmp_path / f"a.{form.split()[0]}")]


def test_columns_come_as_they_are_asked_for(form, tmp_path):
    back = read(made(form, tmp_path, sample(100)), ["s", "v"])
    assert back.column_names == ["s", "v"]
    assert back["v"].to_pylist() == sample(100)["v"].to_pylist()


def test_reading_goes_on_from_any_position(form, tmp_path):
    one = made(form, tmp_path, sample(90_000))
    whole = read(one, ["n", "v"])
    positions = [p for _, p in one.batches()]
    for start in (positions[0], positions[-1], Position(0, 17), Position(0, 89_999)):
        rest = list(one.batches(["n", "v"], None, start))
        if start.row == 90_000:
            assert rest == []
        else:
            got = pa.Table.from_batches([b for b, _ in rest])
            assert got.equals(whole.slice(start.row))
            assert rest[-1][1] == positions[-1]


def test_an_unknown_column_names_the_nearest(form, tmp_path):
    one = made(form, tmp_path, sample(3))
    with pytest.raises(SourceError, match=r"has no column `tiem`; did you mean `time`\?"):
        list(one.batches(["tiem"]))


def test_units_and_rates_of_arrow_and_parquet_are_kept(tmp_path):
    field = pa.field("v", pa.float64(), metadata={"flowedge.unit": "mV"})
    table = pa.table([[1.0, 2.0]], schema=pa.schema([field], metadata={"flowedge.rate": "360"}))
    for form in ("arrow", "parquet"):
        one = made(form, tmp_path, table)
        assert one.schema().field("v").metadata[b"flowedge.unit"] == b"mV"
        assert one.schema().metadata[b"flowedge.rate"] == b"360"
        assert read(one).schema.field("v").metadata[b"flowedge.unit"] == b"mV"


@pytest.mark.parametrize("compression", [None, "zstd", "lz4"])
def test_one_huge_batch_comes_in_pieces(compression, tmp_path):
    table = sample()
    write_arrow(tmp_path / "a.arrow", table, ROWS, compression)
    sizes = [b.num_rows for b, _ in source("arrow", tmp_path / "a.arrow").batches()]
    assert sizes == [BATCH_ROWS, BATCH_ROWS, ROWS - 2 * BATCH_ROWS]


def test_arrow_takes_its_columns_from_an_option(tmp_path):
    write_arrow(tmp_path / "a.arrow", sample(5))
    assert read(source("arrow", tmp_path / "a.arrow", columns=("n",))).column_names == ["n"]


def test_files_follow_one_another_and_say_their_keys(tmp_path):
    for site, rows in (("b", 3), ("a", 2), ("c", 70_000)):
        write_arrow(tmp_path / f"x_{site}.arrow", sample(rows))
    one = source("arrow", tmp_path / "x_{site}.arrow")
    assert one.captures == ("site",)
    assert [Path(p).name for p in one.paths()] == ["x_a.arrow", "x_b.arrow", "x_c.arrow"]
    assert one.schema().field("site").type == pa.dictionary(pa.int32(), pa.string())
    table = read(one, ["site", "n"])
    assert plain(table)["site"][:6] == ["a", "a", "b", "b", "b", "c"]
    assert read(one, ["n"], start=Position(1, 2)).num_rows == 70_001


def test_a_capture_takes_its_declared_type(tmp_path):
    write_arrow(tmp_path / "exp07.arrow", sample(2))
    declared = pa.schema([("exp", pa.int32())])
    assert plain(read(source("arrow", tmp_path / "exp{exp}.arrow", declared=declared)))["exp"] == [
        7,
        7,
    ]
    write_arrow(tmp_path / "expX.arrow", sample(2))
    with pytest.raises(SourceError, match="says `exp` = `X`, which is not the declared int32"):
        read(source("arrow", tmp_path / "exp{exp}.arrow", declared=declared))


def test_a_brace_that_is_no_capture_is_a_brace(tmp_path):
    write_arrow(tmp_path / "{x}.arrow", sample(2))
    one = source("arrow", tmp_path / "{x}.arrow", captures=())
    assert one.captures == ()
    assert read(one).num_rows == 2


def test_patterns_match_and_are_read_in_the_order_of_their_bytes(tmp_path):
    (tmp_path / "deep" / "er").mkdir(parents=True)
    for name in ("b10", "b9", "a", "deep/er/c", ".hidden"):
        write_parquet(tmp_path / f"{name}.parquet", sample(2))
    relative = [
        os.path.relpath(p, tmp_path) for p in source("parquet", tmp_path / "**/*.parquet").paths()
    ]
    assert relative == ["a.parquet", "b10.parquet", "b9.parquet", "deep/er/c.parquet"]
    assert len(source("parquet", tmp_path / "b[0-9].parquet").paths()) == 1


def test_a_parquet_directory_is_read_with_its_hive_folders(tmp_path):
    for patient, rows in (("17", 3), ("4%2F5", 2)):
        (tmp_path / f"patient={patient}").mkdir()
        write_parquet(tmp_path / f"patient={patient}/part-00000.parquet", sample(rows))
    (tmp_path / "_metadata").write_bytes(b"x")
    table = plain(read(source("parquet", tmp_path)))
    assert table["patient"] == ["17", "17", "17", "4/5", "4/5"]
    assert "patient" not in read(source("parquet", tmp_path, hive=False)).column_names


def test_a_predicate_spares_reading_and_hides_no_row(tmp_path):
    table = sample()
    write_parquet(tmp_path / "a.parquet", table, 10_000)
    one = source("parquet", tmp_path / "a.parquet")
    limit = 100_000 * 10**6
    predicate = Predicate((Comparison("time", ">=", limit),), always=("time",))
    back = read(one, ["time", "v"], predicate)
    assert back["time"].equals(table["time"].combine_chunks() and back["time"])
    assert back.num_rows == ROWS
    assert back["v"].null_count == 100_000
    assert back["v"].slice(100_000).to_pylist() == table["v"].slice(100_000).to_pylist()


@pytest.mark.parametrize(
    ("op", "value", "spared"),
    [
        ("<", 0.0, True), ("<", 1.0, False), ("<=", -1.0, True), (">", 14.0, True), (">", 13.0, False),
        (">=", 15.0, True), ("==", 99.0, True), ("==", 7.0, False), ("!=", 7.0, False),
    ],
)  # fmt: skip
def test_statistics_decide_by_every_comparison(op, value, spared, tmp_path):
    pq.write_table(pa.table({"v": np.arange(15.0), "w": np.arange(15)}), tmp_path / "a.parquet")
    one = source("parquet", tmp_path / "a.parquet")
    predicate = Predicate((Comparison("v", op, value),), always=())
    assert (read(one, ["v", "w"], predicate)["w"].null_count == 15) is spared


def test_csv_takes_declared_types_and_infers_the_others(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("time;v;id;gone;label;on\n2024-05-01 10:00:00;1,5;007;;a;true\n;;008;;;false\n")
    declared = pa.schema([("id", pa.string()), ("v", pa.float32())])
    one = source("csv", path, sep=";", decimal=",", declared=declared)
    assert [str(f.type) for f in one.schema()] == [
        "timestamp[ns]", "float", "string", "double", "string", "bool",
    ]  # fmt: skip
    assert plain(
        read(
            one.__class__(str(path), sep=";", decimal=",", declared=declared), ["v", "id", "label"]
        )
    ) == {
        "v": [1.5, None],
        "id": ["007", "008"],
        "label": ["a", None],
    }


def test_csv_reads_a_format_of_time_and_words_for_missing(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("time,v,s\n01.05.2024 10:00,n/a,NA\n02.05.2024 10:00,2,x\n")
    one = source("csv", path, timestamp="%d.%m.%Y %H:%M", null=["", "n/a", "NA"])
    table = read(one)
    assert table["time"].cast(pa.int64()).to_pylist() == [1714557600 * 10**9, 1714644000 * 10**9]
    assert table["v"].to_pylist() == [None, 2]
    assert table["s"].to_pylist() == [None, "x"]


def test_csv_times_with_zones_become_utc(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("time,v\n2024-05-01T12:00:00+02:00,1\n2024-05-01T10:00:01.5Z,2\n")
    declared = pa.schema([("time", pa.timestamp("ns", "UTC"))])
    table = read(source("csv", path, declared=declared))
    assert table["time"].cast(pa.int64()).to_pylist() == [1714557600 * 10**9, 1714557601_500000000]


def test_csv_without_a_header_fills_the_declared_columns_in_order(tmp_path):
    path = tmp_path / "a.tsv.gz"
    path.write_bytes(gzip.compress(b"1\t2\t3\t4\n5\t6\t7\t8\n"))
    declared = pa.schema([("n", pa.int64()), ("x", pa.list_(pa.float32(), 2))])
    table = read(source("tsv", path, header=False, declared=declared))
    assert plain(table) == {"n": [1, 5], "x": [[2.0, 3.0], [6.0, 7.0]], "c3": [4, 8]}


def test_csv_lists_stand_under_numbered_names(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("x_0,t,x_1\n1,9,2\n")
    table = read(source("csv", path, declared=pa.schema([("x", pa.list_(pa.float64(), 2))])))
    assert plain(table) == {"x": [[1.0, 2.0]], "t": [9]}


def test_csv_leaves_out_an_unnamed_row_number(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text('"date","v"\n"1","x",5\n')
    assert plain(read(source("csv", path, index=True))) == {"date": ["x"], "v": [5]}
    path.write_text(",date,v\n1,x,5\n")
    assert plain(read(source("csv", path, index=True))) == {"date": ["x"], "v": [5]}


def test_csv_quotes_line_ends_blank_lines_and_a_byte_order_mark(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes('\ufeffs,v\r\n"a ""b"",\nc",1\r\n\r\n…,2\r\n'.encode())
    assert plain(read(source("csv", path))) == {"s": ['a "b",\nc', "…"], "v": [1, 2]}


def test_csv_in_another_encoding(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes("s\nGröße\n".encode("latin-1"))
    assert plain(read(source("csv", path, encoding="latin-1"))) == {"s": ["Größe"]}


@pytest.mark.parametrize("seed", range(4))
def test_csv_keeps_bad_rows_with_reason_and_number(seed, tmp_path):
    rng = np.random.default_rng(seed)
    rows, lines, bad = 60_000, ["t,v,s"], {}
    for i in range(1, rows + 1):
        kind = rng.choice(5, p=[0.9994, 0.0002, 0.0002, 0.0001, 0.0001])
        bad |= {i: kind} if kind else {}
        lines.append(
            {0: f"{i},{i / 2},x", 1: f"{i},bad,x", 2: f"{i},1", 3: f"x{i},no,x", 4: f"{i},1,x,9"}[
                kind
            ]
        )
    path = tmp_path / "a.csv"
    path.write_text("\n".join(lines) + "\n")
    declared = pa.schema([("t", pa.int64()), ("v", pa.float64())])
    one = source("csv", path, declared=declared, on_error="quarantine")
    table = read(one)
    assert table["t"].to_pylist() == [i for i in range(1, rows + 1) if i not in bad]
    noted = one.rejects.take()
    assert one.rejects.count == len(bad)
    assert sorted(noted.column("row").to_pylist()) == sorted(bad)
    for row in noted.to_pylist():
        expected = {
            1: "`v` is not a number", 2: "has 2 cells, expected 3",
            3: "`t` is not a whole number that fits into int64", 4: "has 4 cells, expected 3",
        }[bad[row["row"]]]  # fmt: skip
        assert row["reason"] == expected
        assert row["file"] == str(path)
    stops = source("csv", path, declared=declared)
    with pytest.raises(SourceError, match=f"row {min(bad)}: "):
        read(stops)


def test_rows_that_were_noted_are_not_noted_again(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("v\n" + "1\n" * 400_000 + "x\n" + "2\n" * 400_000)
    declared = pa.schema([("v", pa.int64())])
    one = source("csv", path, declared=declared, on_error="skip")
    at = 0
    for _, position in one.batches():
        at = position
        if one.rejects.count:
            break
    again = source("csv", path, declared=declared, on_error="skip")
    rest = read(again, start=at)
    assert rest.num_rows == 800_000 - at.row
    assert again.rejects.count == 0


def test_jsonl_keeps_bad_lines(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"v": 1}\n[1]\n{"v": "x"}\n{"v": 2.5, "t": "2024-05-01T00:00:00Z"}\n{"v"\n')
    declared = pa.schema([("v", pa.float64()), ("t", pa.timestamp("ns", "UTC"))])
    one = source("jsonl", path, declared=declared, on_error="skip")
    assert read(one)["v"].to_pylist() == [1.0, 2.5]
    assert [(r["row"], r["reason"]) for r in one.rejects.take().to_pylist()] == [
        (2, "not an object in braces"),
        (3, "`v` is not a number"),
        (5, "not JSON (expecting ':' delimiter)"),
    ]
    with pytest.raises(
        SourceError, match=r"line 2: not an object in braces: `\[1\]`; mend the line"
    ):
        read(source("jsonl", path, declared=declared))


def test_a_few_bad_lines_among_many_are_found_in_order(tmp_path):
    wrong = {0: "[", 1: '{"v": "x"}', 700: "5", 701: '{"v": []}', 4999: '{"v": true}'}
    lines = [wrong.get(k, f'{{"v": {k}}}') for k in range(5000)]
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(lines))
    one = source("jsonl", path, declared=pa.schema([("v", pa.float64())]), on_error="skip")
    assert read(one)["v"].to_pylist() == [float(k) for k in range(5000) if k not in wrong]
    noted = one.rejects.take().to_pylist()
    assert [(r["row"] - 1, r["text"]) for r in noted] == list(wrong.items())


def test_npz_arrays_become_lists_and_bytes(tmp_path):
    path = tmp_path / "a.npz"
    acc = np.arange(12, dtype=">i2").reshape(4, 3)
    np.savez(
        path, t=np.arange(4.0), acc=acc, fortran=np.asfortranarray(acc),
        data=np.array([b"\x01\0", b"", b"\xff", b"ab"], "S2"), fs=np.float64(50),
    )  # fmt: skip
    table = read(source("npz", path, pad=4))
    assert plain(table) == {
        "t": [0.0, 1.0, 2.0, 3.0],
        "acc": acc.tolist(),
        "fortran": acc.tolist(),
        "data": [b"\x01\0\0\0", b"\0\0\0\0", b"\xff\0\0\0", b"ab\0\0"],
    }


def quietly(call, *args, **named):
    """The package meets warnings of pandas that are not ours."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return call(*args, **named)


def write_record(directory, name, rows=100_000, fs=360, **header):
    wfdb = pytest.importorskip("wfdb")
    rng = np.random.default_rng(3)
    digital = rng.integers(-2000, 2000, (rows, 2))
    digital[5, 1] = -32768  # "no sample here"
    quietly(
        wfdb.wrsamp,
        name, fs=fs, units=["mV", "NU"], sig_name=["MLII", "resp"], d_signal=digital,
        fmt=["16", "16"], adc_gain=[200.0, 10.0], baseline=[0, 5], write_dir=str(directory), **header,
    )  # fmt: skip
    return digital


@pytest.mark.parametrize("packed", [False, True])
def test_a_wfdb_record_comes_in_physical_units(packed, tmp_path):
    digital = write_record(tmp_path, "r1", base_date=None)
    if packed:
        (tmp_path / "r1.dat.xz").write_bytes(lzma.compress((tmp_path / "r1.dat").read_bytes()))
        (tmp_path / "r1.dat").unlink()
    one = source("wfdb", tmp_path / "r1")
    assert one.rate_hz == 360.0
    assert one.start_ns is None
    schema = one.schema()
    assert schema.names == ["MLII", "resp", "record", "patient"]
    assert schema.field("MLII").metadata == {b"flowedge.unit": b"mV"}
    assert schema.field("resp").metadata is None
    assert schema.metadata[b"flowedge.rate"] == b"360"
    table = read(one)
    np.testing.assert_array_equal(table["MLII"].to_numpy(), digital[:, 0] / 200)
    expected = (digital[:, 1] - 5) / 10
    expected[5] = np.nan
    np.testing.assert_array_equal(table["resp"].to_numpy(), expected)
    assert plain(table.slice(0, 1))["patient"] == ["r1"]
    rest = read(one, ["resp"], start=Position(0, 70_000))
    np.testing.assert_array_equal(rest["resp"].to_numpy(), expected[70_000:])


def test_a_wfdb_signal_is_found_in_another_case_or_by_place(tmp_path):
    write_record(tmp_path, "r1", 10)
    declared = pa.schema([("patient", pa.string()), ("mlii", pa.float32())])
    one = source("wfdb", tmp_path / "r1.hea", declared=declared)
    assert one.schema().names[0] == "mlii"
    assert source("wfdb", tmp_path / "r1", names=("ecg",)).schema().names[:2] == ["ecg", "resp"]


def test_wfdb_annotations_stand_at_the_time_of_their_samples(tmp_path):
    wfdb = pytest.importorskip("wfdb")
    import datetime as dt  # noqa: PLC0415

    write_record(tmp_path, "r1", 1000, base_date=dt.date(2024, 5, 1), base_time=dt.time(10, 0, 0))
    quietly(
        wfdb.wrann, "r1", "atr", np.array([36, 360, 777]), ["N", "V", "+"], aux_note=["", "", "(AFIB"],
        fs=360, write_dir=str(tmp_path),
    )  # fmt: skip
    assert source("wfdb", tmp_path / "r1").start_ns == 1714557600 * 10**9
    one = source("wfdb.annotations", tmp_path / "r1", ext="atr")
    table = read(one)
    assert one.schema().equals(table.schema)
    start = 1714557600 * 10**9
    assert table["time"].cast(pa.int64()).to_pylist() == [
        start + 10**8, start + 10**9, start + 2_158_333_333,
    ]  # fmt: skip
    assert plain(table)["symbol"] == ["N", "V", "+"]
    assert plain(table)["aux"] == [None, None, "(AFIB"]


@pytest.mark.parametrize("name", ["wav", "flac"])
@pytest.mark.parametrize("channels", [1, 2])
def test_sound_comes_between_minus_one_and_one(name, channels, tmp_path):
    soundfile = pytest.importorskip("soundfile")
    samples = np.random.default_rng(1).integers(-32768, 32767, (100_000, channels)).astype(np.int16)
    soundfile.write(tmp_path / f"a.{name}", samples, 16_000)
    one = source(name, tmp_path / f"a.{name}")
    assert one.rate_hz == 16_000.0
    assert one.schema().names == (["x"] if channels == 1 else ["ch0", "ch1"])
    table = read(one)
    np.testing.assert_array_equal(table.column(channels - 1).to_numpy(), samples[:, -1] / 32768)
    rest = read(one, start=Position(0, 99_990))
    np.testing.assert_array_equal(rest.column(0).to_numpy(), samples[99_990:, 0] / 32768)
    declared = pa.schema([("a", pa.float32())])
    assert source(name, tmp_path / f"a.{name}", declared=declared).schema().names[0] == (
        "a" if channels == 1 else "ch0"
    )


def test_the_catalogue_names_what_is_there():
    known = {name: catalog.about(name) for name in catalog.names()}
    for name in (
        "arrow",
        "parquet",
        "csv",
        "tsv",
        "jsonl",
        "msgpack",
        "npz",
        "wfdb",
        "wfdb.annotations",
        "wav",
        "flac",
        "video",
    ):
        assert known[name].doc.endswith(".")
    for name in (
        "mqtt",
        "sound",
        "http",
        "tcp",
        "udp",
        "unix",
        "serial",
        "dir",
        "host",
        "edgex",
        "nats",
        "camera",
    ):
        assert known[name].is_live
    assert known["wfdb"].extra == "wfdb"
    assert catalog.about("paths") is None


def test_options_are_checked_by_name_and_kind():
    with pytest.raises(SourceError, match="`csv` has no option `seperator`; it takes"):
        source("csv", "a.csv", seperator=";")
    with pytest.raises(SourceError, match="`csv` has no option `nul`; did you mean `null`"):
        source("csv", "a.csv", nul=["x"])
    with pytest.raises(SourceError, match="`csv` option `header` takes true or false, not 'no'"):
        source("csv", "a.csv", header="no")


REAL = [
    ("npz", "har_hapt/exp{exp}_user{user}.npz", {}, 797_484),
    ("npz", "comma2k19/raw_can_15s.npz", {"pad": 8}, 33_885),
    ("csv", "occupancy/datatraining.txt", {"index": True}, 8_143),
    ("csv", "gearbox/{machine}30hz{load}.csv.gz", {}, 382_208),
    ("csv", "ppg/data3_first5min.csv", {}, 35_100),
    ("wfdb", "mitbih/102", {}, 650_000),
    ("wfdb", "icu_abp/03700181", {}, 75_000),
    ("wfdb.annotations", "mitbih/101", {}, 1_874),
    ("wav", "audio/speech_commands/{word}_1000ms.wav", {}, 64_000),
]


@pytest.mark.parametrize(("name", "address", "options", "rows"), REAL)
def test_real_recordings_are_read_whole(name, address, options, rows):
    if not DATA.exists():
        assert os.environ.get("FLOWEDGE_REQUIRE_ALL") != "1", f"the recordings are missing: {DATA}"
        pytest.skip("the recordings are not here")
    assert sum(b.num_rows for b, _ in source(name, DATA / address, **options).batches()) == rows
