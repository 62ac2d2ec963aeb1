"""A peer in a process of its own is asked, is absent, errs or dies, and the table says which."""

import importlib
import math
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = """
import json
import sys

for line in sys.stdin:
    ask = json.loads(line)
    if ask["job"] == "versions":
        print(json.dumps({"tiny": "1.0"}), flush=True)
    elif ask.get("babble"):
        print("ready in 3, 2, 1", flush=True)
    elif ask.get("ends"):
        sys.exit(3)
    else:
        print(json.dumps({"wall_s": 0.5, "cpu_s": 0.25, "checksum": [ask["size"], 0.1 + 0.2]}), flush=True)
"""


@pytest.fixture(scope="module")
def common():
    """`benchmarks/common.py` as a module."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "benchmarks")
        yield importlib.import_module("common")


@pytest.fixture(scope="module")
def elsewhere(common):
    """`benchmarks/streams_elsewhere.py` as a module."""
    return importlib.import_module("streams_elsewhere")


@pytest.fixture
def script(tmp_path):
    path = tmp_path / "tiny.py"
    path.write_text(SCRIPT, encoding="utf-8")
    return path


@pytest.fixture
def peer(common, script):
    made = common.Peer(script, Path(sys.executable))
    yield made
    made.close()


def test_a_peer_tells_what_it_took_and_a_checksum_that_may_err_in_the_last_digits(common, peer):
    job = common.Asked(peer, [7, 0.3], 1e-9, size=7)
    assert job() == (0.5, 0.25)
    assert job.result == "equal"


@pytest.mark.parametrize("truth", [[7, 0.31], [8, 0.3], [7], [7, float("nan")]])
def test_another_result_is_told(common, peer, truth):
    job = common.Asked(peer, truth, 1e-9, size=7)
    job()
    assert job.result == "DIFFERENT"


def test_a_peer_whose_environment_was_not_made_or_lacks_what_it_needs_is_absent(common, script):
    assert not common.Peer(script, script.with_name("python")).is_there
    assert not common.Peer(script, Path(sys.executable), needs="no_such_module").is_there


@pytest.mark.parametrize(
    ("about", "told"),
    [({"ends": True}, "tiny ended with status 3"), ({"babble": True}, "tiny answered 'ready in 3, 2, 1\\n'")],
)  # fmt: skip
def test_a_peer_that_gives_no_answer_says_why_and_is_not_asked_again(common, peer, about, told):
    job = common.Asked(peer, [7, 0.3], 1e-9, **about)
    for _ in range(2):
        assert all(map(math.isnan, job()))
    assert job.result == told


def test_a_peer_that_has_ended_cannot_be_asked(common, peer):
    for _ in range(2):
        with pytest.raises(common.PeerError, match="status 3"):
            peer.ask("run", ends=True)


def test_the_table_has_a_row_for_each_whatever_became_of_it(common, elsewhere, script):
    peers = [common.Peer(script, Path(sys.executable)) for _ in range(3)]
    way = elsewhere.Way("Tiny", "quick", None, {})
    abouts = ({"size": 7}, {"size": 8}, {"ends": True})
    entries = [
        elsewhere.Entry("FlowEdge", lambda: common.Spent(1, 1), 1, lambda: "equal"),
        *(elsewhere.entered(way._replace(note=str(k)), p, 7, [7, 0.3], **about)
          for k, (p, about) in enumerate(zip(peers, abouts, strict=True))),
    ]  # fmt: skip
    _, _, ours, right, wrong, dead, absent = elsewhere.table(entries, [way], 2)
    for p in peers:
        p.close()
    assert ours.startswith("| FlowEdge | 1 | ")
    assert ours.endswith(" | 1.00 \N{MULTIPLICATION SIGN} | 1.00 \N{EN DASH} 1.00 | equal |")
    assert right.startswith("| Tiny 1.0, 0 | 7 | 1.40e-05 | 2.80e-05 | ")
    assert right.endswith(" | equal |")
    assert wrong.startswith("| Tiny 1.0, 1 | 7 | 1.40e-05 | ")
    assert wrong.endswith(" | DIFFERENT |")
    assert dead == "| Tiny 1.0, 2 | 7 | | | | | tiny ended with status 3 |"
    assert absent == "| Tiny, quick | | | | | | absent |"
    assert common.summary("\n## One\n" + absent)[2:] == []


def test_a_peer_that_dies_before_it_says_its_version_has_a_row(common, elsewhere, script):
    script.write_text("raise SystemExit(4)", encoding="utf-8")
    peer = common.Peer(script, Path(sys.executable))
    entry = elsewhere.entered(elsewhere.Way("Tiny", "quick", None, {}), peer, 7, [7])
    peer.close()
    assert entry.run is None
    assert entry.result() == "tiny ended with status 4"
