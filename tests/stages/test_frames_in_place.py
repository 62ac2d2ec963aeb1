"""Frames side by side, read where they were pushed: the rows of a window and its stages apart, however rows come, and over a restart."""

from functools import cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from support.flow import CATALOG

from flowedge.runtime.plan import compile_flow

SIGNAL = "source s (time, v: f64, w: f32, n: i64, on: bool) at 10 Hz from given() time time\n"
ROWS = "source s (time, v: f64, w: f32, n: i64, on: bool) from given() time time\n"
STAGES = {
    "aggregates": "aggregate sum(v) as a, mean(w) as b, std(w) as c, median(v) as d, max(n) as e, slope(v) as f, last(v) as g, count(on) as h",
    "samples": "derive y = (w - mean(w)) / std(w), z = v - max(v) | unnest y, z, n",
    "lists": "derive y = v - mean(v), z = y * y + w",
    "first, then samples": "derive y = v - mean(v), z = y * 2 | unnest z, v",
}


@cache
def plan_of(source, size, stages, fuse=True):
    text = f"{source}sink s | window {size} samples | {STAGES[stages]} to expected()"
    return compile_flow(text=text, catalog=CATALOG, fuse=fuse)


def recorded(rows, *, missing, seed=5):
    """Rows at 10 Hz, with gaps, and a few values missing."""
    draw = np.random.default_rng(seed)
    time = np.cumsum(draw.choice([1] * 1500 + [5], rows)) * 10**8
    v, w = draw.normal(size=rows), draw.normal(3, 1, rows).astype(np.float32)
    if missing:
        v[draw.random(rows) < 0.05] = np.nan
        w[draw.random(rows) < 0.05] = np.nan
    return pa.table({
        "time": pa.array(time).cast(pa.timestamp("ns", "UTC")), "v": v, "w": w,
        "n": draw.integers(-9, 9, rows), "on": pa.array(draw.random(rows) < 0.5),
    })  # fmt: skip


def run(plan, table, pieces, *, restored=False):
    """The rows that come, the table pushed in pieces of these lengths in turn; and the ledger."""
    session, found, at, k = plan.open(), [], 0, 0
    while at < table.num_rows:
        (piece,) = table.slice(at, pieces[k % len(pieces)]).combine_chunks().to_batches()
        found += session.push("s", piece).values()
        at, k = at + piece.num_rows, k + 1
        if restored:
            session = plan.restore(session.snapshot())
    found += session.finish().values()
    return pa.Table.from_batches(found), session.ledger()


def bits(table):
    """All that a table holds, a missing float as any other."""
    return [(name, *_bits(table[name].combine_chunks())) for name in table.column_names]


def _bits(column):
    kind, lengths = column.type, []
    while pa.types.is_list(column.type) or pa.types.is_fixed_size_list(column.type):
        lengths.append(pc.list_value_length(column).to_pylist())
        column = column.flatten()
    valid = column.is_valid().to_pylist()
    values = column.fill_null(False if pa.types.is_boolean(column.type) else 0)
    values = values.to_numpy(zero_copy_only=False)
    if values.dtype.kind == "f":
        values = np.where(np.isnan(values), np.nan, values)
    return str(kind), lengths, valid, values.tobytes()


@pytest.mark.parametrize("stages", STAGES)
@pytest.mark.parametrize(("source", "size"), [(SIGNAL, 7), (ROWS, 700)])
def test_it_is_what_the_stages_apart_give(source, size, stages):
    table = recorded(5000, missing=size != 7)
    apart, ledger = run(plan_of(source, size, stages, fuse=False), table, [1000])
    assert apart.num_rows
    fused = plan_of(source, size, stages)
    assert len(fused.program.nodes) < len(plan_of(source, size, stages, fuse=False).program.nodes)
    for pieces in ([5000], [size, 3 * size, size + 1], [311, 4, 64], [1200]):
        found, mine = run(fused, table, pieces)
        assert bits(found) == bits(apart)
        name = f"window {size} samples"
        assert mine[name]["incomplete"] == ledger[name]["incomplete"]


@pytest.mark.parametrize("stages", STAGES)
@pytest.mark.parametrize("size", [7, 700])
def test_a_restart_changes_nothing(size, stages):
    table = recorded(3000, missing=True)
    plan = plan_of(SIGNAL, size, stages)
    whole, _ = run(plan, table, [3000])
    again, _ = run(plan, table, [411, 2, 90], restored=True)
    assert bits(again) == bits(whole)


def test_aggregates_are_those_of_numpy():
    table = recorded(4200, missing=False)
    out, _ = run(plan_of(ROWS, 700, "aggregates"), table, [1000])
    v, w = (table[name].to_numpy()[:4200].reshape(6, 700) for name in ("v", "w"))
    np.testing.assert_allclose(out["a"], v.sum(1), rtol=1e-12)
    np.testing.assert_allclose(out["b"], w.astype(float).mean(1), rtol=1e-14)
    np.testing.assert_allclose(out["c"], w.astype(float).std(1), rtol=1e-13)


def test_a_long_frame_finds_room_for_its_samples():
    """Rows come a few at a time, and a frame gives more at once than room is offered for."""
    table = recorded(6000, missing=False)
    plan = plan_of(ROWS, 2500, "samples")
    whole, _ = run(plan, table, [6000])
    few, _ = run(plan, table, [10])
    assert whole.num_rows == 5000
    assert bits(few) == bits(whole)
