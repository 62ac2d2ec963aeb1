"""How far clocks are off, and how fast they run."""

import numpy as np
import pyarrow as pa
import pytest

import flowedge
from flowedge.graph.catalog import PlainCatalog
from flowedge.runtime.clock import Clock
from flowedge.runtime.report import SourceReport
from flowedge.runtime.skew import ClockWatch
from flowedge.types.connectors import ConnectorInfo
from flowedge.ui.progress import _clocks

S = 10**9
START = 1_700_000_000 * S


class Told(Clock):
    now = 0

    def ns(self):
        return self.now


def watched(offset_s, ppm, seconds, seed=0, devices=1):
    """Rows each 0.1 s whose device's clock is off and drifts, with ways of 1 ms and more."""
    draw, clock = np.random.default_rng(seed), Told()
    watch = ClockWatch(clock)
    for k in range(int(seconds * 10)):
        clock.now = k * S // 10
        if not watch.is_due:
            continue
        for device in range(devices):
            way = round((0.001 + draw.exponential(0.02)) * S)
            watch.received_ns = START + clock.now + way
            time = START + clock.now - round((offset_s * (device + 1) + ppm * 1e-6 * k / 10) * S)
            watch.note([(f"d{device}",)], np.array([time]))
    return watch.told()


@pytest.mark.parametrize(("offset_s", "ppm"), [(0.0, 0.0), (3600.0, 50.0), (-12.0, -200.0), (0.5, 20.0)])  # fmt: skip
def test_offset_and_drift_are_found_through_ways_that_differ(offset_s, ppm):
    found = watched(offset_s, ppm, 600)
    (worst,) = found["worst"]
    assert found["devices"] == 1
    assert worst["key"] == "d0"
    assert worst["offset_s"] == pytest.approx(offset_s + ppm * 1e-6 * 590, abs=0.01)
    assert worst["drift_ppm"] == pytest.approx(ppm, abs=4.0)


def test_a_drift_is_not_told_before_a_minute_has_passed():
    assert watched(1.0, 100.0, 30)["worst"][0]["drift_ppm"] is None
    assert watched(1.0, 100.0, 90)["worst"][0]["drift_ppm"] is not None
    assert watched(1.0, 0.0, 0.1)["worst"][0]["offset_s"] == pytest.approx(1.0, abs=0.2)


def test_the_worst_are_named_first_and_few():
    found = watched(2.0, 0.0, 5, devices=25)
    assert found["devices"] == 25
    assert [one["key"] for one in found["worst"]] == [f"d{k}" for k in range(24, 14, -1)]


def test_nothing_is_told_of_nobody():
    assert ClockWatch(Told()).told() == {}
    assert _clocks(SourceReport("mqtt", "")) == []


def test_a_clock_that_is_far_off_is_worth_a_word():
    report = SourceReport("mqtt", "", clocks=watched(3600.0, 50.0, 100))
    (line,) = _clocks(report)
    assert "the one of d0 is 3600" in line
    assert "s behind the receipt, and drifts by +5" in line
    report.clocks = watched(-7.0, 0.0, 5)
    assert "s ahead of the receipt; of 1 the furthest off" in _clocks(report)[0]
    report.clocks = watched(0.3, 0.0, 5)
    assert _clocks(report) == []


PLAIN = PlainCatalog(
    {"given": ConnectorInfo("given", "source", needs_address=False, describes_itself=False, writes_files=False)},
    {"kept": ConnectorInfo("kept", "sink", needs_address=False, writes_files=False)},
)  # fmt: skip


@pytest.mark.parametrize(
    ("keys", "columns", "want"),
    [
        ("device: key,", {"device": ["a", "b", "a", None]}, {("a",): 3, ("b",): 2, (None,): 4}),
        ("site: key, unit: key i32,", {"site": ["x", "x", "y", "x"], "unit": pa.array([1, 2, 1, 1], pa.int32())},
         {("x", 1): 4, ("x", 2): 2, ("y", 1): 3}),
        ("", {}, {(): 4}),
    ],
)  # fmt: skip
def test_a_source_tells_of_its_devices_and_their_newest_rows(keys, columns, want):
    text = f"""
    source s (time, {keys} v: f64) from given() late 0 s
    sink s to kept()
    """
    session = flowedge.compile(text=text, catalog=PLAIN).open()
    heard = {}
    session.sources["s"].watch = lambda devices, newest: heard.update(
        zip(devices, (newest // S).tolist(), strict=True)
    )
    time = pa.array([S, 2 * S, 3 * S, 4 * S], pa.int64()).cast(pa.timestamp("ns", "UTC"))
    session.push("s", pa.record_batch({"time": time, **columns, "v": [1.0] * 4}))
    assert heard == want
    session.sources["s"].watch = None
