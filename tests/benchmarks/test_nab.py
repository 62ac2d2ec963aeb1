"""NAB's scorer, by hand and by what was published; and the pipeline that is judged by it."""

import importlib
import math
import os
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
NAB = ROOT.parent / "shared" / "data" / "nab"
FIRST = 1 - 2 / (1 + math.exp(5))
"""What an alarm at the first row of a window is worth before it is set to 1; 0.98661."""


@pytest.fixture(scope="module")
def nab():
    """`benchmarks/nab.py` as a module."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "benchmarks")
        yield importlib.import_module("nab")


@pytest.fixture(scope="module")
def scorer(nab):
    return importlib.import_module("nab_score")


@pytest.fixture(scope="module")
def every(nab):
    """The series of the corpus that are here."""
    if not NAB.is_dir() and os.environ.get("FLOWEDGE_REQUIRE_ALL") != "1":
        pytest.skip(f"no series in {NAB}")
    return list(nab.corpus(NAB))


def times(n):
    return [f"row {k}" for k in range(n)]


def alarms(n, *rows):
    return np.isin(np.arange(n), rows).astype(float)


@pytest.fixture
def twenty(scorer):
    """20 rows, of which the first 3 are not judged, and a window over the rows 10 to 13."""
    return scorer.Judged.of(times(20), [("row 10", "row 13")])


def test_the_worth_of_a_place_falls_along_a_sigmoid(scorer):
    got = scorer.worth(np.array([-1, -0.5, 0, 1, 2.9, 3, 100]))
    near = [2 / (1 + math.exp(5 * y)) - 1 for y in (-1, -0.5, 0, 1, 2.9)]
    np.testing.assert_allclose(got, [*near, -1, -1], atol=1e-15)
    np.testing.assert_allclose(got[:4], [0.98661, 0.84828, 0, -0.98661], atol=5e-6)


def test_no_alarm_scores_0_and_the_first_row_of_each_window_100(scorer, twenty):
    for profile in scorer.PROFILES.values():
        assert twenty.score(alarms(20), 0.5, profile) == 0
        assert twenty.score(alarms(20, 10), 0.5, profile) == pytest.approx(100)


@pytest.mark.parametrize(
    ("rows", "points"),
    [
        ((12,), (2 / (1 + math.exp(-2.5)) - 1) / FIRST),  # two rows of four are left: -0.5
        ((13,), (2 / (1 + math.exp(-1.25)) - 1) / FIRST),  # the last row of a window still earns
        ((12, 11, 13), (2 / (1 + math.exp(-3.75)) - 1) / FIRST),  # the earliest alone counts
        ((), -1),
        ((1,), -1),  # before anything is judged
        ((5,), -1 - 0.11),  # before the first window
        ((16,), -1 - 0.11 * FIRST),  # three rows behind a window of four: 1
        ((14, 15), -1 + 0.11 * (2 / (1 + math.exp(5 / 3)) + 2 / (1 + math.exp(10 / 3)) - 2)),
        ((10, 5), 1 - 0.11),
    ],
)
def test_alarms_earn_what_is_worked_out_by_hand(scorer, twenty, rows, points):
    got = twenty.earned(alarms(20, *rows), 1, scorer.PROFILES["standard"])
    assert got == pytest.approx(points, abs=1e-12)


def test_an_application_weighs_false_alarms_and_missed_windows(scorer, twenty):
    got = {k: twenty.earned(alarms(20, 5), 1, p) for k, p in scorer.PROFILES.items()}
    assert got == pytest.approx({"standard": -1.11, "reward_low_FP": -1.22, "reward_low_FN": -2.11})
    low = scorer.PROFILES["reward_low_FN"]  # 0 is at -2, 100 at 1
    assert twenty.score(alarms(20, 10, 5), 1, low) == pytest.approx(100 * (3 - 0.11) / 3)


def test_behind_three_widths_an_alarm_costs_the_full_amount(scorer):
    judged = scorer.Judged.of(times(40), [("row 10", "row 13")])
    assert judged.earned(alarms(40, 22), 1, scorer.PROFILES["standard"]) == -1.11
    assert judged.earned(alarms(40, 21), 1, scorer.PROFILES["standard"]) > -1.11


def test_rows_of_learning_are_15_percent_and_750_at_most(scorer):
    for rows, learning in ((20, 3), (1243, 186), (5000, 750), (16000, 750)):
        assert int((~scorer.Judged.of(times(rows), []).counts).sum()) == learning


def test_a_window_begins_and_ends_at_the_first_row_of_a_time(scorer):
    twice = [f"row {k // 2}" for k in range(20)]
    judged = scorer.Judged.of(twice, [("row 4", "row 6")])
    assert np.flatnonzero(judged.window >= 0).tolist() == [8, 9, 10, 11, 12]


def test_equal_scores_come_together_and_one_threshold_serves_all(scorer):
    one = scorer.Judged.of(times(20), [("row 10", "row 13")])
    both, standard = scorer.Judged.together([one, one]), scorer.PROFILES["standard"]
    assert both.windows == 2
    scores = np.zeros(40)
    scores[10], scores[20 + 10], scores[20 + 5] = (
        3,
        2,
        2,
    )  # the alarm of the second has a false twin
    choice = both.best(scores, standard)
    assert choice.threshold == 2
    assert choice.score == pytest.approx(100 * (4 - 0.11) / 4)


def test_a_detector_that_only_errs_is_silenced(scorer):
    judged = scorer.Judged.of(times(60), [("row 57", "row 58")])
    choice = judged.best(alarms(60, 15, 16), scorer.PROFILES["standard"])
    assert choice == (math.inf, 0)


@pytest.mark.parametrize("seed", range(20))
def test_the_best_threshold_is_that_of_trying_all(scorer, seed):
    draw = np.random.default_rng(seed)
    parts = [
        scorer.Judged.of(times(60), [("row 5", "row 11"), ("row 30", "row 40")]),
        scorer.Judged.of(times(30), []),
    ]
    judged, scores = scorer.Judged.together(parts), draw.integers(0, 12, 90) / 4
    for profile in scorer.PROFILES.values():
        tried = {x: judged.score(scores, x, profile) for x in [*np.unique(scores), np.inf]}
        choice = judged.best(scores, profile)
        assert choice.score == pytest.approx(max(tried.values()))
        assert tried[choice.threshold] == pytest.approx(choice.score)


def test_nab_gives_its_windowed_gaussian_what_was_published(nab, scorer, every):
    """36.71, 21.40 and 43.19 are NAB's own figures for these 31 series, at the threshold that it chose."""
    assert len(every) == 31
    judged = scorer.Judged.together([s.judged for s in every])
    assert judged.windows == 57
    scores = np.concatenate([nab.windowed_gaussian(s.rows["value"].to_numpy()) for s in every])
    got = {name: judged.score(scores, 1, profile) for name, profile in scorer.PROFILES.items()}
    assert got == pytest.approx(
        {"standard": 36.71, "reward_low_FP": 21.40, "reward_low_FN": 43.19}, abs=0.005
    )
    assert judged.best(scores, scorer.PROFILES["standard"]).score == pytest.approx(36.71, abs=0.005)


@pytest.fixture(scope="module")
def plan(nab, every):
    pytest.importorskip("torch")
    return nab.pipeline(NAB / "data" / every[0].name)


@pytest.mark.slow
def test_the_pipeline_finds_the_jump_of_an_artificial_series_and_nothing_else(nab, every, plan):
    series = next(s for s in every if s.name.endswith("art_daily_jumpsup.csv"))
    scores, heard = nab.scored(plan, series)
    assert len(scores) == len(series.rows)
    judged = series.judged
    assert set(judged.window[heard & judged.counts]) == {0}


@pytest.mark.slow
def test_scores_do_not_depend_on_what_comes_after(nab, every, plan):
    series = next(s for s in every if s.name.endswith("exchange-2_cpc_results.csv"))
    whole, _ = nab.scored(plan, series)
    part, _ = nab.scored(plan, series._replace(rows=series.rows.slice(0, 777)))
    np.testing.assert_array_equal(whole[:777], part)
    assert part.max() > 0


@pytest.mark.slow
def test_the_network_sees_nothing_younger_than_96_rows():
    pytest.importorskip("torch")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "pipelines")
        trainer = importlib.import_module("train_anomalies")
    values = trainer.made_up(np.random.default_rng(1))[:2500]
    again = trainer.made_up(np.random.default_rng(1))[:2500]
    np.testing.assert_array_equal(values, again)
    changed = np.append(values[:-95], values[-95:] * 3 + 1)
    plan = trainer.first_half()
    a, b = trainer.channels(plan, values), trainer.channels(plan, changed)
    assert a.shape == (len(trainer.INPUTS) + 1, 2500)
    frame = a[:-1, -trainer.LENGTH :]
    np.testing.assert_array_equal(frame, b[:-1, -trainer.LENGTH :])
    assert a[-1, -1] != b[-1, -1]


def test_the_network_is_small_and_holds_no_trace_of_where_it_was_made():
    data = (ROOT / "pipelines" / "models" / "anomalies.pt2").read_bytes()
    assert len(data) < 200_000
    assert b".py" not in data
