"""What can run code: parts of a `.pt2` that Torch reads as Python or as pickles, pickles, TorchScript, machine code."""

import io
import json
import pickle
import shutil
import subprocess
import tempfile
import warnings
from pathlib import Path

import torch
from models.hostile.made import MODULE, Case, Evil, archive, changed, good, named, with_parts
from torch import nn

GRAPH = "models/model.json"
COMPILER = shutil.which("cc") or shutil.which("gcc")


def parts(folder, marker):
    """Archives of graph and weights that run something when `torch.export.load` opens them, or what it gave is called."""
    members = good(folder)
    for maker in (_pickled, _written):
        for what, data, words in maker(members, marker):
            yield Case(what, data, words, "torch.export")


def _pickled(members, marker):
    """Parts that are read as pickles."""
    evil = pickle.dumps(Evil(marker))
    saved, older = (_saved(pickle.dumps(Evil(marker), protocol)) for protocol in (4, 2))
    bare = {n: d for n, d in members.items() if "sample_inputs" not in n}

    def samples(data):
        return with_parts(members, {"data/sample_inputs/model.pt": data})

    def entry(part, **more):
        def change(told):
            next(iter(told["config"].values())).update(more)

        return changed(members, f"{part}_config.json", change)

    told = io.BytesIO()
    torch.save((({f'x" ,{_quiet(marker)},"': torch.zeros(8, 4)},), {}), told)
    whole = entry("weights", use_pickle=True)
    opaque = entry("constants", path_name="opaque_obj_0")
    second = {
        "models/other.json": changed(members, GRAPH, _sized(marker))[named(members, GRAPH)],
        "data/sample_inputs/other.pt": b"",
        "data/weights/other_weights_config.json": members[named(members, "weights_config.json")],
        "data/constants/other_constants_config.json": members[
            named(members, "constants_config.json")
        ],
    }
    yield "sample inputs that are a pickle", samples(evil), "are no file of torch.save but a pickle"
    yield (
        "sample inputs that name a function",
        samples(older),
        "inputs that are a pickle that names `posix.system`, which",
    )
    yield (
        "the same by another instruction",
        samples(saved),
        "by STACK_GLOBAL, which Torch would run",
    )
    yield "sample inputs that are a program", samples(script(marker)), "but another archive"
    yield (
        "a sample input whose name ends a text",
        samples(told.getvalue()),
        "with a text that is Python (`x",
    )
    yield (
        "a weight that is a pickle",
        with_parts(whole, {"data/weights/weight_0": saved}),
        "weight `a.weight` stored as a pickle",
    )
    yield (
        "a constant that is an object",
        with_parts(opaque, {"data/constants/opaque_obj_0": evil + b"\0" * (-len(evil) % 4)}),
        "weight `shift` stored as a pickle",
    )
    for part in ("weights", "constants"):
        yield (
            f"{part} in one file",
            with_parts(members, {f"data/{part}/model.pt": saved}),
            f"a part `good/data/{part}/model.pt` that torch.export does not write",
        )
    yield (
        "sample inputs in capital letters",
        with_parts(bare, {"data/sample_inputs/MODEL.PT": evil}),
        "a part `good/data/sample_inputs/MODEL.PT`",
    )
    yield (
        "a second graph",
        with_parts(members, second),
        "a part `good/models/other.json`",
    )
    before = {
        "version": b"8.20",
        "serialized_exported_program.json": members[named(members, GRAPH)],
        "serialized_state_dict.pt": saved,
        "serialized_constants.pt": b"",
        "serialized_example_inputs.pt": b"",
    }
    no_version = {n: d for n, d in members.items() if "archive_version" not in n}
    yield "the format before 2.8 beside it", archive(no_version | before), "a part `version`"


def _written(members, marker):
    """Texts that become Python."""
    payload = f"__import__('os').system('touch {marker}')"

    def graph(change):
        return archive(changed(members, GRAPH, change))

    def guards(text):
        return graph(lambda told: told.update(guards_code=[text]))

    def arguments(**more):
        def change(told):
            signature = told["graph_module"]["module_call_graph"][0]["signature"]
            spec = json.loads(signature["in_spec"])
            spec[1]["children_spec"][1].update(more)
            signature["in_spec"] = json.dumps(spec)

        return graph(change)

    enum = json.dumps([{"__enum__": True, "fqn": f"{MODULE}:A", "name": "a"}])
    default = {"default_factory_module": MODULE, "default_factory_name": "A", "dict_context": []}
    weight = f'w", None) or {_quiet(marker)} or ("'
    renamed = _renamed(members, GRAPH, "a.weight", weight)
    yield "a size that is Python", graph(_sized(marker)), "a size that is Python"
    yield "guards that are Python", guards(payload), "a guard that is Python (`__import__"
    yield (
        "a guard that ends a text",
        guards(f"L['x'].size()[0] != '\" and {_quiet(marker)} or \"'"),
        "a guard that is Python (`L[",
    )
    yield (
        "an input whose name is Python",
        archive(_renamed(members, GRAPH, "x", f"x={payload}")),
        "a value whose name is Python",
    )
    yield (
        "a weight whose name is Python",
        archive(_renamed(renamed, "weights_config.json", "a.weight", weight)),
        "a weight whose name is Python (`w",
    )
    yield (
        "arguments that are an enum",
        arguments(context=enum),
        'keys that are Python (`[{"__enum__',
    )
    yield (
        "arguments that have a default",
        arguments(type="collections.defaultdict", context=default),
        'keys that are Python (`{"default_factory',
    )


def _renamed(members, end, before, after):
    name = named(members, end)
    text = members[name].decode().replace(json.dumps(before), json.dumps(after))
    return {**members, name: text.encode()}


def _saved(data):
    """A pickle as torch.save keeps it."""
    return archive({"archive/data.pkl": data, "archive/version": b"3\n"})


def _sized(marker):
    """What makes the first length of each value Python."""

    def change(told):
        for value in told["graph_module"]["graph"]["tensor_values"].values():
            code = f"__import__('os').system('touch {marker}')"
            value["sizes"][0] = {"as_expr": {"expr_str": code, "hint": {"as_int": 8}}}

    return change


def _quiet(marker):
    """The payload without quotes, spaces and dots."""
    code = f"__import__('os').system('touch {marker}')"
    return f"exec(bytes([{','.join(map(str, code.encode()))}]))"


def pickles(_folder, marker):
    """Pickles, and files of `torch.save`."""
    evil = pickle.dumps(Evil(marker))
    saved = io.BytesIO()
    torch.save({"a": torch.zeros(3)}, saved)
    yield Case("a pickle that says it is a model", evil, "and not a model archive", "pickle")
    yield Case("torch.save of a dictionary", saved.getvalue(), "a pickle of tensors alone")
    yield Case(
        "torch.save of an object",
        _saved(evil),
        "without a graph: a pickle that names `posix.system`",
        "torch.load",
    )


def whole(_folder, marker):
    """Programs."""
    yield Case("a TorchScript program", script(marker), "a TorchScript program", "torch.jit")
    code, reader = (library(marker), "aoti") if COMPILER else (b"\x7fELF", "")
    yield Case("machine code", package(code), "an AOTInductor package", reader)


class Writes(nn.Module):
    """TorchScript restores it by `__setstate__`, which maps a file into memory, and makes that file."""

    def __init__(self, path: str):
        super().__init__()
        self.path, self.held = path, torch.zeros(1)

    def forward(self, x):
        return x + self.held

    @torch.jit.export
    def __getstate__(self) -> tuple[str, bool]:
        return self.path, self.training

    @torch.jit.export
    def __setstate__(self, state: tuple[str, bool]) -> None:
        self.path, self.training = state
        self.held = torch.from_file(self.path, shared=True, size=1)


def script(path):
    """A TorchScript archive that writes a file when it is loaded."""
    out = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(Writes(str(path))), out)
    return out.getvalue()


LIBRARY = """
#include <fcntl.h>
#include <unistd.h>
__attribute__((constructor)) static void opened(void) { close(open(MARKER, O_CREAT | O_WRONLY, 0600)); }
"""


def library(path):
    """A shared library that writes a file when it is opened."""
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "wrapper.so"
        subprocess.run(
            [COMPILER, "-shared", "-fPIC", f'-DMARKER="{path}"', "-x", "c", "-o", made, "-"],
            input=LIBRARY.encode(), check=True,
        )  # fmt: skip
        return made.read_bytes()


def package(code):
    """An archive of the shape of an AOTInductor package."""
    return archive(
        {
            "net/archive_format": b"pt2",
            "net/archive_version": b"0",
            "net/.data/version": b"3\n",
            "net/byteorder": b"little",
            "net/data/aotinductor/model/wrapper.so": code,
            "net/data/aotinductor/model/wrapper_metadata.json": b'{"AOTI_DEVICE_KEY": "cpu"}',
        }
    )
