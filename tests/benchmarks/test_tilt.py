"""The queries of TiLT's benchmark: what they say, and that the comparison sees what is wrong."""

import importlib
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
ROWS = 20_000


@pytest.fixture(scope="module")
def tilt():
    """`benchmarks/tilt.py` as a module."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "benchmarks")
        yield importlib.import_module("tilt")


NAMES = [*(f"T{k}" for k in range(1, 15)), "Y1"]


@pytest.mark.parametrize("name", NAMES)
def test_a_query_gives_what_the_reference_does(tilt, name):
    query = tilt.QUERIES[name]
    for made in {query.given, query.checked or query.given}:
        given = made(ROWS)
        truth = query.slow(given)
        assert len(truth["time"]) > 0
        assert tilt.difference(tilt.Ours(query, given, 4096).columns(), truth) <= tilt.ALIKE


@pytest.mark.parametrize("name", NAMES)
def test_the_loop_gives_what_the_reference_does(tilt, name):
    query = tilt.QUERIES[name]
    given = (query.checked or query.given)(ROWS)
    found, truth = query.loop(given)(), query.slow(given)
    assert found.keys() >= truth.keys() - {"time"}
    assert tilt.difference(found, {c: v for c, v in truth.items() if c in found}) <= tilt.ALIKE


def test_there_is_a_case_for_each_query(tilt):
    assert list(tilt.QUERIES) == NAMES


def test_the_joins_are_checked_where_inner_and_outer_differ(tilt):
    given = tilt.two_holed(ROWS)
    inner, outer = (tilt.QUERIES[name].slow(given)["time"] for name in ("T5", "T6"))
    assert len(inner) == pytest.approx(0.81 * ROWS, rel=0.02)
    assert len(outer) == pytest.approx(0.99 * ROWS, rel=0.02)


@pytest.mark.parametrize("column", ["time", "v", "yes", "n"])
def test_one_wrong_row_is_seen(tilt, column):
    truth = {
        "time": np.arange(1000),
        "v": np.linspace(-1, 1, 1000),
        "yes": np.arange(1000) % 2 == 0,
        "n": np.arange(1000),
    }
    found = {name: v.copy() for name, v in truth.items()}
    assert tilt.difference(found, truth) == 0
    found[column][500] = not found[column][500] if column == "yes" else found[column][501]
    assert tilt.difference(found, truth) > tilt.ALIKE


def test_a_row_too_few_or_a_value_that_is_missing_is_seen(tilt):
    truth = {"v": np.array([1.0, np.nan, 3.0])}
    assert tilt.difference({"v": truth["v"][:2]}, truth) == np.inf
    assert tilt.difference({"v": np.array([1.0, 2.0, 3.0])}, truth) == np.inf
    assert tilt.difference({"v": np.array([1.0, np.nan, np.nan])}, truth) == np.inf


def test_the_benchmark_prints_a_table_whose_figure_goes_into_the_readme(tilt, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["tilt.py", "--rows", str(ROWS), "--rounds", "1", "--queries", "T3", "T10"])  # fmt: skip
    lines = tilt.main()
    assert "DIFFERENT" not in capsys.readouterr().out
    assert [x.split(" | ")[0] for x in lines if x.startswith("| T")] == ["| T3 window sum", "| T10 trading"]  # fmt: skip
    common = importlib.import_module("common")
    (figure,) = common.summary("\n".join(["# Results", "", "## TiLT's queries", "", *lines]))[2:]
    assert figure.startswith("| 2 queries of TiLT's benchmark")
