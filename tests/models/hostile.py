"""Files that look like models and are not: each is a way in, or a way to take the machine down, that is known.

`corpus` makes all of them in a folder. What could run would write the file ``ran`` there, and does no other harm.
"""

import io
import json
import os
import pickle
import struct
import warnings
import zipfile
import zlib

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from support import tflite
from torch import nn


class Evil:
    """A pickle of it writes a file when it is opened."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


def archive(members, *, method=zipfile.ZIP_STORED):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as made:
        for name, data in members:
            made.writestr(name, data)
    return out.getvalue()


def good(folder):
    """A plain `.pt2`, as its members."""
    torch.manual_seed(1)
    net = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)).eval()
    path = folder / "good.pt2"
    torch.export.save(torch.export.export(net, (torch.zeros(8, 4),)), path)
    with zipfile.ZipFile(path) as held:
        return {name: held.read(name) for name in held.namelist()}


def changed(members, part, change):
    """The archive with one member changed, as text or as JSON."""
    out = dict(members)
    name = next(n for n in out if n.endswith(part))
    told = json.loads(out[name])
    change(told)
    out[name] = json.dumps(told).encode()
    return archive(out.items())


def _first(told):
    return next(iter(told["config"].values()))


def _sizes(*sizes, strides=None, offset=0):
    def change(told):
        meta = _first(told)["tensor_meta"]
        meta["sizes"] = [{"as_int": n} for n in sizes]
        meta["strides"] = [{"as_int": n} for n in (strides or [1] * len(sizes))]
        meta["storage_offset"] = {"as_int": offset}

    return change


def pt2(folder, marker):
    """Ways in through a `.pt2`: name, bytes, words of the sentence (None: it loads, and nothing in it runs)."""
    members = good(folder)
    root = next(iter(members)).split("/")[0]
    payload = f"__import__('os').system('touch {marker}')"
    evil = pickle.dumps(Evil(marker))
    weights = "data/weights/model_weights_config.json"
    name = next(n for n in members if "/data/weights/" in n and not n.endswith(".json"))

    def symbol(told):
        told["range_constraints"] = {payload: {"min_val": 0, "max_val": 4}}
        for value in told["graph_module"]["graph"]["tensor_values"].values():
            value["sizes"][0] = {"as_expr": {"expr_str": payload, "hint": {"as_int": 8}}}

    def operator(told):
        told["graph_module"]["graph"]["nodes"][0]["target"] = "torch.ops.aten.from_file.default"

    def builtin(told):
        told["graph_module"]["graph"]["nodes"][0]["target"] = "builtins.eval"

    def nan(values):
        flat = np.frombuffer(values, np.float32).copy()
        flat[0] = np.nan
        return flat.tobytes()

    def packed(**more):
        return archive([*members.items(), *((f"{root}/{k}", v) for k, v in more.items())])

    yield (
        "sample inputs that are a pickle",
        archive(
            [
                *((n, d) for n, d in members.items() if "sample_inputs" not in n),
                (f"{root}/data/sample_inputs/model.pt", evil),
            ]
        ),
        None,
    )
    yield (
        "a weight that is a pickle",
        changed(members, weights, lambda told: _first(told).update(use_pickle=True)),
        "stored as a pickle",
    )
    yield "a size that is Python", changed(members, "models/model.json", symbol), None
    yield (
        "guards that are Python",
        changed(members, "models/model.json", lambda told: told.update(guards_code=[payload])),
        None,
    )
    yield (
        "an operator that opens files",
        changed(members, "models/model.json", operator),
        "from_file",
    )
    yield (
        "an operator that evaluates",
        changed(members, "models/model.json", builtin),
        "builtins.eval",
    )
    yield (
        "machine code",
        packed(**{"data/aotinductor/model/wrapper.so": b"\x7fELF"}),
        "machine code",
    )
    yield "2^62 elements", changed(members, weights, _sizes(2**31, 2**31)), "elements"
    yield (
        "a shape whose product wraps around",
        changed(members, weights, _sizes(2**32, 2**32)),
        "elements",
    )
    yield "a length below zero", changed(members, weights, _sizes(-4, 3)), "elements"
    yield (
        "strides beyond the bytes",
        changed(members, weights, _sizes(3, 4, strides=[2**40, 2**61])),
        "shorter than its shape",
    )
    yield (
        "strides below zero",
        changed(members, weights, _sizes(3, 4, strides=[-4, 1])),
        "shorter than its shape",
    )
    yield (
        "an offset beyond the bytes",
        changed(members, weights, _sizes(3, 4, strides=[4, 1], offset=2**50)),
        "shorter than its shape",
    )
    yield (
        "strides of zero over a huge shape",
        changed(members, weights, _sizes(2**14, 2**14, strides=[0, 0])),
        "shorter than its shape",
    )
    yield (
        "a weight that is no number",
        archive({**members, name: nan(members[name])}.items()),
        "not finite",
    )
    yield (
        "a weight that is too short",
        archive({**members, name: members[name][:4]}.items()),
        "shorter than its shape",
    )
    yield (
        "deep JSON",
        archive({**members, f"{root}/models/model.json": b"[" * 200_000}.items()),
        "does not understand",
    )
    yield (
        "JSON of another thing",
        archive({**members, f"{root}/models/model.json": b"[1, 2]"}.items()),
        "does not understand",
    )
    yield (
        "a graph without an end",
        archive({**members, f"{root}/models/model.json": b'{"a": ' * 5000}.items()),
        "does not understand",
    )
    yield (
        "a giant JSON",
        archive(
            {
                **members,
                f"{root}/models/model.json": b'{"a": [' + b"0," * 40_000_000 + b"0]}",
            }.items()
        ),
        "larger than",
    )
    yield (
        "no graph at all",
        archive((n, d) for n, d in members.items() if "models/" not in n),
        "lacks its part",
    )


def archives(folder, marker):
    """Ways to take an archive's reader down."""
    members = good(folder)
    plain = archive(members.items())
    yield "a pickle that says it is a model", pickle.dumps(Evil(marker)), "not a model archive"
    saved = io.BytesIO()
    torch.save({"a": torch.zeros(3)}, saved)
    yield "torch.save of a dictionary", saved.getvalue(), "lacks its part"
    yield (
        "an archive inside of which there is a pickle",
        archive([("net/data.pkl", pickle.dumps(Evil(marker)))]),
        "lacks its part",
    )
    yield (
        "a TorchScript program",
        archive(
            [
                ("net/constants.pkl", pickle.dumps(Evil(marker))),
                ("net/code/__torch__.py", b"def forward(self): pass"),
                ("net/data.pkl", pickle.dumps(Evil(marker))),
            ]
        ),
        "TorchScript",
    )
    yield (
        "a member that unpacks a thousandfold",
        archive([("net/models/model.json", b"\0" * 400_000_000)], method=zipfile.ZIP_DEFLATED),
        "zip bomb",
    )
    yield "ten gigabytes that are claimed", claimed(10 * 2**30), "zip bomb"
    yield "less that is claimed than comes", claimed(100, real=300_000_000), "damaged in its part"
    yield (
        "an archive in an archive",
        archive(
            [
                (
                    "net/models/model.json",
                    archive([("x", b"\0" * 10**7)], method=zipfile.ZIP_DEFLATED),
                )
            ]
        ),
        "does not understand",
    )
    yield "entries that share their bytes", overlapping(), "overlap"
    yield (
        "a way out of the archive",
        archive([("net/../../etc/passwd", b"x")]),
        "outside the archive",
    )
    yield "an absolute name", archive([("/etc/passwd", b"x")]), "outside the archive"
    yield "a name with a drive", archive([("net\\..\\passwd", b"x")]), "outside the archive"
    yield "two members of one name", duplicate(members), "twice"
    yield (
        "more members than a model has",
        archive((f"net/{i}", b"") for i in range(5000)),
        "members",
    )
    yield "members that are encrypted", encrypted(plain), "encrypted"
    yield (
        "a name of letters that turn around",
        archive([("net/\u202emodels/model.json", b"{}")]),
        "lacks its part",
    )
    for part in (1, 10, 50, 90, 99):
        yield (
            f"the first {part} %",
            plain[: len(plain) * part // 100],
            "truncated or not a model archive",
        )
    yield "nothing", b"", "truncated or not a model archive"


def claimed(size, real=0):
    """A member whose directory says another size than it has."""
    data = bytearray(
        archive([("net/models/model.json", b"\0" * (real or 1000))], method=zipfile.ZIP_DEFLATED)
    )
    where = data.rindex(b"PK\x01\x02")
    struct.pack_into("<I", data, where + 24, min(size, 2**32 - 2))
    return bytes(data)


def overlapping():
    """Two entries of the directory that point at one body."""
    body = zlib.compress(b"\0" * 100_000)[2:-4]
    crc = zlib.crc32(b"\0" * 100_000)
    local = (
        struct.pack("<4sHHHHHIIIHH", b"PK\x03\x04", 20, 0, 8, 0, 0, crc, len(body), 100_000, 5, 0)
        + b"net/a"
        + body
    )
    entries = b""
    for letter in b"ab":
        name = b"net/" + bytes([letter])
        entries += (
            struct.pack(
                "<4sHHHHHHIIIHHHHHII",
                b"PK\x01\x02",
                20,
                20,
                0,
                8,
                0,
                0,
                crc,
                len(body),
                100_000,
                5,
                0,
                0,
                0,
                0,
                0,
                0,
            )
            + name
        )
    return (
        local
        + entries
        + struct.pack("<4sHHHHIIH", b"PK\x05\x06", 0, 0, 2, 2, len(entries), len(local), 0)
    )


def duplicate(members):
    name = next(n for n in members if n.endswith("models/model.json"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return archive([*members.items(), (name, b"{}")])


def encrypted(data):
    """The flag of an encrypted member in every entry of the directory."""
    out = bytearray(data)
    at = out.find(b"PK\x01\x02")
    while at >= 0:
        out[at + 8] |= 1
        at = out.find(b"PK\x01\x02", at + 4)
    return bytes(out)


def safe(_folder, marker):
    """Headers of weights that do not fit."""

    def made(header, body=b"\0" * 16, length=None):
        text = header if isinstance(header, bytes) else json.dumps(header).encode()
        return struct.pack("<Q", len(text) if length is None else length) + text + body

    def one(dtype="F32", shape=(4,), offsets=(0, 16)):
        return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}

    yield "a header of 2^60 bytes", made({}, length=2**60), "header should have"
    yield "a header beyond the file", made({}, length=100), "header should have"
    yield "a header that is a pickle", made(pickle.dumps(Evil(marker))), "header that is not"
    yield "a deep header", made(b"[" * 100_000), "header that is not"
    yield "weights that share bytes", made({"a": one(), "b": one()}), "overlaps another"
    yield (
        "weights outside the file",
        made({"a": one(offsets=(0, 64), shape=(16,))}),
        "outside the file",
    )
    yield "bytes of no weight", made({"a": one(offsets=(0, 8), shape=(2,))}), "belong to no weight"
    yield (
        "a name that comes twice",
        made(b'{"a": %s, "a": %s}' % ((json.dumps(one()).encode(),) * 2)),
        "header that is not",
    )
    yield "a weight of 2^62 elements", made({"a": one(shape=(2**31, 2**31))}), "more than"
    yield "a weight below zero", made({"a": one(shape=(-4, -1))}), "more than"
    yield "a weight of another size", made({"a": one(shape=(5,))}), "bytes for the shape"
    yield "a weight of no known type", made({"a": one(dtype="O")}), "element type"
    yield (
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
    yield "weights in another file", made([add], [far]), "lies in another file"
    yield "a weight of 2^62 elements", made([add], [huge]), "more than"
    yield "a weight that is no number", made([add], [bad]), "not finite"
    yield (
        "an operator of a library",
        made([helper.make_node("Run", ["x"], ["y"], domain="evil")]),
        "not of the standard",
    )
    yield "a loop", made([helper.make_node("Loop", ["", ""], ["y"], body=body)]), "may never end"
    yield (
        "a tensor of 2^40 elements",
        made([helper.make_node("ConstantOfShape", ["n"], ["y"])], [size]),
        "more than",
    )
    yield "a pickle", pickle.dumps(Evil(marker)), "not an ONNX model"


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

    yield "an operator of its own", one("CUSTOM", custom="FlexReadFile"), "operator of its own"
    yield "a loop", one("WHILE"), "may never end"
    yield "variables", one("VAR_HANDLE"), "variables between calls"
    yield "an operator that is not listed", one("FILL"), "not on the list"
    yield "a huge tensor", one("RELU", shape=(2**16, 2**16)), "more than 268435456"
    yield "a weight that is no number", weight([1, np.nan, 0, 0]), "not finite"
    yield "a root outside the file", place(0, 2**31), "outside the file"
    yield "half of it", plain[: len(plain) // 2], "outside the file"
    yield "a pickle", pickle.dumps(Evil(marker)), "not a LiteRT model"


FORMATS = {
    ".pt2": (pt2, archives),
    ".safetensors": (safe,),
    ".onnx": (onnxs,),
    ".tflite": (tflites,),
}


def corpus(folder):
    """Write all of them: path, what it is, words of its sentence; and the marker that nothing may write."""
    marker = folder / "ran"
    out = []
    for suffix, makers in FORMATS.items():
        for maker in makers:
            for what, data, words in maker(folder, marker):
                path = folder / f"{len(out):03d}{suffix}"
                path.write_bytes(data)
                out.append((path, what, words))
    return marker, out
