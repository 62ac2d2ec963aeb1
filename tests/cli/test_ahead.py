"""Pipelines that are compiled ahead of time: the same rows, nothing compiled or kept, and nothing run that is not trusted."""

import hashlib
import shutil

import msgpack
import numpy as np
import pyarrow as pa
import pytest
from support.command import cli, read, recording, write
from support.networks import built, export

from flowedge.lang.errors import RunError
from flowedge.runtime.models import allowed
from flowedge.runtime.shipped import load

FLOW = """
param least = 0.5
source s (time, v: f64) from arrow("in.arrow")
sink s | where v > least | window 2 s | aggregate count() as n, mean(v) as m to arrow("out.arrow")
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    recording(tmp_path / "in.arrow")
    (tmp_path / "p.flow").write_text(FLOW)
    return tmp_path


def compiled(place, *more):
    """Compile it; the sha256 that is told."""
    code, out, err = cli("compile", "p.flow", *more, cwd=place)
    assert code == 0, err
    digest = out.split()[-1]
    name = more[more.index("-o") + 1] if "-o" in more else "p.flowc"
    assert digest == hashlib.sha256((place / name).read_bytes()).hexdigest()
    return digest


def run(place, *more, flow="p.flowc", **env):
    return cli("run", flow, *more, cwd=place, **env)


def changed(place, **parts):
    """The file with other parts, and its digest mended; the sha256 of it."""
    path = place / "p.flowc"
    told = {**msgpack.unpackb(path.read_bytes()[40:]), **parts}
    content = msgpack.packb(told)
    path.write_bytes(b"FLOWSHIP" + hashlib.sha256(content).digest() + content)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_same_rows_and_nothing_is_compiled_or_kept(place):
    assert run(place, flow="p.flow")[0] == 0
    wanted = read(place / "out.arrow")
    assert wanted.num_rows > 0
    digest = compiled(place)
    other = place / "device"
    other.mkdir()
    for name in ("in.arrow", "p.flowc"):
        shutil.move(place / name, other / name)
    cache = other / "cache"
    code, _, err = run(other, "--trust-kernels", digest, FLOWEDGE_CACHE=str(cache))
    assert (code, err) == (0, "")
    assert read(other / "out.arrow").equals(wanted)
    assert not list(cache.rglob("*")), "it found all that it needs in its file"


def test_parameters_are_those_of_compiling(place):
    digest = compiled(place, "-p", "least=1e9", "-o", "none.flowc")
    assert run(place, "--trust-kernels", digest, flow="none.flowc")[0] == 0
    assert read(place / "out.arrow").num_rows == 0
    code, _, err = run(place, "-p", "least=1", flow="none.flowc")
    assert (code, "has its parameters already" in err) == (2, True)


def test_a_run_goes_on_from_the_checkpoints_of_the_text_and_back(place):
    assert run(place, "--checkpoint", "state", flow="p.flow")[0] == 0
    digest = compiled(place)
    for flow in ("p.flowc", "p.flow"):
        trust = ["--trust-kernels", digest] if flow == "p.flowc" else []
        code, out, err = run(place, "--checkpoint", "state", *trust, flow=flow)
        assert (code, err) == (0, ""), out


# ---- trust


def test_machine_code_is_run_only_where_it_is_trusted(place):
    digest = compiled(place)
    code, _, err = run(place)
    assert (code, f"--trust-kernels {digest}" in err) == (5, True)
    assert run(place, "--trust-kernels", "0" * 64)[0] == 5
    assert not (place / "out.arrow").exists()
    for name in ("k", "other"):
        assert cli("key", "new", name, cwd=place)[0] == 0
    code, _, err = run(place, "--trust-kernels", "k.pub")
    assert (code, "is not signed" in err) == (5, True)
    assert cli("key", "sign", "p.flowc", "--key", "k", cwd=place)[0] == 0
    code, _, err = run(place, "--trust-kernels", "other.pub")
    assert (code, "another key" in err) == (5, True)
    assert run(place, "--trust-kernels", "k.pub")[0] == 0
    assert run(place, "--trust-kernels", "other.pub", "--trust-kernels", "k.pub")[0] == 0
    assert run(place, "--require-signed", "k.pub")[0] == 0
    assert run(place, "--require-signed", "other.pub")[0] == 5
    changed(place, flow="another name")
    code, _, err = run(place, "--trust-kernels", "k.pub")
    assert (code, "has been changed since it was signed" in err) == (5, True)


def test_no_damage_is_run(place):
    digest = compiled(place)
    path = place / "p.flowc"
    whole = path.read_bytes()
    draw = np.random.default_rng(1)
    for at in [*range(40), *draw.integers(40, len(whole), 200)]:
        data = bytearray(whole)
        data[at] ^= 1 << int(draw.integers(8))
        path.write_bytes(data)
        with pytest.raises(RunError, match=r"is damaged|is no compiled pipeline"):
            load(path, allowed([digest, hashlib.sha256(data).hexdigest()]))
    for size in (0, 5, 39, 40, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(RunError, match=r"is damaged|is no compiled pipeline"):
            load(path, allowed([digest]))
    assert run(place, "--trust-kernels", digest)[0] in (3, 5)


# ---- what must be the same


def test_another_version_or_processor_is_told(place):
    compiled(place)
    path = place / "p.flowc"
    whole = path.read_bytes()
    name, features = msgpack.unpackb(whole[40:])["cpu"]
    for parts, words in (
        ({"made_by": "0" * 64}, "another version of FlowEdge"),
        ({"format": 2}, "another version of FlowEdge"),
        ({"cpu": [name, features + ",+flux-capacitor,-old"]}, "a processor with flux-capacitor, which this one has not"),
        ({"cpu": ["flux", ""]}, "a processor with flux, which"),
        ({"plan": b"nonsense"}, "make it again"),
        ({"kernels": []}, "make it again"),
        ({"cpu": 3}, "make it again"),
    ):  # fmt: skip
        path.write_bytes(whole)
        digest = changed(place, **parts)
        with pytest.raises(RunError, match=words):
            load(path, allowed([digest]))
    path.write_bytes(whole)
    fewer = changed(place, cpu=["another", features.partition(",")[0]])
    assert run(place, "--trust-kernels", fewer)[0] == 0


def test_sources_must_have_the_columns_that_they_had(place):
    (place / "p.flow").write_text(FLOW.replace("s (time, v: f64)", "s"))
    digest = compiled(place)
    assert run(place, "--trust-kernels", digest)[0] == 0
    write(place / "in.arrow", pa.table({"time": pa.array([1], pa.timestamp("ns", "UTC")), "v": ["text"]}))  # fmt: skip
    code, _, err = run(place, "--trust-kernels", digest)
    assert (code, 'arrow("in.arrow") is not what it was' in err) == (3, True)


def test_it_is_for_running_alone(place):
    digest = compiled(place)
    for words in (["check"], ["explain"], ["fmt"], ["compile"]):
        code, _, err = cli(*words, "p.flowc", cwd=place)
        assert (code, "can only be run; give the .flow file" in err) == (3, True), words
    code, _, err = run(place, "--trust-kernels", digest, flow="p.flow")
    assert (code, "is compiled here" in err) == (2, True)
    code, _, err = cli("compile", "p.flow", "-o", "p.so", cwd=place)
    assert (code, "should end in .flowc" in err) == (2, True)
    (place / "p.flow").write_text("sink nothing to csv(1)")
    assert cli("compile", "p.flow", cwd=place)[0] == 1


def test_a_model_stays_a_file_and_must_be_what_it_was(place):
    network, frames = built("cnn1d")
    export(network, frames, place / "net.pt2")
    names = [f"c{k}" for k in range(6)]
    rows = np.random.default_rng(1).normal(size=(6, 640)).astype(np.float32)
    time = pa.array(np.arange(640) * 20_000_000, pa.timestamp("ns", "UTC"))
    write(place / "in.arrow", pa.table({"time": time, **dict(zip(names, rows, strict=True))}))
    (place / "p.flow").write_text(f"""
source s from arrow("in.arrow")
model net = torch("net.pt2", exact=false) input ({", ".join(names)}) output softmax ["a", "b", "c", "d", "e", "f"] batch 4
sink s | window 32 samples | classify with net | select label, score to arrow("out.arrow")
""")  # fmt: skip
    digest = compiled(place)
    cache = place / "cache"
    code, _, err = run(place, "--trust-kernels", digest, FLOWEDGE_CACHE=str(cache))
    assert (code, err) == (0, "")
    assert read(place / "out.arrow").num_rows == 20
    assert not (cache / "objects").exists()
    export(built("cnn1d")[0].double().float(), frames, place / "net.pt2")
    with (place / "net.pt2").open("ab") as file:
        file.write(b"x")
    code, _, err = run(place, "--trust-kernels", digest)
    assert (code, "`net.pt2` is not what it was" in err) == (3, True)
