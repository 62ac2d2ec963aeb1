"""The table of the README out of what the benchmarks print."""

import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def common():
    """`benchmarks/common.py` as a module."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "benchmarks")
        yield importlib.import_module("common")


def test_the_summary_has_each_work_whatever_its_letter(common):
    spent = common.Spent
    found = {"FlowEdge": [spent(1, 2)] * 3, "C by hand": [spent(1, 1)] * 3}
    lines = common.table(found, 10**6, "C by hand")
    results = "\n".join([
        "# Results",
        *("", "## One", "", "W2, fleet, 10 rows; equal", "", *lines),
        *("", "## Two", "", "N5, NEXMark Q5: hot items, 10 bids; equal", "", *lines, "", "For scale: 3."),
        *("", "## Three", "", "| | figure |", "|---|---|", "| first row | 2 s |", "| ZFP | absent | | | | |"),
        *("", "# Models", "", "## Four", "", "W3, nets; equal", "", *lines),
    ])  # fmt: skip
    assert common.summary(results)[2:] == [
        "| fleet, 10 rows | 0.50 \N{MULTIPLICATION SIGN} C by hand |",
        "| NEXMark Q5: hot items, 10 bids | 0.50 \N{MULTIPLICATION SIGN} C by hand |",
        "| first row | 2 s |",
    ]
