"""Hostile files: none runs, each is refused with its own sentence, in little time and memory."""

import json
import pickle
import subprocess
import sys

import pytest
from models import hostile  # type: ignore[import-not-found]

CPU_S = 1.0
MOST_BYTES = 500 * 2**20

CHILD = """
import json, resource, sys, time, warnings
warnings.simplefilter("ignore")
import onnx, onnxruntime, torch, ai_edge_litert.interpreter
import flowedge.models.litert, flowedge.models.onnx, flowedge.models.programs
from flowedge.lang.errors import ModelError
from flowedge.models.load import KINDS, build, describe, read
from flowedge.models.trust import NONE
from pathlib import Path
from os import fork, waitpid, pipe, fdopen, _exit, waitstatus_to_exitcode
torch.set_num_threads(1)

def peak():
    return int(next(l for l in open("/proc/self/status") if l.startswith("VmHWM")).split()[1]) * 1024

def look(path):
    open("/proc/self/clear_refs", "w").write("5")
    before, started = peak(), time.process_time()
    try:
        describe(path)
        data, digest = read(path)
        build(data, digest, path, NONE, KINDS.get(path.suffix, "torch"), arch="posix:system")
        said = ""
    except ModelError as error:
        said = str(error)
    return {"said": said, "cpu_s": time.process_time() - started, "bytes": peak() - before}

for name in sys.argv[1:]:
    reads, writes = pipe()
    pid = fork()
    if not pid:
        with fdopen(writes, "w") as out:
            out.write(json.dumps(look(Path(name))))
        _exit(0)
    import os
    os.close(writes)
    with fdopen(reads) as told:
        text = told.read()
    code = waitstatus_to_exitcode(waitpid(pid, 0)[1])
    print(text if not code and text else json.dumps({"died": code}), flush=True)
"""


@pytest.fixture(scope="module")
def looked(tmp_path_factory):
    """Every file of the corpus, looked at and loaded in a process of its own."""
    folder = tmp_path_factory.mktemp("hostile")
    marker, files = hostile.corpus(folder)
    done = subprocess.run(
        [sys.executable, "-c", CHILD, *(str(path) for path, _, _ in files)],
        capture_output=True, text=True, cwd=folder, check=False, timeout=900,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    found = [json.loads(line) for line in done.stdout.splitlines()]
    return marker, list(zip(files, found, strict=True))


def test_nothing_runs(looked):
    marker, found = looked
    assert len(found) > 60
    assert not marker.exists()
    assert not [what for (_, what, _), told in found if "died" in told]


def test_the_marker_is_written_by_what_does_run(tmp_path):
    """So that a missing marker says something."""
    pickle.loads(pickle.dumps(hostile.Evil(tmp_path / "ran")))
    assert (tmp_path / "ran").exists()


def test_each_gets_its_own_sentence(looked):
    _, found = looked
    wrong = [
        (what, words, told.get("said"))
        for (_, what, words), told in found
        if (words is None) != (told.get("said") == "") or (words and words not in told["said"])
    ]
    assert not wrong, "\n".join(map(str, wrong))


def test_each_is_refused_within_a_second_and_500_mb(looked):
    """Time of the processor, so that other work on the machine does not count."""
    _, found = looked
    slow = [(what, told["cpu_s"]) for (_, what, _), told in found if told["cpu_s"] > CPU_S]
    large = [
        (what, told["bytes"] >> 20) for (_, what, _), told in found if told["bytes"] > MOST_BYTES
    ]
    assert not slow
    assert not large
