"""ONNX models: run as ONNX Runtime runs them, and looked through before."""

import contextlib

import numpy as np
import onnx
import onnxruntime as ort
import pyarrow as pa
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from support.command import cli
from torch import nn

from flowedge.lang.errors import ModelError
from flowedge.models.load import inspect, load

LENGTH = 60


def network():
    """A small convolutional network of two channels and three classes."""
    torch.manual_seed(3)
    layers = (
        nn.Conv1d(2, 8, 5, padding=2),
        nn.ReLU(),
        nn.AdaptiveAvgPool1d(1),
        nn.Flatten(),
        nn.Linear(8, 3),
    )
    return nn.Sequential(*layers).eval()  # fmt: skip


def model(nodes, *, weights=(), inputs=None, outputs=None, opset=18, **more):
    """A model of these nodes, from `x` to `y`."""
    inputs = inputs or [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 2, LENGTH])]
    outputs = outputs or [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", None])]
    graph = helper.make_graph(nodes, "net", inputs, outputs, list(weights))
    return helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9, **more
    )


def exported(batch="batch"):
    """The network above."""
    net = network()
    arrays = {
        "w1": net[0].weight,
        "b1": net[0].bias,
        "w2": net[4].weight,
        "b2": net[4].bias,
    }
    weights = [numpy_helper.from_array(a.detach().numpy(), n) for n, a in arrays.items()]
    nodes = [
        helper.make_node("Conv", ["x", "w1", "b1"], ["c"], pads=[2, 2]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("GlobalAveragePool", ["r"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("Gemm", ["f", "w2", "b2"], ["y"], transB=1),
    ]
    return model(
        nodes,
        weights=weights,
        inputs=[helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 2, LENGTH])],
        outputs=[helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, 3])],
    )


@pytest.fixture
def stored(tmp_path):
    """Write a model; gives its path."""

    def write(made, name="net.onnx"):
        data = made if isinstance(made, bytes) else made.SerializeToString()
        (tmp_path / name).write_bytes(data)
        return tmp_path / name

    return write


def test_inputs_and_outputs_are_told(stored):
    info = inspect(stored(exported()))
    assert [(t.name, t.shape, t.dtype) for t in info.inputs] == [
        ("x", (None, 2, LENGTH), "float32")
    ]
    assert [(t.name, t.shape, t.dtype) for t in info.outputs] == [("y", (None, 3), "float32")]


def test_the_answers_are_those_of_the_runtime_bit_for_bit_and_near_those_of_torch(stored):
    path = stored(exported())
    frames = np.random.default_rng(0).normal(size=(16, LENGTH, 2)).astype(np.float32)
    channels_first = np.ascontiguousarray(frames.transpose(0, 2, 1))
    (found,) = load(path, kind="onnx").infer([frames])
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    (want,) = ort.InferenceSession(str(path), options).run(None, {"x": channels_first})
    np.testing.assert_array_equal(found, want)
    with torch.inference_mode():
        near = network()(torch.from_numpy(channels_first)).numpy()
    np.testing.assert_allclose(found, near, rtol=1e-5, atol=1e-6)


def test_a_frame_has_the_same_answer_in_every_place_of_the_batch(stored):
    net = load(stored(exported()), kind="onnx")
    draw = np.random.default_rng(1)
    frame = draw.normal(size=(LENGTH, 2)).astype(np.float32)
    answers = []
    for place in range(16):
        frames = draw.normal(size=(16, LENGTH, 2)).astype(np.float32)
        frames[place] = frame
        answers.append(net.infer([frames])[0][place])
    assert all(np.array_equal(a, answers[0]) for a in answers)


FLOW = """
source s (time, a: f32, b: f32) at 100 Hz from arrow("in.arrow")
model net = {model}
    input (a, b)
    output softmax ["x", "y", "z"]
    batch {batch}
sink s | window 60 samples | classify with net to arrow("out.arrow")
"""


def recording(place):
    """Ten seconds of two channels."""
    draw = np.random.default_rng(2)
    time = pa.array(np.arange(1000) * 10**7).cast(pa.timestamp("ns", "UTC"))
    values = {name: draw.normal(size=1000).astype(np.float32) for name in "ab"}
    table = pa.table({"time": time, **values})
    with pa.OSFile(str(place / "in.arrow"), "wb") as file:  # noqa: SIM117
        with pa.ipc.new_file(file, table.schema) as out:
            out.write_table(table)


def test_a_pipeline_gives_the_labels_of_the_model(tmp_path, stored):
    recording(tmp_path)
    path = stored(exported())
    (tmp_path / "p.flow").write_text(FLOW.format(model='onnx("net.onnx")', batch=16))
    code, _, told = cli("run", "p.flow", cwd=tmp_path)
    assert code == 0, told
    with pa.ipc.open_file(tmp_path / "out.arrow") as file:
        found = file.read_all()
    with pa.ipc.open_file(tmp_path / "in.arrow") as file:
        rows = file.read_all()
    frames = np.stack([rows[c].to_numpy()[:960].reshape(16, 60) for c in "ab"], axis=1)
    (scores,) = ort.InferenceSession(str(path)).run(None, {"x": frames})
    assert found["label"].to_pylist() == [list("xyz")[i] for i in scores.argmax(axis=1)]


def test_a_model_for_a_fixed_batch_says_so(tmp_path, stored):
    recording(tmp_path)
    stored(exported(batch=1))
    (tmp_path / "p.flow").write_text(FLOW.format(model='onnx("net.onnx")', batch=16))
    code, told, _ = cli("check", "p.flow", cwd=tmp_path)
    assert code == 1
    assert "FE607" in told
    assert "write `batch 1`" in told
    (tmp_path / "p.flow").write_text(FLOW.format(model='onnx("net.onnx")', batch=1))
    assert cli("run", "p.flow", cwd=tmp_path)[0] == 0


def test_inspect_shows_it(stored):
    path = stored(exported())
    assert "in   x: float32 (any, 2, 60)" in cli("inspect", path.name, cwd=path.parent)[1]


# ---- what is refused


def relu(*more):
    """A model of one operator, and more."""
    return [helper.make_node("Relu", ["x"], ["y"]), *more]


def outside():
    weight = numpy_helper.from_array(np.ones((4, 4), np.float32), "w")
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    weight.external_data.add(key="location", value="/etc/passwd")
    return model(relu(), weights=[weight])


def outside_in_a_constant():
    weight = outside().graph.initializer[0]
    return model(relu(helper.make_node("Constant", [], ["k"], value=weight)))


def endless():
    none = helper.make_tensor_value_info("i", TensorProto.INT64, [])
    go_on = helper.make_tensor_value_info("c", TensorProto.BOOL, [])
    still = helper.make_tensor_value_info("d", TensorProto.BOOL, [])
    body = helper.make_graph([helper.make_node("Identity", ["c"], ["d"])], "body", [none, go_on], [still])  # fmt: skip
    always = numpy_helper.from_array(np.array(True), "true")
    return model(relu(helper.make_node("Loop", ["", "true"], [], body=body)), weights=[always])


def endless_in_a_branch():
    inner = endless().graph
    always = numpy_helper.from_array(np.array(True), "yes")
    branch = helper.make_graph(list(inner.node)[1:], "b", [], [], list(inner.initializer))
    node = helper.make_node("If", ["yes"], [], then_branch=branch, else_branch=branch)
    return model(relu(node), weights=[always])


def foreign():
    return model(
        [helper.make_node("Shell", ["x"], ["y"], domain="com.example")], producer_name="somebody"
    )


def circular():
    """A function of the model that calls itself."""
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("own", 1)]
    node = helper.make_node("F", ["a"], ["b"], domain="own")
    made = model([helper.make_node("F", ["x"], ["y"], domain="own")])
    made.functions.append(helper.make_function("own", "F", ["a"], ["b"], [node], opsets))
    made.opset_import.append(opsets[1])
    return made


def nan_weights():
    weight = numpy_helper.from_array(np.array([1, np.nan], np.float32), "w")
    return model(relu(), weights=[weight])


def short_weights():
    weight = numpy_helper.from_array(np.ones(4, np.float32), "w")
    weight.dims[:] = [400]
    return model(relu(), weights=[weight])


def huge_weights():
    weight = numpy_helper.from_array(np.ones(4, np.float32), "w")
    weight.dims[:] = [2**31, 2**31]
    return model(relu(), weights=[weight])


def huge_values():
    size = numpy_helper.from_array(np.array([10**6, 10**6], np.int64), "size")
    return model(relu(helper.make_node("ConstantOfShape", ["size"], ["k"])), weights=[size])


def sparse():
    values = numpy_helper.from_array(np.ones(1, np.float32), "v")
    places = numpy_helper.from_array(np.zeros(1, np.int64), "p")
    made = model(relu())
    made.graph.sparse_initializer.append(helper.make_sparse_tensor(values, places, [10**9]))
    return made


def texts_out():
    out = helper.make_tensor_value_info("y", TensorProto.STRING, ["batch"])
    return model(relu(), outputs=[out])


def maps_out():
    value = onnx.helper.make_map_type_proto(TensorProto.INT64, helper.make_tensor_type_proto(TensorProto.FLOAT, None))  # fmt: skip
    out = helper.make_value_info("y", helper.make_sequence_type_proto(value))
    return model(relu(), outputs=[out])


HOSTILE = {
    outside: "the weight `w` lies in another file",
    outside_in_a_constant: "lies in another file",
    endless: "has a `Loop`, which may never end",
    endless_in_a_branch: "has a `Loop`, which may never end",
    foreign: "the operator `com.example.Shell`, which is not of the standard",
    circular: "Cycle detected in model-local function",
    nan_weights: "the weight `w` is not finite",
    short_weights: "the weight `w` is shorter than its shape",
    huge_weights: "more than 268435456 elements",
    huge_values: "makes `k` of shape",
    sparse: "sparse weights",
    texts_out: "`y` is no tensor of numbers",
    maps_out: "`y` is no tensor of numbers",
}


@pytest.mark.parametrize("made", HOSTILE, ids=lambda f: f.__name__)
def test_a_model_that_may_not_be_run_is_refused_with_its_reason(made, stored):
    path = stored(made())
    for act in (inspect, lambda p: load(p, kind="onnx")):
        with pytest.raises(ModelError) as told:
            act(path)
        assert HOSTILE[made] in str(told.value)
        assert "\n" not in str(told.value)


def far(*nodes, **weights):
    """A model that makes `k`, of a size that no look at the graph tells."""
    more = [
        helper.make_node("ConstantOfShape", ["size"], ["k"]),
        helper.make_node("ReduceMax", ["k"], ["m"], keepdims=0),
        helper.make_node("Add", ["x", "m"], ["y"]),
    ]
    given = [numpy_helper.from_array(np.array(v), n) for n, v in weights.items()]
    return model([*nodes, *more], weights=given)


@pytest.mark.parametrize(
    "made",
    [
        far(helper.make_node("Pow", ["r", "two"], ["size"]), r=[200, 200], two=[2]),
        far(helper.make_node("Cast", ["f"], ["size"], to=7), f=np.full(2, 2.0**15, np.float32)),
    ],
    ids=["pow", "cast"],
)
def test_memory_has_an_end_where_only_a_run_would_tell(made, stored):
    with pytest.raises(ModelError, match="ConstantOfShape: Available memory of") as told:
        load(stored(made), kind="onnx").infer([np.zeros((16, LENGTH, 2), np.float32)])
    assert "/" not in str(told.value).partition(": ")[2]


def test_what_is_no_model_is_refused(stored):
    data = exported().SerializeToString()
    for made in (b"", b"no model", b"\0" * 100, data[: len(data) // 2], data[:40]):
        with pytest.raises(ModelError, match=r"truncated or not an ONNX model|shorter|refused"):
            load(stored(made), kind="onnx")


def test_bytes_that_go_wrong_give_a_model_or_a_sentence(stored):
    data = exported().SerializeToString()
    draw = np.random.default_rng(5)
    frames = np.zeros((16, LENGTH, 2), np.float32)
    for _ in range(300):
        made = bytearray(data)
        for place in draw.integers(0, len(made), draw.integers(1, 4)):
            made[place] = draw.integers(0, 256)
        with contextlib.suppress(ModelError):
            load(stored(bytes(made)), kind="onnx").infer([frames])
