"""What is left out where a run cannot keep up: only what less important sinks need, counted, and as behind a gap."""

import numpy as np
import pyarrow as pa
import pytest

import flowedge
from flowedge.graph.catalog import PlainCatalog
from flowedge.session.gate import GateNode
from flowedge.session.session import Session
from flowedge.types.connectors import ConnectorInfo

PLAIN = PlainCatalog(
    {"given": ConnectorInfo("given", "source", needs_address=False, describes_itself=False, writes_files=False)},
    {"kept": ConnectorInfo("kept", "sink", needs_address=False, writes_files=False)},
)  # fmt: skip
MS = 10**6

TWO = """
source s (time, v: f64) at 1 kHz from given()
stream base = s | derive w = v * 2
sink base | where w > 100 to kept() as alarms priority 9
sink base | derive m = mean(w) over 10 samples to kept() as archive
"""


def opened(text):
    return flowedge.compile(text=text, catalog=PLAIN).open()


def batch(first, count, **more):
    time = pa.array(np.arange(first, first + count) * MS, pa.timestamp("ns", "UTC"))
    return pa.record_batch(
        {"time": time, "v": np.arange(first, first + count, dtype=float), **more}
    )


def gates(session):
    return {n.spec.label: n.counts for n in session.nodes.values() if isinstance(n, GateNode)}


def rows_of(session, *batches, shut=()):
    """Rows by sink; the gates of low priority are shut for the batches of these numbers."""
    out = {}
    for number, rows in enumerate(batches):
        session.shed_below(1 if number in shut else -(10**9))
        for name, found in session.push("s", rows).items():
            out.setdefault(name, []).extend(found.to_pylist())
    for name, found in session.finish().items():
        out.setdefault(name, []).extend(found.to_pylist())
    return out


def test_equal_sinks_have_no_gates():
    assert not gates(opened(TWO.replace(" priority 9", "")))
    assert len(gates(opened(TWO))) == 1


def test_an_open_gate_changes_nothing():
    parts = [batch(100 * k, 100) for k in range(5)]
    plain = rows_of(opened(TWO.replace(" priority 9", "")), *parts)
    assert rows_of(opened(TWO), *parts) == plain


def test_what_is_important_is_all_there_and_the_rest_is_counted_and_starts_afresh():
    parts = [batch(100 * k, 100) for k in range(5)]
    session = opened(TWO)
    found = rows_of(session, *parts, shut={1, 2})
    plain = rows_of(opened(TWO), *parts)
    assert found["alarms"] == plain["alarms"]
    want = [r for r in plain["archive"] if not 100 <= r["v"] < 300]
    assert [r["v"] for r in found["archive"]] == [r["v"] for r in want]
    means = {r["v"]: r["m"] for r in found["archive"]}
    assert means[299 + 1] == 600.0, "memory restarts, as behind a gap"
    assert means[305.0] == np.mean([600, 602, 604, 606, 608, 610])
    assert means[350.0] == next(r["m"] for r in plain["archive"] if r["v"] == 350.0)
    (counts,) = gates(session).values()
    assert (counts.rows_in, counts.used, counts.shed) == (500, 300, 200)
    assert session.ledger()


KEYED = """
source s (time, device: key, v: f64) at 1 kHz from given()
sink s | where v > 1e9 to kept() as alarms priority 2
sink s | derive m = cumsum(v) to kept() as mid priority 1
sink s | derive m = cumsum(v) to kept() as low
"""


def test_only_keys_that_have_lost_rows_start_afresh_and_levels_go_in_order():
    session = opened(KEYED)
    assert sorted(label.rpartition(" ")[2] for label in gates(session)) == ["0", "1"]

    def rows(first, *devices):
        n = len(devices)
        time = pa.array(np.repeat(first, n) * MS, pa.timestamp("ns", "UTC"))
        return pa.record_batch({"time": time, "device": pa.array(devices), "v": np.ones(n)})

    out = {"mid": [], "low": []}
    for first, devices, level in ((0, "ab", -9), (1, "ab", -9), (2, "a", 1), (3, "ab", 2), (4, "ab", -9), (5, "ab", -9)):  # fmt: skip
        session.shed_below(level)
        for name, found in session.push("s", rows(first, *devices)).items():
            out[name] += [(r["time"].microsecond // 1000, r["device"], r["m"]) for r in found.to_pylist()]  # fmt: skip
    last = {name: [x for x in found if x[0] == 5] for name, found in out.items()}
    # b has lost row 2 at its source, which no gap says before row 3: to mid it is whole but for row 3, which was shed there
    assert last["mid"] == [(5, "a", 2.0), (5, "b", 2.0)]
    assert last["low"] == [(5, "a", 2.0), (5, "b", 2.0)]
    assert [x[:2] for x in out["mid"] if x[0] == 2] == [(2, "a")]
    assert not [x for x in out["low"] if x[0] in (2, 3)]


@pytest.mark.parametrize("at", [1, 2, 3])
def test_a_shut_gate_outlives_a_snapshot(at):
    text = TWO.replace(
        "derive m = mean(w) over 10 samples", "window 7 samples | aggregate sum(w) as m"
    )
    parts = [batch(50 * k, 50) for k in range(5)]
    plan = flowedge.compile(text=text, catalog=PLAIN)
    whole = plan.open()
    want = rows_of(whole, *parts, shut={1, 2})
    one = plan.open()
    found = {}
    for number, rows in enumerate(parts):
        one.shed_below(1 if number in {1, 2} else -(10**9))
        if number == at:
            one = Session.restore(one.program, one.snapshot())
        for name, got in one.push("s", rows).items():
            found.setdefault(name, []).extend(got.to_pylist())
    for name, got in one.finish().items():
        found.setdefault(name, []).extend(got.to_pylist())
    assert found == want
    assert one.ledger() == whole.ledger()


def test_rows_nobody_has_time_for_are_in_the_ledger():
    session = opened(TWO)
    session.push("s", batch(0, 10))
    session.turn_away("s", 7)
    session.push("s", batch(17, 10))
    session.finish()
    counts = session.ledger()["s"]
    assert (counts["rows_in"], counts["used"], counts["shed"]) == (27, 20, 7)
    assert counts["gaps"] == 1


JOINED = """
source a (time, v: f64) from given() late 0 s
source b (time, v: f64) from given() late 0 s
stream both = a | join b latest
sink both | where v > 50 to kept() as alarms priority 5
sink b | window 10 ms | aggregate count() as n to kept() as counts
"""


def test_a_source_of_an_important_join_is_not_shed_before_it():
    session = opened(JOINED)
    (label,) = gates(session)
    assert label == "b: gate of priority 0"
    session.shed_below(1)
    found = {"alarms": [], "counts": []}
    for k in range(4):
        for name in ("b", "a"):
            for sink, rows in session.push(name, batch(40 * k, 40)).items():
                found[sink] += rows.to_pylist()
    for sink, rows in session.finish().items():
        found[sink] += rows.to_pylist()
    assert len(found["alarms"]) == 109
    assert all(r["b_v"] == r["v"] for r in found["alarms"])
    assert not found["counts"]
