"""What a pipeline costs on this machine, and what `explain` makes of it."""

import pyarrow as pa
import pytest
from support.command import cli, recording

import flowedge
from flowedge.compile.program import FOREVER, SinkSpec
from flowedge.runtime.calibrate import (
    Calibration,
    PushCost,
    _made_up,
    calibrate,
    kept,
)
from flowedge.runtime.meter import Meter
from flowedge.ui.costs import table

FLOW = """
source s (time, v: f64) from arrow("in.arrow") late 2 s
sink s | where v > 10 to csv("out.csv") as hot
sink s | window 1 s | aggregate mean(v) as m to csv("m.csv") as means
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setenv("FLOWEDGE_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    recording(tmp_path / "in.arrow", v=[float(i % 50) for i in range(6000)], unit=10**7)
    (tmp_path / "p.flow").write_text(FLOW)
    return tmp_path


def test_each_stage_and_size_is_told_and_explain_promises(place):
    _, out, _ = cli("explain", "p.flow", cwd=place)
    assert "measured" not in out
    code, out, err = cli("calibrate", "p.flow", "--span", "200 ms", cwd=place)
    assert code == 0, err
    assert "with recorded rows" in out
    for word in ("1 row ", "64 rows", "4,096 rows", "s: where", "s: window 1 s", "hot: sink csv", "means: sink csv"):  # fmt: skip
        assert word in out, word
    _, out, _ = cli("explain", "p.flow", cwd=place)
    told = out.partition("measured on this machine")[2]
    assert "sink hot: 2" in told
    assert "sink means: 3" in told
    (place / "p.flow").write_text(FLOW.replace("> 10", "> 11"))
    _, out, _ = cli("explain", "p.flow", cwd=place)
    assert "measured" not in out, "another pipeline has other costs"


def test_what_is_kept_is_what_was_found(place):
    plan = flowedge.compile("p.flow")
    assert kept(plan.program) is None
    found = calibrate(plan, {}, most_s=0.1)
    assert kept(plan.program) == found
    assert [c.rows for c in found.pushes] == [1, 64, 4096]
    assert not found.is_made_up
    rows = {s.stage: s.rows for s in found.stages}
    assert rows["s"] == 6000
    assert rows["s: where"] == rows["s: window 1 s"] == 5800, "the others wait for late ones"
    assert 0 < rows["hot: sink csv"] < rows["s"]
    assert "\n".join(table(found, plan.program)).count("sink ") == 4


LIVE = """
source s (device: key, site: key i32, at: time, v: f64, n: u8, ok: bool, word: string, acc: f32<3>, pic: u8<2, 3>) from tcp("tcp://127.0.0.1:9")
    time at
    expire key after 1 h
sink s to arrow("m.arrow")
"""


def test_a_live_source_gets_made_up_rows_of_its_types_and_says_so(place):
    (place / "l.flow").write_text(LIVE)
    plan = flowedge.compile("l.flow")
    rows = _made_up(plan.program, "s")
    rows.validate(full=True)
    assert rows["acc"].type == pa.list_(pa.float32(), 3)
    assert rows["pic"].type == pa.list_(pa.list_(pa.uint8(), 3), 2)
    assert len(set(rows["device"].to_pylist())) == 8
    code, out, err = cli("calibrate", "l.flow", "--span", "100 ms", cwd=place)
    assert code == 0, err
    assert "with made-up rows" in out


def test_rows_of_a_live_run_are_measured_with(place):
    code, _, err = cli("run", "p.flow", "--record", "live.rec", cwd=place)
    assert code == 0, err
    code, out, err = cli("calibrate", "p.flow", "--as-recorded", "live.rec", "--span", "100 ms", cwd=place)  # fmt: skip
    assert code == 0, err
    assert "with recorded rows" in out
    (place / "bad.rec").write_bytes(b"nothing")
    code, _, err = cli("calibrate", "p.flow", "--as-recorded", "bad.rec", cwd=place)
    assert (code, "no recording" in err) == (3, True)


def test_what_cannot_be_measured_is_told(place):
    recording(place / "in.arrow", v=[])
    code, _, err = cli("calibrate", "p.flow", cwd=place)
    assert (code, "there are no rows to measure with" in err) == (3, True)
    code, _, err = cli("calibrate", "p.flow", "--span", "soon", cwd=place)
    assert (code, "--span" in err) == (2, True)


def test_time_inside_of_others_is_not_counted_twice():
    now = [0]

    def spend(ns, then=lambda: None):
        def work():
            now[0] += ns
            then()
            now[0] += ns

        return work

    meter = Meter(lambda: now[0])
    inner = meter._measured(2, spend(5))
    outer = meter._measured(1, spend(100, lambda: (inner(), inner())))
    outer()
    inner()
    assert {key: spent.wall_ns for key, spent in meter.spent.items()} == {1: 200, 2: 30}


def test_a_promise_is_the_waits_and_the_longest_push_of_few_rows():
    pushes = (PushCost(1, 10, 1, 2, 3, 400.0), PushCost(64, 10, 1, 2, 3, 900.0), PushCost(4096, 10, 1, 2, 3, 7000.0))  # fmt: skip
    found = Calibration("m", "2026-01-01", False, 1e6, pushes, ())
    assert found.promise_s(2 * 10**9) == pytest.approx(2.0009)
    assert found.promise_s(-1) is None
    assert SinkSpec(id=0).floor_ns == -1
    assert FOREVER > 0
