"""Promise 1: neither cuts nor stops can be seen in the rows; snapshots that are not whole are refused."""

import itertools

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowedge.compile import program as p
from flowedge.lang.errors import CheckpointError
from flowedge.session.session import Session
from flowedge.session.snapshot import seal, unseal

FEW = settings(max_examples=40, derandomize=True, deadline=None)
SECOND = 1_000_000_000


class Net:
    def infer(self, inputs):
        return [np.concatenate([inputs[0].reshape(-1, 1), -inputs[0].reshape(-1, 1)], axis=1)]


def plain(plan, h):
    plan.sink(plan.window(plan.running(plan.source())))


def late(plan, h):
    source = plan.source(keys=("string",), late_ns=3 * h.SECOND, wants_late=True)
    part = plan.add(
        p.PartSpec, inputs=(source.id,), part="late", fields=source.fields, table=source.table
    )
    plan.sink(plan.window(source))
    plan.sink(part, "late")


def per_key(plan, h):
    source = plan.source(keys=("i64",), late_ns=2 * h.SECOND, late_per_key=True)
    order = plan.add(p.OrderSpec, inputs=(source.id,), fields=source.fields, table=source.table)
    plan.sink(plan.running(source), "each", fields=(p.Field("total", "f64"),))
    plan.sink(plan.window(order))


def signal(plan, h):
    options = {"is_signal": True, "rate_hz": 2.0, "jitter": 0.4}
    plan.sink(plan.running(plan.source(keys=("i64",), duplicates="first", **options)))


def filled(plan, h):
    options = {"is_signal": True, "rate_hz": 2.0, "duplicates": "first"}
    plan.sink(
        plan.running(
            plan.source(keys=("i64",), gaps_policy="linear", gaps_up_to_ns=5 * SECOND, **options)
        )
    )


def filled_alone(plan, h):
    options = {"is_signal": True, "rate_hz": 2.0, "duplicates": "first"}
    plan.sink(plan.running(plan.source(gaps_policy="hold", gaps_up_to_ns=5 * SECOND, **options)))


def last(plan, h):
    plan.sink(plan.running(plan.source(keys=("i64",), duplicates="last", late_ns=SECOND)))


def silence(plan, h):
    options = {"silence_ns": SECOND, "wants_silent": True, "expire_ns": 4 * SECOND}
    source = plan.source(keys=("i64",), late_ns=SECOND, **options)
    fields = (p.Field("silent", "bool"),)
    part = plan.add(
        p.PartSpec, inputs=(source.id,), part="silent", fields=fields, table=source.table
    )
    plan.sink(plan.running(source))
    plan.sink(part, "silent")


def sorted_first(plan, h):
    plan.sink(plan.window(plan.source(sort_first=True)))


def model(plan, h):
    source = plan.source(keys=("i64",))
    fields = (h.F64, p.Field("label", "string", labels=("+", "-")))
    plan.sink(
        plan.add(
            p.ModelSpec, inputs=(source.id,), fields=fields, passed=("v",), table=source.table,
            call=p.CallSpec(model="net", inputs_by_name=("v",), heads=(("softmax", ("+", "-"), 0),),
                            made=(("label", "label", 0),), batch=3),
        )
    )  # fmt: skip


def many(plan, h):
    """A source that meets itself: a join of the rows with their windows, and a union of both."""
    source = plan.source(keys=("i64",))
    windows = plan.window(source)
    joined = plan.latest(source, windows)
    take = ((("v", "v", 1.0, 0.0),), (("v", "right", 1.0, 0.0),))
    merged = plan.add(
        p.MergeSpec,
        inputs=(windows.id, joined.id),
        fields=(h.F64,),
        take=take,
        branches=(),
        table=source.table,
    )
    plan.sink(merged)
    plan.sink(plan.remember(plan.double(source)), "memory", fields=(h.F64,))


PLANS = [
    plain,
    late,
    per_key,
    signal,
    filled,
    filled_alone,
    last,
    silence,
    sorted_first,
    model,
    many,
]

rows = st.lists(
    st.tuples(st.integers(0, 40), st.integers(0, 3), st.integers(-5, 5)), min_size=1, max_size=60
)
cuts = st.lists(st.integers(0, 60), max_size=6)


def as_batch(h, drawn, build):
    times = [t / 2 for t, _, _ in drawn]
    keys = [k for _, k, _ in drawn]
    if build is late:
        keys = [f"k{k}" for k in keys]
    if build in (signal, filled, filled_alone):
        times = sorted(times)
    return h.rows(times, [float(v) for _, _, v in drawn], k0=keys)


def pieces(batch, at):
    edges = [0, *sorted(min(c, batch.num_rows) for c in at), batch.num_rows]
    return [batch.slice(a, b - a) for a, b in itertools.pairwise(edges)]


def result(plan, h, batches, stop_after=()):
    program = p.unpack(p.pack(plan.program()))
    models = {"net": Net()}
    session = Session(program, models)
    out = h.Out(session)
    for i, batch in enumerate(batches):
        out += session.push("s", batch)
        if i in stop_after:
            session = Session.restore(program, session.snapshot(), models, seed=i + 1)
    out += session.finish()
    return {name: out.table(name) for name in session.sinks}, session.ledger()


def same(a, b):
    for name, table in a.items():
        one, two = table.combine_chunks(), b[name].combine_chunks()
        assert one.schema == two.schema
        for column in one.column_names:
            x, y = one[column], two[column]
            if pa.types.is_dictionary(x.type):
                assert x.to_pylist() == y.to_pylist()
            elif pa.types.is_floating(x.type):
                np.testing.assert_array_equal(x.to_numpy(), y.to_numpy())
            else:
                assert x.to_pylist() == y.to_pylist()


@pytest.mark.parametrize("build", PLANS)
def test_cuts_of_the_input_cannot_be_seen(build, h):
    plan = h.Plan()
    build(plan, h)

    @FEW
    @given(rows, cuts)
    def check(drawn, at):
        batch = as_batch(h, drawn, build)
        whole, ledger = result(plan, h, [batch])
        parts, pieces_ledger = result(plan, h, pieces(batch, at))
        same(whole, parts)
        assert ledger == pieces_ledger

    check()


@pytest.mark.parametrize("build", PLANS)
def test_a_snapshot_anywhere_goes_on_bit_for_bit(build, h):
    plan = h.Plan()
    build(plan, h)

    @FEW
    @given(rows, cuts)
    def check(drawn, at):
        batch = as_batch(h, drawn, build)
        whole, ledger = result(plan, h, [batch])
        parts = pieces(batch, at)
        stopped, stopped_ledger = result(plan, h, parts, stop_after=range(len(parts)))
        same(whole, stopped)
        assert ledger == stopped_ledger

    check()


@pytest.mark.parametrize("build", PLANS)
def test_a_snapshot_at_every_row(build, h):
    plan = h.Plan()
    build(plan, h)
    rng = np.random.default_rng(8)
    drawn = [(int(t), int(k), int(v)) for t, k, v in rng.integers(0, [40, 3, 9], (25, 3))]
    if build not in (sorted_first, per_key):
        drawn.sort()
    batch = as_batch(h, drawn, build)
    whole, _ = result(plan, h, [batch])
    one_by_one = [batch.slice(i, 1) for i in range(batch.num_rows)]
    stopped, _ = result(plan, h, one_by_one, stop_after=range(batch.num_rows))
    same(whole, stopped)


def test_big_pushes_give_the_rows_of_small_ones(h):
    plan = h.Plan()
    many(plan, h)
    n = 200_000
    rng = np.random.default_rng(2)
    batch = h.rows([0.0])
    time = pa.array(np.sort(rng.integers(0, 300 * SECOND, n)), pa.int64()).cast(h.UTC)
    batch = pa.RecordBatch.from_pydict(
        {"time": time, "v": rng.integers(0, 9, n).astype(float), "k0": rng.integers(0, 50, n)}
    )
    whole, _ = result(plan, h, [batch])
    parts, _ = result(plan, h, pieces(batch, range(0, n, 7919)))
    same(whole, parts)


# ---- snapshots that must not be used


@pytest.fixture
def taken(plan, h):
    plan.sink(plan.window(plan.source(keys=("string",))))
    session = plan.session()
    session.push("s", h.rows([0, 0.5], k0=["a", "b"]))
    return plan, session.snapshot()


@pytest.mark.parametrize("place", [0, 9, 13, 17, 30, -1])
def test_a_damaged_snapshot_is_refused(taken, place):
    plan, state = taken
    broken = bytearray(state)
    broken[place] ^= 1
    with pytest.raises(CheckpointError) as error:
        Session.restore(plan.program(), bytes(broken))
    assert "\n" not in str(error.value)


def test_a_snapshot_cut_short_is_refused(taken):
    plan, state = taken
    for size in (0, 5, 23, 24, len(state) - 1):
        with pytest.raises(CheckpointError):
            Session.restore(plan.program(), state[:size])


def test_a_snapshot_of_another_pipeline_is_refused(taken):
    plan, state = taken
    plan.digest = "d2"
    with pytest.raises(CheckpointError, match="made by another pipeline"):
        Session.restore(plan.program(), state)


def test_a_snapshot_with_memory_laid_out_otherwise_is_refused(taken):
    plan, state = taken
    plan.replace(plan.nodes[1], record=24, record_init=bytes(24))
    with pytest.raises(CheckpointError, match="laid out otherwise"):
        Session.restore(plan.program(), state)


def test_a_snapshot_without_a_node_is_refused(taken):
    plan, state = taken
    value = unseal(state)
    del value["nodes"]["1"]
    with pytest.raises(CheckpointError, match="does not fit this version"):
        Session.restore(plan.program(), seal(value))


def test_equal_states_give_equal_bytes(plan, h):
    plan.sink(plan.window(plan.source(keys=("string",))))
    states = []
    for _ in range(2):
        session = plan.session()
        session.push("s", h.rows([0, 0.5], k0=["a", "b"]))
        states.append(session.snapshot())
    assert states[0] == states[1]
