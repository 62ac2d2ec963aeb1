"""A live run done again from its recording gives its rows again; a recording that cannot be trusted is refused."""

import json
import signal
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.command import cli, read
from support.services import until

from flowedge.lang.errors import RunError, SinkError
from flowedge.runtime.recording import MAGIC, Player, Recorder

FLOW = """
source host from host(every=20 ms) time time idle after 300 ms
stream o = host | derive d = diff(cpu_load), one = 1
sink o | window 200 ms | aggregate mean(cpu_load) as load, count() as n to jsonl("OUT/windows.jsonl")
sink o | select cpu_load, d to arrow("OUT/raw.arrow") as raw
"""


def size_of(path):
    """Bytes of a file that may not be there yet."""
    return path.stat().st_size if path.exists() else 0


COMMAND = [sys.executable, "-m", "flowedge", "run"]


def test_a_live_run_done_again_gives_its_rows_again(tmp_path):
    for out in ("live", "again"):
        (tmp_path / f"{out}.flow").write_text(FLOW.replace("OUT", out))
    run = subprocess.Popen(
        [*COMMAND, "live.flow", "--record", "host.rec"], cwd=tmp_path, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    until(lambda: size_of(tmp_path / "host.rec") > 60_000, 120)
    run.send_signal(signal.SIGINT)
    shown, told = run.communicate(timeout=60)
    assert b"the outputs are complete up to here" in told
    assert b"source host: " in shown
    assert b"to live/raw.arrow" in shown
    assert run.returncode == 130
    code, shown, told = cli("run", "again.flow", "--as-recorded", "host.rec", cwd=tmp_path)
    assert code == 0, told
    assert "recorded with another pipeline" in shown
    windows = [(tmp_path / out / "windows.jsonl").read_text() for out in ("live", "again")]
    assert windows[0] == windows[1]
    assert len(windows[0].splitlines()) >= 3
    raw = [read(tmp_path / out / "raw.arrow").to_pydict() for out in ("live", "again")]
    assert repr(raw[0]) == repr(raw[1])


def test_a_recording_goes_on_where_a_killed_run_does(tmp_path):
    flow = (
        FLOW.split("sink", maxsplit=1)[0]
        + 'sink o | select one to parquet("{}/rows", roll=100 ms)\n'
    )
    for out in ("live", "again"):
        (tmp_path / f"{out}.flow").write_text(flow.format(out))
    command = [*COMMAND, "live.flow", "--record", "r.rec", "--checkpoint", "state", "--every", "0.1 s", "--quiet"]  # fmt: skip
    for turn in range(3):
        run = subprocess.Popen(command, cwd=tmp_path, stdin=subprocess.DEVNULL)
        before = size_of(tmp_path / "r.rec")
        until(lambda: size_of(tmp_path / "r.rec") > before + 25_000, 120)  # noqa: B023
        run.send_signal(signal.SIGINT if turn == 2 else signal.SIGKILL)
        run.wait(60)
    code, _, told = cli("run", "again.flow", "--as-recorded", "r.rec", "--quiet", cwd=tmp_path)
    assert code == 0, told
    live, again = ([t for path in sorted((tmp_path / out / "rows").rglob("*.parquet"))
                    for t in pq.read_table(path)["time"].cast(pa.int64()).to_pylist()] for out in ("live", "again"))  # fmt: skip
    assert len(live) > 20
    assert again[: len(live)] == live


def batch(*values):
    return pa.record_batch({"v": pa.array(values, pa.float64()), "k": pa.array(["a"] * len(values)).dictionary_encode()})  # fmt: skip


@pytest.fixture
def recorded(tmp_path):
    path = tmp_path / "r.rec"
    recorder = Recorder(path, "digest")
    recorder.rows("s", "p", 5, batch(1.0, 2.0))
    recorder.mark("s", "p", 7)
    recorder.late("net", 3)
    recorder.rows("s", "p", None, batch(3.0))
    recorder.end("s", "p")
    recorder.end("s", None)
    recorder.close()
    return path


def test_what_was_recorded_comes_back(recorded):
    player = Player(recorded)
    assert (player.pipeline, player.late, player.entries) == ("digest", {"net": {3}}, 8)
    told = [(kind, *(x.to_pydict() if hasattr(x, "to_pydict") else x for x in rest)) for _, (kind, *rest) in player.play()]  # fmt: skip
    assert told == [
        ("rows", "s", "p", 5, {"v": [1.0, 2.0], "k": ["a", "a"]}),
        ("mark", "s", "p", 7),
        ("rows", "s", "p", None, {"v": [3.0], "k": ["a"]}),
        ("end", "s", "p"),
        ("end", "s", None),
    ]
    numbers = [number for number, _ in player.play()]
    assert [n for n, _ in player.play(skip=numbers[2])] == numbers[2:]


def test_a_recording_that_is_cut_short_is_good_up_to_there_and_any_other_change_is_seen(recorded):
    whole = recorded.read_bytes()
    entries = Player(recorded).entries
    for size in range(len(MAGIC), len(whole)):
        recorded.write_bytes(whole[:size])
        player = Player(recorded)
        assert player.entries < entries
        assert player.entries == sum(1 for _ in player._entries())
        list(player.play())
    for at in range(len(whole)):
        recorded.write_bytes(whole[:at] + bytes([whole[at] ^ 0x41]) + whole[at + 1 :])
        try:
            player = Player(recorded)
            list(player.play())
        except RunError:
            continue
        assert player.is_cut_short  # a length that reaches beyond the end


def test_what_a_checkpoint_speaks_of_must_be_there(recorded):
    size = recorded.stat().st_size
    recorder = Recorder(recorded, "digest", kept=size - 10)
    recorder.close()
    assert recorded.stat().st_size == size - 10
    with pytest.raises(SinkError, match="DATA LOSS"):
        Recorder(recorded, "digest", kept=size)


def test_what_is_no_recording_is_said_to_be_none(tmp_path):
    (tmp_path / "a.flow").write_text(
        'source s (time, v: f64) from arrow("in.arrow") sink s to jsonl("out.jsonl")'
    )
    with pa.OSFile(str(tmp_path / "in.arrow"), "wb") as file:
        schema = pa.schema([("time", pa.timestamp("ns", "UTC")), ("v", pa.float64())])
        pa.ipc.new_file(file, schema).close()
    (tmp_path / "x").write_bytes(b"abc")
    for path, word in (("x", "is no recording"), ("none", "cannot read"), (".", "cannot read")):
        code, _, told = cli("run", "a.flow", "--as-recorded", path, cwd=tmp_path)
        assert (code, word in told) == (3, True), told
    code, _, told = cli("run", "a.flow", "--record", "x", "--as-recorded", "x", cwd=tmp_path)
    assert (code, "is recorded already" in told) == (2, True), told
    assert (tmp_path / "x").read_bytes() == b"abc"
    code, _, told = cli("run", "a.flow", "--record", "no/such/place", cwd=tmp_path)
    assert code == 3, told
    assert json.dumps(told).count("\\n") <= 2
