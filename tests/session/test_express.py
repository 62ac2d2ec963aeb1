"""The short way gives what the usual way gives: rows, ledger, snapshots, whatever comes."""

import numpy as np
import pyarrow as pa
import pytest
from support.channels import OneInput

import flowedge
from flowedge.graph.catalog import ModelShape, PlainCatalog, Tensor
from flowedge.lang.errors import CheckpointError, SourceError
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


def both(plan, pushes, models=None, partition="", *, texts_are_same=True):
    """Push into a session with, and one without the short way; returns whether the short way was gone.

    Texts that only pass are not in the pool of the short way, so that snapshots differ where there are some.
    """
    quick, usual = plan.open(models), plan.open(models)
    assert quick._express is not None
    taken, real = [], quick._express.push

    def watched(batch, *more):
        out = real(batch, *more)
        taken.append(out is not None)
        return out

    quick._express.push = watched
    usual._express = None
    for node in usual.nodes.values():
        if hasattr(node, "tail"):
            node.tail = None
    for batch in pushes:
        given, wanted = quick.push("s", batch, partition), usual.push("s", batch, partition)
        assert given.keys() == wanted.keys()
        for name, found in given.items():
            found.validate(full=True)
            # NaN is one thing here, and the comparison is of bits otherwise.
            assert repr(found.to_pydict()) == repr(wanted[name].to_pydict())
            assert found.schema.equals(wanted[name].schema, check_metadata=True)
        assert [quick.watermark(n) for n in quick.sinks] == [
            usual.watermark(n) for n in usual.sinks
        ]
    if texts_are_same:
        assert quick.snapshot() == usual.snapshot()
    last, wanted = quick.finish(), usual.finish()
    assert {k: repr(v.to_pydict()) for k, v in last.items()} == {
        k: repr(v.to_pydict()) for k, v in wanted.items()
    }
    assert quick.ledger() == usual.ledger()
    return taken


@pytest.mark.parametrize("policy", ["nan", "hold", "linear", "nan up to 1 s", "hold up to 1 s"])
@pytest.mark.parametrize("nulls", [False, True])
def test_next_samples_go_the_short_way_where_gaps_are_filled(policy, nulls):
    """Rows before a gap went the short way, few and many of them; those behind it go the usual one."""
    rng, at, pushes, wanted = np.random.default_rng(5), 0, [], []
    for n, lost in ((300, 0), (1, 0), (40, 3), (7, 0), (60, 900), (1, 0), (200, 0), (3, 1), (200, 0), (3, 2)):  # fmt: skip
        pushes.append(rows(n, rng, first=at + lost, holes=nulls))
        at += lost + n
        wanted.append(lost == 0)
    text = TIMED.replace("from given()", f"from given() gaps {policy}")
    taken = both(plan_of(text), pushes)
    assert taken == wanted


@pytest.mark.parametrize("policy", ["hold", "linear"])
@pytest.mark.parametrize("n", [20, 200])
def test_a_session_goes_on_with_the_last_row_that_took_the_short_way(policy, n):
    """Its texts as well, which nobody had looked at."""
    text = f"source s (time, v: f64, note: string) at 100 Hz from given() gaps {policy}\nsink s to kept()"
    plan = plan_of(text)

    def push(session, n, first):
        v = pa.array(np.arange(n, dtype=float))
        time = pa.array((first + np.arange(n)) * PERIOD, pa.timestamp("ns", "UTC"))
        notes = pa.array([f"{first + k}" for k in range(n)])
        return session.push("s", pa.record_batch({"time": time, "v": v, "note": notes}))

    session = plan.open()
    assert session._express is not None
    push(session, n, 0)
    other = Session.restore(plan.program, session.snapshot())
    (found,), (wanted,) = (push(s, 5, n + 4).values() for s in (other, session))
    assert found.equals(wanted)
    assert found["note"].to_pylist()[:5] == [*[f"{n - 1}"] * 4, f"{n + 4}"]


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
    for n in rng.integers(1, most, 60 if most < 100 else 20):
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
        "source s (time, v: f64, k: key) at 1 Hz from given()\n gaps hold\nsink s to kept()",
        "source s (time, v: f64, k: key) from given()\n late 1 s per key\nsink s to kept()",
        "source s (time, v: f64, k: key) from given()\n duplicates last\nsink s to kept()",
        "source s (v: f64) at 1 Hz from given()\nsink s | derive p = psd(v) over 8 samples to kept()",
        "source s (v: f64) at 1 Hz from given()\nstream a = s | where v > 0\nstream u = s, a\nsink u to kept()",
        "source s (time, v: f64) at 1 Hz from given()\n late 1 s\nsink s to kept()",
    ],
)
def test_other_plans_have_no_short_way(text):
    assert plan_of(text).open()._express is None


# ---- keys

KEYED = """
source s (time, site: key, unit: key i32, v: f64, n: i64, told: string) from given()
    late 0 s
    {bound}
stream r = s | derive e = ema(v, 2 s), d = v - lag(v, 1) | select v, e, d
sink r to kept()
sink s | classify rules {{ "alarm" when v > 1 and n < 3  "warm" when v > 0  otherwise "fine" }} to kept() as rules
sink r | window 3 s | aggregate mean(e) as e, count() as n to kept() as windows
sink r | where v > 0 deadline 1 s else keep to kept() as some
sink s | select told, n deadline 1 s else keep to kept() as told
"""
SECOND = 10**9


def readings(rng, at, rows, keys, **odd):
    """A few rows, `at` seconds after 1970 and on, of some keys."""
    time = (at * SECOND + np.sort(rng.integers(0, SECOND // 2, rows))).astype("i8")
    if odd.get("backwards"):
        time = time[::-1].copy()
    units = rng.integers(0, 2, rows).astype("i4")
    sites = pa.array([f"site {k}é" for k in rng.integers(0, keys, rows)])
    lack = odd.get("lack") == "key"
    v = rng.normal(size=rows)
    if odd.get("lack") == "value":
        v[0] = np.nan
    return pa.record_batch({
        "time": pa.array(time, pa.timestamp("ns", "UTC")),
        "site": sites.dictionary_encode() if odd.get("coded") else sites,
        "unit": pa.array(units, mask=np.arange(rows) == 0 if lack else None),
        "v": v, "n": rng.integers(0, 6, rows), "told": [f"said {k}" for k in range(rows)],
    })  # fmt: skip


@pytest.mark.parametrize("bound", ["max keys 100", "expire key after 20 s", "expire key after 20 s\n    max keys 12"])  # fmt: skip
@pytest.mark.parametrize("partition", ["", "connection 1"])
def test_few_rows_of_known_keys_give_what_the_usual_way_gives(bound, partition):
    rng = np.random.default_rng(11)
    plan = plan_of(KEYED.format(bound=bound))
    pushes = []
    for turn in range(300):
        odd = rng.choice([*[""] * 20, "late", "backwards", "key", "value", "coded", "pause", "many"])  # fmt: skip
        at = turn + 30 * sum(p is None for p in pushes) - (4 if odd == "late" else 0)
        rows = 200 if odd == "many" else int(rng.integers(1, 9))
        what = {"backwards": odd == "backwards", "coded": odd == "coded", "lack": odd}
        pushes.append(readings(rng, at, rows, 4 + turn // 60, **what))
        if odd == "pause":
            pushes.append(None)
    taken = both(plan, [p for p in pushes if p is not None], None, partition, texts_are_same=False)
    assert sum(taken) > 100
    assert not all(taken)


def test_keys_that_are_forgotten_are_known_no_more():
    """Slots are given to other keys: what the short way knew of them must go."""
    rng = np.random.default_rng(12)
    plan = plan_of(KEYED.format(bound="expire key after 3 s"))
    quick, usual = plan.open(), plan.open()
    usual._express = None
    quick.key_slack = usual.key_slack = 1
    for turn in range(200):
        batch = readings(rng, turn, 4, 3 + turn % 40)
        given, wanted = quick.push("s", batch), usual.push("s", batch)
        assert {k: repr(v.to_pydict()) for k, v in given.items()} == {
            k: repr(v.to_pydict()) for k, v in wanted.items()
        }
    assert quick.finish().keys() == usual.finish().keys()
    assert quick.ledger() == usual.ledger()


def test_a_snapshot_of_keys_goes_on_the_short_way():
    rng = np.random.default_rng(13)
    plan = plan_of(KEYED.format(bound="max keys 100"))
    straight, session = plan.open(), plan.open()
    for turn in range(30):
        batch = readings(rng, turn, 3, 3)
        wanted, given = straight.push("s", batch), session.push("s", batch)
        assert {k: repr(v.to_pydict()) for k, v in given.items()} == {
            k: repr(v.to_pydict()) for k, v in wanted.items()
        }
        if turn % 7 == 3:
            session = Session.restore(plan.program, session.snapshot())


SIGNALS = """
source s (time, k: key, v: f64, x: f32) at 100 Hz from given()
    {bound}
stream o = s | filter bandpass(5 Hz .. 15 Hz, order=2) on v
sink o to kept()
sink o | window 8 samples every 4 samples | aggregate mean(v) as m, max(x) as x to kept() as windows
model net = torch("net.pt2") input (v, x) output softmax ["low", "high", "none"] batch 1
sink s | window 8 samples every 4 samples | classify with net | select label, score to kept() as label
"""


@pytest.mark.parametrize("bound", ["max keys 100", "expire key after 20 s"])
def test_samples_of_known_keys_give_what_the_usual_way_gives(bound):
    """Several devices, each with its own steps; some samples come too late, too early, twice, or never."""
    rng = np.random.default_rng(15)
    plan = plan_of(SIGNALS.format(bound=bound))
    pushes, at = [], dict.fromkeys("abc", 0)
    for turn in range(1500):
        odd = rng.choice(["", "hole", "twice", "off"], p=[0.97, 0.01, 0.01, 0.01])
        known = list(at) if turn < 700 or turn > 900 else ["a", "b"]
        step = {"hole": 3 * PERIOD, "twice": 0, "off": PERIOD * 4 // 10}.get(odd, PERIOD)
        names = known if turn % 3 else known[:1] * 2  # together, or two of one device
        taken = []
        for name in names:
            at[name] = max([*at.values()]) if name != known[0] else at[name] + step
            taken.append((at[name] + 10**9, name))
        taken.sort()
        time = pa.array([t for t, _ in taken], pa.timestamp("ns", "UTC"))
        v = rng.normal(size=len(taken))
        pushes.append(pa.record_batch({"time": time, "k": [k for _, k in taken], "v": v, "x": v.astype("f4")}))  # fmt: skip
    taken = both(plan, pushes, {"net": Net()})
    assert 100 < sum(taken) < len(taken)


@pytest.mark.parametrize("rows", [1, 100])
@pytest.mark.parametrize("number", [999, -2])
def test_a_label_that_a_damaged_snapshot_made_up_is_told(rows, number):
    """Kernels that remember texts do so as numbers, and the short way goes past the node that looks at them."""
    sink = plan_of(KEYED.format(bound="max keys 100")).open().sinks["rules"]
    (field,) = (f for f in sink.spec.fields if f.labels is not None)
    with pytest.raises(CheckpointError, match="a text that is not there"):
        sink.column(field, np.full(rows, number))


def test_two_connections_go_the_usual_way():
    """Rows of each wait for those of the other."""
    rng = np.random.default_rng(14)
    session = plan_of(KEYED.format(bound="max keys 100")).open()
    for turn in range(6):
        session.push("s", readings(rng, turn, 3, 1), "a")
    session.mark("s", 0, "b")
    assert session._express.push(readings(rng, 7, 3, 1), "a") is None
