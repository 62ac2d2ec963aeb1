"""A model in a process of its own: the same bits, and whatever it does, the run goes on."""

import hashlib
import os
import signal
import socket
import time
import warnings
from pathlib import Path

import msgpack
import numpy as np
import pytest
import torch
from torch import nn

from flowedge.lang.errors import LateError, ModelError
from flowedge.models.channel import Channel, shared
from flowedge.models.isolated import Isolated
from flowedge.models.load import load
from flowedge.models.trust import Trust

SHIPPED = Path(__file__).parents[2] / "pipelines" / "models" / "motion.pt2"


def frames(seed=0, batch=16):
    draw = np.random.default_rng(seed)
    return [draw.normal(size=(batch, 50, 3)).astype(np.float32) for _ in range(2)]


def scripted(net, path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript is deprecated
        torch.jit.script(net).save(str(path))


@pytest.fixture(scope="module")
def isolated():
    model = load(SHIPPED, isolated=True)
    yield model
    model.close()


@pytest.fixture
def script(tmp_path):
    """A TorchScript program that does what its input says, in a process of its own."""
    opened = []

    def make(net):
        path = tmp_path / "net.pt"
        scripted(net, path)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        opened.append(load(path, trusted=Trust(frozenset([digest])), isolated=True))
        return opened[-1]

    yield make
    for model in opened:
        model.close()


def test_the_answers_are_those_of_the_same_process(isolated):
    for seed in range(3):
        want = load(SHIPPED).infer(frames(seed))
        found = isolated.infer(frames(seed))
        assert [x.tolist() for x in found] == [x.tolist() for x in want]


def test_a_process_that_is_killed_is_there_again(isolated):
    want = [x.tolist() for x in isolated.infer(frames())]
    for number in (signal.SIGKILL, signal.SIGSEGV):
        os.kill(isolated._worker.pid, number)
        with pytest.raises(ModelError, match=f"its process was ended by {number.name}"):
            isolated.infer(frames())
        assert [x.tolist() for x in isolated.infer(frames())] == want


def test_so_is_one_whose_parent_is_killed(isolated):
    isolated._nursery.kill()
    isolated._nursery.wait()
    time.sleep(0.3)  # the worker dies with its parent
    with pytest.raises(ModelError, match="its process has ended"):
        isolated.infer(frames())
    assert len(isolated.infer(frames())) == 1


def test_a_process_that_hangs_is_killed_at_the_deadline(isolated):
    before, pid = isolated.restarts, isolated._worker.pid
    os.kill(pid, signal.SIGSTOP)
    with pytest.raises(LateError, match=r"no answer within 50 ms: its process was killed"):
        isolated.infer_within(frames(), 0.05)
    assert len(isolated.infer(frames())) == 1
    assert isolated.restarts == before + 1
    assert isolated._worker.pid != pid


def test_what_a_model_raises_is_told(isolated):
    with pytest.raises(ModelError, match="takes 2 inputs, the pipeline gives 1 columns"):
        isolated.infer(frames()[:1])
    assert len(isolated.infer(frames())) == 1


class Endless(nn.Module):
    def forward(self, x):
        while bool(x[0, 0, 0] == 1):
            x = x * 1
        return x.mean(2)


class Crash(nn.Module):
    def forward(self, x):
        if bool(x[0, 0, 0] == 1):
            x = torch.as_strided(x, [1], [1], 1 << 50)
        return x.mean()


class Reads(nn.Module):
    def __init__(self, path: str):
        super().__init__()
        self.path = path

    def forward(self, x):
        found = torch.from_file(self.path, shared=False, size=4, dtype=torch.uint8)
        return x.mean(2) * 0 + found.sum()


class Writes(nn.Module):
    def __init__(self, path: str):
        super().__init__()
        self.path = path

    def forward(self, x):
        found = torch.from_file(self.path, shared=True, size=4, dtype=torch.uint8).fill_(65)
        return x.mean(2) * 0 + found.sum()


def test_a_program_that_never_ends_is_killed_and_answers_the_next_frames(script):
    model = script(Endless())
    ones, zeros = np.ones((1, 8, 1), np.float32), np.zeros((1, 8, 1), np.float32)
    with pytest.raises(LateError):
        model.infer_within([ones], 0.2)
    assert not model.infer([zeros])[0].any()


@pytest.mark.parametrize("does", [Reads, Writes])
def test_a_program_reaches_no_file_of_the_user(script, tmp_path, does):
    secret = tmp_path / "secret"
    secret.write_bytes(b"\1\2\3\4")
    model = script(does(str(secret)))
    if not model.confined["files"]:
        pytest.skip("this kernel has no Landlock")
    with pytest.raises(ModelError, match="Permission denied"):
        model.infer([np.zeros((1, 8, 1), np.float32)])
    assert secret.read_bytes() == b"\1\2\3\4"


def test_a_program_that_is_not_trusted_is_refused_before_a_process_is_started(tmp_path):
    path = tmp_path / "net.pt"
    scripted(Endless(), path)
    with pytest.raises(ModelError, match="is a TorchScript program"):
        load(path, isolated=True)


def test_bytes_that_are_no_model_are_told():
    with pytest.raises(ModelError, match=r"`x.onnx` is truncated or not an ONNX model"):
        Isolated(b"nothing", "0" * 64, "x.onnx", "onnx")


@pytest.mark.parametrize(
    "message",
    [b"", b"\xc1", b"\x93\1\2\3", b"\x81\xa6arrays\x91\x93\xa2<q\x91\1\xc0", b"\x80"],
)
def test_what_is_no_message_is_refused(message):
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    channel = Channel(ours, shared())
    theirs.send(message)
    theirs.close()
    with pytest.raises((ModelError, EOFError)):
        channel.receive()
    channel.close()


@pytest.mark.parametrize(
    ("kind", "shape", "at"),
    [
        ("|O", [1], 0), ("<f4", [-1], 0), ("<f4", [2**40], 0), ("<f4", [1], -4), ("<f4", [1], 2**30),
        ("<f4", [1] * 40, 0), ("<M8[s]", [1], 0), ("<U9", [1], 0), ("<f4", ["a"], 0), ("<f4", [2**62, 4], 0),
    ],
)  # fmt: skip
def test_an_array_that_is_not_there_is_refused(kind, shape, at):
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    channel = Channel(ours, shared())
    theirs.send(msgpack.packb({"arrays": [[kind, shape, at]]}))
    with pytest.raises(ModelError, match="sent what is no answer"):
        channel.receive()
    channel.close()
    theirs.close()
