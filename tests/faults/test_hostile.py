"""Full disks, directories that vanish or cannot be written, inputs that change, a clock that is set back."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from support.command import cli

FLOW = """
source s (time, k: key i64, v: f64) at 1 kHz from arrow("in.arrow")
stream w = s | window 1 s | aggregate mean(v) as m, count() as n
sink s | filter ema(100 ms) on v to parquet("out/s", roll=200 [kB])
sink w to arrow("out/w.arrow")
sink w | where n > 0 to csv("out/w.csv") as text
"""
STATE = ("--checkpoint", "state", "--every", "20ms")


def given_up(reason):
    """Skip what this machine does not permit, unless all has to run."""
    if os.environ.get("FLOWEDGE_REQUIRE_ALL"):
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture
def disk(tmp_path):
    """A function that puts a small disk at a path, or changes one; they are taken away at the end."""
    mounted = []

    def mount(path, options):
        is_new = path not in mounted
        path.mkdir(exist_ok=True)
        how = ["-t", "tmpfs", "-o", options, "tmpfs"] if is_new else ["-o", f"remount,{options}"]
        found = subprocess.run(["mount", *how, path], capture_output=True, text=True, check=False)
        if found.returncode:
            given_up(f"no disk can be mounted: {found.stderr.strip()}")
        if is_new:
            mounted.append(path)

    if shutil.which("mount") is None:
        given_up("there is no `mount`")
    yield mount
    for path in mounted:
        subprocess.run(["umount", "-l", path], check=True)


@pytest.fixture
def place(tmp_path):
    write(tmp_path / "in.arrow")
    (tmp_path / "p.flow").write_text(FLOW)
    return tmp_path


def write(path, rows=600_000, seed=3):
    """A signal of two keys, 1 kHz each, in many batches."""
    v = np.random.default_rng(seed).normal(size=rows)
    time_ns = np.repeat(np.arange(rows // 2), 2) * 10**6
    table = pa.table({
        "time": pa.array(time_ns).cast(pa.timestamp("ns", "UTC")), "k": np.tile([1, 2], rows // 2), "v": v,
    })  # fmt: skip
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table, max_chunksize=5_000)


def outputs(place, *, lists=True):
    out = place / "out"
    return {
        str(p.relative_to(out)): p.read_bytes()
        for p in sorted(out.rglob("*"))
        if p.is_file() and not p.name.startswith(".") and (lists or "_manifest" not in p.parts)
    }


@pytest.fixture
def wanted(place):
    """The outputs of a run in peace, which are removed again."""
    assert cli("run", "-q", "p.flow", cwd=place)[0] == 0
    found = outputs(place)
    assert len(found) > 6
    shutil.rmtree(place / "out")
    return found


def run(place, *more):
    return cli("run", "-q", "p.flow", *STATE, *more, cwd=place)


def start(place, *more, **env):
    return subprocess.Popen(
        [sys.executable, "-m", "flowedge", "run", "p.flow", *STATE, "--speed", "200x", *more], cwd=place,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, **env},
    )  # fmt: skip


def in_the_middle(task, place):
    """Wait until files are shown and the state is kept."""
    while task.poll() is None and not (
        any((place / "state").glob("checkpoint-*")) and any((place / "out" / "s").glob("*.parquet"))
    ):
        time.sleep(0.002)
    assert task.poll() is None, task.communicate()


def ended(task):
    try:
        _, err = task.communicate(timeout=120)
    finally:
        task.kill()
    assert "Traceback" not in err, err
    return task.returncode, err


# ---- a disk of 1 MB


@pytest.mark.parametrize(
    ("what", "threads"),
    [
        ("state", "1"),
        ("out", "3"),
        *(pytest.param(*x, marks=pytest.mark.slow) for x in (("state", "3"), ("out", "1"))),
    ],
)
def test_a_full_disk_stops_the_run_and_it_goes_on_when_there_is_room(
    place, wanted, disk, what, threads
):
    disk(place / what, "size=1m")
    code, err = run(place, "--threads", threads)[::2]
    assert code == 3, err
    assert "disk is full" in err
    assert len(err.strip().splitlines()) == 1
    seen = outputs(place, lists=False)
    assert seen.items() <= wanted.items()
    code, err = run(place, "--threads", threads)[::2]  # nothing has changed
    assert code == 3, err
    disk(place / what, "size=200m")
    code, err = run(place, "--threads", threads)[::2]
    assert code == 0, err
    assert outputs(place) == wanted


def test_room_that_others_free_is_enough(place, wanted, disk):
    disk(place / "out", "size=32m")
    (place / "out" / "ballast").write_bytes(bytes(31 << 20))
    code, err = run(place)[::2]
    assert code == 3, err
    (place / "out" / "ballast").unlink()
    code, err = run(place)[::2]
    assert code == 0, err
    assert outputs(place) == wanted


# ---- what may not be written


@pytest.mark.parametrize("what", ["state", "out"])
def test_a_disk_that_may_only_be_read_is_told_before_the_work(place, wanted, disk, what):
    disk(place / what, "size=200m")
    disk(place / what, "ro")
    code, err = run(place)[::2]
    assert code == 3
    assert what in err
    assert "ead-only" in err or "permission" in err.lower()
    disk(place / what, "rw")
    assert run(place)[0] == 0
    assert outputs(place) == wanted


def test_a_disk_that_becomes_one_to_be_read_stops_the_run(place, wanted, disk):
    disk(place / "out", "size=200m")
    task = start(place)
    in_the_middle(task, place)
    remounted = subprocess.run(
        ["mount", "-o", "remount,ro", place / "out"], capture_output=True, check=False
    )
    if remounted.returncode:  # a file that is open to be written keeps it from that
        task.kill()
        task.communicate()
        disk(place / "out", "ro")
    else:
        code, err = ended(task)
        assert code == 3, err
    assert run(place)[0] == 3
    disk(place / "out", "rw")
    code, err = run(place)[::2]
    assert code == 0, err
    assert outputs(place) == wanted


# ---- what vanishes


def test_outputs_removed_under_the_run_are_not_made_up(place, wanted):
    task = start(place)
    in_the_middle(task, place)
    shutil.rmtree(place / "out")
    code, err = ended(task)
    assert code == 3, err
    assert "out/" in err
    assert len(err.strip().splitlines()) == 1
    # What the checkpoint says was shown is gone: that is told, and never passed over.
    code, err = run(place)[::2]
    assert code == 3
    assert "DATA LOSS" in err
    shutil.rmtree(place / "state")
    assert run(place)[0] == 0
    assert outputs(place) == wanted


def test_a_state_removed_under_the_run_stops_it_and_it_starts_afresh(place, wanted):
    task = start(place)
    in_the_middle(task, place)
    while (place / "state").exists():  # the run may add to it while it is removed
        shutil.rmtree(place / "state", ignore_errors=True)
    code, err = ended(task)
    assert code == 3, err
    assert "state" in err
    assert len(err.strip().splitlines()) == 1
    code, err = run(place)[::2]
    assert code == 0, err
    assert outputs(place) == wanted


@pytest.mark.parametrize("how", ["removed", "replaced", "cut"])
def test_an_input_that_changes_under_the_run_is_never_passed_over(place, wanted, how):
    """The rows are those of the file that was opened, or the run stops; it goes on with the same file only."""
    path, kept = place / "in.arrow", place / "kept.arrow"
    shutil.copy2(path, kept)
    task = start(place)
    in_the_middle(task, place)
    if how == "removed":
        path.unlink()
    elif how == "replaced":
        write(place / "other.arrow", seed=4)
        (place / "other.arrow").replace(path)
    else:
        os.truncate(path, path.stat().st_size // 2)
    code, err = ended(task)
    assert code in (0, 3), err
    if code == 0:
        assert outputs(place) == wanted
    else:
        assert "in.arrow" in err
        code, err = run(place)[::2]
        assert code in (1, 3), err
        assert "in.arrow" in err
        shutil.copy2(kept, path)
        code, err = run(place)[::2]
        assert code == 0, err
        assert outputs(place) == wanted


# ---- the clock


@pytest.fixture(scope="session")
def clock(tmp_path_factory):
    """The wall clock as a library under a process."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        given_up("no C compiler")
    out = tmp_path_factory.mktemp("clock") / "clock.so"
    source = Path(__file__).parents[1] / "support" / "clock.c"
    command = [compiler, "-O2", "-Wall", "-Werror", "-shared", "-fPIC", "-o", out, source, "-ldl"]
    subprocess.run(command, check=True)
    return out


def test_the_clock_of_the_test_can_be_set_back(clock, tmp_path):
    step = tmp_path / "step"
    code = (
        "import sys, time, pathlib; a = time.time(); m = time.monotonic(); pathlib.Path(sys.argv[1]).touch();"
        "print(round(time.time() - a), time.monotonic() >= m)"
    )
    env = {**os.environ, "LD_PRELOAD": str(clock), "CLOCK_STEP": str(step)}
    out = subprocess.run([sys.executable, "-c", code, step], env=env, capture_output=True, text=True, check=True)  # fmt: skip
    assert out.stdout.split() == ["-3600", "True"]


@pytest.mark.parametrize("threads", [pytest.param("1", marks=pytest.mark.slow), "3"])
def test_a_clock_set_back_by_an_hour_changes_nothing(place, wanted, clock, threads):
    step = place / "step"
    env = {"LD_PRELOAD": str(clock), "CLOCK_STEP": str(step)}
    task = start(place, "--threads", threads, "--report", "r.json", **env)
    in_the_middle(task, place)
    before = newest(place)
    step.touch()
    while task.poll() is None and newest(place) <= before + 2:  # checkpoints go on
        time.sleep(0.005)
    assert newest(place) > before + 2 or task.poll() is not None
    code, err = ended(task)
    assert code == 0, err
    assert outputs(place) == wanted
    report = json.loads((place / "r.json").read_text())
    assert report["checkpoints"] > before + 2
    assert 0 < report["wall_s"] < 3000
    assert all(s["latency"]["max_ms"] >= 0 for s in report["sinks"].values() if s["latency"])


def newest(place):
    with contextlib.suppress(OSError):
        return max((int(p.stem[-8:]) for p in (place / "state").glob("checkpoint-*")), default=0)
    return 0
