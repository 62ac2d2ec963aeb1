"""`pipelines/heartbeats.flow`: the shipped networks fit it, and tell the heartbeats of a recording as it was annotated."""

import importlib
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("wfdb")

from flowedge.models.load import inspect, load

ROOT = Path(__file__).parents[2]
MODEL = ROOT / "pipelines" / "models" / "heartbeats.pt2"
DATA = ROOT.parent / "shared" / "data" / "mitbih"


@pytest.fixture
def judge(monkeypatch):
    """The script that judges."""
    monkeypatch.chdir(ROOT)
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    monkeypatch.syspath_prepend(str(ROOT / "pipelines"))
    return importlib.import_module("heartbeats")


def test_the_networks_are_small_and_hold_no_trace_of_where_they_were_made():
    assert MODEL.stat().st_size < 1_000_000
    assert b".py" not in MODEL.read_bytes()
    assert inspect(MODEL).outputs[0].shape == (None, 4)


def test_height_and_baseline_of_a_beat_beside_the_usual_one_are_no_matter():
    network, draw = load(MODEL).network, np.random.default_rng(2)
    shapes = [draw.normal(size=(16, 54)).astype(np.float32) for _ in range(4)]
    rhythm = [draw.normal(size=(16, 1)).astype(np.float32) * 0.1 for _ in range(34)]
    plain = network([*shapes, *rhythm])[0]
    raised = network([*(x + np.float32(0.5) for x in shapes), *rhythm])[0]
    np.testing.assert_allclose(raised, plain, atol=1e-3)


@pytest.fixture(scope="module")
def learn():
    """The script that trains."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        patch.syspath_prepend(str(ROOT / "pipelines"))
        yield importlib.import_module("train_heartbeats")


@pytest.mark.slow
def test_a_run_of_early_beats_does_not_take_the_pace_along_and_a_slow_change_does(
    learn, monkeypatch
):
    monkeypatch.chdir(ROOT)
    run = np.where(np.arange(200) < 100, 0.8, 0.45)
    change = 0.8 * np.exp(np.linspace(0, np.log(0.45 / 0.8), 200))
    numbers, kind = learn._rhythm([run, change], [np.zeros(200, int), np.ones(200, int)])
    beside_recent, beside_own = numbers[:, 0].numpy(), numbers[:, 18].numpy()
    early = slice(105, 135)  # 30 to 60 beats into the run: the first 25 of all are left out
    sudden, gradual = kind == 0, kind == 1
    assert np.abs(beside_recent[sudden][early]).max() < 0.01
    assert beside_own[sudden][early].max() < -0.35
    assert np.abs(beside_own[gradual]).max() < 0.06


def test_a_beat_that_is_as_usual_does_not_differ_from_it(learn):
    draw = np.random.default_rng(4)
    usual = learn.torch.from_numpy(draw.normal(size=(8, 54)).astype(np.float32))
    numbers = learn.differences(usual + 0.3, usual).numpy()
    same = [0, 5, 10, 15, 20]  # correlations, part by part
    none = [k + 1 for k in same] + [k + 4 for k in same] + [26, 27]  # spread, level, width, height
    np.testing.assert_allclose(numbers[:, same], 1, atol=1e-3)
    np.testing.assert_allclose(numbers[:, none], 0, atol=1e-3)
    beat = usual.clone()
    beat[:, 10:20] *= -1  # the P wave upside down, and nothing else
    turned = learn.differences(beat, usual).numpy()
    assert turned[:, 5].max() < -0.9
    assert turned[:, 10].min() > 0.9


def test_beats_are_matched_one_to_one_and_each_counts_once(judge):
    truth = judge.Truth(
        np.array([1.0, 2.0, 2.1, 5.0, 8.0]), np.array(["N", "V", "N", "S", "Q"]), [(6.0, 7.0)]
    )
    time_s = np.array([1.02, 2.04, 3.0, 6.5, 8.0])
    counts = judge.judged(truth, time_s, np.array(["N", "V", "F", "V", "V"]))
    assert counts.tolist() == [
        [1, 0, 0, 0, 1],  # the beat at 2.1 s has no find of its own
        [0, 0, 0, 0, 1],
        [0, 0, 1, 0, 0],
        [0, 0, 0, 0, 0],
        [0, 0, 0, 1, 0],  # what is found in flutter, and the unclear beat, do not count
    ]


@pytest.mark.slow
@pytest.mark.skipif(not DATA.exists(), reason="the recordings are not part of the project")
def test_beats_of_a_recording_are_told_as_annotated(judge):
    record = DATA / "119"
    counts = judge.judged(judge.truth_of(record), *judge.told(record, MODEL))
    right = np.trace(counts[:4, :4])
    assert right / counts[:4].sum() > 0.98
    assert counts[2, 2] / counts[2].sum() > 0.98
