"""Hostile files: none runs, each is refused with its own sentence, in little time and memory; and what they say of themselves is true."""

import collections
import ctypes
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from models import hostile
from models.hostile import programs

CPU_S = 1.0
MOST_BYTES = 500 * 2**20

CHILD = """
import json, os, resource, sys, time, warnings
warnings.simplefilter("ignore")
import onnx, onnxruntime, torch, ai_edge_litert.interpreter
import flowedge.models.litert, flowedge.models.onnx, flowedge.models.programs
from flowedge.lang.errors import ModelError
from flowedge.models.load import KINDS, build, describe, read
from flowedge.models.trust import NONE
from pathlib import Path
torch.set_num_threads(1)

def peak():
    return int(next(l for l in open("/proc/self/status") if l.startswith("VmHWM")).split()[1]) * 1024

def look(path):
    open("/proc/self/clear_refs", "w").write("5")
    before, started = peak(), time.process_time()
    try:
        describe(path)
        build(*read(path), path, NONE, KINDS.get(path.suffix, "torch"), arch="posix:system")
        said = ""
    except ModelError as error:
        said = str(error)
    return {"said": said, "cpu_s": time.process_time() - started, "bytes": peak() - before}

for name in sys.argv[1:]:
    reads, writes = os.pipe()
    pid = os.fork()
    if not pid:
        with os.fdopen(writes, "w") as out:
            out.write(json.dumps(look(Path(name))))
        os._exit(0)
    os.close(writes)
    with os.fdopen(reads) as told:
        text = told.read()
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    print(text if not code and text else json.dumps({"died": code}), flush=True)
"""

OPENED = """
import io, logging, os, pickle, sys, warnings
import torch
warnings.simplefilter("ignore")
logging.disable(logging.CRITICAL)
sys.path.insert(0, ".")
torch.set_num_threads(1)

def exported(path):
    torch.export.load(path).module()(torch.zeros(8, 4))

def packaged(path):
    from torch._inductor import aoti_load_package
    aoti_load_package(path)

READERS = {
    "torch.export": exported, "torch.jit": torch.jit.load, "aoti": packaged, "pickle": lambda path: pickle.load(open(path, "rb")),
    "torch.load": lambda path: torch.load(path, weights_only=False),
}
import torch._inductor  # once, and not in each process
exported("good.pt2")
for reader, path in zip(sys.argv[1::2], sys.argv[2::2], strict=True):
    if not os.fork():
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        try:
            READERS[reader](path)
        finally:
            os._exit(0)
    os.wait()
    print(int(os.path.exists("ran")), flush=True)
    if os.path.exists("ran"):
        os.unlink("ran")
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The folder, the marker, and every file of the corpus."""
    folder = tmp_path_factory.mktemp("hostile")
    return folder, *hostile.corpus(folder)


@pytest.fixture(scope="module")
def looked(made):
    """Every file of the corpus, looked at and loaded in a process of its own."""
    folder, marker, files = made
    done = subprocess.run(
        [sys.executable, "-c", CHILD, *(str(path) for path, _ in files)],
        capture_output=True, text=True, cwd=folder, check=False, timeout=900,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert not marker.exists()
    found = [json.loads(line) for line in done.stdout.splitlines()]
    return [(path, case, told) for (path, case), told in zip(files, found, strict=True)]


def test_nothing_runs(looked):
    """The fixture has seen that there is no marker."""
    told = (Path(__file__).parents[2] / "docs" / "models.md").read_text()
    assert f"makes {len(looked)} of them" in told
    assert not [case.what for _, case, told in looked if "died" in told]


def test_each_gets_its_own_sentence(looked):
    wrong = [
        (case.what, case.words, told["said"])
        for _, case, told in looked
        if case.words not in told["said"]
    ]
    assert not wrong, "\n".join(map(str, wrong))
    said = collections.defaultdict(list)
    for path, case, told in looked:
        sentence = re.sub("[0-9a-f]{64}", "", told["said"].replace(str(path), ""))
        said[re.sub(r"breaks off after \d+", "breaks off after N", sentence)].append(case.what)
    shared = [whats for whats in said.values() if len(whats) > 1]
    assert shared == [[f"the first {part} %" for part in (1, 10, 50, 90, 99)]]


def test_what_can_run_code_is_told_two_ways_forward(looked):
    """A graph and weights; or a key that is trusted, and for pickles, which nobody reads, weights for a class that is allowed."""
    can = [(case.what, told["said"]) for _, case, told in looked if case.reader]
    assert len(can) > 25
    for what, said in can:
        assert "export it with torch.export to a .pt2 of graph and weights" in said, what
        assert ("--trust-model PUBLIC" in said) != ("--allow-class" in said), what


def test_each_is_refused_within_a_second_and_500_mb(looked):
    """Time of the processor, so that other work on the machine does not count."""
    slow = [(case.what, told["cpu_s"]) for _, case, told in looked if told["cpu_s"] > CPU_S]
    large = [
        (case.what, told["bytes"] >> 20) for _, case, told in looked if told["bytes"] > MOST_BYTES
    ]
    assert not slow
    assert not large


@pytest.mark.skipif(programs.COMPILER is None, reason="there is no C compiler to make a library")
def test_a_library_writes_the_marker_when_it_is_opened(tmp_path):
    (tmp_path / "wrapper.so").write_bytes(programs.library(tmp_path / "ran"))
    assert not (tmp_path / "ran").exists()
    ctypes.CDLL(str(tmp_path / "wrapper.so"))
    assert (tmp_path / "ran").exists()


def test_what_is_said_to_run_code_does_so_where_it_is_opened(made):
    """So that a missing marker says something: each is opened by the reader that its victim would use."""
    folder, marker, files = made
    can = [(path, case) for path, case in files if case.reader]
    asked = [text for path, case in can for text in (case.reader, str(path))]
    done = subprocess.run(
        [sys.executable, "-c", OPENED, *asked],
        capture_output=True, text=True, cwd=folder, check=True, timeout=900,
    )  # fmt: skip
    ran = done.stdout.split()
    assert not marker.exists()
    assert not [case.what for (_, case), n in zip(can, ran, strict=True) if n != "1"]
