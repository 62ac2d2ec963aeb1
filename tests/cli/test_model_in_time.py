"""A model that hangs, crashes or fails does not stop a run: what the user sees, and what the report tells."""

import hashlib
import json
import warnings

import pytest
import torch
from support.command import cli, read, recording
from torch import nn

FLOW = """
source s (time, v: f64) at 100 Hz from arrow("in.arrow")
model net = torch("net.pt") input (v) output softmax ["calm", "loud"] batch 1 {more}
model quick = torch("quick.pt") input (v) output softmax ["calm", "loud"] batch 1
sink s | window 10 samples | classify with net {clause} to arrow("out.arrow")
"""


class Net(nn.Module):
    """Loud or calm; does not come back from a frame that begins with 3, and fails at one that begins with 4."""

    def forward(self, x):
        first = int(x[0, 0, 0])
        if first == 4:
            x = x[:, :, 20:].reshape(3)
        while first == 3:
            first = int(x[0, 0, 0])
        m = x.mean(2)
        return torch.cat([1 - m, m], 1)


class Quick(nn.Module):
    def forward(self, x):
        return torch.cat([x[:, :, 0], 2 - x[:, :, 0]], 1)


@pytest.fixture
def place(tmp_path):
    """Frames that begin with 0, 1, 2 … 5; the command with both models trusted."""
    trust = []
    for name, net in (("net.pt", Net()), ("quick.pt", Quick())):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # TorchScript is deprecated
            torch.jit.script(net).save(str(tmp_path / name))
        digest = hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()
        trust += ["--trust-model", digest]

    def run(clause="", more="", *args, first=(0, 1, 2, 3, 4, 5)):
        values = [float(x) for x in first for _ in range(10)]
        recording(tmp_path / "in.arrow", v=values, unit=10**7)
        (tmp_path / "a.flow").write_text(FLOW.format(clause=clause, more=more))
        code, out, err = cli("run", "a.flow", "--report", "r.json", *trust, *args, cwd=tmp_path)
        told = json.loads((tmp_path / "r.json").read_text()) if code == 0 else None
        labels = read(tmp_path / "out.arrow")["label"].to_pylist() if code == 0 else None
        return code, out + err, told, labels

    return run


NO = 'deadline 2 s else label "no"'


@pytest.mark.parametrize("more", ["isolated", ""])
def test_a_model_that_hangs_is_left_behind_at_its_deadline(place, more):
    code, shown, report, labels = place(NO, more, "--speed", "1x")
    assert code == 0, shown
    (told,) = report["models"].values()
    assert labels[:3] == ["calm", "loud", "loud"]
    assert labels[3:5] == ["no", "no"]
    assert labels[5] == ("loud" if more else "no")  # in the same process nobody can end the call
    assert told["missed"] >= 1
    assert told["policy"] == 'label "no"'
    assert "late (" in shown
    assert 'else label "no"' in shown
    if more:
        assert "its process was killed" in shown
        assert (told["missed"], told["failed"]) == (1, 1)
        assert "cannot reshape" in shown or "shape" in shown


def test_a_run_at_full_speed_has_no_deadlines(place):
    code, shown, report, labels = place(
        "deadline 1 us else drop", "isolated", first=(0, 1, 2, 2, 4, 5)
    )
    assert code == 0, shown
    (told,) = report["models"].values()
    assert (told["missed"], told["failed"]) == (0, 1)
    assert len(labels) == 5


def test_what_stands_in_answers(place, tmp_path):
    code, shown, report, labels = place(
        "deadline 2 s else with quick", "isolated breaker 9", "--speed", "1x"
    )
    assert code == 0, shown
    assert labels == ["calm", "loud", "loud", "calm", "calm", "loud"]
    (told,) = report["models"].values()
    assert told["policy"] == "with quick"


def test_the_breaker_says_that_it_opened(place):
    code, shown, report, _ = place(NO, "isolated breaker 2 for 1 h", "--speed", "1x")
    assert code == 0, shown
    (told,) = report["models"].values()
    assert told["breaker"] == {"after": 2, "opened": 1, "first_ns": 490_000_000, "is_open": True}
    assert told["rested"] == 1
    assert (
        "the breaker opened at 1970-01-01T00:00:00.490Z, after 2 failures in a row; it is still open"
        in shown
    )
    assert "1 not asked after many failures" in shown


def test_a_shadow_is_told(place):
    code, shown, report, labels = place(
        "shadow with quick deadline 2 s else missing", "isolated", "--speed", "1x"
    )
    assert code == 0, shown
    assert labels[:3] == ["calm", "loud", "loud"]
    assert labels[3] is None
    (told,) = report["models"].values()
    assert told["shadow"]["frames"] == 4
    assert "shadow quick: 4 frames" in shown
    assert "of `label` alike" in shown


def test_a_model_that_cannot_answer_at_all_is_told_before_the_first_row(place, tmp_path):
    class Three(nn.Module):
        def forward(self, x):
            return torch.cat([x[:, :, 0], x[:, :, 1], x[:, :, 2]], 1)

    path = tmp_path / "net.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(Three()).save(str(path))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    code, shown, _, _ = place(NO, "", "--trust-model", digest)
    assert code == 3
    assert (
        "model `net` cannot answer frames of zeros: it gives [3] for a frame, where 2 numbers are declared"
        in shown
    )
    assert not (tmp_path / "out.arrow").exists()


def test_a_run_done_again_is_late_where_it_was(place, tmp_path):
    code, shown, _, labels = place(NO, "isolated", "--speed", "1x", "--record", "r.rec")
    assert code == 0, shown
    assert labels[3] == "no"
    code, shown, report, again = place(NO, "isolated", "--as-recorded", "r.rec")
    assert code == 0, shown
    assert again == labels
    (told,) = report["models"].values()
    assert told["missed"] == 1
