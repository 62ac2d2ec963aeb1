"""LiteRT models: looked through before, tried in a process that ends, and run as the format says."""

import json

import numpy as np
import pyarrow as pa
import pytest
from ai_edge_litert import schema_py_generated as s
from support import tflite
from support.command import cli

from flowedge.lang.errors import ModelError
from flowedge.models.litert import Graph, Scale
from flowedge.models.load import build, describe, load
from flowedge.models.trust import NONE

LENGTH = 60


@pytest.fixture(scope="module")
def small():
    return tflite.convolution()


def session(data):
    return build(data, "", "net.tflite", NONE, "litert")


def test_a_model_says_what_numpy_says(small, tmp_path):
    data, reference = small
    (tmp_path / "net.tflite").write_bytes(data)
    model = load(tmp_path / "net.tflite", kind="litert")
    frames = np.random.default_rng(3).normal(size=(16, LENGTH, 2)).astype(np.float32)
    (found,) = model.infer([frames])
    np.testing.assert_allclose(found, reference(frames), atol=2e-6)
    (shape,) = model.info.inputs
    assert (shape.name, shape.shape, shape.dtype) == ("x", (None, LENGTH, 2), "float32")


def test_a_frame_has_the_same_bits_in_every_place_of_a_batch(small):
    model = session(small[0])
    draw = np.random.default_rng(5)
    frame = draw.normal(size=(LENGTH, 2)).astype(np.float32)
    (alone,) = model.infer([frame[None]])
    for n in (2, 3, 16):
        for place in range(n):
            frames = draw.normal(size=(n, LENGTH, 2)).astype(np.float32)
            frames[place] = frame
            np.testing.assert_array_equal(model.infer([frames])[0][place], alone[0])


def test_a_model_of_small_whole_numbers_takes_and_gives_real_ones():
    data, reference = tflite.quantised()
    model = session(data)
    assert model.info.inputs[0].dtype == model.info.outputs[0].dtype == "float32"
    rows = np.random.default_rng(1).normal(0, 2, (50, 4)).astype(np.float32)
    (found,) = model.infer([rows])
    # one step of the output: where the sum lies between two, the runtime's rounding differs from NumPy's
    np.testing.assert_allclose(found, reference(rows), atol=0.1001)
    assert (np.abs(found - reference(rows)) < 1e-5).mean() > 0.95


def test_real_numbers_become_whole_ones_as_the_format_says():
    scale = Scale(0.5, 3)
    x = np.array([0, 0.25, -0.25, 0.24, 1e9, -1e9, np.nan], np.float32)
    assert scale.quantise(x, "int8").tolist() == [3, 4, 2, 3, 127, -128, 3]
    assert scale.restore(np.array([3, 5], np.int8)).tolist() == [0, 1]


def test_a_pipeline_runs_it_from_arrow_to_arrow(small, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data, reference = small
    (tmp_path / "net.tflite").write_bytes(data)
    draw = np.random.default_rng(8)
    a, b = draw.normal(size=(2, 20 * LENGTH)).astype(np.float32)
    time = pa.array(np.arange(20 * LENGTH) * 10**7).cast(pa.timestamp("ns", "UTC"))
    with pa.ipc.new_file("in.arrow", pa.table({"time": time, "a": a, "b": b}).schema) as file:
        file.write_table(pa.table({"time": time, "a": a, "b": b}))
    (tmp_path / "p.flow").write_text(
        'source s (time, a: f32, b: f32) at 100 Hz from arrow("in.arrow")\n'
        'model net = litert("net.tflite") input (a, b) output softmax ["x", "y", "z"] batch 8\n'
        f'sink s | window {LENGTH} samples | classify with net(scores=true) to arrow("out.arrow")\n'
    )
    code, _, said = cli("run", "p.flow", cwd=tmp_path)
    assert code == 0, said
    with pa.ipc.open_file("out.arrow") as file:
        table = file.read_all()
    wanted = reference(np.stack([a, b], 1).reshape(20, LENGTH, 2))
    assert table["label"].to_pylist() == ["xyz"[i] for i in wanted.argmax(1)]


def built(does, *, shape=(1, 4), out=(1, 4), **more):
    net = tflite.Net()
    x = net.tensor(shape, name="x")
    return net.bytes([x], [net.op(does, [x], out, **more)])


def two_graphs():
    net = tflite.Net()
    x = net.tensor((1, 4))
    y = net.op("RELU", [x], (1, 4))
    net.model.subgraphs.append(net.graph)
    return net.bytes([x], [y])


def with_weight(values, **change):
    net = tflite.Net()
    x = net.tensor((1, 4), name="x")
    w = net.weight(np.asarray(values, np.float32), name="w")
    for key, value in change.items():
        setattr(net.graph.tensors[w], key, value)
    return net, net.bytes([x], [net.op("ADD", [x, w], (1, 4))])


def far():
    net, _ = with_weight(np.ones(4))
    net.model.buffers[1].offset, net.model.buffers[1].size = 4096, 16
    return net.bytes([0], [2])


def late():
    net = tflite.Net()
    x, z = net.tensor((1, 4)), net.tensor((1, 4))
    return net.bytes([x], [net.op("ADD", [x, z], (1, 4))])


REFUSED = {
    "of its own": lambda: built("CUSTOM", custom="FlexReadFile"),
    "a loop, which may never end": lambda: built("WHILE"),
    "calls another graph": lambda: built("CALL_ONCE"),
    "keeps variables": lambda: built("VAR_HANDLE"),
    "the operator 94, which is not on the list": lambda: built("FILL"),
    "more than 268435456 elements": lambda: built("RELU", shape=(1, 2**30), out=(1, 2**30)),
    "more than 268435456 elements or": lambda: built("RELU", shape=(1, -5), out=(1, 4)),
    "MiB together": lambda: built("RELU", shape=(1, 2**27), out=(1, 2**27)),
    "2 graphs": two_graphs,
    "not finite": lambda: with_weight([1, np.nan, 1, 1])[1],
    r"of shape \[8\] with 16 bytes": lambda: with_weight(np.ones(4), shape=[8])[1],
    "kept between calls": lambda: with_weight(np.ones(4), isVariable=True)[1],
    "outside the graph": far,
    "before it is made": late,
    "truncated or not a LiteRT": lambda: b"PK\x03\x04" + b"x" * 50,
    "an offset that leads outside": lambda: built("RELU")[:200],
}


@pytest.mark.parametrize("why", REFUSED)
def test_what_may_not_run_is_refused_by_a_sentence(why):
    data = REFUSED[why]()
    with pytest.raises(ModelError, match=why):
        Graph(data, "net.tflite")


def test_a_model_is_shown_without_the_runtime(small, tmp_path):
    (tmp_path / "net.tflite").write_bytes(small[0])
    (tmp_path / "net.model.json").write_text(json.dumps({"labels": ["a", "b", "c"]}))
    assert describe(tmp_path / "net.tflite").info.manifest.labels == ("a", "b", "c")
    code, said, _ = cli("model", "info", "net.tflite", cwd=tmp_path)
    assert code == 0
    assert "float32 (any, 60, 2)" in said


def test_no_damaged_file_goes_further_than_a_sentence(small):
    """Where a changed file passes, it is one that can be run: every offset was followed before."""
    draw = np.random.default_rng(11)
    passed = 0
    for _ in range(1500):
        data = bytearray(small[0])
        for at in draw.integers(0, len(data), draw.integers(1, 4)):
            data[at] = draw.integers(0, 256)
        try:
            Graph(bytes(data), "net.tflite")
            passed += 1
        except ModelError:
            continue
    assert 0 < passed < 1500


def test_what_brings_the_runtime_down_does_so_elsewhere(tmp_path):
    net = tflite.Net()
    x = net.tensor((1, 4))
    options = s.SplitOptionsT()
    options.numSplits = 3
    y = net.op("SPLIT", [net.weight(np.array(7, np.int32)), x], (1, 4), options)
    (tmp_path / "net.tflite").write_bytes(net.bytes([x], [y]))
    with pytest.raises(ModelError, match=r"LiteRT|failed on a batch|brought the runtime down"):
        load(tmp_path / "net.tflite", kind="litert")
