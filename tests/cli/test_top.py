"""`flowedge top`: one page of what a run does, found by its address, its process or its name."""

import io
import json
import os

import pytest
from rich.console import Console
from support.command import cli
from support.runs import Watched
from support.services import until

from flowedge.lang.errors import RunError
from flowedge.runtime.operate.whereabouts import Whereabouts, listed, runs
from flowedge.ui.top import Page, ask, find

FLOW = """
source machine from host(every=20 ms) time time idle after 5 s
stream w = machine | where memory_share >= 0 percent | window 1 s | aggregate count() as n
sink w to sqlite("w.db", table="w")
sink machine to csv("m.csv") as rows
"""


@pytest.fixture
def apart(tmp_path, monkeypatch):
    """A folder of runs that no other test uses."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "runtime"))
    monkeypatch.delenv("RUNTIME_DIRECTORY", raising=False)
    return tmp_path


def test_a_page_of_a_run_found_in_each_way(apart):
    (apart / "machine.flow").write_text(FLOW)
    with Watched(apart, "machine.flow", "--checkpoint", "state", "--every", "0.2 s") as run:
        run.event("ready")
        until(lambda: run.json("/status")["sinks"]["w"]["rows"])
        run.event("checkpoint")
        pid = str(run.json("/status")["pid"])
        port = run.url.rpartition(":")[2]
        for wanted in ((), (pid,), ("machine",), ("machine.flow",), (f":{port}",), (run.url,)):
            code, out, err = cli("top", "--once", *wanted, cwd=apart, COLUMNS="160")
            assert code == 0, err
            assert f"machine.flow · process {pid} · running · up 0:00:" in out
        head, rest = out.split("\n", 1)
        assert " · checkpoint " in head
        table = {line.split()[0]: line.split() for line in rest.splitlines() if line}
        assert table["machine"][1].replace(",", "").isdigit()
        assert table["w"][2].isdigit()
        assert "window 1 s" in out
        assert "ms" in " ".join(table["rows"])
        code, _, err = cli("top", "--once", "other", cwd=apart)
        assert (
            code,
            f"there is no run `other`; there are\n    {pid}  machine.flow  {run.url}" in err,
        ) == (3, True)
        code, _, err = cli("top", cwd=apart)
        assert (code, "a live page needs a terminal; say `--once`" in err) == (2, True)
        run.stop()
    assert runs() == []
    code, _, err = cli("top", "--once", cwd=apart)
    assert (code, "nothing runs; no run serves `--metrics` here" in err) == (3, True)


def test_who_cannot_be_asked_is_told(apart):
    with pytest.raises(RunError, match=r"no run answers at `http://127.0.0.1:1`"):
        ask(find(":1"))
    with pytest.raises(RunError, match="is no address of a run"):
        ask(find("ftp://x:1"))


def test_of_several_runs_one_is_to_be_named(apart):
    here = os.getpid()
    with listed(Whereabouts(here, "a.flow", "http://127.0.0.1:1")):
        assert find(None) == find("a") == find(str(here)) == "http://127.0.0.1:1"
        (apart / "runtime" / "flowedge" / "1.run.json").write_text(
            json.dumps({"pid": os.getppid(), "name": "b.flow", "url": "http://x:2"})
        )
        (apart / "runtime" / "flowedge" / "2.run.json").write_text("{")
        (apart / "runtime" / "flowedge" / "3.run.json").write_text(
            '{"pid": 99999999, "name": "gone", "url": "u"}'
        )
        with pytest.raises(RunError, match="there are several; say which by its process"):
            find(None)
        assert find("b") == "http://x:2"


def test_a_folder_that_others_own_is_left_alone(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "file"))
    with listed(Whereabouts(1, "a", "b")):
        assert runs() == []


def told(rows, seconds, buckets, **more):
    """What a run says after so many seconds."""
    source = {"connector": "tcp", "address": "x", "rows": rows, "bytes": 8 * rows, "unreadable": 0, "watermark_ns": 0, "is_live": True,
              "is_over": False, "waiting_bytes": 0, "away": more.get("away", ""), "told": {}}  # fmt: skip
    counts = dict.fromkeys(
        ("used", "filtered", "late", "duplicate", "rejected", "shed", "incomplete", "held"), 0
    )
    node = {"rows_in": rows, "rows_out": rows, **counts, "shed": 7}
    sink = {"rows": rows, "late": 2, "dropped": 3, "shed": 4, "latency": {"p50_ms": 9000.0, "p99_ms": 9000.0, "p99_9_ms": 9000.0, "max_ms": 9000.0, "buckets": buckets},
            "peer": {"away": "refused", "waiting": 1234}}  # fmt: skip
    model = {
        "model": "m",
        "frames": rows,
        "failed": 1,
        "missed": 2,
        "rested": 3,
        "breaker": {"is_open": True},
    }
    return {"name": "p.flow", "pid": 7, "phase": "running", "started_ns": 0, "taken_ns": int(seconds * 1e9), "loop_age_s": 31.0,
            "sources": {"s": source}, "sinks": {"k": sink}, "nodes": {"s": node, "where": node, "derive [bold]x[/nothing]": node, "sink k": node}, "models": {"m: with": model},
            "state_bytes": {"where": 2_000_000}, "checkpoints": None}  # fmt: skip


def drawn(page, found):
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(page.drawn(found))
    return console.export_text()


def test_the_second_look_tells_what_has_changed_since_the_first():
    page = Page("http://x:1")
    first = drawn(page, told(1000, 10, {"1472": 1000}))
    second = drawn(page, told(4000, 12, {"1472": 1000, "1600": 3000}))
    lines = {line.split()[0]: line.split() for line in second.splitlines()[1:] if line.strip()}
    assert "100" in first.split()  # rows a second since the run began
    assert lines["s"][1:3] == ["4,000", "1,500"]
    assert lines["where"][1:3] == ["4,000", "1,500"]
    assert lines["where"][6:] == ["7", "2.0", "MB"]
    assert lines["k"][1:5] == ["4,000", "1,500", "17", "ms"]  # of the rows since, not of all
    assert lines["k"][-6:] == ["2", "7", "away:", "refused,", "1,234", "wait"]
    assert "derive [bold]x[/nothing]" in second
    assert "its loop has not come around for 31 s" in second
    assert lines["m"][-5:] == ["1,500", "1", "2", "3", "open"]


def test_a_run_of_another_version_is_told():
    with pytest.raises(RunError, match="is of another version"):
        Page("http://x:1").drawn({"phase": "running"})
