"""NEXMark: each system gives the rows that the slow reference finds."""

import importlib
from pathlib import Path

import numpy as np
import pytest

import flowedge

ROOT = Path(__file__).parents[2]
EVENTS, STEP_NS = 30_000, 1_100_000
NAMES = ["q1", "q2", "q5", "q8"]


@pytest.fixture(scope="module")
def nexmark():
    """`benchmarks/nexmark.py` as a module."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "benchmarks")
        yield importlib.import_module("nexmark")


@pytest.fixture(scope="module")
def folder(nexmark, tmp_path_factory):
    """33 s of events."""
    made = tmp_path_factory.mktemp("nexmark")
    nexmark.generate(made, EVENTS, STEP_NS)
    return made


@pytest.fixture(scope="module")
def library(nexmark):
    return nexmark.loaded()


@pytest.fixture(scope="module")
def truth(nexmark, folder):
    return {name: nexmark.QUERIES[name].reference(folder) for name in NAMES}


def test_persons_auctions_and_bids_come_1_to_3_to_46_at_times_of_their_own(nexmark, folder):
    streams = {n: nexmark.columns(nexmark.read(folder / f"{n}.arrow")) for n in ("persons", "auctions", "bids")}  # fmt: skip
    assert [len(s["time"]) for s in streams.values()] == [EVENTS * k // 50 for k in (1, 3, 46)]
    times = np.sort(np.concatenate([s["time"] for s in streams.values()]))
    assert (np.diff(times) == STEP_NS).all()
    for name in ("persons", "auctions"):
        ids = streams[name]["id"]
        np.testing.assert_array_equal(ids, nexmark.FIRST_ID + np.arange(len(ids)))


def test_bids_go_to_auctions_that_were_opened_lately_or_soon_will_be(nexmark, folder):
    auctions, bids = (nexmark.columns(nexmark.read(folder / f"{n}.arrow")) for n in ("auctions", "bids"))  # fmt: skip
    newest = np.searchsorted(auctions["time"], bids["time"]) - 1
    back = newest - (bids["auction"] - nexmark.FIRST_ID)
    assert -nexmark.AHEAD <= back.min() < 0
    assert 0 < back.max() <= nexmark.OPEN_AUCTIONS
    is_hot = (bids["auction"] - nexmark.FIRST_ID) % nexmark.HOT == 0
    assert 0.45 < is_hot.mean() < 0.55


def test_the_reference_of_hot_items_by_another_way(nexmark, folder, truth):
    bids, got = nexmark.columns(nexmark.read(folder / "bids.arrow")), truth["q5"]
    for end in np.unique(got["time"]):
        inside = bids["auction"][(bids["time"] >= end - nexmark.WINDOW_NS) & (bids["time"] < end)]
        counts = np.bincount(inside)
        hottest = np.flatnonzero(counts == counts.max())
        np.testing.assert_array_equal(got["auction"][got["time"] == end], hottest)


@pytest.mark.parametrize("name", NAMES)
def test_the_pipeline_gives_the_rows_of_the_reference(nexmark, folder, truth, tmp_path, name):
    query, out = nexmark.QUERIES[name], tmp_path / "ours.arrow"
    nexmark.Run(flowedge.compile(text=query.text.format(folder=folder, out=out)))()
    assert len(truth[name]["time"]) > 10
    assert nexmark.equal(nexmark.result(query, out), truth[name])


@pytest.mark.parametrize("name", NAMES)
def test_so_does_the_c_loop(nexmark, library, folder, truth, tmp_path, name):
    query, out = nexmark.QUERIES[name], tmp_path / "c.arrow"
    query.by_hand(library, folder, out)
    assert nexmark.equal(nexmark.result(query, out), truth[name])


def test_the_c_loops_go_on_from_batch_to_batch(nexmark, library, tmp_path, monkeypatch):
    monkeypatch.setattr(nexmark, "CHUNK", 777)
    nexmark.generate(tmp_path, 20_000, STEP_NS)
    for name, query in nexmark.QUERIES.items():
        query.by_hand(library, tmp_path, tmp_path / f"{name}.arrow")
        assert nexmark.equal(
            nexmark.result(query, tmp_path / f"{name}.arrow"), query.reference(tmp_path)
        )


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("peer", ["duckdb", "polars"])
def test_so_do_others(nexmark, folder, truth, tmp_path, peer, name):
    pytest.importorskip(peer)
    query, out = nexmark.QUERIES[name], tmp_path / "peer.arrow"
    getattr(nexmark, f"by_{peer}")(name, folder, out)
    assert nexmark.equal(nexmark.result(query, out), truth[name])


@pytest.mark.parametrize("name", NAMES)
def test_a_value_that_is_off_by_one_is_seen(nexmark, truth, name):
    for column in truth[name]:
        other = {**truth[name], column: truth[name][column].copy()}
        other[column][-1] += 1
        assert not nexmark.equal(other, truth[name])
        assert nexmark.checksum(other) != nexmark.checksum(truth[name])
