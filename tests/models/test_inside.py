"""What an archive holds besides its graph and weights is judged without being opened, and what Torch writes passes."""

import dataclasses
import io
import pickle
import warnings
import zipfile

import numpy as np
import pytest
import torch
from models.hostile.made import archive, good, with_parts
from torch import nn
from torch.export import Dim

from flowedge.lang.errors import ModelError
from flowedge.models import inside
from flowedge.models.archive import Archive
from flowedge.models.pt2 import Program

# ---- what Torch writes; the networks of support.networks are loaded in test_architectures.py


class Scaled(nn.Module):
    def forward(self, x, *, scale, bias=None, mode="up"):
        y = x * scale if bias is None else x * scale + bias
        return y if mode == "up" else -y


class Nested(nn.Module):
    def forward(self, named, listed):
        return named["a b"] + listed[0][1], {"out": named["c"] * 2}


class Shifted(nn.Module):
    def forward(self, x, y):
        return x + y[1:]


class Halves(nn.Module):
    def forward(self, x):
        return x.reshape(x.shape[0] // 2, -1).sum(1) if x.shape[0] % 2 == 0 else x


class Guarded(nn.Module):
    def forward(self, x, y):
        n, m = x.shape
        if n > 5 and 2 * m < 1000 and n * m != 77 and max(n, 3) < 4000 and n / 3 < 999.5:
            return torch.cat([x, y])
        return x


class Larger(nn.Module):
    def forward(self, x):
        return nn.functional.interpolate(x, scale_factor=1.5)


class Picked(nn.Module):
    def forward(self, x, k):
        n = k.item()
        torch._check(n >= 2)
        torch._check(n <= x.shape[0])
        return x[:n]


class Oddly(nn.Module):
    """Names that are no words of Python."""

    def __init__(self):
        super().__init__()
        self.add_module("my-layer 1", nn.Linear(4, 3))
        self.register_buffer("β", torch.ones(3))

    def forward(self, x):
        return getattr(self, "my-layer 1")(x) * self.β


X, Y = torch.randn(8, 4), torch.randn(5, 4)
D, H = Dim("d", min=3, max=100), Dim("h", min=1, max=100)
FREE = {0: Dim.DYNAMIC, 1: Dim.DYNAMIC}
STRIDED = nn.Sequential(nn.Conv1d(3, 4, 5, stride=2), nn.MaxPool1d(2, ceil_mode=True), nn.ConvTranspose1d(4, 2, 3, stride=2))  # fmt: skip
EXPORTS = {
    "static": (nn.Linear(4, 2), (X,), {}),
    "keywords": (Scaled(), (X,), {"kwargs": {"scale": torch.tensor(2.0), "bias": Y[0], "mode": "down"}}),
    "nested": (Nested(), ({"a b": X, "c": X}, [(X, X)]), {}),
    "nested, any length": (Nested(), ({"a b": X, "c": X}, [(X, X)]), {"dynamic_shapes": ({"a b": {0: Dim.DYNAMIC}, "c": {0: Dim.DYNAMIC}}, [({0: Dim.DYNAMIC}, {0: Dim.DYNAMIC})])}),
    "a length and one more": (Shifted(), (X, torch.randn(9, 4)), {"dynamic_shapes": ({0: D}, {0: D + 1})}),
    "an even length": (Halves(), (X,), {"dynamic_shapes": ({0: 2 * H},)}),
    "guards": (Guarded(), (X, Y), {"dynamic_shapes": (FREE, FREE)}),
    "guards of the other tracer": (Guarded(), (X, Y), {"dynamic_shapes": (FREE, FREE), "strict": True}),
    "lengths that are found": (STRIDED, (torch.randn(2, 3, 64),), {"dynamic_shapes": ({0: Dim.AUTO, 2: Dim.AUTO},)}),
    "half as long again": (Larger(), (torch.randn(2, 3, 8),), {"dynamic_shapes": ({0: Dim.DYNAMIC, 2: Dim.DYNAMIC},)}),
    "a length of the data": (Picked(), (X, torch.tensor(3)), {}),
    "a whole number": (Scaled(), (X,), {"kwargs": {"scale": 3}, "dynamic_shapes": {"x": {0: Dim.DYNAMIC}, "scale": None}}),
    "odd names": (Oddly(), (X,), {}),
    "a parameter": (nn.Identity(), (nn.Parameter(X),), {}),
    "eight bits": (nn.Identity(), (torch.zeros(2, 2).to(torch.float8_e4m3fn), ), {}),
}  # fmt: skip


def exported(net, given, *, extra=None, **more):
    out = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.export(net.eval(), given, **more)
        torch.export.save(program, out, extra_files=extra)
    return Archive(out.getvalue(), "net")


@pytest.mark.parametrize("what", EXPORTS)
def test_what_torch_exports_holds_no_code(what):
    net, given, more = EXPORTS[what]
    assert inside.program_in(exported(net, given, **more)) == ""


def test_files_that_are_given_along_hold_none_either():
    found = exported(
        nn.Linear(4, 2), (X,), extra={"model.json": "{}", "notes/of me.py": "import os"}
    )
    assert found.has("extra/notes/of me.py")
    assert inside.program_in(found) == ""


@dataclasses.dataclass
class Pair:
    a: torch.Tensor
    b: torch.Tensor


def test_a_class_among_the_sample_inputs_is_told():
    """Torch imports its module; the file wants to be trusted, though it is an honest one."""
    torch.export.register_dataclass(Pair, serialized_type_name="Pair")

    class Sum(nn.Module):
        def forward(self, pair):
            return pair.a + pair.b

    told = inside.program_in(exported(Sum(), (Pair(X, X),)))
    assert "sample inputs that are a pickle that names `" in told
    assert "Pair" in told


# ---- by which lists


@pytest.mark.parametrize(
    "text",
    [
        "Symbol('s77', positive=True, integer=True)",
        "Max(Integer(1), Add(FloorDiv(Add(Symbol('s16', positive=True, integer=True), Integer(-3)), Integer(2)), Integer(1)))",
        "TruncToInt(Mul(Float('1.5', precision=53), ToFloat(Symbol('s53', positive=True, integer=True))))",
        "OpaqueUnaryFn_sqrt(Symbol('zuf0'))",
        "2*s39 + 1",
        "",
    ],
)
def test_sizes_are_allowed(text):
    assert inside._is_size(text)


@pytest.mark.parametrize(
    "text",
    [
        "L['x'].size()[0] == ((-1) + L['y'].size()[0])",
        "((4*L['flat_args'][0].size()[0]) % (L['x']['a b'].size()[0] // 2)) != 0",
        "not (math.ceil(1.5*torch.sym_float(L['x'].stride()[0])) <= 1e-3) or max(2, L['n']) < math.inf",
    ],
)
def test_guards_are_allowed(text):
    assert inside._is_guard(text)


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os')", "eval('1')", "s77.__class__", "Symbol('__import__(1)')", 'Symbol("s77")', "lambda: 0", "[s0 for s0 in s1]",
        "s0\n", "s0; s1", "s0 := 1", "f's0'", "s0 @ s1", "{s0}", "Symbol('a\\'')", "exec", "\uff45\uff56\uff41\uff4c(s0)", "1 if s0 else 2",
    ],
)  # fmt: skip
def test_sizes_are_not_python(text):
    assert not inside._is_size(text)


@pytest.mark.parametrize(
    "text",
    [
        "L['x'].__class__", "open('a')", "L[\"x\"]", "L['\"'] == 1", "L['x'] == 1\n", "(lambda: 1)()", "torch.load('a')", "torch.os",
        "math.__loader__", "L['x'].numpy()", "print(1)", "getattr(L, 'x')", "L['x'] == 1; 2", "[x for x in L]", "await L",
    ],
)  # fmt: skip
def test_guards_are_not_python(text):
    assert not inside._is_guard(text)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (pickle.dumps(print, 2), "names `__builtin__.print`"),
        (pickle.dumps(print), "names `builtins.print` by STACK_GLOBAL"),
        (b"\x80\x02\x82\x01.", "the instruction EXT1"),
        (b"\x80\x02(ios\nsystem\n.", "the instruction INST"),
        (b"\x80\x02ctorch\nload\n.", "names `torch.load`"),
        (b"\x80\x02ctorch.serialization\nload\n.", "names `torch.serialization.load`"),
        (b"\x80\x02ctorch\nTensor\n}b.", "the instruction BUILD"),
        (b"\x80\x02ctorch\nTensor\n)\x81.", "the instruction NEWOBJ"),
        (b'\x80\x02X\x01\0\0\0".', "text that is Python"),
        (
            b"\x80\x02c\\x74orch\nTensor\n.",
            "names `torch.Tensor`",
        ),  # a module of that name, with its backslash
        (b"\x80\x02K", "damaged"),
        (b"", "damaged"),
    ],
)
def test_a_pickle_is_told_by_what_it_names(data, words):
    assert words in inside.pickled(data)


def test_names_that_pickles_may_call_are_those_of_data():
    found = [n for n in dir(torch) if inside._NAMED.fullmatch(f"torch {n}")]
    assert len(found) > 30
    assert not [n for n in found if not isinstance(getattr(torch, n), type | torch.dtype)]
    by_torch = torch._weights_only_unpickler._get_allowed_globals()
    for name in ("_rebuild_tensor_v2", "_rebuild_tensor_v3", "_rebuild_parameter"):
        assert f"torch._utils.{name}" in by_torch
        assert inside._NAMED.fullmatch(f"torch._utils {name}")


# ---- whatever stands there


def test_no_damaged_part_goes_further_than_a_sentence(tmp_path):
    draw, members = np.random.default_rng(12), good(tmp_path)
    name = next(n for n in members if n.endswith(inside.SAMPLES))
    with zipfile.ZipFile(io.BytesIO(members[name])) as held:
        saved = {n: held.read(n) for n in held.namelist()}
    key = next(n for n in saved if n.endswith("data.pkl"))
    graph = members[next(n for n in members if n.endswith(inside.GRAPH))]
    told = set()
    for k in range(1200):
        data = bytearray((graph, saved[key], members[name])[k % 3])
        for at in draw.integers(0, len(data), draw.integers(1, 4)):
            data[at] = draw.integers(0, 256)
        part = archive({**saved, key: bytes(data)}) if k % 3 == 1 else bytes(data)
        bad = Archive(with_parts(members, {(inside.GRAPH, inside.SAMPLES)[k % 3 > 0]: part}), "net")
        try:
            told.add(inside.program_in(bad)[:36])
            Program(bad)
        except ModelError as error:
            told.add(str(error)[:36])
    assert "" in told
    assert len(told) > 5


@pytest.mark.parametrize(
    "graph", [b"5", b'"guards_code"', b"[]", b"null", b'{"guards_code": {"a": [{"b": "import os"}]}}',
              b'{"in_spec": 7, "out_spec": ["[", "[1, 2]"], "name": [[["x y"]]]}'],
)  # fmt: skip
def test_values_of_another_kind_are_looked_through(tmp_path, graph):
    bad = Archive(with_parts(good(tmp_path), {inside.GRAPH: graph}), "net")
    told = inside.program_in(bad)
    assert bool(told) == (b":" in graph)
    with pytest.raises(ModelError):
        Program(bad)


def test_texts_without_end_are_told(tmp_path):
    graph = b'{"expr_str": "%s"}' % (b"s0+" * (inside.MOST_TEXT // 3 + 1))
    bad = Archive(with_parts(good(tmp_path), {inside.GRAPH: graph}), "net")
    assert "more than 524288 characters of sizes" in inside.program_in(bad)
