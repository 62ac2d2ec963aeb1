"""The heartbeats of the MIT-BIH records, found by the pipeline that is shipped."""

import importlib.util
import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RECORDS = ROOT.parent / "shared" / "data" / "mitbih"


@pytest.fixture(scope="module")
def counts():
    """Found, false and missed beats of each record."""
    if not RECORDS.is_dir() and os.environ.get("FLOWEDGE_REQUIRE_ALL") != "1":
        pytest.skip(f"no records in {RECORDS}")
    pytest.importorskip("wfdb")
    spec = importlib.util.spec_from_file_location("mitbih", ROOT / "benchmarks" / "mitbih.py")
    mitbih = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(mitbih)
    return {p.stem: mitbih.judged(p.with_suffix("")) for p in sorted(RECORDS.glob("*.hea"))}


def test_of_a_thousand_beats_four_are_missed_or_false_at_most(counts):
    tp, fp, fn = sum(counts.values())
    assert len(counts) == 24
    assert tp + fn == 55437
    assert 2 * tp / (2 * tp + fp + fn) > 0.996


def test_no_record_misses_two_of_a_hundred_beats(counts):
    missed = {name: fn / (tp + fn) for name, (tp, _, fn) in counts.items()}
    assert max(missed.values()) < 0.02, missed
