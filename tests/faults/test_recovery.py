"""Killed, cut from power, or refused by the disk at any call: the outputs are those of a run left in peace."""

import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.faults import KINDS, FaultyDisk
from support.recovery import SEED, SINKS, SMALL, Place

SHARE = int(os.environ.get("FLOWEDGE_FAULT_POINTS", "10"))
"""Points of each kind of fault and each kind of sink; of processes that are really killed, fewer."""
SHARE_OF_PROCESSES = min(SHARE, 9 + SHARE // 16)


@pytest.fixture
def small(monkeypatch):
    for owner, name, value in SMALL:
        monkeypatch.setattr(owner, name, value)


@pytest.fixture
def place(tmp_path, monkeypatch, small, request):
    monkeypatch.chdir(tmp_path)
    return Place(tmp_path, getattr(request, "param", "parquet"))


def calls_of(place):
    place.fresh()
    counter = FaultyDisk(place.root / "aside")
    assert place.run(counter)
    return counter.count


def points_of(count, share, kind):
    """(call, seed): calls drawn without return; where more are asked for, all again with another seed."""
    rng = random.Random(f"{SEED} {kind}")
    rounds = range(-(-share // count))
    drawn = [(at, SEED + k) for k in rounds for at in rng.sample(range(count), count)]
    return sorted(drawn[:share])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("place", SINKS, indirect=True)
def test_the_outputs_do_not_tell_what_happened(place, kind):
    points = points_of(calls_of(place), SHARE, kind)
    assert len(set(points)) == SHARE
    wrong = [w for at, seed in points for w in place.fault(at, kind, seed)]
    assert not wrong, "\n".join(wrong[:10])


@pytest.mark.parametrize("durability", ["os", "interval 1 h"])
@pytest.mark.parametrize("kind", ["before", "half", "after", "eio", "enospc"])
def test_without_syncs_a_kill_loses_nothing(tmp_path, monkeypatch, small, durability, kind):
    monkeypatch.chdir(tmp_path)
    place = Place(tmp_path, "parquet", f" durability {durability}")
    points = random.Random(f"{SEED} {kind}").sample(range(calls_of(place)), 6)
    wrong = [w for at in points for w in place.fault(at, kind, SEED, second=kind)]
    assert not wrong, "\n".join(wrong[:10])


@pytest.mark.parametrize("durability", ["os", "interval 1 h"])
def test_without_syncs_a_loss_of_power_is_told(tmp_path, monkeypatch, small, durability):
    """Rows may be missing then, never without a word; and nothing stands in the way of going on."""
    monkeypatch.chdir(tmp_path)
    place = Place(tmp_path, "parquet", f" durability {durability}")
    count, told = calls_of(place), 0
    for at in range(20, count, max(1, count // 25)):
        place.fresh()
        place.run(FaultyDisk(place.root / "aside", at, "power", SEED))
        assert place.run(), place.said
        if place.rows() != place.all_rows:
            assert any("lost" in h or "not there now" in h for h in place.hints), at
            told += 1
    assert told


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bad", ["bad.arrow", "bad.jsonl"])
def test_rows_that_a_policy_rejects_are_kept_exactly_once(tmp_path, monkeypatch, small, kind, bad):
    monkeypatch.chdir(tmp_path)
    place = Place(tmp_path, "text", valid="valid v in -1.5 .. 1.5 else reject", bad=bad)
    assert place.wanted[bad].count(b"outside") > 20
    points = points_of(calls_of(place), SHARE_OF_PROCESSES, kind)
    wrong = [w for at, seed in points for w in place.fault(at, kind, seed)]
    assert not wrong, "\n".join(wrong[:10])


LEFT_OUT = {
    "rows": ("parquet", lambda call, path: call == "sync" and "/state/rows/" in path),
    "outputs": ("parquet", lambda call, path: call == "sync" and "/out/" in path),
    "names of outputs": ("parquet", lambda call, path: call == "sync_directory" and "/out" in path),
    "files that grow": ("text", lambda call, path: call == "sync" and "/out/" in path),
    "names of files that grow": ("arrow", lambda call, path: call == "sync_directory" and "/d" in path),
}  # fmt: skip


@pytest.mark.parametrize("what", LEFT_OUT)
def test_a_sync_that_is_left_out_is_found(tmp_path, monkeypatch, small, what):
    """A harness that cannot fail proves nothing."""
    monkeypatch.chdir(tmp_path)
    sinks, forget = LEFT_OUT[what]
    place = Place(tmp_path, sinks)
    count = calls_of(place)
    points = range(5, count, max(1, count // 25))
    assert any(place.fault(at, "power", SEED, forget) for at in points)


# ---- real processes, really killed


@pytest.fixture(scope="session")
def shim(tmp_path_factory):
    """The faults as a library under a process."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        if os.environ.get("FLOWEDGE_REQUIRE_ALL"):
            pytest.fail("no C compiler")
        pytest.skip("no C compiler")
    out = tmp_path_factory.mktemp("shim") / "faults.so"
    source = Path(__file__).parents[1] / "support" / "faults.c"
    command = [compiler, "-O2", "-Wall", "-Werror", "-shared", "-fPIC", "-o", out, source, "-ldl"]
    subprocess.run(command, check=True)
    return out


def shimmed(shim, root, sinks, kinds, share, *more):
    """Violations at some points of each kind, and how many points there were."""
    script = Path(__file__).parents[1] / "support" / "shimmed.py"
    found = subprocess.run(
        [sys.executable, script, root, sinks, ",".join(kinds), str(share), str(SEED), *more],
        env={**os.environ, "LD_PRELOAD": str(shim)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
    return json.loads(found.stdout)


@pytest.mark.parametrize("sinks", ["arrow", pytest.param("parquet", marks=pytest.mark.slow)])
def test_a_process_that_is_killed_leaves_nothing_to_be_seen(shim, tmp_path, sinks):
    kinds = ["before", "half", "after", "eio", "enospc", "power"]
    told = shimmed(shim, tmp_path, sinks, kinds, SHARE_OF_PROCESSES)
    assert told["points"] == 6 * min(SHARE_OF_PROCESSES, told["calls"])
    assert not told["wrong"], "\n".join(told["wrong"][:10])


def test_a_sync_that_is_left_out_is_found_under_a_process_too(shim, tmp_path):
    told = shimmed(shim, tmp_path, "parquet", ["power"], 40, "unsynced")
    assert told["wrong"]
