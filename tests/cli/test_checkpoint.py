"""A run that is killed goes on from its checkpoint, and gives the files of a run that was not."""

import contextlib
import os
import signal
import subprocess
import sys
import time

import pyarrow as pa
import pytest
from support.command import cli, recording

from flowedge.lang.errors import CheckpointError, SinkError, StateHeldError
from flowedge.runtime.checkpoint import KEPT, Saved, State

FLOW = """
source s from simulate.vibration(seconds=60 s)
stream w = s | window 1 s | aggregate rms(a) as r, count() as n
sink s | filter lowpass(100 Hz) to arrow("out/a.arrow")
sink w to parquet("out/w.parquet")
sink w | where n > 0 to csv("out/w.csv")
"""
NAMES = ("a.arrow", "w.parquet", "w.csv")


@pytest.fixture
def place(tmp_path):
    (tmp_path / "p.flow").write_text(FLOW)
    return tmp_path


@contextlib.contextmanager
def held(root):
    """A state directory, let go of at the end."""
    state = State(root)
    try:
        yield state
    finally:
        state.close()


def outputs(place):
    return {name: (place / "out" / name).read_bytes() for name in NAMES}


def start(place, *more):
    command = [
        sys.executable,
        "-m",
        "flowedge",
        "run",
        "p.flow",
        "--checkpoint",
        "state",
        "--every",
        "1ms",
        *more,
    ]
    return subprocess.Popen(
        command, cwd=place, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def checkpoints(place):
    return sorted((place / "state").glob("checkpoint-*")) if (place / "state").is_dir() else []


def wait_for_checkpoint(run, place, known):
    """Until there is a checkpoint that was not there; False if the run ended before."""
    while run.poll() is None:
        found = checkpoints(place)
        if found and found[-1].name > known:
            return found[-1].name
        time.sleep(0.005)
    return ""


def test_checkpoints_change_nothing(place):
    assert cli("run", "-q", "p.flow", cwd=place)[0] == 0
    wanted = outputs(place)
    code, out, err = cli("run", "p.flow", "--checkpoint", "state", "--every", "1 ms", cwd=place)
    assert code == 0, err
    assert "went on" not in out
    assert outputs(place) == wanted
    assert checkpoints(place) == []
    assert not (place / "state" / "rows").exists()


def test_killed_again_and_again_it_gives_the_same_files(place):
    assert cli("run", "-q", "p.flow", cwd=place)[0] == 0
    wanted = outputs(place)
    for name in NAMES:
        (place / "out" / name).unlink()
    known, kills = "", 0
    for _ in range(4):
        run = start(place)
        try:
            found = wait_for_checkpoint(run, place, known)
            if not found:
                break
            known = found
            run.kill()
            kills += 1
        finally:
            run.kill()
            run.communicate()
        assert not any((place / "out" / name).exists() for name in NAMES)
        assert len(checkpoints(place)) <= KEPT + 1
    assert kills
    code, out, err = cli("run", "p.flow", "--checkpoint", "state", cwd=place)
    assert code == 0, err
    assert "went on from checkpoint" in out
    assert outputs(place) == wanted


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_says_how_to_go_on(place, number):
    run = start(place)
    try:
        assert wait_for_checkpoint(run, place, "")
        run.send_signal(number)
        _, err = run.communicate(timeout=60)
    finally:
        run.kill()
    assert run.returncode == 130
    assert "run the same command again" in err
    code, out, err = cli("run", "p.flow", "--checkpoint", "state", "--threads", "3", cwd=place)
    assert code == 0, err
    assert "went on" in out
    wanted = outputs(place)
    assert cli("run", "-q", "p.flow", cwd=place)[0] == 0
    assert outputs(place) == wanted


def test_two_runs_do_not_share_a_state(place):
    with held(place / "state"):
        code, _, err = cli("run", "p.flow", "--checkpoint", "state", cwd=place)
    assert code == 4
    assert f"process {os.getpid()}" in err


def test_another_pipeline_or_another_file_is_refused(place):
    recording(place / "in.arrow")
    (place / "f.flow").write_text(
        'source s (time, v: f64) from arrow("in.arrow")\nsink s to arrow("out/f.arrow")\n'
    )
    with held(place / "state") as state:
        state.save(Saved(1, "another", {}, {}, {}, {}, {}))
    code, _, err = cli("run", "f.flow", "--checkpoint", "state", cwd=place)
    assert code == 3
    assert "another pipeline" in err
    assert "remove `state`" in err


@pytest.mark.parametrize("every", ["0 s", "banana", "10 parsec", "-1 s", "inf s"])
def test_no_duration_is_a_wrong_usage(place, every):
    assert cli("run", "p.flow", "--checkpoint", "state", "--every", every, cwd=place)[0] == 2


def test_a_state_that_cannot_be_made_is_told(place):
    (place / "wall").write_text("a file")
    for state, words in (("wall/state", "`wall` is a file"), ("wall", "give a directory")):
        code, _, err = cli("run", "p.flow", "--checkpoint", state, cwd=place)
        assert code == 3
        assert words in err


# ---- the state directory itself


def saved(epoch, **outputs):
    return Saved(epoch, "p", {}, {"a": b"state"}, {"s": {"done": False}}, outputs, {})


def rows(*values):
    return pa.record_batch({"v": list(values)})


@pytest.mark.parametrize("harm", ["cut", "flip", "empty"])
def test_a_damaged_checkpoint_gives_way_to_the_one_before(tmp_path, harm):
    with held(tmp_path) as state:
        for epoch in (1, 2):
            state.save(saved(epoch))
    path = max(tmp_path.glob("checkpoint-*"))
    data = path.read_bytes()
    harmed = {"cut": data[:-3], "flip": data[:-1] + bytes([data[-1] ^ 1]), "empty": b""}
    path.write_bytes(harmed[harm])
    with held(tmp_path) as state:
        found, problem = state.newest()
        assert found.epoch == 1
        assert problem.startswith("checkpoint 2: ")
        assert not path.exists()
    for one in tmp_path.glob("checkpoint-*"):
        one.write_bytes(b"")
    with held(tmp_path) as state, pytest.raises(CheckpointError, match="no checkpoint"):
        state.newest()


def test_three_checkpoints_are_kept(tmp_path):
    with held(tmp_path) as state:
        for epoch in range(1, 7):
            state.save(saved(epoch, o={"from": 10 * epoch}))
            needed = state.drop_old()
    assert len(list(tmp_path.glob("checkpoint-*"))) == KEPT
    assert needed == {"o": 40}


def test_names_of_outputs_do_not_leave_the_directory(tmp_path):
    with held(tmp_path / "state") as state:
        for name in ("../../escape", "..", "a/b"):
            log = state.log(name)
            log.append(rows(2))
            log.mark()
            assert [b["v"].to_pylist() for _, b in log.read()] == [[2]]
            log.close()
        state.clear()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["state"]


def test_a_state_is_held_by_one(tmp_path):
    with held(tmp_path), pytest.raises(StateHeldError):
        State(tmp_path)
    with held(tmp_path):
        pass


def test_a_full_disk_leaves_the_checkpoint_before(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    with held(tmp_path) as state:
        state.save(saved(1))
        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(SinkError, match="disk is full"):
            state.save(saved(2))
        monkeypatch.undo()
    with held(tmp_path) as state:
        assert state.newest()[0].epoch == 1
