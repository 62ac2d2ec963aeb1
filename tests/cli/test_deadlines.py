"""Deadlines of sinks in runs that keep time: marks, what is left out, and the same again."""

import json
import signal
import subprocess
import sys

import pytest
from support.command import cli, read, recording
from support.services import until

from flowedge.runtime.recording import Player

FLOW = """
source s (time, v: f64) from arrow("in.arrow")
sink s deadline {limit} else {policy} to arrow("out.arrow")
"""


@pytest.fixture
def run(tmp_path):
    """Runs the pipeline over a recording of 400 rows; its report, its rows, and what it printed."""
    recording(tmp_path / "in.arrow", v=[float(i) for i in range(400)], unit=10**6)

    def go(limit, policy, *args, flow=FLOW):
        (tmp_path / "p.flow").write_text(flow.format(limit=limit, policy=policy))
        code, out, err = cli("run", "p.flow", "--report", "r.json", *args, cwd=tmp_path)
        assert code == 0, err
        report = json.loads((tmp_path / "r.json").read_text())
        return report, read(tmp_path / "out.arrow"), out + err

    return go


@pytest.mark.parametrize("threads", ["1", "3"])
def test_what_is_too_late_is_marked(run, threads):
    report, rows, shown = run("1 ns", "keep", "--speed", "50x", "--threads", threads)
    assert rows["late"].to_pylist() == [True] * 400
    assert report["sinks"]["s"]["late"] == 400
    assert "deadline: 400 rows late, and marked (100 %)" in shown
    assert report["streams"]["sink arrow"]["used"] == 400


@pytest.mark.parametrize("threads", ["1", "3"])
def test_what_is_too_late_is_left_out_and_shed_in_the_ledger(run, threads):
    report, rows, shown = run("1 ns", "drop", "--speed", "50x", "--threads", threads)
    assert rows.num_rows == 0
    assert report["sinks"]["s"]["dropped"] == 400
    ledger = report["streams"]["sink arrow"]
    assert (ledger["rows_in"], ledger["used"], ledger["shed"]) == (400, 0, 400)
    assert "deadline: 400 rows too late, and left out (100 %)" in shown


@pytest.mark.parametrize("policy", ["keep", "drop"])
def test_what_is_in_time_is_as_it_was(run, policy):
    report, rows, _ = run("1 h", policy, "--speed", "50x")
    assert rows["v"].to_pylist() == [float(i) for i in range(400)]
    assert (report["sinks"]["s"]["late"], report["sinks"]["s"]["dropped"]) == (0, 0)
    if policy == "keep":
        assert rows["late"].to_pylist() == [False] * 400
    else:
        assert "late" not in rows.column_names


def test_a_run_at_full_speed_has_no_deadlines(run):
    _, rows, _ = run("1 ns", "drop")
    assert rows.num_rows == 400
    _, rows, _ = run("1 ns", "keep")
    assert rows["late"].to_pylist() == [False] * 400


@pytest.mark.parametrize("policy", ["keep", "drop"])
def test_a_run_done_again_acts_on_the_same_rows(run, policy, tmp_path):
    """The limit lies among the times that rows take, so that some are late."""
    _, first, _ = run("300 us", policy, "--speed", "20x", "--record", "live.rec")
    for _ in range(2):
        report, again, _ = run("300 us", policy, "--as-recorded", "live.rec")
        assert again.equals(first)
    if policy == "drop":
        assert report["sinks"]["s"]["dropped"] == 400 - first.num_rows
    else:
        assert report["sinks"]["s"]["late"] == sum(first["late"].to_pylist())


def test_a_mark_stands_beside_that_of_a_model_and_never_in_place_of_a_value(run, tmp_path):
    flow = """
source s (time, v: f64) from arrow("in.arrow")
sink s | derive late = v > 10 deadline 1 ns else keep to arrow("out.arrow")
"""
    _, rows, _ = run("", "", flow=flow)
    assert rows["late"].to_pylist() == [i > 10 for i in range(400)]
    _, rows, _ = run("", "", "--speed", "50x", flow=flow)
    assert rows["late"].to_pylist() == [True] * 400
    (tmp_path / "p.flow").write_text(flow.replace("v > 10", "v * 2"))
    code, out, err = cli("check", "p.flow", cwd=tmp_path)
    assert code == 1
    assert "marks late rows in a column `late`" in out + err


def test_a_window_has_the_time_that_it_needs(run):
    """Its rows came up to a window's length before it closed: that is in the deadline, and what is asked too soon is refused."""
    flow = """
source s (time, v: f64) from arrow("in.arrow")
sink s | window 100 ms | aggregate count() as n deadline 30 s else drop to arrow("out.arrow")
"""
    report, rows, _ = run("", "", "--speed", "2x", flow=flow)
    assert rows["n"].to_pylist() == [100] * 4
    assert report["sinks"]["s_arrow"]["latency"]["max_ms"] > 40


PEERS = """
source drop (n: i64 [ms]) from dir("in/*.csv", each=delete, settle=50 ms)
    time n
sink drop to arrow("out.arrow") as kept priority 1
sink drop to mqtt("mqtt://127.0.0.1:1/rows") as told
"""


@pytest.mark.parametrize("most", ["2 MB", "1.5 MB"])
def test_a_peer_that_is_less_important_and_away_does_not_hold_the_others_up(tmp_path, most):
    """It gets what there is room for at the end: the newest rows. The others have all.

    A block of the file takes 1 MB before it is written: what waits for the peer makes room for that, too.
    """
    (tmp_path / "in").mkdir()
    (tmp_path / "p.flow").write_text(PEERS)
    for k in range(20):
        lines = "\n".join(str(n) for n in range(k * 5000, (k + 1) * 5000))
        (tmp_path / "in" / f"{k:02}.csv").write_text(f"n\n{lines}\n")
    process = subprocess.Popen(
        [sys.executable, "-m", "flowedge", "run", "p.flow", "--max-memory", most, "--report", "r.json", "--record", "live.rec", "--quiet"],
        cwd=tmp_path, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        until(lambda: process.poll() is not None or not list((tmp_path / "in").iterdir()), 120)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130, err
    report = json.loads((tmp_path / "r.json").read_text())
    assert sorted(read(tmp_path / "out.arrow")["n"].to_pylist()) == list(range(100_000)), err
    told = report["sinks"]["told"]
    assert told["shed"] > 50_000
    assert told["shed"] + told["peer"]["waiting"] == 100_000
    assert report["streams"]["sink mqtt"]["shed"] == told["shed"]
    assert sum(Player(tmp_path / "live.rec").shed["told"].within(0, 100_000)) == told["shed"]
