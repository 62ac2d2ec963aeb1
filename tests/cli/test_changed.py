"""A pipeline that was changed between two lives goes on where its operators are the same."""

import msgpack
import numpy as np
import pyarrow as pa
import pytest
from support.command import cli, read

from flowedge.lang.errors import CheckpointError
from flowedge.runtime.checkpoint import FORMAT, Saved, State, read_checkpoint
from flowedge.runtime.plan import compile_flow
from flowedge.runtime.run import Interrupted, Run
from flowedge.session.snapshot import CHECKPOINT, VERSION, _check

FLOW = """
source s (time, k: key i64, v: f64) from arrow("in.arrow")
stream w = s | window 10 s | aggregate mean(v) as m, count() as n
sink w to arrow("out/w.arrow")
"""
LABELS = FLOW + 'sink w | derive label = if(m > 50, "high", "low") to csv("out/l.csv") as l\n'


@pytest.fixture
def place(tmp_path, monkeypatch):
    rows = np.arange(1000)
    time = pa.array(rows * 10**8).cast(pa.timestamp("ns", "UTC"))
    table = pa.table({"time": time, "k": rows % 3, "v": (rows % 97).astype(float)})
    with (
        pa.OSFile(str(tmp_path / "in.arrow"), "wb") as file,
        pa.ipc.new_file(file, table.schema) as out,
    ):
        out.write_table(table, max_chunksize=73)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def stopped(place, text=FLOW, after=4):
    """A life of a pipeline that ends after some checkpoints."""
    save = State.save

    def some(self, saved):
        save(self, saved)
        if saved.epoch == after:
            raise Interrupted

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(State, "save", some)
        with pytest.raises(Interrupted):
            Run(compile_flow(text=text), checkpoint=place / "state", every_s=0.0)()


def goes_on(place, text, *discard):
    return Run(compile_flow(text=text), checkpoint=place / "state", every_s=0.0, discard=discard)()


def whole(text):
    """What the pipeline gives without a break."""
    Run(compile_flow(text=text))()
    return read("out/w.arrow")


SAME = {
    "a comment": "# more words\n" + FLOW,
    "another name for a parameter": "param width = 10 s\n" + FLOW.replace("10 s", "width"),
}


@pytest.mark.parametrize("what", SAME)
def test_what_means_the_same_goes_on_bit_for_bit(place, what):
    wanted = whole(FLOW)
    stopped(place)
    report = goes_on(place, SAME[what])
    assert report.resumed_from == 4
    assert read("out/w.arrow").equals(wanted)


def test_a_new_stage_begins_without_a_past(place):
    wanted = whole(FLOW)
    stopped(place)
    more = FLOW + 'sink s | window 5 s | aggregate max(v) as top to csv("out/top.csv") as top\n'
    report = goes_on(place, more)
    assert read("out/w.arrow").equals(wanted)
    assert any("window 5 s: new, begins without a past" in hint for hint in report.hints)
    assert 0 < report.sinks["top"].rows < 60


def test_a_sink_that_is_written_elsewhere_is_refused_and_can_be_given_up(place):
    stopped(place)
    other = FLOW.replace("out/w.arrow", "out/v.arrow")
    with pytest.raises(
        CheckpointError,
        match=r"~ sink w: writes other columns, or elsewhere\n.*--discard-state \"sink w\"",
    ):
        goes_on(place, other)
    report = goes_on(place, other, "sink w")
    assert report.resumed_from == 4
    assert 0 < read("out/v.arrow").num_rows < 30


def test_a_stage_with_a_state_that_is_another_is_refused_with_the_way_out(place):
    wanted = whole(FLOW).num_rows
    stopped(place)
    other = FLOW.replace("mean(v) as m", "max(v) as m")
    with pytest.raises(CheckpointError) as refused:
        goes_on(place, other)
    assert "~ w: window 10 s: its code or the layout of its state has changed" in str(refused.value)
    assert '--discard-state "w: window 10 s"' in str(refused.value)
    report = goes_on(place, other, "w: window 10 s")
    assert "~ w: window 10 s: its code or the layout of its state has changed" in report.hints
    assert read("out/w.arrow").num_rows == wanted  # the window that was open is short of some rows
    assert report.streams["window 10 s"]["rows_in"] < 1000


def test_a_stage_that_has_gone_is_refused(place):
    stopped(place)
    gone = FLOW.replace("window 10 s", "window 20 s")
    with pytest.raises(CheckpointError, match=r"- w: window 10 s: is no longer there"):
        goes_on(place, gone)
    assert goes_on(place, gone, "w").resumed_from == 4


def test_other_texts_are_refused_where_a_state_may_hold_them(place):
    stopped(place, LABELS)
    other = LABELS.replace('"high"', '"mid", "x"').replace('"mid", "x"', '"mid"')
    with pytest.raises(CheckpointError, match="the texts of the pipeline have changed"):
        goes_on(place, other)
    assert goes_on(place, other, "*").resumed_from == 4


def test_nothing_of_that_name_is_told_with_what_there_is(place):
    stopped(place)
    with pytest.raises(CheckpointError, match=r"no state of `x` to discard.*`s`, `w: window 10 s`"):
        goes_on(place, FLOW, "x")
    longer = FLOW.replace("10 s", "20 s")
    with pytest.raises(CheckpointError, match=r"no state of `window 10 s` to discard"):
        goes_on(place, longer, "window 10 s")
    assert goes_on(place, longer, "w: window 10 s").resumed_from == 4


def test_quite_another_pipeline_is_refused(place):
    stopped(place)
    other = FLOW.replace("source s", "source t").replace("= s", "= t")
    with pytest.raises(CheckpointError, match="made by another pipeline"):
        goes_on(place, other)


def test_the_state_goes_on_with_another_number_of_threads(place):
    wanted = whole(FLOW)
    stopped(place)
    Run(compile_flow(text=FLOW), checkpoint=place / "state", every_s=0.0, threads=3)()
    assert read("out/w.arrow").equals(wanted)


def test_the_command_line_takes_what_is_given_up(place):
    stopped(place)
    (place / "p.flow").write_text(FLOW.replace("mean(v)", "max(v)"))
    code, _, err = cli("run", "p.flow", "--checkpoint", "state", cwd=place)
    assert code == 3
    assert '--discard-state "w: window 10 s"' in err
    code, out, err = cli(
        "run", "p.flow", "--checkpoint", "state", "--discard-state", "w", cwd=place
    )
    assert code == 0, err
    assert "~ w: window 10 s" in out


def test_a_checkpoint_can_be_looked_at(place):
    stopped(place)
    path = max((place / "state").glob("*.flowstate"))
    code, out, err = cli("inspect", path, cwd=place)
    assert code == 0, err
    assert "checkpoint 4 of the pipeline" in out
    assert "  source s: 292 rows read\n" in out
    assert "  output w: 6 rows, 0 files complete\n" in out
    assert cli("inspect", "state", cwd=place)[1].endswith(out.partition("\n")[2])
    code, out, _ = cli("inspect", "--ledger", path, cwd=place)
    assert (code, "each row that went in has one fate" in out) == (0, True)
    path.write_bytes(path.read_bytes()[:-1])
    code, _, err = cli("inspect", path, cwd=place)
    assert (code, "cut short" in err) == (3, True)


EMPTY_LISTS = 3 << 20


@pytest.mark.parametrize(
    "body",
    [
        msgpack.packb({"\0long": [b"abc"]}),
        msgpack.packb({**vars(Saved("x", 1, [], 5, None, 3, 0)), "format": FORMAT}),
        b"\x81\xa1a\xdd" + EMPTY_LISTS.to_bytes(4, "big") + b"\x90" * EMPTY_LISTS,
    ],
    ids=["bytes instead of a map", "fields of other kinds", "lists without end"],
)
def test_a_checkpoint_that_no_run_made_is_refused(tmp_path, body):
    front = CHECKPOINT + VERSION.to_bytes(4, "little") + bytes(4) + len(body).to_bytes(8, "little")
    path = tmp_path / "x.flowstate"
    path.write_bytes(front + _check(front, body, None) + body)
    with pytest.raises(CheckpointError, match="damaged"):
        read_checkpoint(path)
