"""What is told beside a model is checked before a run, and acts in it."""

import json
import warnings

import numpy as np
import pyarrow as pa
import pytest
import torch
from support.command import cli, read
from torch import nn

from flowedge.lang.diagnostics import FlowError
from flowedge.lang.errors import DigestError, ModelError
from flowedge.models.load import describe
from flowedge.models.manifest import InputNote, Manifest, parse
from flowedge.runtime.models import load_models
from flowedge.runtime.plan import compile_flow

LENGTH = 50
TOLD = {
    "file": "net.pt2",
    "rate": 100,
    "labels": ["calm", "loud"],
    "output": "softmax",
    "inputs": [
        {"channels": ["a", "b"], "unit": ["mV", "g_0"], "mean": [1.0, -2.0], "std": [0.5, 4.0]}
    ],
}
FLOW = """
source s (time, a: f64 [mV], b: f32 [g_0]) at 100 Hz from arrow("in.arrow")
model net = torch("net.pt2") input (a, b)
sink s | window 50 samples | classify with net(scores=true) to arrow("out.arrow")
"""


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.last = nn.Linear(2, 2)

    def forward(self, x):
        return self.last(torch.relu(x).mean(2))


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(7)
    return Net().eval()


@pytest.fixture
def place(tmp_path, net, monkeypatch):
    """A recording of ten seconds, and a model without a manifest."""
    export(net, tmp_path / "net.pt2")
    draw = np.random.default_rng(2)
    time = pa.array(np.arange(1000) * 10**7).cast(pa.timestamp("ns", "UTC"))
    table = pa.table({
        "time": time, "a": draw.normal(1, 0.5, 1000), "b": draw.normal(-2, 4, 1000).astype(np.float32),
    })  # fmt: skip
    with pa.OSFile(str(tmp_path / "in.arrow"), "wb") as file, pa.ipc.new_file(file, table.schema) as out:  # fmt: skip
        out.write_table(table)
    (tmp_path / "p.flow").write_text(FLOW)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def export(net, path, **files):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        batch = torch.export.Dim("batch", min=1, max=512)
        made = torch.export.export(net, (torch.zeros(16, 2, LENGTH),), dynamic_shapes=({0: batch},))
        torch.export.save(made, path, extra_files=files or None)


def told(place, name="net.model.json", **changes):
    value = {**TOLD, **changes}
    (place / name).write_text(json.dumps({k: v for k, v in value.items() if v is not None}))


def wrong(text=FLOW):
    """What the checker says of the pipeline."""
    with pytest.raises(FlowError) as caught:
        compile_flow(text=text)
    return "; ".join(f"{d.code} {d.message} {d.why} {d.fix}" for d in caught.value.diagnostics)


@pytest.mark.parametrize("name", ["net.model.json", "model.json"])
def test_labels_output_and_normalisation_come_with_the_model(place, net, name):
    told(place, name)
    assert cli("run", "p.flow", cwd=place)[0] == 0
    rows, found = read(place / "in.arrow"), read(place / "out.arrow")
    frames = np.stack([rows[c].to_numpy().astype(np.float32).reshape(20, LENGTH) for c in "ab"], 1)
    mean, std = (np.array(TOLD["inputs"][0][k], np.float32)[None, :, None] for k in ("mean", "std"))
    with torch.inference_mode():
        want = net(torch.from_numpy((frames - mean) / std)).softmax(1).numpy()
    np.testing.assert_allclose(np.stack(found["probs"].to_numpy()), want, atol=1e-6)
    assert found["label"].to_pylist() == [TOLD["labels"][i] for i in want.argmax(1)]


def test_the_manifest_of_a_folder_may_be_about_another_model(place):
    told(place, "model.json", file="other.pt2")
    assert describe(place / "net.pt2").info.manifest is None
    assert cli("run", "p.flow", cwd=place)[0] == 0
    assert cli("run", "p.flow", "--report", "r.json", cwd=place)[0] == 0
    assert json.loads((place / "r.json").read_text())["plan_from_cache"]


def test_it_may_lie_inside_the_archive(place, net):
    export(net, place / "net.pt2", **{"model.json": json.dumps(TOLD)})
    found = describe(place / "net.pt2")
    assert found.info.manifest.labels == ("calm", "loud")
    assert found.manifest is None
    assert cli("run", "p.flow", cwd=place)[0] == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rate": 250}, "FE605"),
        ({"labels": None}, "`output softmax` lacks its labels"),
        ({"labels": ["a", "b", "c"]}, "3 labels for 2 outputs"),
        ({"inputs": [{"unit": "V"}]}, "`a` is in mV, model `net` was trained in V"),
        ({"inputs": [{"unit": ["mV", "mV"]}]}, "`b` is in gn, model `net` was trained in mV"),
        ({"inputs": [{"unit": "furlongz"}]}, "the unit `furlongz`, which is unknown"),
        ({"inputs": [{"channels": ["b", "a"]}]}, "write `input (b, a)`"),
        ({"inputs": [{"mean": [0, 0, 0], "std": 1}]}, "tells 3 means for 2 channels"),
        ({"inputs": [{}, {}]}, "tells of 2 inputs, the model has 1"),
        ({"file": "other.pt2"}, "is about 'other.pt2', not about `net.pt2`"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_found_before_the_run(place, changes, message):
    told(place, **changes)
    assert message in wrong()


def test_labels_in_the_text_must_be_those_of_the_model(place):
    told(place)
    other = FLOW.replace("(a, b)", '(a, b) output softmax ["loud", "calm"]')
    assert "the labels are not those of the model" in wrong(other)


def test_a_plan_in_the_cache_sees_that_the_manifest_has_changed(place):
    told(place)
    assert cli("run", "p.flow", cwd=place)[0] == 0
    before = read(place / "out.arrow")["probs"].to_pylist()
    told(place, inputs=[{"mean": 0, "std": 1}])
    assert cli("run", "p.flow", cwd=place)[0] == 0
    after = read(place / "out.arrow")["probs"].to_pylist()
    assert before != after
    (place / "net.model.json").unlink()
    assert cli("run", "p.flow", cwd=place)[0] == 0
    assert "label" not in read(place / "out.arrow").schema.names


def test_the_model_that_was_checked_is_the_one_that_runs(place, net):
    plan = compile_flow(text=FLOW)
    torch.manual_seed(8)
    export(Net().eval(), place / "net.pt2")
    with pytest.raises(DigestError):
        load_models(plan.program)


def test_a_manifest_must_be_signed_where_its_model_must_be(place):
    told(place)
    assert cli("key", "new", "key", cwd=place)[0] == 0
    assert cli("key", "sign", "p.flow", "--key", "key", cwd=place)[0] == 0
    assert cli("key", "sign", "net.pt2", "--key", "key", cwd=place)[0] == 0
    run = ("run", "p.flow", "--require-signed", "key.pub")
    code, _, error = cli(*run, cwd=place)
    assert (code, "net.model.json` is not signed" in error) == (5, True)
    assert cli("model", "sign", "net.pt2", "--key", "key", cwd=place)[0] == 0
    assert cli(*run, cwd=place)[0] == 0
    code, out, _ = cli("model", "verify", "net.pt2", "--key", "key.pub", cwd=place)
    assert code == 0
    assert out.count("as it was signed") == 2
    told(place, inputs=[{"mean": 0, "std": 1}])
    assert cli(*run, cwd=place)[0] == 5
    code, _, error = cli("model", "verify", "net.pt2", "--key", "key.pub", cwd=place)
    assert (code, "has been changed since it was signed" in error) == (5, True)


def test_info_tells_all(place):
    told(place)
    code, out, _ = cli("model", "info", "net.pt2", cwd=place)
    assert code == 0
    assert "in   x: float32 (any, 2, 50)  [a, b; in mV, g_0; minus 1, -2, by 0.5, 4]" in out
    assert "labels   calm, loud" in out
    assert "rate     100 Hz" in out


def test_a_model_without_a_name_is_told(place):
    assert "cannot read the model" in wrong(FLOW.replace("net.pt2", ""))


# ---- what is no manifest


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is no JSON"),
        ("[" * 100_000, "is no JSON"),
        ("[]", "the manifest is no object"),
        ('{"labls": []}', "the manifest has `labls`; it may have file, rate, labels, output, inputs"),
        ('{"rate": -1}', "`rate` is -1, no number of 32 bits above 0"),
        ('{"rate": 1e999}', "no number of 32 bits"),
        ('{"rate": 1' + "0" * 400 + "}", "no number of 32 bits"),
        ('{"inputs": [{"mean": 0, "std": 1e-300}]}', "no number of 32 bits above 0"),
        ('{"inputs": [{"mean": 1e39, "std": 1}]}', "no number of 32 bits"),
        ('{"rate": true}', "no number of 32 bits"),
        ('{"rate": NaN}', "no number of 32 bits"),
        ('{"labels": "a"}', "`labels` is no list of texts"),
        ('{"labels": ["a", "a"]}', "two of the `labels` are the same"),
        ('{"output": "argmax"}', "not one of softmax, sigmoid, raw"),
        ('{"file": 3}', "`file` is no text"),
        ('{"inputs": {}}', "`inputs` is no list"),
        ('{"inputs": [[]]}', "an input is no object"),
        ('{"inputs": [{"mean": 1}]}', "`mean` without `std`"),
        ('{"inputs": [{"mean": 1, "std": 0}]}', "`std` is 0"),
        (" " * (2**20 + 1), "larger than 1 MiB"),
    ],
)  # fmt: skip
def test_what_is_wrong_in_it_is_said(text, message):
    with pytest.raises(ModelError) as error:
        parse(text.encode(), "net.model.json")
    assert message in str(error.value)


def test_one_value_stands_for_all_channels():
    found = parse(b'{"inputs": [{"unit": "mV", "mean": 1, "std": 2}]}', "m")
    assert found == Manifest(inputs=(InputNote((), ("mV",), (1.0,), (2.0,)),))
