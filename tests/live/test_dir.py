"""Files that are dropped into a folder: each is read once, when it is complete, kill or not."""

import datetime as dt
import os
import signal
import subprocess
import sys
import time

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.services import until

from flowedge.lang.errors import SourceError
from flowedge.sources.dir import Dir
from flowedge.sources.live import Bell, Shell

V = pa.schema([("v", pa.float64()), ("_file", pa.string())])
OLD = 1_000_000_000


def drop(path, text, *, age=True):
    """A file as a recorder leaves it: written elsewhere, and renamed in."""
    beside = path.with_name(path.name + ".part")
    beside.write_text(text) if isinstance(text, str) else beside.write_bytes(text)
    if age:
        os.utime(beside, (OLD, OLD))
    beside.rename(path)


class Reader:
    """A source by itself, and what it gave."""

    def __init__(self, address, *, declared=V, state=None, covers=False, **options):
        self.source = Dir(str(address), declared=declared, **options)
        self.source.begin(Shell(Bell(), time.time_ns, covers), state)
        self.rows, self.bad = [], []

    def until(self, holds):
        def look():
            for arrival in self.source.take():
                self.rows += arrival.rows.to_pylist()
                if arrival.rejected is not None:
                    self.bad += arrival.rejected.to_pylist()
            return holds(self)

        until(look)
        return self

    def files(self, count):
        return self.until(lambda s: s.source.told().get("files", 0) == count)

    @property
    def values(self):
        return [row["v"] for row in self.rows]

    def __enter__(self):
        return self

    def __exit__(self, *_error):
        self.source.close()


def test_files_are_read_in_the_order_of_their_names_by_what_their_endings_say(tmp_path):
    drop(tmp_path / "b.csv", "v,w\n2,x\n3,y\n")
    drop(tmp_path / "a.jsonl", '{"v": 1}\n')
    pq.write_table(pa.table({"v": pa.array([4], pa.int32())}), tmp_path / "c.parquet")
    os.utime(tmp_path / "c.parquet", (OLD, OLD))
    with Reader(tmp_path) as found:
        found.files(3)
        assert found.rows == [
            {"v": 1.0, "_file": "a.jsonl"}, {"v": 2.0, "_file": "b.csv"}, {"v": 3.0, "_file": "b.csv"},
            {"v": 4.0, "_file": "c.parquet"},
        ]  # fmt: skip
        drop(tmp_path / "a0.csv", "v\n5\n")
        found.files(4)
        drop(tmp_path / "a0.csv", "v\n6\n")  # another of the same name
        found.files(5)
        assert found.values[-2:] == [5, 6]


def test_names_in_braces_are_keys(tmp_path):
    declared = pa.schema([("v", pa.float64()), ("device", pa.int32()), ("site", pa.string())])
    drop(tmp_path / "north-7.csv", "v\n1\n")
    address = tmp_path / "{site}-{device}.csv"
    with Reader(address, declared=declared, captures=("site", "device")) as found:
        found.files(1)
        assert found.rows == [{"v": 1.0, "device": 7, "site": "north"}]


def test_a_file_that_is_being_written_is_left_until_it_rests(tmp_path):
    with Reader(tmp_path / "*.csv", settle=0.5) as found, (tmp_path / "a.csv").open("w") as file:
        file.write("v\n")
        for v in range(20):
            file.write(f"{v}\n")
            file.flush()
            found.until(lambda _: True)
            time.sleep(0.05)
        file.close()
        found.files(1)
        assert found.values == list(range(20))


def test_where_a_run_was_killed_it_goes_on_and_nothing_is_read_twice(tmp_path):
    drop(tmp_path / "a.csv", "v\n1\n")
    drop(tmp_path / "b.csv", "v\n" + "".join(f"{v}\n" for v in range(200_000)))
    with Reader(tmp_path / "*.csv", covers=True) as found:
        found.source._inbox._most_bytes = 1
        found.until(lambda s: len(s.rows) > 10)
        state = found.source.state()
        read = found.values
    assert state["at"][0] == str(tmp_path / "b.csv")
    drop(tmp_path / "c.csv", "v\n-1\n")
    with Reader(tmp_path / "*.csv", covers=True, state=state) as found:
        found.files(2)
        assert read + found.values == [1, *range(200_000), -1]
        state = found.source.state()
    assert set(state["done"]) == {str(tmp_path / f"{n}.csv") for n in "abc"}


@pytest.mark.parametrize("each", ["delete", "move"])
def test_files_are_cleared_once_a_checkpoint_covers_them(tmp_path, each):
    folder = tmp_path / "in"
    folder.mkdir()
    more = {"to": str(folder / "done")} if each == "move" else {}
    drop(folder / "a.csv", "v\n1\n")
    with Reader(folder / "**" / "*.csv", covers=True, each=each, **more) as found:
        found.files(1)
        state = found.source.state()
        drop(folder / "b.csv", "v\n2\n")
        found.files(2)
        assert (folder / "a.csv").exists()
        found.source.covered(state)
        assert not (folder / "a.csv").exists()
        assert (folder / "b.csv").exists()
        later = found.source.state()
    with Reader(folder / "**" / "*.csv", covers=True, state=later, each=each, **more) as found:
        found.source.covered(later)
        assert not (folder / "b.csv").exists()
        drop(folder / "c.csv", "v\n3\n")
        found.files(1)
        assert found.values == [3]
    if each == "move":
        assert sorted(p.name for p in (folder / "done").iterdir()) == ["a.csv", "b.csv"]


def test_what_cannot_be_read_is_told_or_counted(tmp_path):
    for name, text in (("a.parquet", "PAR1 and no more"), ("b.xyz", "v\n1\n"), ("c.csv", "w\n1\n"), ("d.csv", "v\nx\n2\n")):  # fmt: skip
        drop(tmp_path / name, text)
    with Reader(tmp_path / "*.*", on_error="quarantine") as found:
        found.files(4)
        assert found.values == [2]
        assert [row["file"].rpartition("/")[2] for row in found.bad] == ["a.parquet", "b.xyz", "c.csv", "d.csv"]  # fmt: skip
        assert found.source.told()["unreadable"] == 3
    with Reader(tmp_path / "*.xyz") as found, pytest.raises(SourceError, match="nothing is known"):
        found.files(1)


PIPELINE = """
source d (n: i64, at: time, device: key) from dir("in/{device}-*.csv", settle=200 ms, each=delete)
    time at
    expire key after 1 h
sink d to parquet("out/rows", roll=1 s)
"""


def at(n):
    """Ten rows a second."""
    seconds = dt.datetime(2026, 1, 1, tzinfo=dt.UTC) + dt.timedelta(seconds=n / 10)
    return seconds.isoformat()


def rows_of(folder):
    return [
        n
        for path in sorted((folder / "out" / "rows").rglob("*.parquet"))
        for n in pq.read_table(path)["n"].to_pylist()
    ]


def test_a_run_that_is_killed_again_and_again_has_each_row_once(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "d.flow").write_text(PIPELINE)
    command = [sys.executable, "-m", "flowedge", "run", "d.flow", "--checkpoint", "state", "--every", "0.1 s", "--quiet"]  # fmt: skip
    sent = 0
    for turn in range(4):
        run = subprocess.Popen(command, cwd=tmp_path, stdin=subprocess.DEVNULL)
        if not turn:
            until(lambda: any((tmp_path / "state").glob("checkpoint-*")), 60)
        for _ in range(4):
            lines = [f"{n},{at(n)}" for n in range(sent, sent + 30)]
            sent += 30
            drop(tmp_path / "in" / f"a-{sent:06d}.csv", "\n".join(("n,at", *lines)) + "\n")
            time.sleep(0.1)
        time.sleep(0.4)
        if turn < 3:
            run.kill()
            run.wait()
    drop(tmp_path / "in" / "a-999999.csv", f"n,at\n{sent},{at(10 * sent)}\n")
    until(
        lambda: rows_of(tmp_path)[-1:] == [sent - 1], 60
    )  # the last one only ends the file before
    until(lambda: not list((tmp_path / "in").iterdir()), 30)
    run.send_signal(signal.SIGINT)
    assert run.wait(60) == 130
    assert rows_of(tmp_path) == list(range(sent))
