"""The short way gives what the usual way gives: rows, ledger, snapshots, whatever comes."""

import numpy as np
import pyarrow as pa
import pytest
from support.channels import OneInput

import flowedge
from flowedge.graph.catalog import ModelShape, PlainCatalog, Tensor
from flowedge.lang.errors import SourceError
from flowedge.session.session import Session
from flowedge.types.connectors import ConnectorInfo

PLAIN = PlainCatalog(
    {"given": ConnectorInfo("given", "source", needs_address=False, describes_itself=False, writes_files=False)},
    {"kept": ConnectorInfo("kept", "sink", needs_address=False, writes_files=False)},
    {"net.pt2": ModelShape((Tensor("x", (None, 2, 8)),), (Tensor("y", (None, 3)),))},
)  # fmt: skip
CHAIN = """
stream o = s
    | filter bandpass(5 Hz .. 15 Hz, order=2) on v
    | derive d = v - lag(v, 1), w = mean(v ^ 2) over 7 samples
sink o to kept()
sink s | derive u = 2 * x | select u to kept() as other
"""
CUT = """
model net = torch("net.pt2") input (v, x) output softmax ["low", "high", "none"] batch 2 breaker 2 for 300 ms
stream o = s | filter bandpass(5 Hz .. 15 Hz, order=2) on v, x
sink o to kept()
sink o
    | window 8 samples every 4 samples
    | derive v = v - mean(v)
    | classify with net
    | select label, score
    to kept() as label
sink s | where v > 1 to kept() as some
sink o | window 3 samples | aggregate mean(v) as m | where m > 0 to kept() as pairs
sink s | resample 7 Hz hold to kept() as grid
"""
COUNTED = "source s (v: f64, x: f32) at 100 Hz from given()" + CHAIN
TIMED = "source s (time, v: f64, x: f32) at 100 Hz from given()" + CHAIN
PERIOD = 10_000_000


class Net:
    """Three scores of a frame of two channels; raises where its first value is above a limit."""

    def __init__(self, limit=np.inf):
        self.limit = limit

    def infer(self, inputs):
        v, x = inputs
        assert len(v) == 2
        if (v[:, 0] > self.limit).any():
            raise ValueError("too much")
        return [np.stack([v.sum(1), x.sum(1), v[:, 0]], 1)]


def plan_of(text):
    return flowedge.compile(text=text, catalog=PLAIN)


def rows(n, rng, *, first=None, holes=False, nulls=False):
    v = rng.normal(size=n)
    if holes:
        v[rng.random(n) < 0.1] = np.nan
        v[rng.random(n) < 0.02] = np.inf
    mask = rng.random(n) < 0.1 if nulls else None
    columns = {"v": pa.array(v, mask=mask), "x": pa.array(v.astype("f4"))}
    if first is not None:
        time = pa.array((first + np.arange(n)) * PERIOD, pa.timestamp("ns", "UTC"))
        columns = {"time": time, **columns}
    return pa.record_batch(columns)


def both(plan, pushes, models=None):
    """Push into a session with, and one without the short way; returns whether the short way was gone."""
    quick, usual = plan.open(models), plan.open(models)
    assert quick._express is not None
    taken, real = [], quick._express.push

    def watched(batch):
        out = real(batch)
        taken.append(out is not None)
        return out

    quick._express.push = watched
    usual._express = None
    for node in usual.nodes.values():
        if hasattr(node, "tail"):
            node.tail = None
    for batch in pushes:
        given, wanted = quick.push("s", batch), usual.push("s", batch)
        assert given.keys() == wanted.keys()
        for name, found in given.items():
            found.validate(full=True)
            # NaN is one thing here, and the comparison is of bits otherwise.
            assert repr(found.to_pydict()) == repr(wanted[name].to_pydict())
            assert found.schema.equals(wanted[name].schema, check_metadata=True)
        assert [quick.watermark(n) for n in quick.sinks] == [
            usual.watermark(n) for n in usual.sinks
        ]
    assert quick.snapshot() == usual.snapshot()
    last, wanted = quick.finish(), usual.finish()
    assert {k: repr(v.to_pydict()) for k, v in last.items()} == {
        k: repr(v.to_pydict()) for k, v in wanted.items()
    }
    assert quick.ledger() == usual.ledger()
    return taken


@pytest.mark.parametrize("text", [COUNTED, TIMED])
@pytest.mark.parametrize("holes", [False, True])
def test_next_samples_go_the_short_way(text, holes):
    rng, at, pushes = np.random.default_rng(3), 0, []
    for n in rng.integers(1, 2000, 12):
        first = at if text is TIMED else None
        pushes.append(rows(int(n), rng, first=first, holes=holes))
        at += int(n)
    assert all(both(plan_of(text), pushes))


@pytest.mark.parametrize("source", [COUNTED, TIMED])
@pytest.mark.parametrize("most", [2, pytest.param(40, marks=pytest.mark.slow), 2000])
@pytest.mark.parametrize("limit", [np.inf, 0.3])
@pytest.mark.parametrize("way", [lambda net: net, OneInput], ids=["columns", "one input"])
def test_behind_windows_conditions_and_models_rows_are_those_of_the_usual_way(
    source, most, limit, way
):
    rng, at, pushes = np.random.default_rng(11), 0, []
    for n in rng.integers(1, most, 60):
        pushes.append(rows(int(n), rng, first=at if source is TIMED else None, holes=True))
        at += int(n)
    text = source.replace(CHAIN, CUT)
    plan, net = plan_of(text), way(Net(limit))
    assert all(both(plan, pushes, {"net": net}))
    session = plan.open({"net": net})
    out = [session.push("s", batch) for batch in pushes]
    assert {name for found in out for name in found} == {"o", "label", "some", "pairs", "grid"}
    assert (getattr(net, "filled", 0) > 0) == (way is OneInput)
    (told,) = session.models_told().values()
    assert (told["failed"] > 0) == (limit < 1)


@pytest.mark.parametrize("way", [lambda net: net, OneInput], ids=["columns", "one input"])
def test_behind_a_gap_windows_begin_anew_on_either_way(way):
    rng = np.random.default_rng(12)
    starts = [(0, 30), (30, 3), (50, 30), (80, 7), (87, 30)]
    pushes = [rows(n, rng, first=at) for at, n in starts]
    taken = both(plan_of(TIMED.replace(CHAIN, CUT)), pushes, {"net": way(Net())})
    assert taken == [True, True, False, True, True]


def test_rows_that_are_not_the_next_samples_go_the_usual_way():
    rng = np.random.default_rng(4)
    starts = [(0, 50), (50, 50), (130, 50), (180, 20), (190, 30), (10, 5), (220, 1), (221, 3)]
    pushes = [rows(n, rng, first=at) for at, n in starts]
    taken = both(plan_of(TIMED), pushes)
    assert taken[:2] == [True, True]
    assert not all(taken[2:6])


def test_missing_values_and_empty_pushes_go_the_usual_way():
    rng = np.random.default_rng(5)
    pushes = [rows(9, rng), rows(0, rng), rows(30, rng, nulls=True), rows(9, rng)]
    assert both(plan_of(COUNTED), pushes) == [True, False, False, True]


def test_slices_of_a_batch_are_read_where_they_lie():
    rng = np.random.default_rng(6)
    whole = rows(1000, rng, first=0)
    assert all(both(plan_of(TIMED), [whole.slice(0, 333), whole.slice(333, 1), whole.slice(334)]))


def test_a_snapshot_taken_on_the_short_way_goes_on_there():
    rng = np.random.default_rng(7)
    plan, batch = plan_of(COUNTED), rows(500, rng)
    straight = plan.open()
    wanted = [straight.push("s", batch)["o"] for _ in range(4)]
    session = plan.open()
    for expected in wanted:
        assert repr(session.push("s", batch)["o"].to_pydict()) == repr(expected.to_pydict())
        session = Session.restore(plan.program, session.snapshot())
        assert session._express is not None


def test_another_type_is_read_the_usual_way_and_a_missing_column_is_refused():
    plan = plan_of(COUNTED)
    session = plan.open()
    narrow = pa.record_batch(
        {"v": pa.array([1.0, 2.0], pa.float32()), "x": pa.array([1.0, 2.0], pa.float32())}
    )
    assert session._express.push(narrow) is None
    assert session.push("s", narrow)["o"].num_rows == 2
    with pytest.raises(SourceError, match="no column `x`"):
        session.push("s", pa.record_batch({"v": [1.0]}))


@pytest.mark.parametrize(
    "text",
    [
        "source s (v: f64, k: key i64) at 1 Hz from given()\nsink s to kept()",
        "source s (v: f64) at 1 Hz from given()\nsink s | derive p = psd(v) over 8 samples to kept()",
        "source s (v: f64) at 1 Hz from given()\nstream a = s | where v > 0\nstream u = s, a\nsink u to kept()",
        "source s (time, v: f64) from given()\nsink s to kept()",
        "source s (v: i64) at 1 Hz from given()\nsink s to kept()",
        "source s (v: f64) at 1 Hz from given()\n gaps hold\nsink s to kept()",
        "source s (time, v: f64) at 1 Hz from given()\n late 1 s\nsink s to kept()",
    ],
)
def test_other_plans_have_no_short_way(text):
    assert plan_of(text).open()._express is None
