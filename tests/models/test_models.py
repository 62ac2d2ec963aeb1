"""Models are read as data: right to the last bit, and a stranger's file runs nothing."""

import hashlib
import io
import json
import pickle
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from flowedge.lang.errors import DigestError, ModelError
from flowedge.models.info import TensorInfo
from flowedge.models.load import arrange, inspect, load
from flowedge.models.trust import Trust


class Net(nn.Module):
    """A bit of everything that small networks are made of."""

    def __init__(self):
        super().__init__()
        self.norm, self.conv = nn.BatchNorm1d(6), nn.Conv1d(6, 8, 5, padding=2)
        self.last = nn.Linear(16, 3)

    def forward(self, acc, gyro):
        x = self.norm(torch.cat([acc, gyro], 1))
        x = nn.functional.max_pool1d(torch.relu(self.conv(x)), 2)
        x = nn.functional.gelu(x) + torch.sigmoid(x).transpose(1, 2).transpose(1, 2)
        return self.last(torch.cat([x.mean(2), x.amax(2)], 1)).softmax(1)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """An archive made by torch.export, and the program that made it."""
    path = tmp_path_factory.mktemp("models") / "net.pt2"
    torch.manual_seed(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        batch = torch.export.Dim("batch", min=1, max=512)
        frame = (torch.zeros(16, 3, 20), torch.zeros(16, 3, 20))
        program = torch.export.export(Net().eval(), frame, dynamic_shapes=({0: batch}, {0: batch}))
        torch.export.save(program, path)
    return path, program


def rewritten(path, out, change=None, drop=(), **more):
    """The archive with its JSON graph changed, and members added or left out."""
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(out, "w") as new:
        for name in old.namelist():
            data, inside = old.read(name), name.split("/", 1)[1]
            if inside in drop:
                continue
            if change is not None and inside in (
                "models/model.json",
                "data/weights/model_weights_config.json",
            ):
                value = json.loads(data)
                change(inside, value)
                data = json.dumps(value).encode()
            new.writestr(name, data)
        for name, data in more.items():
            new.writestr(name, data)
    return out


def test_the_answers_are_those_of_torch_bit_for_bit(exported):
    path, program = exported
    model = load(path)
    draw = np.random.default_rng(0)
    for batch in (1, 16, 64):
        acc, gyro = (draw.normal(size=(batch, 20, 3)).astype(np.float32) for _ in range(2))
        want = program.module()(
            *(torch.from_numpy(x.transpose(0, 2, 1).copy()) for x in (acc, gyro))
        )
        np.testing.assert_array_equal(model.infer([acc, gyro])[0], want.detach().numpy())


def test_a_frame_has_the_same_answer_in_every_place_of_the_batch(exported):
    model = load(exported[0])
    frame = np.random.default_rng(1).normal(size=(20, 3)).astype(np.float32)
    answers = []
    for place in range(16):
        acc, gyro = np.zeros((16, 20, 3), np.float32), np.zeros((16, 20, 3), np.float32)
        acc[place] = gyro[place] = frame
        answers.append(model.infer([acc, gyro])[0][place])
    assert all(np.array_equal(a, answers[0]) for a in answers)


FOLDER = Path(__file__).parents[2] / "pipelines" / "models"
SHIPPED = sorted(p for p in FOLDER.iterdir() if p.suffix in (".pt2", ".onnx"))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: p.name)
def test_a_frame_of_a_shipped_model_has_the_same_answer_in_every_place_beside_any_others(path):
    model, draw = load(path), np.random.default_rng(4)
    shapes = [t.shape[1:] for t in model.info.inputs]
    for size in (16, 64):
        # Above zero, as the power that one of them takes the logarithm of.
        frame = [draw.uniform(0.1, 3, shape).astype(np.float32) for shape in shapes]
        answers = []
        for place in (0, 1, 7, size - 1):
            given = [draw.uniform(0.1, 3, (size, *shape)).astype(np.float32) for shape in shapes]
            for whole, one in zip(given, frame, strict=True):
                whole[place] = one
            answers.append([np.array(y[place]) for y in model.network(given)])
        assert all(np.isfinite(y).all() for y in answers[0])
        for other in answers[1:]:
            for a, b in zip(other, answers[0], strict=True):
                np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("channels", [1, 2])
def test_what_is_beyond_the_type_of_the_model_is_infinite(channels):
    columns = [np.array([[1.0, 1e300, -1e300]])] * channels
    (found,) = arrange(columns, [TensorInfo("x", (None, channels, 3), "float32")])
    np.testing.assert_array_equal(found[0], [[1, np.inf, -np.inf]] * channels)


def test_inspect_tells_shapes_without_running_anything(exported):
    info = inspect(exported[0])
    assert [(t.name, t.shape, t.dtype) for t in info.inputs] == [
        ("acc", (None, 3, 20), "float32"),
        ("gyro", (None, 3, 20), "float32"),
    ]
    assert info.outputs[0].shape == (None, 3)


def test_the_shipped_model_holds_no_trace_of_where_it_was_made():
    path = Path(__file__).parents[2] / "pipelines" / "models" / "motion.pt2"
    assert path.stat().st_size < 200_000
    data = path.read_bytes()
    assert b".py" not in data
    assert inspect(path).outputs[0].shape == (None, 4)


def test_a_digest_is_checked_before_anything_is_read(exported):
    digest = hashlib.sha256(exported[0].read_bytes()).hexdigest()
    assert load(exported[0], digest).sha256 == digest
    with pytest.raises(DigestError, match="sha256"):
        load(exported[0], "00" * 32)


def evil(folder):
    """A pickle that leaves a mark when it is opened."""

    class Trap:
        def __reduce__(self):
            return (Path.touch, (folder / "ran",))

    return pickle.dumps(Trap())


def unknown_operator(name, value):
    if name.endswith("model.json"):
        value["graph_module"]["graph"]["nodes"][0]["target"] = "torch.ops.aten.from_file.default"


def pickled_weight(name, value):
    if name.endswith("config.json"):
        next(iter(value["config"].values()))["use_pickle"] = True


def huge_weight(name, value):
    if name.endswith("config.json"):
        next(iter(value["config"].values()))["tensor_meta"]["sizes"] = [
            {"as_int": 10**9},
            {"as_int": 10**9},
        ]


def short_weight(name, value):
    if name.endswith("config.json"):
        next(iter(value["config"].values()))["tensor_meta"]["sizes"] = [{"as_int": 10_000}]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (unknown_operator, "not on the list"),
        (pickled_weight, "pickle"),
        (huge_weight, "elements"),
        (short_weight, "shorter than its shape"),
    ],
)
def test_a_changed_graph_is_refused_with_its_own_sentence(exported, tmp_path, change, words):
    bad = rewritten(exported[0], tmp_path / "bad.pt2", change)
    with pytest.raises(ModelError, match=words):
        load(bad)


def test_an_archive_with_code_in_its_parts_wants_trust_and_then_runs_none_of_it(exported, tmp_path):
    def speak(name, value):
        if name.endswith("model.json"):
            value["graph_module"]["guards_code"] = [
                f"__import__('pathlib').Path({str(tmp_path / 'ran')!r}).touch()"
            ]
            value["graph_module"]["graph"]["sym_int_values"] = {
                "s0": {"as_expr": {"expr_str": f"open({str(tmp_path / 'ran')!r}, 'w')"}}
            }

    bad = rewritten(
        exported[0],
        tmp_path / "p.pt2",
        speak,
        drop=("data/sample_inputs/model.pt",),
        **{"net/data/sample_inputs/model.pt": evil(tmp_path)},
    )
    with pytest.raises(ModelError, match="--trust-model PUBLIC"):
        load(bad)
    digest = hashlib.sha256(bad.read_bytes()).hexdigest()
    model = load(bad, trusted=Trust(frozenset({digest})))
    frames = [np.zeros((16, 20, 3), np.float32)] * 2
    np.testing.assert_array_equal(model.infer(frames)[0], load(exported[0]).infer(frames)[0])
    assert not (tmp_path / "ran").exists()


def test_archives_that_are_no_models_are_refused(exported, tmp_path):
    data = exported[0].read_bytes()
    cases = {
        "truncated": data[: len(data) // 2],
        "garbage": b"PK\x03\x04" + b"x" * 100,
        "empty": b"",
        "text": b"not a model",
    }
    for name, content in cases.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ModelError):
            load(tmp_path / name)
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("net/models/model.json", b"\0" * 50_000_000)
    (tmp_path / "bomb.pt2").write_bytes(bomb.getvalue())
    with pytest.raises(ModelError, match="zip bomb"):
        load(tmp_path / "bomb.pt2")
    with zipfile.ZipFile(tmp_path / "out.pt2", "w") as archive:
        archive.writestr("net/../../etc/passwd", b"")
    with pytest.raises(ModelError, match="outside"):
        load(tmp_path / "out.pt2")
    with pytest.raises(ModelError, match="there is no model"):
        load(tmp_path / "nothing.pt2")


def test_torchscript_is_a_program_and_wants_trust(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        script = torch.jit.trace(nn.Linear(4, 2), torch.zeros(1, 4))
        torch.jit.save(script, tmp_path / "s.pt")
    digest = hashlib.sha256((tmp_path / "s.pt").read_bytes()).hexdigest()
    with pytest.raises(ModelError, match="--trust-model"):
        load(tmp_path / "s.pt")
    model = load(tmp_path / "s.pt", trusted=Trust(frozenset({digest})))
    assert model.network([np.zeros((3, 4), np.float32)])[0].shape == (3, 2)


def test_columns_are_brought_to_the_inputs_channels_first():
    x = np.arange(2 * 5 * 3, dtype=np.float64).reshape(2, 5, 3)
    (one,) = arrange([x], [TensorInfo("x", (None, 3, 5), "float32")])
    np.testing.assert_array_equal(one, x.transpose(0, 2, 1))
    (both,) = arrange([x, x[:, :, :1]], [TensorInfo("x", (None, 4, 5), "float32")])
    assert both.shape == (2, 4, 5)
    with pytest.raises(ModelError, match="takes"):
        arrange([x], [TensorInfo("x", (None, 7, 5), "float32")])
