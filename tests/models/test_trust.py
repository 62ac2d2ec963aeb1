"""What can do more than to compute runs only when the user says so: by a signature, a digest, or the name of a class."""

import shutil
import subprocess
import sys
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from models.hostile.made import archive, changed
from safetensors.torch import save_file
from support.command import cli, read
from torch import nn

from flowedge.lang.errors import DigestError, ModelError
from flowedge.models import safetensors
from flowedge.models.load import describe, load
from flowedge.models.trust import Trust
from flowedge.runtime import keys
from flowedge.runtime.models import Allowed, load_models
from flowedge.runtime.plan import compile_flow

ARCH = """
import pathlib
import torch
pathlib.Path("imported").touch()
class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.last = torch.nn.Linear(2, 2)
    def forward(self, x):
        return self.last(x.mean(2))
class Other(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.first = torch.nn.Linear(3, 2)
def function():
    pass
"""
FLOW = """
source s (time, a: f32, b: f32) at 100 Hz from arrow("in.arrow")
model net = torch("{}"{}) input (a, b) output softmax ["x", "y"]{}
sink s | window 50 samples | classify with net(scores=true) to arrow("out.arrow")
"""


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.last = nn.Linear(2, 2)

    def forward(self, x):
        return self.last(x.mean(2))


@pytest.fixture
def net():
    torch.manual_seed(4)
    return Net().eval()


@pytest.fixture
def place(tmp_path, monkeypatch, net):
    """A recording, a module, weights, a TorchScript program, and two keys."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    name = f"arch_{abs(hash(str(tmp_path)))}"
    Path(f"{name}.py").write_text(ARCH)
    draw = np.random.default_rng(2)
    time = pa.array(np.arange(500) * 10**7).cast(pa.timestamp("ns", "UTC"))
    table = pa.table({"time": time, **{c: draw.normal(size=500).astype(np.float32) for c in "ab"}})
    with pa.ipc.new_file("in.arrow", table.schema) as file:
        file.write_table(table)
    save_file(net.state_dict(), "net.safetensors")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.trace(net, torch.zeros(1, 2, 50)), "net.pt")
    torch.export.save(torch.export.export(net, (torch.zeros(16, 2, 50),)), "net.pt2")
    for key in ("mine", "theirs"):
        keys.new_signing_key(tmp_path / key)
    return name


def write(path, arch="", more=""):
    Path("p.flow").write_text(FLOW.format(path, f', arch="{arch}"' if arch else "", more))


def run(*options):
    return cli("run", "p.flow", *options, cwd=Path.cwd())


def sign(path, key="mine"):
    keys.sign_file(Path(path), keys.SigningKey.of(key))


def wanted(net):
    table = read("in.arrow")
    x = np.stack([table["a"].to_numpy(), table["b"].to_numpy()]).reshape(2, 10, 50)
    with torch.no_grad():
        return net(torch.from_numpy(x.transpose(1, 0, 2).copy())).argmax(1).tolist()


def labels():
    return ["xy".index(v) for v in read("out.arrow")["label"].to_pylist()]


# ---- weights of a class


def runs_once_signed(path, net):
    """Sign a file, and see that the pipeline with it gives the labels that the network gives."""
    sign(path)
    code, _, said = run("--trust-model", "mine.pub")
    assert code == 0, said
    assert labels() == wanted(net)


def test_weights_run_with_a_class_that_was_allowed_and_with_no_other(place, net):
    write("net.safetensors", f"{place}:Net")
    for options in ((), ("--allow-class", f"{place}:Other")):
        code, _, said = run(*options)
        assert code == 3
        assert f"--allow-class {place}:Net" in said
        assert "export it with torch.export" in said
    assert cli("check", "p.flow", cwd=Path.cwd())[0] == 0
    assert not Path("imported").exists()  # neither `check` nor a refused run imports it
    code, _, said = run("--allow-class", f"{place}:Net")
    assert code == 0, said
    assert labels() == wanted(net)


def test_an_isolated_model_of_a_class_runs(place, net):
    write("net.safetensors", f"{place}:Net", " isolated")
    code, _, said = run("--allow-class", f"{place}:Net")
    assert code == 0, said
    assert labels() == wanted(net)


@pytest.mark.parametrize(
    ("name", "why"),
    [("Other", "does not fit"), ("Nothing", "cannot import"), ("function", "is no class")],
)
def test_a_class_that_does_not_fit_is_refused(place, name, why):
    arch = f"{place}:{name}"
    with pytest.raises(ModelError, match=why):
        load("net.safetensors", trusted=Trust(classes=frozenset([arch])), arch=arch)


@pytest.mark.parametrize(
    ("path", "arch", "why"),
    [
        ("net.safetensors", "", "holds weights alone"),
        ("net.pt2", "m:Net", "needs no class"),
        ("net.safetensors", "os.system", "names no class"),
    ],
)
def test_a_class_stands_where_weights_alone_are(place, path, arch, why):
    write(path, arch)
    code, said, _ = cli("check", "p.flow", cwd=Path.cwd())
    assert code == 1
    assert why in said


def test_weights_are_read_as_their_writer_wrote_them(tmp_path):
    given = {
        "a": torch.randn(3, 4), "b": torch.arange(5), "c": torch.tensor(True), "d": torch.randn(2, 0, 3),
        "e": torch.randn(7, dtype=torch.float64), "f": torch.randn(2, 2).half(),
    }  # fmt: skip
    save_file(given, tmp_path / "w.safetensors", metadata={"made": "here"})
    found = safetensors.tensors((tmp_path / "w.safetensors").read_bytes(), "w")
    assert found.keys() == given.keys()
    for key, value in given.items():
        np.testing.assert_array_equal(found[key], value.numpy())


# ---- programs


def test_a_program_runs_with_a_signature_that_is_trusted(place, net):
    write("net.pt")
    code, _, said = run()
    assert code == 3
    assert "TorchScript" in said
    assert "torch.export" in said
    assert "--trust-model PUBLIC" in said
    sign("net.pt", "theirs")
    assert run("--trust-model", "mine.pub")[0] == 3
    runs_once_signed("net.pt", net)


def test_an_archive_with_code_in_its_parts_runs_with_a_signature_and_its_code_does_not(place, net):
    with zipfile.ZipFile("net.pt2") as held:
        members = {name: held.read(name) for name in held.namelist()}
    guards = [f"__import__('pathlib').Path({str(Path.cwd() / 'ran')!r}).touch()"]
    bad = changed(members, "models/model.json", lambda told: told.update(guards_code=guards))
    Path("net.pt2").write_bytes(archive(bad))
    with pytest.raises(AssertionError, match="Guard failed"):
        torch.export.load("net.pt2").module()(torch.zeros(16, 2, 50))
    Path("ran").unlink()
    write("net.pt2")
    assert cli("check", "p.flow", cwd=Path.cwd())[0] == 0
    code, _, said = run()
    assert code == 3
    assert "a guard that is Python (`__import__(" in said
    assert "--trust-model PUBLIC" in said
    told = cli("model", "info", "net.pt2", cwd=Path.cwd())[1]
    assert "to run it wants --trust-model" in told
    assert "x: float32 (16, 2, 50)" in told
    runs_once_signed("net.pt2", net)
    assert not Path("ran").exists()


def test_a_pipeline_cannot_trust_a_program_by_itself(place):
    """`signed by` in the text asks for more; it allows nothing."""
    sign("net.pt")
    write("net.pt", more=' signed by "mine.pub"')
    assert run()[0] == 3
    assert run("--trust-model", "mine.pub")[0] == 0


def test_a_model_is_signed_by_the_key_that_the_text_names(place):
    write("net.pt2", more=' signed by "mine.pub"')
    code, _, said = run()
    assert (code, "is not signed" in said) == (5, True)
    sign("net.pt2", "theirs")
    code, _, said = run()
    assert (code, "another key" in said) == (5, True)
    sign("net.pt2")
    assert run()[0] == 0
    torch.export.save(torch.export.export(Net().eval(), (torch.zeros(16, 2, 50),)), "net.pt2")
    code, _, said = run()
    assert (code, "changed since it was signed" in said) == (5, True)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="AOTInductor wants a compiler")
def test_machine_code_runs_with_a_signature_alone(place, net):
    script = (
        "import torch\n"
        "class Net(torch.nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.last = torch.nn.Linear(2, 2)\n"
        "    def forward(self, x):\n"
        "        return self.last(x.mean(2))\n"
        "torch.manual_seed(4)\n"
        "program = torch.export.export(Net().eval(), (torch.zeros(16, 2, 50),))\n"
        "torch._inductor.aoti_compile_and_package(program, package_path='code.pt2')\n"
    )
    made = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script], capture_output=True, check=False
    )
    assert made.returncode == 0, made.stderr.decode()[-2000:]
    write("code.pt2")
    code, _, said = run()
    assert code == 3
    assert "machine code" in said
    assert "--trust-model PUBLIC" in said
    runs_once_signed("code.pt2", net)


# ---- what was verified is what is loaded


def exchanged(monkeypatch, name, other):
    """Put another file in the place of one as soon as its bytes have been read once."""
    plain = Path.read_bytes
    seen = []

    def once(path):
        data = plain(path)
        if path.name == name and not seen:
            seen.append(path)
            path.write_bytes(other)
        return data

    monkeypatch.setattr(Path, "read_bytes", once)
    return seen


def vetting(key):
    wanted_key = keys.PublicKey.of(key)
    return lambda path, digest: keys.check_signed(path, wanted_key, digest)


def test_a_model_that_is_exchanged_after_it_was_verified_is_not_loaded(place, monkeypatch):
    write("net.pt2")
    sign("p.flow")
    sign("net.pt2")
    other = torch.export.export(Net().eval(), (torch.zeros(16, 2, 50),))
    torch.export.save(other, "other.pt2")
    seen = exchanged(monkeypatch, "net.pt2", Path("other.pt2").read_bytes())
    plan = compile_flow("p.flow", vet=vetting("mine.pub"), use_cache=False)
    assert seen
    with pytest.raises(DigestError, match="another file"):
        load_models(plan.program, Allowed(required=keys.PublicKey.of("mine.pub")))


def test_a_pipeline_and_a_manifest_are_the_ones_that_were_verified(place, monkeypatch):
    write("net.pt2")
    Path("net.model.json").write_text('{"labels": ["x", "y"]}')
    for path in ("p.flow", "net.pt2", "net.model.json"):
        sign(path)
    text = Path("p.flow").read_bytes()
    seen = exchanged(monkeypatch, "p.flow", b"nonsense")
    compile_flow("p.flow", vet=vetting("mine.pub"), use_cache=False)
    assert seen  # the signed text was compiled, not what lies there now
    Path("p.flow").write_bytes(text)
    exchanged(monkeypatch, "net.model.json", b'{"labels": ["p", "q"]}')
    compile_flow("p.flow", vet=vetting("mine.pub"), use_cache=False)
    with pytest.raises(DigestError, match="changed since it was signed"):
        compile_flow("p.flow", vet=vetting("mine.pub"), use_cache=False)


def test_a_plan_from_the_cache_is_one_of_verified_files(place):
    write("net.pt2")
    sign("p.flow")
    sign("net.pt2")
    compile_flow("p.flow", vet=vetting("mine.pub"))
    assert compile_flow("p.flow", vet=vetting("mine.pub")).from_cache
    Path("net.pt2.sig").unlink()
    with pytest.raises(DigestError, match="not signed"):
        compile_flow("p.flow", vet=vetting("mine.pub"))


def test_info_tells_what_wants_trust(place):
    assert describe("net.safetensors").program == "2 weights, for a class that you allow"
    code, said, _ = cli("model", "info", "net.safetensors", "net.pt", "net.pt2", cwd=Path.cwd())
    assert code == 0
    assert "--allow-class" in said
    assert "TorchScript" in said
