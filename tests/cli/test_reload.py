"""SIGHUP brings another text of the pipeline: what did not change goes on as if nothing had happened, what is wrong is refused.

It takes its time, for each text is compiled by a process of its own.
"""

import json
import signal
import socket
import sqlite3
from contextlib import closing

import pytest
from support.runs import Watched, only
from support.services import free_port, until

from flowedge.runtime.operate.events import EVENTS

FLOW = """
source plant (at: time, device: key, v: i64) from tcp("tcp://127.0.0.1:PORT", framing=lines)
    time at
    expire key after 1 h
stream w = plant | window 10 s | aggregate sum(v) as total, count() as n
sink w to sqlite("w.db", table="w")
sink plant to sqlite("p.db", table="rows") as all
"""
SECONDS = 60


class Plant:
    """A run, and a device that sends it a row a second of event time over one connection."""

    def __init__(self, folder, *more, flow=FLOW):
        self.folder, self.port, self.at = folder, free_port(), 0
        self.write(flow)
        self.run = Watched(folder, "p.flow", "--checkpoint", "state", "--every", "0.1 s", *more)
        self.run.event("ready")
        self.sock = socket.create_connection(("127.0.0.1", self.port), 20)

    def write(self, flow):
        (self.folder / "p.flow").write_text(flow.replace("PORT", str(self.port)))

    def send(self, until_s):
        while self.at < until_s:
            row = {
                "at": f"2026-01-01T00:{self.at // 60:02}:{self.at % 60:02}Z",
                "device": f"d{self.at % 2}",
                "v": self.at,
            }
            self.sock.sendall(json.dumps(row).encode() + b"\n")
            self.at += 1
        until(
            lambda: (
                only(self.run.metrics()["flowedge_source_rows_total"], source="plant") == until_s
            )
        )

    def change(self, flow, outcome):
        """Another text; what the run says of it."""
        self.write(flow)
        count = len(self.run.all_of(outcome)) + 1
        self.run.process.send_signal(signal.SIGHUP)
        return self.run.event(outcome, count)

    def reloads(self, outcome):
        """How often that has become of another text, as it is told by now."""
        found = self.run.metrics().get("flowedge_run_reloads_total", {})
        return found.get(frozenset({("outcome", outcome)}), 0)

    def end(self):
        """Stop it; the windows in the database, and the rows in the file as far as they are checkpointed."""
        until(lambda: not any(self.run.metrics()["flowedge_peer_waiting_rows"].values()))
        code, _ = self.run.stop()
        assert code == 130
        with closing(sqlite3.connect(self.folder / "w.db")) as database:
            return database.execute(
                "SELECT device, total, n FROM w ORDER BY time, device"
            ).fetchall()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.sock.close()
        self.run.__exit__(*error)


def windows(seconds):
    """The sums and counts of both devices in all windows of 10 s that are over."""
    out = []
    for first in range(0, seconds - 10, 10):
        for device in (0, 1):
            values = [k for k in range(first, first + 10) if k % 2 == device]
            out.append((f"d{device}", sum(values), len(values)))
    return out


MORE = FLOW + 'sink w | where total > 100 to jsonl("out/large.jsonl") as large\n'


def test_what_did_not_change_goes_on_in_the_middle_of_a_window_and_the_connection_stays(tmp_path):
    with Plant(tmp_path) as plant:
        plant.send(35)
        told = plant.change(MORE, "reloaded")
        assert (told["changed"], told["kept"]) == ("pipeline", ["plant"])
        assert [one["text"] for one in plant.run.all_of("note")] == []
        plant.send(45)  # over the same socket
        told = plant.change(MORE.replace("> 100", "> 200"), "reloaded")
        plant.send(SECONDS)
        found = plant.run.metrics()
        assert only(found["flowedge_source_events_total"], source="plant", event="connects") == 1
        assert plant.reloads("pipeline") == 2
        assert only(found["flowedge_node_rows_in_total"], node="plant") == SECONDS
        assert only(found["flowedge_sink_rows_total"], sink="large") == 4
        assert plant.end() == windows(SECONDS)
        with closing(sqlite3.connect(tmp_path / "p.db")) as database:
            values = database.execute("SELECT v FROM rows ORDER BY time").fetchall()
        assert [v for (v,) in values] == list(range(SECONDS))


def test_nothing_has_changed_is_told_and_disturbs_nothing(tmp_path):
    with Plant(tmp_path) as plant:
        plant.send(15)
        for text in (FLOW, "# the same, in other words\n" + FLOW.replace("10 s", "10.0 s")):
            told = plant.change(text, "reloaded")
            assert (told["changed"], told["kept"]) == ("nothing", ["plant"])
        until(lambda: plant.reloads("unchanged") == 2)
        plant.send(SECONDS)
        assert plant.end() == windows(SECONDS)


REFUSED = {
    "a mistake": (FLOW.replace("sum(v)", "sum(w)"), "unknown column"),
    "no text at all": ("\xff", "FE"),
    "state would be lost": (FLOW.replace("sum(v)", "max(v)"), '~ w: window 10 s: its code or the layout of its state has changed'),
    "a window is gone": (FLOW.replace("10 s", "20 s"), "- w: window 10 s: is no longer there"),
    "rows would be lost": (FLOW.replace('"w"', '"v"'), "~ sink w: writes other columns, or elsewhere"),
    "a sink is gone": (FLOW.rpartition("sink")[0], "would be lost"),
    "quite another pipeline": ('source x from host() time time\nsink x to csv("x.csv")\n', "made by another pipeline"),
}  # fmt: skip


def test_what_cannot_take_over_is_refused_with_the_reason_and_the_run_goes_on(tmp_path):
    with Plant(tmp_path) as plant:
        plant.send(15)
        for what, (text, says) in REFUSED.items():
            told = plant.change(text, "reload_refused")
            assert says in told["why"], (what, told)
            plant.send(plant.at + 3)
        (tmp_path / "p.flow").unlink()
        plant.run.process.send_signal(signal.SIGHUP)
        count = len(REFUSED) + 1
        assert "there is no file `p.flow`" in plant.run.event("reload_refused", count)["why"]
        until(lambda: plant.reloads("refused") == count)
        plant.send(SECONDS)
        assert plant.end() == windows(SECONDS)


def test_a_pipeline_that_cannot_open_its_outputs_gives_way_to_the_one_before(tmp_path):
    (tmp_path / "file").write_text("no folder")
    with Plant(tmp_path) as plant:
        plant.send(25)
        told = plant.change(FLOW + 'sink w to jsonl("file/x.jsonl") as more\n', "reload_refused")
        assert "it could not take over: " in told["why"]
        plant.send(SECONDS)
        told = plant.change(MORE, "reloaded")  # and another one may come
        plant.send(SECONDS + 10)
        assert only(plant.run.metrics()["flowedge_source_events_total"], event="connects") == 1
        assert plant.end() == windows(SECONDS + 10)


def test_a_run_that_is_recorded_keeps_its_pipeline(tmp_path):
    with Plant(tmp_path, "--record", "p.rec") as plant:
        plant.send(5)
        told = plant.change(MORE, "reload_refused")
        assert "a recording is of one pipeline" in told["why"]
        plant.send(15)
        assert plant.end() == windows(15)


def test_killed_after_a_reload_the_new_pipeline_goes_on(tmp_path):
    with Plant(tmp_path) as plant:
        plant.send(35)
        epoch = plant.run.json("/status")["checkpoints"]["epoch"]
        plant.change(MORE, "reloaded")
        until(lambda: plant.run.json("/status")["checkpoints"]["epoch"] > epoch + 3)
        plant.run.process.kill()
        plant.run.process.wait(20)
        plant.sock.close()
        plant.run.__exit__()
        plant.run = Watched(tmp_path, "p.flow", "--checkpoint", "state", "--every", "0.1 s")
        assert plant.run.event("resumed")
        plant.run.event("ready")
        plant.sock = socket.create_connection(("127.0.0.1", plant.port), 20)
        plant.send(SECONDS)
        assert plant.end() == windows(SECONDS)


def test_a_run_that_ends_while_a_text_is_compiled_waits_for_nothing(tmp_path):
    with Plant(tmp_path) as plant:
        plant.send(5)
        plant.write(MORE.replace("> 100", "> 101"))
        plant.run.process.send_signal(signal.SIGHUP)
        plant.run.event("reload")
        assert plant.run.stop()[0] == 130


@pytest.mark.parametrize("event", ["reload", "reloaded", "reload_refused"])
def test_the_events_have_these_names(event):
    assert event in EVENTS
