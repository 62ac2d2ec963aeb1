"""Another model goes on where one was, at a checkpoint: no window is lost, and a killed run does the same again."""

import json
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pyarrow as pa
import pytest
import torch
from support.command import cli, read
from torch import nn

from flowedge.lang.errors import ModelError
from flowedge.runtime.swap import swap_model

FLOW = """
source s (time, v: f64) at 100 Hz from arrow("in.arrow")
model net = torch("net.pt2") input (v) output softmax ["calm", "loud"]
sink s | window 40 samples | classify with net | select start, label to arrow("out.arrow")
"""
ROWS, BATCH = 1200, 50


class Net(nn.Module):
    def __init__(self, sign):
        super().__init__()
        self.last = nn.Linear(1, 2)
        with torch.no_grad():
            self.last.weight.copy_(torch.tensor([[-sign], [sign]]))
            self.last.bias.zero_()

    def forward(self, x):
        return self.last(x.mean(2))


class Other(nn.Module):
    def __init__(self):
        super().__init__()
        self.last = nn.Linear(1, 3)

    def forward(self, x):
        return self.last(x.mean(2))


def export(net, path, **told):
    batch = torch.export.Dim("batch", min=1, max=64)
    program = torch.export.export(
        net.eval(), (torch.zeros(16, 1, 40),), dynamic_shapes=({0: batch},)
    )
    extra = {"model.json": json.dumps(told)} if told else None
    torch.export.save(program, path, extra_files=extra)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Two models that say the contrary, and some that do not fit."""
    place = tmp_path_factory.mktemp("models")
    export(Net(1.0), place / "up.pt2")
    export(Net(-1.0), place / "down.pt2")
    export(Other(), place / "three.pt2")
    export(Net(1.0), place / "labels.pt2", labels=["loud", "calm"])
    export(Net(1.0), place / "scaled.pt2", inputs=[{"mean": 1.0, "std": 2.0}])
    (place / "noise.pt2").write_bytes(b"noise")
    return place


@pytest.fixture
def place(tmp_path, models):
    """A recording of twelve seconds in many batches, above zero throughout."""
    shutil.copy(models / "up.pt2", tmp_path / "net.pt2")
    (tmp_path / "a.flow").write_text(FLOW)
    time_ = pa.array(np.arange(ROWS) * 10**7).cast(pa.timestamp("ns", "UTC"))
    table = pa.table({"time": time_, "v": np.full(ROWS, 1.0)})
    with (
        pa.OSFile(str(tmp_path / "in.arrow"), "wb") as file,
        pa.ipc.new_file(file, table.schema) as writer,
    ):
        writer.write_table(table, max_chunksize=BATCH)
    return tmp_path


def start(place, *more):
    """A run in real time, once its first rows are through."""
    run = subprocess.Popen(
        [sys.executable, "-m", "flowedge", "run", "a.flow", "--checkpoint", "state", "--every", "0.2", *more],
        cwd=place, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    until = time.monotonic() + 120
    while not list((place / "state").glob("checkpoint-*")):
        assert run.poll() is None, run.stdout.read()
        assert time.monotonic() < until
        time.sleep(0.02)
    return run


def ends(run):
    out, _ = run.communicate(timeout=120)
    return run.returncode, out


def labels(place):
    found = read(place / "out.arrow")
    assert [t.value // 10**7 for t in found["start"].to_pandas()] == list(range(0, ROWS, 40))
    return found["label"].to_pylist()


def turn(found):
    """How many windows the first model has labelled; all after them are the second's."""
    n = found.index("calm")
    assert found == ["loud"] * n + ["calm"] * (len(found) - n)
    return n


def test_a_model_is_swapped_while_the_run_goes_on(place, models):
    run = start(place, "--speed", "2x")
    code, out, err = cli("model", "swap", "state", "net", models / "down.pt2", cwd=place)
    assert code == 0, out + err
    assert "`net` is `" in out
    code, out = ends(run)
    assert code == 0, out
    assert "model net: `" in out
    assert 0 < turn(labels(place)) < ROWS // 40
    assert not (place / "state" / "swap.json").exists()


def test_a_run_that_is_killed_after_the_swap_goes_on_with_the_other_model(place, models):
    run = start(place, "--speed", "2x")
    swap_model(place / "state", "net", models / "down.pt2", 60)
    run.kill()
    ends(run)
    code, out, err = cli("run", "a.flow", "--checkpoint", "state", cwd=place)
    assert code == 0, out + err
    assert 0 < turn(labels(place)) < ROWS // 40


@pytest.mark.slow
def test_where_no_run_is_the_next_one_swaps_first(place, models):
    run = start(place, "--speed", "2x")
    run.kill()
    ends(run)
    out = swap_model(place / "state", "net", models / "down.pt2", 60)
    assert "no run holds the state" in out
    code, out, err = cli("run", "a.flow", "--checkpoint", "state", cwd=place)
    assert code == 0, out + err
    assert turn(labels(place)) < ROWS // 40


def test_sighup_looks_for_another_file_in_the_place_of_the_model(place, models):
    run = start(place, "--speed", "2x")
    shutil.copy(models / "down.pt2", place / "new.pt2")
    (place / "new.pt2").replace(place / "net.pt2")
    run.send_signal(signal.SIGHUP)
    code, out = ends(run)
    assert code == 0, out
    assert 0 < turn(labels(place)) < ROWS // 40


REFUSED = {
    "three.pt2": "has other outputs",
    "labels.pt2": "was trained with other labels: loud, calm",
    "scaled.pt2": "normalises its inputs in another way",
    "noise.pt2": "is no file that is known by its beginning, and not a model archive",
}


def test_what_does_not_fit_is_refused_and_the_run_goes_on(place, models):
    run = start(place, "--speed", "2x")
    for file, says in REFUSED.items():
        with pytest.raises(ModelError, match="the run refuses it and goes on as it was") as caught:
            swap_model(place / "state", "net", models / file, 60)
        assert says in str(caught.value)
    with pytest.raises(ModelError, match="the pipeline has no model `nét`; it has `net`"):
        swap_model(place / "state", "nét", models / "down.pt2", 60)
    code, out = ends(run)
    assert code == 0, out
    assert set(labels(place)) == {"loud"}
    assert out.count("was not swapped") == 5


def test_where_all_must_be_signed_what_is_swapped_in_must_be(place, models):
    shutil.copy(models / "down.pt2", place / "down.pt2")
    assert cli("key", "new", "key", cwd=place)[0] == 0
    assert cli("key", "sign", "a.flow", "net.pt2", "--key", "key", cwd=place)[0] == 0
    run = start(place, "--speed", "2x", "--require-signed", "key.pub")
    with pytest.raises(ModelError, match="is not signed"):
        swap_model(place / "state", "net", place / "down.pt2", 60)
    assert cli("key", "sign", "down.pt2", "--key", "key", cwd=place)[0] == 0
    swap_model(place / "state", "net", place / "down.pt2", 60)
    code, out = ends(run)
    assert code == 0, out
    assert out.count("was not swapped") == 1
    assert 0 < turn(labels(place)) < ROWS // 40


def test_there_must_be_a_state_and_a_file(place, models):
    code, _, err = cli("model", "swap", "nowhere", "net", models / "down.pt2", cwd=place)
    assert (code, "there is no state of a run in `nowhere`" in err) == (3, True)
    (place / "state").mkdir()
    (place / "state" / "lock").touch()
    with pytest.raises(ModelError, match="there is no model"):
        swap_model(place / "state", "net", place / "nothing.pt2", 1)


@pytest.mark.parametrize("asked", [b"\xff{", b'{"name": 1}'])
def test_a_request_that_is_none_is_told_and_taken_away(place, asked):
    (place / "state").mkdir()
    (place / "state" / "swap.json").write_bytes(asked)
    code, out, err = cli("run", "a.flow", "--checkpoint", "state", cwd=place)
    assert code == 0, out + err
    told = json.loads((place / "state" / "swapped.json").read_bytes())
    assert "cannot be read" in told["problem"]
    assert not (place / "state" / "swap.json").exists()
