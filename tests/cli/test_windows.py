"""`flowedge windows`: what it writes, what it says, and how it refuses."""

import json
import textwrap

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet
from support.command import cli, read

from flowedge.lang.diagnostics import FlowError
from flowedge.runtime.windows import plan_windows

FLOW = """
source watch from simulate.imu(seconds=60 s, rate=10 Hz, seed=4)
source log (time: string, was: string) from csv("log.csv") time parse(time, "iso", "UTC")
def asked(net) = window 30 samples | classify with net
model activity = torch("later.pt2") input (acc, gyro) output softmax ["rest", "walk"]
stream frames = watch | window 50 samples every 25 samples
stream told = watch | asked(activity)
stream labels = frames | classify with activity | where label == "walk"
sink labels | select label, score to arrow("out.arrow") as episodes
sink frames | aggregate count() as n to csv("n.csv")
"""


def store(path, table):
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)


@pytest.fixture
def here(tmp_path):
    (tmp_path / "p.flow").write_text(FLOW, "utf-8")
    log = "time,was\n" + "".join(
        f"2020-01-01T00:00:{s:02d},{w}\n" for s, w in ((0, "rest"), (12, "walk"), (31, "nap"))
    )
    (tmp_path / "log.csv").write_text(log, "utf-8")
    return tmp_path


def test_frames_are_written_before_there_is_a_model(here):
    code, out, err = cli("windows", "p.flow", "--stream", "labels", "-o", "t.arrow", "--labels", "log.was", cwd=here)  # fmt: skip
    assert (code, err) == (0, "")
    table = read(here / "t.arrow")
    assert table.column_names == ["time", "start", "acc", "gyro", "was", "was_share"]
    assert out.startswith(f"{table.num_rows} frames of `labels` to t.arrow: acc 50 by 3, gyro 50 by 3 at 10 Hz\n")  # fmt: skip
    assert "was: nap 11, walk 8, rest 4" in out
    assert "`activity` has no class `nap`" in out
    told = json.loads(table.schema.metadata[b"flowedge.frames"])
    assert [x["name"] for x in told["inputs"]] == ["acc", "gyro"]
    assert told["classes"] == ["rest", "walk"]
    assert not (here / "out.arrow").exists()
    assert not (here / "n.csv").exists()
    code, out, _ = cli("inspect", "t.arrow", cwd=here)
    assert (code, "flowedge.pipeline" in out) == (0, True)
    assert cli("verify", "t.arrow", cwd=here)[0] == 0


@pytest.mark.parametrize(
    ("stream", "samples", "rows"),
    [("labels", 50, 23), ("frames", 50, 23), ("told", 30, 20), ("episodes", 50, 23), ("frames_csv", 50, 23)],
)  # fmt: skip
def test_a_stream_or_a_sink_may_be_named(here, stream, samples, rows):
    code, _out, err = cli("windows", "p.flow", "--stream", stream, "-o", "made/deep/t.parquet", cwd=here)  # fmt: skip
    if (
        stream == "frames_csv"
    ):  # a sink whose chain folds the frames: rows without a number that a model takes
        assert (code, "no numbers for a model" in err) == (1, True)
        return
    assert (code, err) == (0, "")
    table = parquet.read_table(here / "made/deep/t.parquet")
    assert table.num_rows == rows
    assert len(table["acc"][0].as_py()) == samples


REFUSED = [
    ({"stream": "lables"}, "unknown stream `lables`", "did you mean `labels`?"),
    ({"stream": "watch"}, "`watch` is a signal without frames", "put `| window N samples`"),
    ({"labels": "lgo.was"}, "unknown stream `lgo`", "did you mean `log`?"),
    ({"labels": "log.wars"}, "`log` has no column `wars`", "did you mean `was`?"),
    ({"labels": "log.time"}, "`log` has no column `time`", "known: `was`"),
    ({"labels": "was"}, "`was` is no STREAM.column", "truth.label"),
    ({"labels": "counts.n"}, "rows of `counts` end what they label", "--within"),
    ({"labels": "log.was", "within": "soon"}, "`soon` is no duration", "150 ms"),
    ({"labels": "log.was", "within": "1 s\nparam x = 1"}, "is no duration", "150 ms"),
    ({"labels": "log.was", "within": "3 V"}, "this is in `V`", "150 ms"),
    ({"inputs": ["acc"]}, "`labels` has a model", "leave `--input` away"),
    ({"stream": "frames", "inputs": ["acd"]}, "has no numbers `acd`", "did you mean `acc`?"),
    ({"params": {"x": "1"}}, "unknown parameter `x`", ""),
    ({"stream": "branches"}, "`branches` ends in branches", "`branches.high`, `branches.low`"),
    ({"stream": "timed"}, "a time window in front of a model", "window N samples"),
    ({"out": "./written.arrow", "stream": "again"}, "which a source reads", "another path"),
]  # fmt: skip


@pytest.mark.parametrize(("options", "message", "fix"), REFUSED)
def test_what_cannot_be_is_told_with_the_way_out(here, monkeypatch, options, message, fix):
    monkeypatch.chdir(here)
    store("written.arrow", pa.table({"time": pa.array([0]).cast(pa.timestamp("ns", "UTC")), "v": [0.0]}))  # fmt: skip
    text = (
        FLOW
        + """
    stream counts = frames | aggregate count() as n
    stream branches = counts | split into high when n > 3, low otherwise
    stream timed = watch | window 5 s | classify with activity
    source written (time, v: f64) from arrow("written.arrow")
    stream again = written | window 3 samples
    """
    )
    with pytest.raises(FlowError) as raised:
        plan_windows(text=text, **{"stream": "labels", "out": "t.arrow", **options})
    wrong = [d for d in raised.value.diagnostics if d.severity == "error"]
    assert [(message in d.message, fix in d.fix) for d in wrong] == [(True, True)], raised.value


def test_a_mistake_is_shown_in_the_option_that_has_it(here):
    code, out, err = cli("windows", "p.flow", "--stream", "labels", "-o", "t.arrow", "--labels", "log.wars", cwd=here)  # fmt: skip
    assert (code, out) == (1, "")
    assert "--labels:1:1" in err
    assert "1 │ log.wars" in err
    code, _, err = cli("windows", "p.flow", "--stream", "labels", "-o", "t.arrow", "--within", "1 s", cwd=here)  # fmt: skip
    assert (code, "give --labels too" in err) == (2, True)
    code, _, err = cli("windows", "nothing.flow", "--stream", "labels", "-o", "t.arrow", cwd=here)
    assert (code, "there is no file `nothing.flow`" in err) == (3, True)
    assert not (here / "t.arrow").exists()


@pytest.mark.parametrize(
    ("out", "code", "message"),
    [
        ("t.csv", 2, "ends in no known way; give a name that ends in .arrow or .parquet"),
        ("t{acc}.arrow", 2, "has braces in it"),
        ("folder.arrow", 3, "folder.arrow"),
        ("/proc/t.arrow", 3, "cannot write `/proc/t.arrow`"),
        ("p.flow/t.arrow", 3, "p.flow"),
    ],
)
def test_a_place_that_cannot_be_written_is_told(here, out, code, message):
    (here / "folder.arrow").mkdir()
    found = cli("windows", "p.flow", "--stream", "labels", "-o", out, cwd=here)
    assert (found[0], found[1]) == (code, "")
    assert message in found[2].replace("\n", " ")


def test_what_was_written_before_stays_until_the_new_is_whole(here):
    (here / "t.arrow").write_bytes(b"before")
    text = FLOW.replace("seconds=60 s", "seconds=-1 s")
    (here / "wrong.flow").write_text(text, "utf-8")
    assert cli("windows", "wrong.flow", "--stream", "labels", "-o", "t.arrow", cwd=here)[0] != 0
    assert (here / "t.arrow").read_bytes() == b"before"
    assert cli("windows", "p.flow", "--stream", "labels", "-o", "t.arrow", "-q", cwd=here) == (0, "", "")  # fmt: skip
    once = (here / "t.arrow").read_bytes()
    assert cli("windows", "p.flow", "--stream", "labels", "-o", "t.arrow", "-q", cwd=here)[0] == 0
    assert (here / "t.arrow").read_bytes() == once


def test_no_frame_at_all_is_a_file_without_rows_and_a_word_why(here):
    (here / "short.flow").write_text(FLOW.replace("seconds=60 s", "seconds=2 s"), "utf-8")
    code, out, _ = cli("windows", "short.flow", "--stream", "labels", "-o", "t.arrow", "--labels", "log.was", cwd=here)  # fmt: skip
    assert code == 0
    assert out.startswith("0 frames of `labels`")
    assert "no row reached it" in out
    assert "20 incomplete" in out
    table = read(here / "t.arrow")
    assert (table.num_rows, table.column_names[-2:]) == (0, ["was", "was_share"])


def test_names_of_all_scripts_and_of_many_words(tmp_path):
    text = """
    source `Мой датчик` (time, `Größe`: f64, `什么`: string) at 10 Hz from csv("eingang für alle.csv") time `time` * 1 s
    stream `in Fenstern` = `Мой датчик` | window 5 samples
    stream `Wahrheit` = `Мой датчик` | select `什么`
    sink `in Fenstern` to arrow("x.arrow")
    """
    (tmp_path / "ö ß.flow").write_text(textwrap.dedent(text), "utf-8")
    rows = "time,Größe,什么\n" + "".join(f"{k / 10},{k},{'ja' if k < 8 else '否'}\n" for k in range(20))  # fmt: skip
    (tmp_path / "eingang für alle.csv").write_text(rows, "utf-8")
    code, _out, err = cli("windows", "ö ß.flow", "--stream", "in Fenstern", "-o", "ausgang é.arrow", "--labels", "Wahrheit.什么", cwd=tmp_path)  # fmt: skip
    assert (code, err) == (0, "")
    table = read(tmp_path / "ausgang é.arrow")
    assert table["Größe"].to_pylist() == np.arange(20.0).reshape(4, 5).tolist()
    label, share = table.column_names[-2:]
    assert table[label].to_pylist() == ["ja", "ja", "否", "否"]
    assert table[share].to_pylist() == [1.0, 0.6, 1.0, 1.0]


def test_keys_that_do_not_match_are_told(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = """
    source s (time, patient: key string, v: f64) at 10 Hz from arrow("s.arrow")
    source truth (time, bed: key string, label: string) from arrow("truth.arrow")
    source other (time, patient: key i32, label: string) from arrow("other.arrow")
    source people (patient: key string, label: string) from csv("people.csv") time always
    stream w = s | window 5 samples
    sink w to arrow("x.arrow")
    """
    (tmp_path / "p.flow").write_text(textwrap.dedent(text), "utf-8")
    time = pa.array(np.repeat(np.arange(10) * 10**8, 2)).cast(pa.timestamp("ns", "UTC"))
    table = pa.table({"time": time, "patient": ["a", "b"] * 10, "v": np.arange(20.0)})
    store(tmp_path / "s.arrow", table)
    words = pa.array(["x"] * 20)
    store(tmp_path / "truth.arrow", pa.table({"time": time, "bed": words, "label": words}))
    numbers = pa.array([1] * 20, pa.int32())
    store(tmp_path / "other.arrow", pa.table({"time": time, "patient": numbers, "label": words}))
    for labels, message in (
        ("truth.label", "`bed` is a key of `truth`, and the frames of `w` have none of that name"),
        ("other.label", "key `patient` is string in `w` and i32 in `other`"),
    ):
        for more in (None, "1 s"):
            with pytest.raises(FlowError) as raised:
                plan_windows(text=text, stream="w", out="t.arrow", labels=labels, within=more)
            assert [(d.code, d.message) for d in raised.value.diagnostics] == [("FE503", message)]
    (tmp_path / "people.csv").write_text("patient,label\na,ill\nb,well\n")
    code, _out, err = cli("windows", "p.flow", "--stream", "w", "-o", "t.arrow", "--labels", "people.label", cwd=tmp_path)  # fmt: skip
    assert (code, err) == (0, "")
    found = read(tmp_path / "t.arrow")
    assert found["label"].to_pylist() == [{"a": "ill", "b": "well"}[x] for x in found["patient"].to_pylist()]  # fmt: skip
