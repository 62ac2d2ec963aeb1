"""Once everything has found its size, a push asks for memory for the rows that come out and little else, and nothing grows."""

import importlib
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
BESIDE = {"W1, ECG chain": 0, "W2, large pushes": 80, "W5, large pushes": 40, "W2, a row alone": 0}
"""Bytes a row that may be in use for a moment beside the rows that come out: room for as many rows as came in, keys as i64, rows that wait."""
FIXED = 20_000
"""Bytes a push for what is known of arrays, however many rows they hold."""
PAGES = 8
"""Pages a push that the system may have to find: the C library gives some back now and then."""


@pytest.fixture(scope="module")
def allocations():
    """`benchmarks/allocations.py` as a module."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(BENCHMARKS)
        yield importlib.import_module("allocations")


@pytest.mark.parametrize("name", BESIDE)
def test_a_push_asks_for_little_beside_its_rows_and_nothing_grows(allocations, name):
    seen = allocations.apart(name, 60)
    assert seen.rows_out > 0
    assert abs(seen.growth) < 1_000
    assert seen.faults < PAGES
    assert seen.beside < BESIDE[name] * allocations.WORKS[name].rows + FIXED


def test_what_grows_is_seen(allocations, monkeypatch):
    held = []
    give = allocations.Steady.give

    def forgets_nothing(steady, push):
        held.append(bytearray(1_000))
        return give(steady, push)

    monkeypatch.setattr(allocations.Steady, "give", forgets_nothing)
    seen = allocations.counted(allocations.WORKS["W1, ECG chain"], 40)
    assert seen.growth > 10_000
