"""The pipeline of the doorbell: it hears what rings, once, and not what is said in between."""

import sys
import wave
from pathlib import Path

import numpy as np
import pyarrow.csv
import pytest

from flowedge.runtime.plan import compile_flow
from flowedge.runtime.run import Run

pytest.importorskip("torch")
ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def scripts(tmp_path, monkeypatch):
    """The scripts of the pipeline can be imported, and the pipeline finds its model."""
    monkeypatch.syspath_prepend(ROOT / "pipelines")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pipelines").symlink_to(ROOT / "pipelines")
    yield
    for name in ("doorbell_sounds", "prepare_doorbell", "train_doorbell"):
        sys.modules.pop(name, None)


def test_each_ring_is_told_once_soon_after_its_second_note(tmp_path):
    from doorbell_sounds import RATE, track  # noqa: PLC0415

    made = track(np.random.default_rng(11), 22, (10, 10), others=("noise",), every=6.0)
    assert len(made.rings) >= 2
    with wave.open(str(tmp_path / "house.wav"), "wb") as file:
        file.setparams((1, 2, RATE, 0, "NONE", ""))
        file.writeframes((made.x * 32767).round().astype("<i2").tobytes())
    report = Run(compile_flow("pipelines/doorbell.flow", params={"sound": "house.wav"}))()
    assert report.rows_in == 22 * RATE
    told = pyarrow.csv.read_csv("out/rings.csv")["time"].cast("int64").to_numpy() / 1e9
    rings = made.rings
    assert len(told) == len(rings)
    assert all(r.begin < at < r.second + 1 for at, r in zip(told, rings, strict=True))


def test_what_is_made_up_is_the_same_each_time(tmp_path):
    import prepare_doorbell  # noqa: PLC0415

    first = prepare_doorbell.prepare(tmp_path / "a")
    assert len(first.rings) >= 3
    prepare_doorbell.prepare(tmp_path / "b")
    for name in ("doorbell.wav", "doorbell_truth.csv"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_the_network_is_small_and_holds_no_trace_of_where_it_was_made():
    data = (ROOT / "pipelines" / "models" / "doorbell.pt2").read_bytes()
    assert len(data) < 100_000
    assert b".py" not in data
