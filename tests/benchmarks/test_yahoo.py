"""The Yahoo query: every system gives the rows that NumPy finds window by window."""

import importlib
from pathlib import Path

import numpy as np
import pytest

import flowedge

ROOT = Path(__file__).parents[2]
ROWS, STEP_US = 30_000, 1_700


@pytest.fixture(scope="module")
def yahoo():
    """`benchmarks/yahoo.py` as a module."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "benchmarks")
        yield importlib.import_module("yahoo")


@pytest.fixture(scope="module")
def folder(yahoo, tmp_path_factory):
    """51 s of events."""
    made = tmp_path_factory.mktemp("yahoo")
    yahoo.generate(made, ROWS, STEP_US)
    return made


@pytest.fixture(scope="module")
def truth(yahoo, folder):
    return yahoo.reference(yahoo.read(folder / "events.arrow"), yahoo.read(folder / "ads.arrow"))


def test_the_reference_counts_each_view_once(yahoo, folder, truth):
    events = yahoo.read(folder / "events.arrow")
    assert 5 * yahoo.CAMPAIGNS < len(truth) < 6 * yahoo.CAMPAIGNS  # the last window is short
    assert truth[:, 3].sum() == (events["event_type"].to_numpy() == 0).sum() > ROWS / 4
    views = events["ts"].to_numpy()[events["event_type"].to_numpy() == 0]
    assert truth[:, 4].max() == views[-1]


def test_the_pipeline_gives_the_rows_of_the_reference_from_file_to_file(yahoo, folder, truth):
    yahoo.Run(flowedge.compile(text=yahoo.from_files(folder)))()
    np.testing.assert_array_equal(yahoo.result(yahoo.read(folder / "ours.arrow")), truth)


@pytest.mark.parametrize("push", [4096, 65_536])
def test_so_it_does_in_pushes(yahoo, folder, truth, push):
    batches = yahoo.read(folder / "events.arrow").combine_chunks().to_batches(max_chunksize=push)
    made = yahoo.pushed(yahoo.in_pushes(), yahoo.read(folder / "ads.arrow"), batches)
    np.testing.assert_array_equal(yahoo.result(made), truth)


def test_so_does_the_c_loop(yahoo, folder, truth, tmp_path):
    yahoo.by_hand(yahoo.compiled("yahoo"), folder, tmp_path / "c.arrow")
    np.testing.assert_array_equal(yahoo.result(yahoo.read(tmp_path / "c.arrow")), truth)


@pytest.mark.parametrize("peer", ["duckdb", "polars"])
def test_so_do_others(yahoo, folder, truth, tmp_path, peer):
    pytest.importorskip(peer)
    getattr(yahoo, f"by_{peer}")(folder, tmp_path / "peer.arrow")
    np.testing.assert_array_equal(yahoo.result(yahoo.read(tmp_path / "peer.arrow")), truth)


def test_a_row_too_many_is_seen(yahoo, folder, truth):
    events = yahoo.read(folder / "events.arrow")
    fewer = yahoo.reference(events.slice(0, ROWS - 10), yahoo.read(folder / "ads.arrow"))
    assert not np.array_equal(fewer, truth)
