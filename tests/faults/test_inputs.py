"""Recordings that are missing, cut, damaged or not what the pipeline says: one sentence, an exit code, no output."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.command import cli, read, recording

SINK = '\nsink s to arrow("out/o.arrow")\n'


def cut(path, share=0.5):
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])


def parquet(path):
    ns = (np.arange(1000) * 10**9).astype("datetime64[ns]")
    pq.write_table(pa.table({"time": ns, "v": np.arange(1000.0)}), path, row_group_size=100)


def stream(path):
    table = pa.table({"time": np.arange(1000).astype("datetime64[ns]"), "v": np.arange(1000.0)})
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table, max_chunksize=100)


def damaged(path):
    parquet(path)
    data = bytearray(path.read_bytes())
    data[500:900] = b"\xa5" * 400
    path.write_bytes(data)


UNREADABLE = {
    "a.arrow": (lambda f: (recording(f), cut(f)), "cut short"),
    "s.arrow": (lambda f: (stream(f), cut(f, 0.7)), "cut short"),
    "p.parquet": (lambda f: (parquet(f), cut(f)), "cut short"),
    "d.parquet": (damaged, "damaged"),
    "e.parquet": (lambda f: f.write_bytes(b""), "is empty"),
    "j.parquet": (lambda f: f.write_bytes(b"junk" * 99), "not a Parquet file"),
    "e.csv": (lambda f: f.write_bytes(b""), "is empty"),
    "b.csv": (lambda f: f.write_bytes(b"time,v\n\xff\xfe\0,\x80\n" * 9), "not text"),
    "r.csv": (lambda f: f.write_text("time,v\n2020-01-01,1\n2020-01-02,2,3,4\n"), "row 2"),
    "i.csv": (lambda f: f.write_text("time,v\n2020-01-01,1\nyesterday,2\n"), "not a time"),
    "l.jsonl": (lambda f: f.write_text("time,v\n"), "not JSON"),
    "d.csv": (lambda f: f.mkdir(), "is a directory"),
    "d.parquets/": (lambda f: f.mkdir(), "holds no"),
    "w.wav": (lambda f: f.write_bytes(b"no sound at all"), "no readable wav"),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_a_file_that_cannot_be_read_is_told_in_a_sentence(tmp_path, name):
    make, words = UNREADABLE[name]
    path = tmp_path / name
    make(path)
    connector = "parquet" if "parquet" in name else path.suffix[1:]
    schema, rate = ("(v: f32)", " at 10 Hz") if connector == "wav" else ("(time: time, v: f64)", "")
    (tmp_path / "f.flow").write_text(f'source s {schema}{rate} from {connector}("{name}"){SINK}')
    code, _, err = cli("run", "f.flow", cwd=tmp_path)
    assert code in (1, 3), err
    assert words in err
    assert name.rstrip("/") in err
    assert not (tmp_path / "out").exists()


def twice(path):
    arrays = [pa.array([0], pa.timestamp("ns", "UTC")), pa.array([1.0]), pa.array([2.0])]
    table = pa.Table.from_arrays(arrays, names=["time", "v", "v"])
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)


def odd(path):
    recording(path, v=[{"a": 1}, {"a": 2}])


@pytest.mark.parametrize(
    ("make", "words"),
    [(twice, "has two columns named `v`"), (odd, "or name the columns to read in `columns=[…]`")],
)
def test_columns_that_no_stream_can_have_are_told(tmp_path, make, words):
    make(tmp_path / "in.arrow")
    (tmp_path / "f.flow").write_text(f'source s from arrow("in.arrow") time time{SINK}')
    code, out, _ = cli("check", "f.flow", cwd=tmp_path)
    assert (code, words in out) == (1, True), out


def test_a_csv_of_a_header_alone_has_its_time(tmp_path):
    (tmp_path / "in.csv").write_text("time,v\n")
    (tmp_path / "f.flow").write_text(f'source s from csv("in.csv"){SINK}')
    code, _, err = cli("run", "f.flow", cwd=tmp_path)
    assert code == 0, err
    assert read(tmp_path / "out" / "o.arrow").num_rows == 0


def test_a_missing_file_brings_the_nearest_name(tmp_path):
    recording(tmp_path / "monday.arrow")
    (tmp_path / "f.flow").write_text('source s (time, v: f64) from arrow("mondy.arrow")' + SINK)
    code, _, err = cli("run", "f.flow", cwd=tmp_path)
    assert code == 1
    assert "did you mean `monday.arrow`?" in err


DIFFERENT = {
    "a text for a number": ({"v": ["a", "b", "c"]}, "v: f64", 1, "declared as f64"),
    "no such column": ({"v": [1.0, 2.0, 3.0]}, "w: f64", 1, "no column `w`"),
    "a fraction for a whole number": ({"v": [1.0, 2.5, 3.0]}, "v: i32", 3, "does not fit"),
    "text for a time": ({"time": ["x", "y", "z"], "v": [1.0, 2.0, 3.0]}, "v: f64", 3, "no time"),
}


@pytest.mark.parametrize("what", DIFFERENT)
def test_a_column_of_another_type_than_declared(tmp_path, what):
    columns, declared, code, words = DIFFERENT[what]
    recording(tmp_path / "in.arrow", **columns)
    flow = f'source s (time, {declared}) from arrow("in.arrow"){SINK}'
    (tmp_path / "f.flow").write_text(flow)
    found, _, err = cli("run", "f.flow", cwd=tmp_path)
    assert (found, words in err) == (code, True), err


@pytest.mark.parametrize("kind", ["arrow", "parquet", "csv"])
def test_no_rows_at_all_give_an_output_without_rows(tmp_path, kind):
    path = tmp_path / f"in.{kind}"
    if kind == "csv":
        path.write_text("time,v\n")
    else:
        recording(tmp_path / "in.arrow", time=[], v=[])
        if kind == "parquet":
            pq.write_table(read(tmp_path / "in.arrow"), path)
    flow = f'source s (time: time, v: f64) from {kind}("{path.name}")\nsink s | window 1 s | aggregate mean(v) as m to arrow("out/o.arrow")\n'
    (tmp_path / "f.flow").write_text(flow)
    code, out, err = cli("run", "f.flow", cwd=tmp_path)
    assert code == 0, err
    assert "0 rows" in out
    assert read(tmp_path / "out" / "o.arrow").num_rows == 0


@pytest.mark.parametrize("name", ["bad.msgpack", "bad.arrow", "bad.csv", "bad.jsonl"])
def test_rows_that_cannot_be_used_are_kept_where_the_user_said(tmp_path, name):
    recording(tmp_path / "in.arrow", time=[1, None, 3], v=[1.0, 2.0, 3.0])
    flow = f'source s (time, v: f64) from arrow("in.arrow") on error quarantine "{name}"{SINK}'
    (tmp_path / "f.flow").write_text(flow)
    for _ in range(2):  # a second run replaces what the first one kept
        code, out, err = cli("run", "f.flow", "--report", "r.json", cwd=tmp_path)
        assert code == 0, err
    assert "1 rejected (33 %)" in out
    assert f"flowedge inspect {name}" in out
    code, out, _ = cli("inspect", name, cwd=tmp_path)
    assert code == 0
    assert "no time" in out
    assert ": 1 re" in out or ": 1 row" in out
    assert read(tmp_path / "out" / "o.arrow")["v"].to_pylist() == [1, 3]


def test_a_quarantine_that_cannot_be_written_stops_the_run(tmp_path):
    (tmp_path / "in.csv").write_text("time,v\n2020-01-01,x\n")
    flow = 'source s (time: time, v: f64) from csv("in.csv") on error quarantine "in.csv/bad"'
    (tmp_path / "f.flow").write_text(flow + SINK)
    code, _, err = cli("run", "f.flow", cwd=tmp_path)
    assert code == 3
    assert "is a file, not a directory" in err
    assert not (tmp_path / "out").exists()


def test_rows_that_are_skipped_are_counted(tmp_path):
    (tmp_path / "in.csv").write_text("time,v\n2020-01-01,1\n2020-01-02,2,3\n2020-01-03,4\n")
    flow = 'source s (time: time, v: f64) from csv("in.csv") on error skip' + SINK
    (tmp_path / "f.flow").write_text(flow)
    code, out, _ = cli("run", "f.flow", cwd=tmp_path)
    assert code == 0
    assert "3 rows from csv in.csv: 1 rejected (33 %)" in out


def test_times_at_the_ends_of_the_world(tmp_path):
    recording(tmp_path / "in.arrow", time=[-(2**62), 0, 2**62], v=[1.0, 2.0, 3.0], unit=1)
    flow = 'source s (time, v: f64) from arrow("in.arrow")\nsink s | window 10 s | aggregate count() as n to arrow("out/o.arrow")\n'
    (tmp_path / "f.flow").write_text(flow)
    assert cli("run", "-q", "f.flow", cwd=tmp_path)[0] == 0
    assert read(tmp_path / "out" / "o.arrow")["n"].to_pylist() == [1, 1, 1]
    flow = 'source s (time, v: f64) at 10 Hz from arrow("in.arrow")\n    gaps hold\nsink s | filter ema(1 s) to arrow("out/p.arrow")\n'
    (tmp_path / "f.flow").write_text(flow)
    code, _, err = cli("run", "f.flow", cwd=tmp_path)
    assert code == 3
    assert "gaps hold up to" in err
