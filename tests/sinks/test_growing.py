"""Files that grow from checkpoint to checkpoint go on behind the bytes that the checkpoint speaks of."""

import numpy as np
import pyarrow as pa
import pytest

from flowedge.lang.errors import SinkError
from flowedge.runtime.checkpoint import checkpoints_in
from flowedge.runtime.plan import compile_flow
from flowedge.runtime.run import Run
from flowedge.sinks import catalog
from flowedge.sinks.atomic import temporary_of
from flowedge.sinks.contract import Resumed

CASES = {
    "arrow": ("arrow", "o.arrow", {}),
    "packed arrow": ("arrow", "o.arrow", {"compression": "zstd"}),
    "csv": ("csv", "o.csv", {}),
    "jsonl": ("jsonl", "o.jsonl", {}),
    "routed": ("arrow", "{label}.arrow", {}),
}


def rows(count=3_000):
    rng = np.random.default_rng(2)
    texts = [f"text {k // 300}" for k in range(count)]  # new ones in every block
    return pa.record_batch(
        {
            "time": pa.array(np.arange(count)).cast(pa.timestamp("ns", "UTC")),
            "v": rng.normal(size=count),
            "on": pa.array(rng.random(count) < 0.5, mask=rng.random(count) < 0.1),
            "label": pa.array(np.array(["a", "b", "c"])[rng.integers(0, 3, count)]),
            "text": pa.array(texts).dictionary_encode(),
        }
    )


def opened(folder, case, schema, resumed=None):
    name, address, options = CASES[case]
    sink = catalog.get(name)(str(folder / address), **options)
    sink.block_rows = 128
    sink.holds_back = True
    assert sink.grows
    if resumed is not None:
        sink.recover(resumed)
    sink.open(schema, resumed)
    return sink


def files(folder):
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()}


@pytest.mark.parametrize("case", CASES)
def test_a_file_is_the_same_however_often_it_went_on(case, tmp_path):
    batch = rows()
    whole = opened(tmp_path / "whole", case, batch.schema)
    whole.write(batch)
    whole.close()
    state, at = None, 0
    for cut in (1, 127, 128, 700, 701, 2_000, batch.num_rows):
        sink = opened(tmp_path / "cut", case, batch.schema, state)
        sink.write(batch.slice(at, cut - at))
        sink.prepare()
        state, at = Resumed(0, (), sink.state()), cut
        sink.write(batch.slice(0, 500))  # lost with the life of the process
        sink.abort()
    last = opened(tmp_path / "cut", case, batch.schema, state)
    last.close()
    assert files(tmp_path / "cut") == files(tmp_path / "whole")


@pytest.fixture(params=["arrow", "jsonl"])
def stopped(request, tmp_path):
    """A file behind a checkpoint: its path, how to go on, and its rows."""
    batch = rows()
    sink = opened(tmp_path, request.param, batch.schema)
    sink.write(batch)
    state = Resumed(0, (), sink.state())
    sink.abort()
    path = temporary_of(tmp_path / CASES[request.param][1])
    assert path.exists()
    return path, lambda: opened(tmp_path, request.param, batch.schema, state)


def test_a_byte_that_has_changed_is_told_before_the_file_is_shown(stopped):
    path, go_on = stopped
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(SinkError, match="DATA LOSS"):
        go_on().close()
    assert not path.with_name(CASES["arrow"][1]).exists()


@pytest.mark.parametrize("size", [0, 1, 1_000])
def test_bytes_that_are_missing_are_told(stopped, size):
    path, go_on = stopped
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(SinkError, match=r"DATA LOSS: rows of .* were synced"):
        go_on()
    path.unlink()
    with pytest.raises(SinkError, match=r"DATA LOSS: rows of .* were synced"):
        go_on()


def test_a_file_that_was_shown_goes_on_from_the_checkpoint_before(tmp_path, monkeypatch):
    """The last checkpoint cannot be read: what it had shown is taken back, and becomes the same again."""
    monkeypatch.chdir(tmp_path)
    batch = rows(2_000)
    with pa.OSFile("in.arrow", "wb") as file, pa.ipc.new_file(file, batch.schema) as out:
        out.write_table(pa.table(batch), max_chunksize=100)
    plan = compile_flow(
        text='source s (time, v: f64) from arrow("in.arrow")\nsink s to csv("out/o.csv")\n'
    )
    Run(plan)()
    wanted = (tmp_path / "out/o.csv").read_bytes()
    state = tmp_path / "state"

    def killed(self):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("flowedge.runtime.outlets.Outlets.settle", killed)
        with pytest.raises(KeyboardInterrupt):
            Run(plan, checkpoint=state, every_s=0.0)()
    _, newest = checkpoints_in(state)[-1]
    newest.write_bytes(b"")
    report = Run(plan, checkpoint=state, every_s=0.0)()
    assert any("went back to checkpoint" in hint for hint in report.hints)
    assert (tmp_path / "out/o.csv").read_bytes() == wanted
    assert report.resumed_from is not None
    assert not (tmp_path / "out/_quarantine").exists()
