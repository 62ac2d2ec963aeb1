"""The command line as a user meets it: what is printed, what is written, how it ends."""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from support.command import cli, read, recording

ROOT = Path(__file__).parents[2]
GOOD = (
    'source s (time, v: f64) from arrow("in.arrow")\nsink s | where v > 1 to arrow("out/o.arrow")\n'
)


@pytest.fixture
def place(tmp_path):
    recording(tmp_path / "in.arrow")
    (tmp_path / "good.flow").write_text(GOOD)
    return tmp_path


def test_run_writes_the_rows_and_says_so(place):
    code, out, _ = cli("run", "good.flow", "--report", "r/report.json", cwd=place)
    assert code == 0
    assert "5 rows from arrow in.arrow" in out
    assert "3 rows to out/o.arrow" in out
    assert read(place / "out" / "o.arrow")["v"].to_pylist() == [2, 3, 4]
    report = json.loads((place / "r" / "report.json").read_text())
    assert report["is_complete"]
    assert report["sources"]["s"]["rows_in"] == 5
    (sink,) = report["sinks"].values()
    assert sink["rows"] == 3
    assert sink["files"] == ["out/o.arrow"]
    assert sink["bytes"] == (place / "out" / "o.arrow").stat().st_size
    assert report["streams"]["where"]["filtered"] == 2
    assert report["peak_memory_mb"] > 1
    assert report["compile_s"] > 0
    assert set(report["kernel_cache"]) == {"hits", "misses", "compile_s"}


def test_a_warm_start_imports_neither_compiler_nor_checker(place):
    cli("run", "-q", "good.flow", cwd=place)
    program = (
        "import sys; sys.argv = ['flowedge', 'run', '-q', 'good.flow']\n"
        "from flowedge.cli import app\napp(standalone_mode=False)\n"
        "print([m for m in ('numba', 'scipy', 'pint', 'lark', 'torch', 'pandas') if m in sys.modules])"
    )
    found = subprocess.run(
        [sys.executable, "-c", program],
        cwd=place,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert found.stdout.strip() == "[]"


def test_check_tells_mistakes_as_text_and_as_json(place):
    (place / "bad.flow").write_text(
        'source s (time, v: f64) from arrow("in.arrow")\nsink s | where w > 1 to console\n'
    )
    code, out, _ = cli("check", "bad.flow", "good.flow", cwd=place)
    assert code == 1
    assert "FE201" in out
    assert "bad.flow:2:16" in out
    code, out, _ = cli("check", "--format", "json", "bad.flow", cwd=place)
    assert code == 1
    assert json.loads(out)[0]["code"] == "FE201"
    assert cli("check", "good.flow", cwd=place)[:2] == (0, "0 errors, 0 warnings\n")


def test_check_explains_a_code(place):
    code, out, _ = cli("check", "--explain", "fe403", cwd=place)
    assert code == 0
    assert "Right::" in out
    assert cli("check", "--explain", "FE999", cwd=place)[0] == 2


def test_explain_graph_ops_inspect_fmt_new(place):
    assert "where" in cli("explain", "good.flow", cwd=place)[1]
    assert "def kernel(ctx):" in cli("explain", "--kernels", "good.flow", cwd=place)[1]
    for suffix in ("svg", "dot", "mmd"):
        assert cli("graph", "good.flow", "-o", f"g.{suffix}", cwd=place)[0] == 0
        assert (place / f"g.{suffix}").stat().st_size > 100
    assert "exponential" in cli("ops", "ema", cwd=place)[1].lower()
    assert cli("ops", "emma", cwd=place)[0] == 2
    assert "5 rows" in cli("inspect", "in.arrow", cwd=place)[1]
    assert cli("inspect", "good.flow", cwd=place)[0] == 3
    assert cli("fmt", "--check", "good.flow", cwd=place)[0] in (0, 1)
    assert cli("fmt", "good.flow", cwd=place)[0] == 0
    assert cli("fmt", "--check", "good.flow", cwd=place)[0] == 0
    assert cli("new", "first", cwd=place)[0] == 0
    assert cli("new", "first", cwd=place)[0] == 3
    assert cli("run", "-q", "first.flow", cwd=place)[0] == 0
    assert read(place / "out" / "first.arrow").num_rows > 0


def test_a_parameter_is_read_with_its_unit(place):
    (place / "p.flow").write_text(
        'param limit = 1 degC\nsource s (time, v: f64 [degC]) from arrow("in.arrow")\nsink s | where v > limit to arrow("o.arrow")\n'
    )
    assert cli("run", "-q", "p.flow", "-p", "limit=37.4 degF", cwd=place)[0] == 0
    assert read(place / "o.arrow")["v"].to_pylist() == [4]
    assert cli("run", "p.flow", "-p", "nope=1", cwd=place)[0] == 1
    assert cli("run", "p.flow", "-p", "limit", cwd=place)[0] == 2


WRONG = {
    "missing": (None, 1, "there is no file"),
    "garbage": (b"garbage of some length", 1, "not an Arrow file"),
    "empty": (b"", 1, "is empty"),
    "truncated": ("cut", 1, "in.arrow"),
    "directory": ("dir", 1, "is a directory"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_a_source_that_cannot_be_read_is_one_clear_sentence(place, kind):
    content, code, words = WRONG[kind]
    path = place / "in.arrow"
    whole = path.read_bytes()
    path.unlink()
    if content == "dir":
        path.mkdir()
    elif content == "cut":
        path.write_bytes(whole[: len(whole) // 2])
    elif content is not None:
        path.write_bytes(content)
    found, _, err = cli("run", "good.flow", cwd=place)
    assert found in (code, 3)
    assert words in err
    assert not (place / "out").exists() or not list((place / "out").iterdir())


def test_text_in_a_number_column_stops_skips_or_is_kept(place):
    (place / "x.csv").write_text(
        "time,v\n2020-01-01T00:00:00Z,1\n2020-01-01T00:00:01Z,abc\n2020-01-01T00:00:02Z,3\n"
    )
    text = 'source s (time: time, v: f64) from csv("x.csv"){}\nsink s to csv("o.csv")\n'
    (place / "f.flow").write_text(text.format(""))
    code, _, err = cli("run", "f.flow", cwd=place)
    assert code == 3
    assert "row 2" in err
    assert "abc" in err
    assert not (place / "o.csv").exists()
    (place / "f.flow").write_text(text.format(' on error quarantine "bad.msgpack"'))
    code, out, _ = cli("run", "f.flow", cwd=place)
    assert code == 0
    assert "1 rejected" in out
    assert len((place / "o.csv").read_text().splitlines()) == 3
    assert "abc" in cli("inspect", "bad.msgpack", cwd=place)[1]


def test_rows_out_of_order_beyond_late_are_counted_and_the_cure_is_told(place):
    recording(place / "in.arrow", time=[5, 4, 3, 9, 2], v=[1.0, 2.0, 3.0, 4.0, 5.0])
    code, out, _ = cli("run", "good.flow", cwd=place)
    assert code == 0
    assert "3 late (60 %)" in out
    assert "order time" in out


def test_an_output_that_cannot_be_written_is_told_and_leaves_nothing(place):
    (place / "wall").write_text("a file")
    (place / "w.flow").write_text(GOOD.replace("out/o.arrow", "wall/o.arrow"))
    code, _, err = cli("run", "w.flow", cwd=place)
    assert code == 3
    assert "wall" in err


def test_a_full_disk_leaves_no_half_file(place):
    text = 'source s from simulate.vibration(seconds=20 s)\nsink s to arrow("big.arrow")\n'
    (place / "big.flow").write_text(text)
    cli("check", "big.flow", cwd=place)
    found = subprocess.run(
        [sys.executable, "-m", "flowedge", "run", "big.flow"], cwd=place, capture_output=True, text=True, timeout=120, check=False,
        preexec_fn=lambda: (signal.signal(signal.SIGXFSZ, signal.SIG_IGN), resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, 500_000))),
        env={**os.environ, "FLOWEDGE_CACHE": str(place / "cache")},
    )  # fmt: skip
    assert found.returncode == 3, found.stderr
    assert "Traceback" not in found.stderr
    assert "big.arrow" in found.stderr
    assert not [p for p in place.iterdir() if "big.arrow" in p.name]


def in_the_middle(run, out):
    """Wait until a run has opened its sink, which it does under a temporary name."""
    while run.poll() is None and not any(out.glob(".*.inprogress")):
        time.sleep(0.05)
    time.sleep(0.5)
    assert run.poll() is None, run.communicate()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_ends_cleanly(place, number):
    (place / "long.flow").write_text(
        'source s from simulate.vibration(seconds=100000 s)\nsink s | filter lowpass(100 Hz) to arrow("out/long.arrow")\n'
    )
    run = subprocess.Popen(
        [sys.executable, "-m", "flowedge", "run", "long.flow"],
        cwd=place,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        in_the_middle(run, place / "out")
        run.send_signal(number)
        _, err = run.communicate(timeout=60)
    finally:
        run.kill()
    assert run.returncode == 130
    assert "interrupted" in err
    assert "Traceback" not in err
    assert not (place / "out").exists() or not list((place / "out").iterdir())


@pytest.mark.parametrize(
    "content", [b"\xff\xfe\x00binary\x80", b"", b"\0\0\0", "sinc ☃".encode(), b"sink " * 1000]
)
def test_any_bytes_as_a_pipeline_give_a_sentence(place, content):
    (place / "odd.flow").write_bytes(content)
    code, _, err = cli("run", "odd.flow", cwd=place)
    assert code == (0 if content == b"" else 1)
    assert code == 0 or "FE1" in err


def test_usage_mistakes_end_with_two(place):
    for args in (
        ["runn"],
        ["run"],
        ["run", "good.flow", "--speed", "banana"],
        ["graph", "good.flow", "-o", "x.png"],
        ["check"],
    ):
        assert cli(*args, cwd=place)[0] == 2, args


def test_a_wrong_digest_ends_with_five(place):
    shutil.copy(ROOT / "pipelines" / "models" / "motion.pt2", place / "m.pt2")
    n = 100
    ns = (np.arange(n) * 10**8).astype(np.int64)
    three = pa.FixedSizeListArray.from_arrays(pa.array(np.zeros(3 * n, np.float32)), 3)
    table = pa.table({"time": pa.array(ns).cast(pa.timestamp("ns", "UTC")), "a": three, "g": three})
    with (
        pa.OSFile(str(place / "m.arrow"), "wb") as file,
        pa.ipc.new_file(file, table.schema) as writer,
    ):
        writer.write_table(table)
    (place / "m.flow").write_text(
        'model m = torch("m.pt2", sha256="00ff00ff")\n    input (a, g)\n    output softmax ["a", "b", "c", "d"]\n'
        'source s (time, a: f32<3>, g: f32<3>) at 10 Hz from arrow("m.arrow")\nsink s | window 50 samples | classify with m to arrow("o.arrow")\n'
    )
    code, _, err = cli("run", "m.flow", cwd=place)
    assert code == 5
    assert "sha256" in err


def test_unicode_names_and_a_pipe_that_closes(place):
    folder = place / "mesure été"
    folder.mkdir()
    recording(folder / "é.arrow", time=[0, 1], v=[1.0, 5.0])
    (folder / "温度.flow").write_text(
        'source café (time, v: f64) from arrow("é.arrow")\nsink café | derive `größe (mm)` = v * 2 to csv("ö.csv")\n'
    )
    assert cli("run", "温度.flow", cwd=folder)[0] == 0
    assert "größe" in (folder / "ö.csv").read_text()
    found = subprocess.run(
        f"{sys.executable} -m flowedge ops | head -1",
        shell=True,
        cwd=place,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in found.stderr


def test_a_damaged_or_forbidden_cache_is_no_harm(place):
    cache = place / "cache"
    assert cli("run", "-q", "good.flow", cwd=place, FLOWEDGE_CACHE=str(cache))[0] == 0
    for file in cache.rglob("*"):
        if file.is_file():
            file.write_bytes(file.read_bytes()[:50] + b"damage")
    assert cli("run", "-q", "good.flow", cwd=place, FLOWEDGE_CACHE=str(cache))[0] == 0
    assert cli("run", "-q", "good.flow", cwd=place, FLOWEDGE_CACHE="/proc/no/such/place")[0] == 0


@pytest.mark.parametrize(
    "name", ["ecg", "fleet", pytest.param("heartbeats", marks=pytest.mark.slow), "pump", "room"]
)
def test_a_shipped_pipeline_runs_as_it_stands(tmp_path, name):
    (tmp_path / "pipelines").symlink_to(ROOT / "pipelines")
    code, out, err = cli("run", f"pipelines/{name}.flow", cwd=tmp_path)
    assert code == 0, err
    assert "rows to" in out


def test_motion_is_told_right_on_the_test_split(tmp_path):
    (tmp_path / "pipelines").symlink_to(ROOT / "pipelines")
    for command in (
        ["pipelines/prepare_motion.py", "data"],
        ["-m", "flowedge", "run", "pipelines/motion.flow"],
        ["pipelines/score_motion.py"],
    ):
        found = subprocess.run(
            [sys.executable, *command],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=300,
            check=True,
        )
    share = float(found.stdout.split("windows, ")[1].split("%")[0])
    assert share >= 95


def test_a_replay_at_the_speed_of_life_can_be_interrupted(place):
    recording(place / "in.arrow", time=[0, 1000, 2000], v=[1.0, 2.0, 3.0])
    cli("run", "-q", "good.flow", cwd=place)
    (place / "out" / "o.arrow").unlink()
    run = subprocess.Popen(
        [sys.executable, "-m", "flowedge", "run", "--speed", "1x", "good.flow"],
        cwd=place, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        in_the_middle(run, place / "out")
        run.send_signal(signal.SIGINT)
        _, err = run.communicate(timeout=60)
    finally:
        run.kill()
    assert run.returncode == 130
    assert "interrupted" in err


def test_a_replay_takes_its_time(place):
    recording(place / "in.arrow", time=[0, 10, 20, 30], v=[1.0, 2.0, 3.0, 4.0])
    cli("run", "-q", "good.flow", cwd=place)
    begun = time.monotonic()
    assert cli("run", "-q", "--speed", "10x", "good.flow", cwd=place)[0] == 0
    assert time.monotonic() - begun >= 3
    assert read(place / "out" / "o.arrow")["v"].to_pylist() == [2, 3, 4]


def test_files_of_many_kinds_can_be_inspected(place):
    (place / "a.csv").write_text("time,v\n2020-01-01,1\n")
    (place / "a.jsonl").write_text('{"time": "2020-01-01", "v": 1}\n')
    (place / "nothing").mkdir()
    for name, words in (("a.csv", "1 row"), ("a.jsonl", "1 row"), ("in.arrow", "5 rows")):
        code, out, _ = cli("inspect", name, "--rows", "1", cwd=place)
        assert code == 0
        assert words in out
    for name, words in (("nope", "no file"), ("nothing", "without Parquet")):
        code, _, err = cli("inspect", name, cwd=place)
        assert code == 3
        assert words in err


NONSENSE = {
    "banana": "FE206",
    "3 kg": "FE303",
    "-3 s": "FE418",
    "1e300 s": "FE418",
    "": "FE206",
    '1 s" sink': "FE206",
    "1e999 s": "FE206",
}


@pytest.mark.parametrize("value", NONSENSE)
def test_a_parameter_that_makes_no_sense(place, value):
    (place / "p.flow").write_text(
        'param d = 1 s\nsource s (time, v: f64) from arrow("in.arrow")\nsink s | window d | aggregate count() as n to arrow("o.arrow")\n'
    )
    code, out, _ = cli("check", "p.flow", "-p", f"d={value}", cwd=place)
    assert code == 1
    assert NONSENSE[value] in out


def test_rows_of_too_many_keys_are_kept_with_the_reason(tmp_path):
    lines = [f"2020-01-01T00:00:0{k},d{k}\n" for k in range(6)]
    (tmp_path / "in.csv").write_text("time,d\n" + "".join(lines))
    (tmp_path / "f.flow").write_text(
        'source s (time: time, d: key string) from csv("in.csv") late 2 s max keys 3 on error quarantine "bad.jsonl"\n'
        'sink s to csv("o.csv")\n'
    )
    code, out, err = cli("run", "f.flow", cwd=tmp_path)
    assert code == 0, err
    assert "3 of keys beyond `max keys`" in out
    kept = [json.loads(line) for line in (tmp_path / "bad.jsonl").read_text().splitlines()]
    assert [k["row"] for k in kept] == [4, 5, 6]
    assert {k["reason"] for k in kept} == {"its key would be one more than `max keys 3`"}
