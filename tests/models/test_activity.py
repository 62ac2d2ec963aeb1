"""`pipelines/activity.flow`: what its script trains is what the pipeline asks, and it knows people that it has not seen."""

import importlib
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

ROOT = Path(__file__).parents[2]
DATA = ROOT.parent / "shared" / "data" / "har_hapt"
needs_data = pytest.mark.skipif(
    not DATA.exists(), reason="the recordings are not part of the project"
)


@pytest.fixture(autouse=True)
def _paths(monkeypatch):
    for folder in ("pipelines", "benchmarks"):
        monkeypatch.syspath_prepend(str(ROOT / folder))


@pytest.fixture
def trained():
    return importlib.import_module("train_activity")


@pytest.fixture
def scores():
    return importlib.import_module("activity")


@pytest.fixture
def made_up(tmp_path):
    """Three sessions: somebody stands, walks at two steps a second, and lies; with pauses that nobody has labelled."""
    draw, lines = np.random.default_rng(5), ["experiment,user,activity,start,end"]
    folder = tmp_path / "sessions"
    folder.mkdir()
    for exp, user in ((1, 1), (2, 1), (12, 7)):
        length, kinds = int(draw.integers(1900, 2300)), (5, 1, 6, 1, 5, 6)
        acc, gyro = [], []
        for k, kind in enumerate(kinds):
            down = np.array([0, 0, 1.0]) if kind == 6 else np.array([1.0, 0, 0])
            swing = np.sin(2 * np.pi * 2 * np.arange(length) / 50)[:, None] * (kind == 1)
            noise = 0.02 * draw.normal(size=(length, 3))
            acc.append(720 * (down + 0.4 * swing + noise))
            gyro.append(3000 * swing + 40 * draw.normal(size=(length, 3)))
            lines.append(f"{exp},{user},{kind},{k * length + 31},{(k + 1) * length - 20}")
        arrays = {"acc": np.concatenate(acc), "gyro": np.concatenate(gyro)}
        np.savez(folder / f"exp{exp:02}_user{user:02}.npz", **{k: v.round().astype(np.int16) for k, v in arrays.items()})  # fmt: skip
    (folder / "labels.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def test_windows_get_the_label_that_most_of_their_samples_have(trained, scores, made_up, tmp_path):  # fmt: skip
    frames = trained.FrameDataset(trained.labelled(made_up, tmp_path), labels=trained.LABELS)
    exps, shares = frames.groups("exp"), frames.groups("label_share")
    for session in trained.sessions(made_up):
        wanted = [x for x in scores.known(session) if x[0] is not None and x[1] > 0.5]
        mine = np.flatnonzero((exps == int(session.stem[3:5])) & (shares > 0.5))
        assert [frames.labels[k] for k in frames.targets[mine]] == [label for label, _ in wanted]
        np.testing.assert_allclose(shares[mine], [share for _, share in wanted])


@pytest.mark.slow
def test_the_network_learns_made_up_sessions_and_answers_in_the_pipeline(trained, scores, made_up, tmp_path):  # fmt: skip
    x, y, people = trained.learnt(made_up, tmp_path)
    assert x.shape[1:] == (15, 128)
    is_first = people == 1
    net = trained.train(x[is_first], y[is_first], epochs=6)
    trained.export(net, tmp_path / "models" / "activity.pt2")
    assert (tmp_path / "models" / "activity.pt2").stat().st_size < 1_000_000
    others = [f for f in trained.sessions(made_up) if f.stem.endswith("07")]
    found = scores.judged(others, tmp_path / "models")
    assert found["window most"].total() > found["window whole"].total() > 100
    assert scores.share(found["window whole"]) > 0.9
    assert scores.share(found["steady whole"]) > 0.9


def test_raw_sessions_become_the_steps_of_the_sensor(made_up, tmp_path, monkeypatch):
    prepare = importlib.import_module("prepare_activity")
    with np.load(made_up / "exp12_user07.npz") as session:
        arrays = {k: session[k][:500] for k in ("acc", "gyro")}
    for kind, values in arrays.items():
        np.savetxt(tmp_path / f"{kind}_exp12_user07.txt", values / prepare.STEPS[kind])
    (tmp_path / "labels.txt").write_text("12 7 5 31 480\n", encoding="utf-8")
    monkeypatch.setattr("sys.argv", ["prepare", str(tmp_path), str(tmp_path / "out")])
    prepare.main()
    with np.load(tmp_path / "out" / "exp12_user07.npz") as session:
        for kind, values in arrays.items():
            np.testing.assert_array_equal(session[kind], values)
    assert (tmp_path / "out" / "labels.csv").read_text("utf-8").splitlines()[1] == "12,7,5,31,480"
    with pytest.raises(ValueError, match="own steps"):
        prepare.steps(tmp_path / "acc_exp12_user07.txt", 700.3)


@needs_data
def test_raw_sessions_of_the_data_set_become_what_is_read(tmp_path):
    prepare = importlib.import_module("prepare_activity")
    with np.load(DATA / "exp05_user03.npz") as session:
        for kind, per_unit in prepare.STEPS.items():
            found = prepare.steps(DATA / f"{kind}_exp05_user03.txt", per_unit)
            np.testing.assert_array_equal(found, session[kind])


@needs_data
@pytest.mark.slow
def test_two_people_that_were_left_out_are_told_right(trained, scores, tmp_path):
    """A short training on seven people; the benchmark trains longer, on eighteen."""
    folder = tmp_path / "sessions"
    folder.mkdir()
    for file in [DATA / "labels.csv", *trained.sessions(DATA)[:18]]:
        (folder / file.name).symlink_to(file)
    x, y, people = trained.learnt(folder, tmp_path)
    out = np.unique(people)[:2]
    is_other = ~np.isin(people, out)
    net = trained.train(x[is_other], y[is_other], epochs=2)
    trained.export(net, tmp_path / "models" / "activity.pt2")
    files = [f for f in trained.sessions(folder) if int(f.stem.partition("user")[2]) in out]
    found = scores.judged(files, tmp_path / "models")
    assert scores.share(found["window most"]) > 0.8


def test_a_session_in_another_order_keeps_its_samples_and_their_labels(trained, made_up, tmp_path):
    (session,) = made_up.glob("exp12*")
    made = trained.reordered(session, tmp_path, seed=0)
    before, after = trained.activities(session), trained.activities(made)
    with np.load(session) as one, np.load(made) as other:
        for kind in ("acc", "gyro"):
            assert not np.array_equal(one[kind], other[kind])
            given, found = (
                np.unique(np.column_stack([x[kind], label]), axis=0, return_counts=True)
                for x, label in ((one, before), (other, after))
            )
            np.testing.assert_array_equal(given[0], found[0])
            np.testing.assert_array_equal(given[1], found[1])
