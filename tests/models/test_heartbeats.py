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
    rhythm = [draw.normal(size=(16, 1)).astype(np.float32) * 0.1 for _ in range(18)]
    plain = network([*shapes, *rhythm])[0]
    raised = network([*(x + np.float32(0.5) for x in shapes), *rhythm])[0]
    np.testing.assert_allclose(raised, plain, atol=1e-3)


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
