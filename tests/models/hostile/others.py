"""Safetensors, ONNX and LiteRT files that are not what they say."""

import json
import pickle
import struct

import numpy as np
import onnx
from models.hostile.made import Case, Evil
from onnx import TensorProto, helper, numpy_helper
from support import tflite


def safe(_folder, marker):
    """Headers of weights that do not fit."""

    def made(header, body=b"\0" * 16, length=None):
        text = header if isinstance(header, bytes) else json.dumps(header).encode()
        return struct.pack("<Q", len(text) if length is None else length) + text + body

    def one(dtype="F32", shape=(4,), offsets=(0, 16)):
        return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}

    yield Case("a header of 2^60 bytes", made({}, length=2**60), "header should have")
    yield Case("a header beyond the file", made({}, length=100), "header should have")
    yield Case(
        "a header that is a pickle", made(pickle.dumps(Evil(marker))), "header that is a pickle"
    )
    yield Case("a pickle", pickle.dumps(Evil(marker)), "no safetensors file", "pickle")
    yield Case("a header that ends in the middle", made(b'{"a": '), "header that is no JSON")
    yield Case("a header without places", made({"a": {}}), "does not tell where")
    yield Case("a deep header", made(b"[" * 100_000), "nested too deeply")
    yield Case("weights that share bytes", made({"a": one(), "b": one()}), "overlaps another")
    yield Case(
        "weights outside the file",
        made({"a": one(offsets=(0, 64), shape=(16,))}),
        "outside the file",
    )
    yield Case(
        "bytes of no weight", made({"a": one(offsets=(0, 8), shape=(2,))}), "belong to no weight"
    )
    yield Case(
        "a name that comes twice",
        made(b'{"a": %s, "a": %s}' % ((json.dumps(one()).encode(),) * 2)),
        "`a` comes twice",
    )
    yield Case("a weight of 2^62 elements", made({"a": one(shape=(2**31, 2**31))}), "more than")
    yield Case("a weight below zero", made({"a": one(shape=(-4, -1))}), "a length below zero")
    yield Case("a weight of another size", made({"a": one(shape=(5,))}), "bytes for the shape")
    yield Case("a weight of no known type", made({"a": one(dtype="O")}), "element type")
    yield Case(
        "weights that are no numbers",
        made({"a": one()}, np.full(4, np.nan, np.float32).tobytes()),
        "not finite",
    )


def onnxs(_folder, marker):
    """ONNX models that reach out, or never end."""
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)

    def made(nodes, weights=()):
        graph = helper.make_graph(nodes, "net", [x], [y], list(weights))
        opsets = [helper.make_opsetid("", 18), helper.make_opsetid("evil", 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=9).SerializeToString()

    far = numpy_helper.from_array(np.zeros(4, np.float32), "w")
    far.data_location = onnx.TensorProto.EXTERNAL
    far.external_data.add(key="location", value="/etc/passwd")
    huge = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[2**31, 2**31])
    bad = numpy_helper.from_array(np.array([1, np.inf, 2, np.nan], np.float32), "w")
    size = numpy_helper.from_array(np.array([2**20, 2**20], np.int64), "n")
    add = helper.make_node("Add", ["x", "w"], ["y"])
    body = helper.make_graph(
        [helper.make_node("Identity", ["c"], ["d"])],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("c", TensorProto.BOOL, []),
        ],
        [helper.make_tensor_value_info("d", TensorProto.BOOL, [])],
    )
    yield Case("weights in another file", made([add], [far]), "lies in another file")
    yield Case("a weight of 2^62 elements", made([add], [huge]), "more than")
    yield Case("a weight that is no number", made([add], [bad]), "not finite")
    yield Case(
        "an operator of a library",
        made([helper.make_node("Run", ["x"], ["y"], domain="evil")]),
        "not of the standard",
    )
    yield Case(
        "a loop", made([helper.make_node("Loop", ["", ""], ["y"], body=body)]), "may never end"
    )
    yield Case(
        "a tensor of 2^40 elements",
        made([helper.make_node("ConstantOfShape", ["n"], ["y"])], [size]),
        "more than",
    )
    yield Case("a pickle", pickle.dumps(Evil(marker)), "not an ONNX model", "pickle")


def tflites(_folder, marker):
    """LiteRT models that bring their own operators, never end, or lead outside."""
    plain, _ = tflite.convolution()

    def one(does, *, shape=(1, 4), **more):
        net = tflite.Net()
        x = net.tensor(shape)
        return net.bytes([x], [net.op(does, [x], shape, **more)])

    def weight(values):
        net = tflite.Net()
        x = net.tensor((1, 4))
        return net.bytes(
            [x], [net.op("ADD", [x, net.weight(np.asarray(values, np.float32))], (1, 4))]
        )

    def place(at, value):
        out = bytearray(plain)
        struct.pack_into("<I", out, at, value)
        return bytes(out)

    yield Case(
        "an operator of its own", one("CUSTOM", custom="FlexReadFile"), "operator of its own"
    )
    yield Case("a loop", one("WHILE"), "may never end")
    yield Case("variables", one("VAR_HANDLE"), "variables between calls")
    yield Case("an operator that is not listed", one("FILL"), "not on the list")
    yield Case("a huge tensor", one("RELU", shape=(2**16, 2**16)), "more than 268435456")
    yield Case("a weight that is no number", weight([1, np.nan, 0, 0]), "not finite")
    yield Case(
        "a root outside the file", place(0, 2**31), "a root at byte 2147483648, outside the file"
    )
    yield Case("half of it", plain[: len(plain) // 2], "it may break off there")
    yield Case("a pickle", pickle.dumps(Evil(marker)), "no LiteRT model", "pickle")
    yield Case("a text", b"net.tflite", "truncated or not a LiteRT model")
