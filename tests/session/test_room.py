"""The arrays that a kernel writes its rows into are no larger, once somebody has them, than what came out needs."""

import tracemalloc

import numpy as np
import pyarrow as pa
import pytest

import flowedge
from flowedge.graph.catalog import PlainCatalog
from flowedge.types.connectors import ConnectorInfo

GIVEN = PlainCatalog(
    {"given": ConnectorInfo("given", "source", needs_address=False, describes_itself=False, writes_files=False)},
    {"kept": ConnectorInfo("kept", "sink", needs_address=False, writes_files=False)},
)  # fmt: skip
PLANS = {
    "windows of many keys": """
source s (time, device: key i32, v: f64) from given()
sink s | window 10 s | aggregate count() as n, sum(v) as total to kept()
""",
    "a filter": """
source s (time, device: key i32, v: f64) from given()
sink s | where v > 0.7 to kept()
""",
}
PUSHES = {
    "alike": [4096] * 12,
    "of every size": [30_000, 1, 2000, 64, 65, 12_000, 1, 1, 900, 4000],
    "growing": [70, 300, 1200, 5000, 20_000],
}
ROWS = 50_000


def rows():
    """Bursts: in every other stretch of 5,000 rows hardly anything passes."""
    draw = np.random.default_rng(4)
    v = draw.random(ROWS) * np.where(np.arange(ROWS) // 5000 % 2, 1.0, 0.75)
    step = 10**9 // 400
    time = pa.array(np.arange(ROWS) * step).cast(pa.timestamp("ns", "UTC"))
    device = draw.integers(0, 400, ROWS).astype(np.int32)
    return pa.record_batch({"time": time, "device": device, "v": v})


def pushed(plan, batch, sizes):
    """All that comes out, kept until the end."""
    session, at, out = plan.open(), 0, []
    while at < batch.num_rows:
        for size in sizes:
            out += session.push("s", batch.slice(at, size)).values()
            at += size
    out += session.finish().values()
    return pa.Table.from_batches(out)


@pytest.mark.parametrize("name", PLANS)
@pytest.mark.parametrize("sizes", PUSHES)
def test_rows_that_somebody_keeps_are_not_written_over(name, sizes):
    plan = flowedge.compile(text=PLANS[name], catalog=GIVEN)
    whole = pushed(plan, rows(), [ROWS])
    assert whole.num_rows > 1000
    assert pushed(plan, rows(), PUSHES[sizes]).equals(whole)


def test_rows_that_somebody_keeps_take_about_as_much_memory_as_they_say():
    plan = flowedge.compile(text=PLANS["windows of many keys"], catalog=GIVEN)
    session, batch, kept = plan.open(), rows(), []
    shift = ROWS * (10**9 // 400)
    tracemalloc.start()
    try:
        for k in range(12):
            time = pa.array(batch["time"].cast(pa.int64()).to_numpy() + k * shift)
            moved = batch.set_column(0, "time", time.cast(batch["time"].type))
            kept += session.push("s", moved).values()
            if k == 3:
                before, first = tracemalloc.get_traced_memory()[0], len(kept)
            del moved, time
        taken = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    said = sum(out.get_total_buffer_size() for out in kept[first:])
    assert said > 500_000
    assert taken < 2 * said
