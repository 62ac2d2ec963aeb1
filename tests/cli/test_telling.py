"""What a run tells: latencies, threads that change nothing, the live page."""

import io
import json
import sqlite3
import time

import numpy as np
import pyarrow as pa
import pytest
from rich.console import Console
from support.command import cli, recording

from flowedge.runtime.latency import Latencies, Receipts, first_times
from flowedge.runtime.report import PeerReport, Report, SinkReport, SourceReport
from flowedge.runtime.threads import Ahead, Behind
from flowedge.ui.page import Page
from flowedge.ui.progress import milliseconds, progress, summary

FLOW = """
source s from simulate.vibration(seconds=20 s)
sink s | filter lowpass(100 Hz) to arrow("out/a.arrow")
sink s | window 1 s | aggregate rms(a) as r to csv("out/w.csv")
"""


@pytest.mark.parametrize("seed", range(3))
def test_quantiles_are_those_of_numpy_to_two_percent(seed):
    values = np.random.default_rng(seed).lognormal(14, 2, 5000).astype(np.int64)
    found = Latencies()
    for v in values.tolist():
        found.record(v, 1)
    for q in (0.01, 0.5, 0.99, 0.999, 1.0):
        exact = np.quantile(values, q, method="inverted_cdf")
        assert exact <= found.quantile(q) <= exact * 1.02
    assert found.largest == values.max()
    assert found.count == 5000


def test_no_rows_have_no_quantiles():
    assert Latencies().as_dict() == {}
    assert np.isnan(Latencies().quantile(0.5))
    one = Latencies()
    one.record(0, 3)
    assert one.as_dict()["max_ms"] == 0.0


def test_a_row_counts_from_the_receipt_of_the_first_row_that_it_is_made_of():
    receipts, found = Receipts(), Latencies()
    for oldest, newest, clock in ((1, 10, 1000), (11, 20, 2000), (21, 30, 3000)):
        receipts.add(oldest, newest, clock)
    ages = receipts.ages(np.array([0, 5, 10, 11, 30, 99]), 10_000)
    assert ages.tolist() == [9000, 9000, 9000, 8000, 7000, 7000]
    assert receipts.ages(np.array([7]), 10_000).tolist() == [9000]
    assert receipts.age(11, 10_000) == 8000
    found.record_all(ages)
    assert found.count == 6
    assert found.largest == 9000
    assert Receipts().age(1, 5) == -1
    assert Receipts().ages(np.array([1, 2]), 5).tolist() == [-1, -1]


def test_a_time_between_two_pushes_is_that_of_the_second():
    receipts = Receipts()
    receipts.add(0, 9, 1000)
    receipts.add(20, 29, 2000)
    assert receipts.ages(np.array([9, 15, 20]), 3000).tolist() == [2000, 1000, 1000]


def test_a_device_whose_clock_is_slow_does_not_seem_late():
    receipts = Receipts()
    for k in range(100):  # two devices in turn, an hour apart
        receipts.add(3600 + k, 3600 + k, 10 * k)
        receipts.add(k, k, 10 * k + 5)
    now = 10 * 99 + 6
    assert receipts.ages(np.array([99, 98]), now).tolist() == [1, 11]
    assert (receipts.ages(np.array([3699, 3698]), now) <= [6, 16]).all()


def test_old_receipts_are_put_together_and_stay_right_to_a_part():
    receipts = Receipts()
    for k in range(300_000):
        receipts.add(k, k, k)
    assert len(receipts._low) <= 8192
    for at in (0, 1000, 150_000, 290_000, 299_999):
        exact = 300_000 - at
        assert exact * 0.95 - 1 <= receipts.age(at, 300_000) <= exact


def test_a_window_counts_from_its_start():
    instant = pa.timestamp("ns", "UTC")
    time_ = pa.array([20, 30], pa.int64()).cast(instant)
    start = pa.array([10, 20], pa.int64()).cast(instant)
    assert first_times(pa.record_batch({"time": time_, "start": start})).tolist() == [10, 20]
    assert first_times(pa.record_batch({"time": time_})).tolist() == [20, 30]
    assert first_times(pa.record_batch({"time": pa.array([None, 7]).cast(instant)})).tolist() == [7]


@pytest.mark.parametrize("threads", ["2", "3", "7"])
def test_threads_change_nothing(tmp_path, threads):
    (tmp_path / "p.flow").write_text(FLOW)
    found = []
    for more in ([], ["--threads", threads]):
        code, _, err = cli("run", "p.flow", "--report", "r.json", *more, cwd=tmp_path)
        assert code == 0, err
        files = [(tmp_path / "out" / n).read_bytes() for n in ("a.arrow", "w.csv")]
        report = json.loads((tmp_path / "r.json").read_text())
        found.append((files, report["streams"]))
    assert found[0] == found[1]
    assert set(report["sinks"]["s_arrow"]["latency"]) == {"p50_ms", "p99_ms", "p99_9_ms", "max_ms"}
    assert report["version"] == 1


@pytest.mark.parametrize("threads", ["1", "2", "3"])
def test_errors_on_other_threads_are_told_as_ever(tmp_path, threads):
    recording(tmp_path / "in.arrow", time=[5, 4, None], v=[1.0, 2.0, 3.0])
    (tmp_path / "p.flow").write_text(
        'source s (time, v: f64) from arrow("in.arrow")\nsink s to arrow("out/a.arrow")\n'
    )
    code, _, err = cli("run", "p.flow", "--threads", threads, cwd=tmp_path)
    assert code == 3
    assert "row 3 has no time" in err
    (tmp_path / "in.arrow").write_bytes((tmp_path / "in.arrow").read_bytes()[:-40])
    code, _, err = cli("run", "p.flow", "--threads", threads, cwd=tmp_path)
    assert code in (1, 3)
    assert "in.arrow" in err
    assert not (tmp_path / "out" / "a.arrow").exists()


@pytest.mark.parametrize("args", [["--threads", "0"], ["--threads", "x"], ["--ui"]])
def test_what_cannot_be_is_a_wrong_usage(tmp_path, args):
    (tmp_path / "p.flow").write_text(FLOW)
    assert cli("run", "p.flow", *args, cwd=tmp_path)[0] == 2


def test_items_made_ahead_come_in_order_and_errors_in_their_place():
    def items():
        yield from range(50)
        raise ValueError("at the end")

    ahead, found = Ahead(items()), []
    with pytest.raises(ValueError, match="at the end"):
        found.extend(ahead)  # extends as far as it comes
    assert found == list(range(50))
    ahead.close()
    endless = Ahead(iter(int, 1))
    next(iter(endless))
    endless.close()


def test_work_behind_is_done_in_order_and_stops_at_an_error():
    done = []

    def fail():
        raise OSError("full")

    behind = Behind()
    for k in range(20):
        behind(lambda k=k: done.append(k))
    behind.drain()
    assert done == list(range(20))
    behind(fail)
    with pytest.raises(OSError, match="full"):
        behind.drain()
    with pytest.raises(OSError, match="full"):
        behind(lambda: done.append("never"))
    behind.close()
    assert "never" not in done


def told():
    report = Report()
    report.sources["s"] = SourceReport(
        "arrow", "in.arrow", rows_in=20_000, rows_late=3, watermark_ns=10**18
    )
    report.sinks["o"] = SinkReport(
        "arrow",
        "o.arrow",
        rows=7,
        latency={"p50_ms": 0.5, "p99_ms": 12.0, "p99_9_ms": 1500.0, "max_ms": 2000.0},
    )
    report.streams = {
        "s": {"rows_in": 20_000},
        "where": {"rows_in": 20_000, "rows_out": 7, "filtered": 19_993},
    }
    return report


def test_progress_says_rows_latency_and_losses():
    assert (
        progress(told(), 2.0)
        == "20.0 k rows in · 7 out · 10.0 k rows/s · latency p50 0.5 ms, p99 12 ms · 3 late"
    )
    assert [milliseconds(v) for v in (0.0123, 9.94, 250.0, 3100.0)] == [
        "0.012 ms",
        "9.9 ms",
        "250 ms",
        "3.1 s",
    ]


def test_the_live_page_shows_sources_streams_and_sinks():
    console = Console(record=True, width=120, force_terminal=True, file=io.StringIO())
    page = Page("p.flow", console)
    page.update(told())
    shown = page.page(told(), time.monotonic() + 1.0)
    page.close()
    with console.capture() as kept:
        console.print(shown)
    text = kept.get()
    for word in ("20,000", "2001-09-09 01:46:40.000", "19,993", "1.5 s", "where", "p99.9"):
        assert word in text, word


def test_a_sink_without_rows_says_where_they_went(tmp_path):
    recording(tmp_path / "in.arrow")
    (tmp_path / "p.flow").write_text(
        'source s (time, v: f64) from arrow("in.arrow")\n'
        'sink s | where v > 100 to csv("o.csv")\n'
        'sink s | window 9 samples | aggregate mean(v) as m to csv("m.csv")\n'
    )
    code, out, _ = cli("run", "p.flow", cwd=tmp_path)
    assert code == 0
    assert "sink s_csv: no row reached it; `where` took 5 and gave none (5 filtered)" in out
    assert "`window 9 samples` took 5 and gave none (5 incomplete)" in out


def test_a_leap_in_time_is_told(tmp_path):
    year = 366 * 86_400
    recording(tmp_path / "in.arrow", time=[0, 1, 2 * year, 2 * year + 1], v=[1.0, 2.0, 3.0, 4.0])
    (tmp_path / "p.flow").write_text(
        'source s (time, v: f64) from arrow("in.arrow")\nsink s to csv("o.csv")\n'
    )
    assert "1 leaps of more than a year in time" in cli("run", "p.flow", cwd=tmp_path)[1]


def test_a_peer_that_is_away_is_told():
    peer = PeerReport("exactly once", delivered=10, waiting=1234, attempts=4, outages=2, away="connection refused")  # fmt: skip
    report = Report(sinks={"s": SinkReport("postgres", "postgresql://h/db", 1244, peer=peer)})
    assert progress(report, 1.0).endswith("`s` is away (connection refused), 1234 rows wait")
    assert "  postgres: was away 2 times, tried 4 times, 1,234 rows not delivered: connection refused" in summary(report)  # fmt: skip
    assert '"guarantee": "exactly once"' in report.as_json()
    peer.away, peer.waiting, peer.outages = "", 0, 0
    assert "away" not in summary(report) + progress(report, 1.0)


def test_rows_reach_a_database_from_the_command_line(tmp_path):
    recording(tmp_path / "in.arrow")
    (tmp_path / "p.flow").write_text(
        'source s (time, v: f64) from arrow("in.arrow")\nsink s to sqlite("h.db", table="t") buffer 1 [MB] on disk\n'
    )
    code, _, told = cli("run", "p.flow", "--checkpoint", "state", cwd=tmp_path)
    assert code == 0, told
    code, out, _ = cli("explain", "p.flow", cwd=tmp_path)
    assert code == 0
    assert "waits    up to 1 MB of rows on the disk while it is away" in out
    database = sqlite3.connect(tmp_path / "h.db")
    assert database.execute("select count(*), sum(v) from t").fetchall() == [(5, 10.0)]
    database.close()
