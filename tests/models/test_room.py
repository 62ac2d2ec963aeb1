"""`pipelines/room_occupied.flow`: what its script trains is what the pipeline asks, and it knows an occupied room."""

import csv
import importlib
from pathlib import Path

import pytest

pytest.importorskip("onnx")
pytest.importorskip("torch")

ROOT = Path(__file__).parents[2]
DATA = ROOT.parent / "shared" / "data" / "occupancy"
HEAD = '"date","Temperature","Humidity","Light","CO2","HumidityRatio","Occupancy"\n'


@pytest.fixture
def scripts(monkeypatch):
    """The script that trains, and the benchmark."""
    for folder in ("pipelines", "benchmarks"):
        monkeypatch.syspath_prepend(str(ROOT / folder))
    return importlib.import_module("train_room"), importlib.import_module("room")


@pytest.fixture
def working_day(tmp_path):
    """The made-up day of `room.csv`, twice, in the layout of the recordings: somebody is there while a lamp is lit."""
    with (ROOT / "pipelines" / "room.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    days = [(day, r) for day in ("2020-03-02", "2020-03-03") for r in rows]
    lines = [
        f'"{k}","{day}{r["date"][10:]}",{r["Temperature"]},{r["Humidity"]},{r["Light"]},{r["CO2"]},0.004,{int(float(r["Light"]) > 250)}\n'
        for k, (day, r) in enumerate(days)
    ]
    for name in ("datatraining.txt", "datatest.txt"):
        (tmp_path / name).write_text(HEAD + "".join(lines), encoding="utf-8")
    return tmp_path


def shares(counts):
    """Share of right rows of each network."""
    return {
        name: sum(n for (known, label), n in pairs.items() if known == label) / sum(pairs.values())
        for name, pairs in counts.items()
    }


@pytest.mark.slow
def test_the_networks_learn_a_made_up_day_and_answer_in_the_pipeline(scripts, working_day, capsys):
    trained, benchmark = scripts
    trained.make(working_day, working_day / "models")
    assert "room_lit: " in capsys.readouterr().out
    found = shares(benchmark.judged(working_day / "datatest.txt", working_day / "models"))
    assert found["lit"] > 0.95
    assert found["dark"] > 0.8


@pytest.mark.slow
def test_two_trainings_give_the_same_bytes(scripts, working_day):
    trained, _ = scripts
    seen, x = trained.rows("dark", working_day / "datatraining.txt")
    for name in ("one", "two"):
        channels = [i["name"] for i in seen.about["inputs"]]
        net = trained.train(x, seen.targets, 8)
        trained.export(net, "dark", channels, working_day / name / "room_dark.onnx")
    for file in ("room_dark.onnx", "room_dark.model.json"):
        assert (working_day / "one" / file).read_bytes() == (working_day / "two" / file).read_bytes()  # fmt: skip


@pytest.mark.slow
@pytest.mark.skipif(not DATA.exists(), reason="the recordings are not part of the project")
def test_an_unknown_week_is_told_right(scripts, tmp_path):
    trained, benchmark = scripts
    trained.make(DATA, tmp_path)
    found = shares(benchmark.judged(DATA / "datatest.txt", tmp_path))
    assert found["lit"] >= 0.97
    assert found["dark"] >= 0.9
