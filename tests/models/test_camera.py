"""`pipelines/camera.flow`: the network that comes along knows drawn frames, and remembers the frame before."""

import importlib
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pytest

from flowedge.runtime.plan import compile_flow
from flowedge.runtime.run import Run

pytest.importorskip("torch")
pytest.importorskip("av")

ROOT = Path(__file__).parents[2]


@pytest.fixture
def script(monkeypatch):
    """What draws a clip, or trains."""
    monkeypatch.syspath_prepend(str(ROOT / "pipelines"))
    return importlib.import_module


def test_drawn_frames_are_told_by_the_pipeline(script, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pipelines").symlink_to(ROOT / "pipelines")
    truth = script("prepare_camera").write(tmp_path / "clip.mp4", seed=2, count=300)
    assert set(truth) == {"empty", "moving", "still"}
    Run(compile_flow("pipelines/camera.flow", params={"clip": "clip.mp4"}))()
    with pa.ipc.open_file("out/seen.arrow") as file:
        told = file.read_all()["label"].to_pylist()
    assert len(told) == 300
    assert sum(a == b for a, b in zip(told, truth, strict=True)) >= 290
    assert not Counter(zip(truth, told, strict=True)).keys() & {("empty", "still"), ("still", "empty")}  # fmt: skip
    visits = (tmp_path / "out" / "visits.csv").read_text().splitlines()
    runs = [b for a, b in zip(["empty", *truth], truth, strict=False) if (a == "empty") != (b == "empty")]  # fmt: skip
    assert abs(len(visits) - 1 - sum(label != "empty" for label in runs)) <= 1


@pytest.mark.slow
def test_training_gives_the_network_that_comes_along(script, tmp_path):
    trainer = script("train_camera")
    net = trainer.train()
    trainer.export(net, tmp_path / "camera.pt2")
    assert (tmp_path / "camera.pt2").stat().st_size < 100_000
    table = trainer.confusion(net, range(4, 5), 400)
    assert table.trace() / table.sum() > 0.96
