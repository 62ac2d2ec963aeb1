"""Databases that are killed, frozen, cut off or full, and runs that are killed beside them: each row is there once."""

import contextlib
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from support import databases
from support.faults import FaultyDisk, Killed, using
from support.proxy import Proxy
from support.recovery import SEED, SMALL, recorded

from flowedge.lang.errors import CheckpointError, FlowEdgeError, SinkError
from flowedge.runtime import delivery, memory, outlets, rowlog
from flowedge.runtime.plan import compile_flow
from flowedge.runtime.run import Interrupted, Run
from flowedge.sinks import postgres, sqlite

SHARE = int(os.environ.get("FLOWEDGE_FAULT_POINTS", "10"))
FLOW = """
source s (time, device: key, v: f64) from arrow("in.arrow") late 2 s on error skip
stream w = s | window 5 s | aggregate mean(v) as m, count() as n
sink s to {sink}{more}
sink w to arrow("out/w.arrow")
"""


class Place:
    """A pipeline into a table; its rows where nobody disturbs it."""

    def __init__(self, root, database, sink=None, more="", batches=7):
        self.root, self.database = root, database
        recorded(root / "in.arrow", batches)
        sink = sink or database.sink()
        (root / "p.flow").write_text(FLOW.format(sink=sink, more=more))
        self.plan = compile_flow(root / "p.flow")
        self.run(checkpoint=None)
        self.wanted = self.rows()
        assert len(self.wanted) > 200 * batches / 7
        database.drop()

    def rows(self):
        return sorted(self.database.rows('select "time", device, v from imu'), key=repr)

    def run(self, *, checkpoint="state", every_s=0.0, **more):
        self.task = Run(self.plan, checkpoint=checkpoint and self.root / checkpoint, every_s=every_s, **more)  # fmt: skip
        return self.task()

    def is_well(self, *, leaves_its_place=False):
        """Each row is there once, and nothing is left behind, but for a line where the end was cut short."""
        assert self.rows() == self.wanted
        places = self.database.rows("select sink from flowedge_places")
        assert len(places) <= leaves_its_place
        return True

    def is_over(self):
        """A run has got so far that its state is gone; one more would be a new one, and add its rows again."""
        return not list((self.root / "state").glob("checkpoint-*")) and self.rows() == self.wanted


@pytest.fixture
def small(monkeypatch):
    """Logs of a few rows, and short pauses."""
    for owner, name, value in SMALL:
        monkeypatch.setattr(owner, name, value)
    monkeypatch.setattr(delivery.Backoff, "next_s", lambda _: 0.02)


@pytest.fixture
def place(tmp_path, monkeypatch, small, database):
    monkeypatch.chdir(tmp_path)
    return Place(tmp_path, database)


@pytest.fixture
def proxy(cluster):
    wire = Proxy(cluster.port)
    yield wire
    wire.close()


@pytest.fixture
def far(tmp_path, monkeypatch, small, cluster, proxy):
    """A table behind a wire that can be cut."""
    monkeypatch.chdir(tmp_path)
    sink = f'postgres("{cluster.at(proxy.port)}?connect_timeout=2", table="imu")'
    return Place(tmp_path, databases.Postgres(cluster), sink)


# ---- the run is killed


def lives(place, rounds, quiet_s):
    """Rounds of a process that is killed again and again; how many kills there were."""
    script = Path(__file__).parents[1] / "support" / "lives.py"
    total = 0
    with subprocess.Popen(
        [sys.executable, script, place.root, str(SEED), str(rounds), str(quiet_s)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        for _ in range(rounds):
            place.database.drop()
            process.stdin.write("\n")
            process.stdin.flush()
            killed, code, was_over = json.loads(process.stdout.readline())
            assert code == 0 or was_over
            assert place.is_well(leaves_its_place=was_over)
            total += killed
    return total


def test_a_run_that_is_killed_again_and_again_fills_the_table_once(place):
    began = time.monotonic()
    place.run()
    assert place.is_well()
    quiet_s = time.monotonic() - began
    assert lives(place, max(2, SHARE // 5), quiet_s) > 3


@pytest.mark.parametrize("kind", ["before", "half", "after", "eio", "enospc", "power"])
def test_a_fault_at_any_call_of_the_disk_loses_no_row_of_a_table(place, kind):
    """Killed, refused or cut from power where the state is written, and once more on the way back."""
    counter = FaultyDisk(place.root / "aside")
    with using(counter, place.root):
        place.run()
    assert place.is_well()
    drawn = random.Random(f"{SEED} {kind}")
    for _ in range(max(3, SHARE // 3)):
        place.database.drop()
        for at in (drawn.randrange(counter.count), drawn.randrange(60)):
            if not place.is_over():
                life(place, FaultyDisk(place.root / "aside", at, kind, SEED))
        was_over = place.is_over()
        if not was_over:
            place.run()
        assert place.is_well(leaves_its_place=was_over)


def life(place, disk):
    """A run through a fault."""
    with using(disk, place.root), contextlib.suppress(FlowEdgeError, Killed):
        place.run()


# ---- the database is gone for a while


class Trouble:
    """Does one thing after the other to a peer while a run goes on, each once some more rows are there."""

    def __init__(self, *acts, each=40):
        self.acts, self.each, self.next = list(acts), each, each
        self.done = threading.Event()

    def __call__(self, report):
        peer = report.sinks["s"].peer
        if self.acts and peer.delivered >= self.next:
            self.next = peer.delivered + self.each
            threading.Thread(target=self.acts.pop(0)).start()


class Stop:
    """Asks a run to stop once so many rows are there; what is to be done before comes first."""

    def __init__(self, rows, trouble=None):
        self.rows, self.trouble = rows, trouble

    def __call__(self, report):
        peer = report.sinks["s"].peer
        if self.trouble is not None:
            self.trouble(report)
        if peer.delivered >= self.rows:
            self.rows = 1 << 60
            os.kill(os.getpid(), signal.SIGINT)


def paced(monkeypatch):
    """What a run tells of itself comes often."""
    monkeypatch.setattr("flowedge.runtime.run._TOLD_EVERY_S", 0.01)
    return {"speed": 60.0, "every_s": 0.02}


@pytest.mark.parametrize("kept", ["state", None])
def test_a_database_that_is_killed_and_started_again(far, cluster, monkeypatch, kept):
    def again():
        cluster.kill()
        cluster.start()

    report = far.run(checkpoint=kept, progress=Trouble(again), **paced(monkeypatch))
    assert far.is_well()
    assert report.sinks["s"].peer.outages >= 1
    assert report.sinks["s"].peer.delivered == len(far.wanted)


def test_a_database_that_stands_still_for_a_while(far, cluster, monkeypatch):
    def rest():
        cluster.freeze()
        time.sleep(0.5)
        cluster.thaw()

    far.run(progress=Trouble(rest, rest), **paced(monkeypatch))
    assert far.is_well()


@pytest.mark.parametrize("kept", ["state", None])
def test_a_wire_that_is_cut_in_the_middle_of_whatever_is_said(far, proxy, monkeypatch, kept):
    drawn = random.Random(SEED)

    def cut():
        proxy.cut_after(drawn.randrange(1, 3000))
        while proxy.cuts < cut.count:
            time.sleep(0.005)
        cut.count += 1
        time.sleep(0.05)
        proxy.mend()

    cut.count = 1
    report = far.run(
        checkpoint=kept, progress=Trouble(cut, cut, cut, each=30), **paced(monkeypatch)
    )
    assert far.is_well()
    assert report.sinks["s"].peer.outages >= 1


class LostAnswers:
    """Loses the server's answer to every second commit of rows: it has them, and nobody was told."""

    def __init__(self, proxy, monkeypatch):
        self.proxy, self.count, self.lost = proxy, 0, 0
        rows = postgres.Postgres._rows

        def told(sink, sql, *values):
            found = rows(sink, sql, *values)
            if sql.startswith("UPDATE"):
                self.count += 1
                if self.count % 2 == 0:
                    self.lost += 1
                    proxy.mute()
                    threading.Timer(0.1, self.cut).start()
            return found

        monkeypatch.setattr(postgres.Postgres, "_rows", told)

    def cut(self):
        self.proxy.cut()
        self.proxy.mend()


@pytest.mark.parametrize("kept", ["state", None])
def test_a_commit_whose_answer_was_lost_is_not_made_again(far, proxy, monkeypatch, kept):
    answers = LostAnswers(proxy, monkeypatch)
    far.run(checkpoint=kept, **paced(monkeypatch))
    assert answers.lost
    assert far.is_well()


def test_a_sink_that_does_not_ask_what_became_of_a_commit_is_found_out(far, proxy, monkeypatch):
    """A harness that cannot fail proves nothing."""
    LostAnswers(proxy, monkeypatch)
    ask = postgres.Postgres.place

    def guess(sink):
        believed = sink._there
        ask(sink)
        return max(0, believed)

    monkeypatch.setattr(postgres.Postgres, "place", guess)
    far.run(checkpoint=None, **paced(monkeypatch))
    assert len(far.rows()) > len(far.wanted)


def test_a_wire_on_which_nothing_moves_until_it_breaks(far, proxy, monkeypatch):
    def hang():
        proxy.hang()
        time.sleep(0.3)
        proxy.cut()
        proxy.mend()

    far.run(progress=Trouble(hang), **paced(monkeypatch))
    assert far.is_well()


def test_a_database_that_is_not_there_yet(far, proxy):
    proxy.cut()
    threading.Timer(0.5, proxy.mend).start()
    report = far.run()
    assert far.is_well()
    assert report.sinks["s"].peer.outages == 1
    assert report.sinks["s"].peer.attempts > 1


def test_another_process_that_holds_the_file_is_an_outage(tmp_path, monkeypatch, small):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("flowedge.sinks.sqlite._BUSY_S", 0.01)
    place = Place(tmp_path, databases.Sqlite(tmp_path))
    other = sqlite3.connect(place.database.path, isolation_level=None, check_same_thread=False)
    other.execute("begin immediate")
    threading.Timer(0.3, lambda: other.execute("rollback")).start()
    report = place.run()
    other.close()
    assert report.sinks["s"].peer.outages >= 1
    assert place.is_well()


# ---- rows wait


def test_a_run_that_is_stopped_keeps_what_was_not_delivered_for_the_next(far, proxy, monkeypatch):
    """Stopped at the end, where it waits for a peer that is away: another run has only that left to do."""
    monkeypatch.setattr(outlets, "_LINGER_S", 0.1)
    proxy.cut()
    told = []

    def stop(report):
        told.append(report.sinks["s"].rows)
        if report.sinks["s"].rows >= len(far.wanted) and len(told) > 5:
            os.kill(os.getpid(), signal.SIGINT)
            told.clear()

    monkeypatch.setattr("flowedge.runtime.run._TOLD_EVERY_S", 0.0)
    with pytest.raises(Interrupted, match=rf"kept with the state: {len(far.wanted)} of `s`"):
        far.run(progress=stop)
    assert (far.root / "out/w.arrow").exists()
    proxy.mend()
    report = far.run()
    assert report.resumed_from
    assert report.sinks["s"].peer.delivered == len(far.wanted)
    assert far.is_well()


def test_a_run_is_stopped_while_its_database_stands_still(far, cluster, monkeypatch):
    monkeypatch.setattr(outlets, "_LINGER_S", 0.1)
    monkeypatch.setattr(delivery, "_GRACE_S", 0.1)
    try:
        stop = Trouble(lambda: (cluster.freeze(), time.sleep(0.2), os.kill(os.getpid(), signal.SIGINT)))  # fmt: skip
        with pytest.raises(Interrupted, match="kept with the state"):
            far.run(progress=stop, **paced(monkeypatch))
    finally:
        cluster.thaw()
    far.run()
    assert far.is_well()


@pytest.mark.parametrize("kept", ["state", None])
def test_without_a_buffer_a_run_waits_for_its_peer(far, proxy, monkeypatch, kept):
    monkeypatch.setattr(memory, "MOST_BYTES", 2_000)
    proxy.cut()
    seen = []

    def look(report):
        seen.append(report.rows_in)
        if len(seen) == 20:
            proxy.mend()

    monkeypatch.setattr("flowedge.runtime.run._TOLD_EVERY_S", 0.0)
    report = far.run(checkpoint=kept, progress=look)
    assert seen[19] < report.rows_in / 2
    assert far.is_well()


def test_a_buffer_on_the_disk_carries_a_run_over_an_outage(
    tmp_path, monkeypatch, small, cluster, proxy
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    sink = f'postgres("{cluster.at(proxy.port)}", table="imu")'
    place = Place(tmp_path, databases.Postgres(cluster), sink, " buffer 1 [MB] on disk")
    monkeypatch.setattr(memory, "MOST_BYTES", 2_000)
    monkeypatch.setattr(rowlog, "_SEGMENT_BYTES", 3_000)
    proxy.cut()
    most = []

    def look(report):
        most.append(sum(f.stat().st_size for f in tmp_path.glob("flowedge-buffer-*/*.rows")))
        if report.rows_in == 280 and len(most) > 20:
            proxy.mend()

    monkeypatch.setattr("flowedge.runtime.run._TOLD_EVERY_S", 0.0)
    place.run(checkpoint=None, progress=look)
    assert max(most) > 2_000
    assert place.is_well()
    assert not list(tmp_path.glob("flowedge-buffer-*"))


def test_a_buffer_that_the_disk_has_no_room_for_ends_the_run_with_a_sentence(
    tmp_path, monkeypatch, small, cluster, proxy
):
    monkeypatch.chdir(tmp_path)
    sink = f'postgres("{cluster.at(proxy.port)}", table="imu")'
    place = Place(tmp_path, databases.Postgres(cluster), sink, " buffer 1 [MB] on disk")
    monkeypatch.setattr(memory, "MOST_BYTES", 2_000)
    proxy.cut()
    with (
        using(FaultyDisk(tmp_path / "aside", 1, "enospc", SEED), tmp_path),
        pytest.raises(SinkError, match="the disk is full"),
    ):
        place.run(checkpoint=None)


# ---- what cannot be mended is told


def test_a_database_that_went_back_is_found_out(place, monkeypatch):
    """A backup was restored: rows that the state has let go of are not there any more."""
    with pytest.raises(Interrupted):
        place.run(progress=Stop(100), **paced(monkeypatch))
    place.database.do("delete from imu", "update flowedge_places set rows = 1")
    with pytest.raises(CheckpointError, match="DATA LOSS"):
        place.run()


def test_another_run_that_goes_on_from_the_same_state_is_found_out(place, monkeypatch):
    class Meddling:
        done = False

        def __call__(self, report):
            if report.sinks["s"].peer.delivered > 30 and not self.done:
                self.done = True
                place.database.do("update flowedge_places set rows = rows + 1")

    if place.database.name == "duckdb":
        pytest.skip("the file has one writer")
    with pytest.raises((SinkError, CheckpointError), match="another process writes"):
        place.run(progress=Meddling(), **paced(monkeypatch))


def test_a_peer_that_cannot_say_where_it_stands_gets_every_row_at_least_once(
    tmp_path, monkeypatch, small
):
    """The way of brokers: rows go out at once, and after a kill again what was not known to be there."""
    ask = databases.Sqlite  # a database in their place: what came can be counted
    monkeypatch.setattr("flowedge.sinks.sqlite.Sqlite.guarantee", "at least once")
    place_of = sqlite.Sqlite.place
    monkeypatch.setattr(
        "flowedge.sinks.sqlite.Sqlite.place", lambda self: (place_of(self), None)[1]
    )
    monkeypatch.chdir(tmp_path)
    place = Place(tmp_path, ask(tmp_path))
    counter = FaultyDisk(tmp_path / "aside")
    with using(counter, tmp_path):
        place.run()
    assert place.is_well()
    drawn = random.Random(SEED)
    for _ in range(SHARE):
        place.database.drop()
        life(place, FaultyDisk(tmp_path / "aside", drawn.randrange(counter.count), "before", SEED))
        life(place, FaultyDisk(tmp_path / "aside", drawn.randrange(60), "before", SEED))
        place.run()
        assert sorted(set(place.rows()), key=repr) == sorted(set(place.wanted), key=repr)
        assert len(place.rows()) >= len(place.wanted)


# ---- rows that come live


LIVE = "source h from host(every=10 ms)\nsink h to {} as s\n"


@pytest.mark.parametrize("kept", ["state", None])
def test_live_rows_outlive_their_database(tmp_path, monkeypatch, small, cluster, kept):
    """Each row that was taken is there once: the database killed in between, the run stopped, and gone on from."""

    def again():
        cluster.kill()
        cluster.start()

    monkeypatch.chdir(tmp_path)
    told_often = {"every_s": paced(monkeypatch)["every_s"]}
    database = databases.Postgres(cluster)
    (tmp_path / "p.flow").write_text(LIVE.format(database.sink()))
    plan = compile_flow(tmp_path / "p.flow")
    made = 0
    for _ in range(2):
        task = Run(plan, checkpoint=kept and tmp_path / kept, progress=Stop(80, Trouble(again, each=30)), **told_often)  # fmt: skip
        with pytest.raises(Interrupted) as told:
            task()
        assert "not delivered" not in str(told.value)
        made = task.report.sinks["s"].rows + (0 if kept else made)
        assert task.report.sinks["s"].peer.outages >= 1
    times = [t for (t,) in database.rows('select "time" from imu')]
    assert len(times) == len(set(times)) == made
