"""Rows that no full window of samples held are counted as incomplete."""

import numpy as np
import pyarrow as pa
import pytest

import flowedge
from flowedge.graph.catalog import PlainCatalog
from flowedge.types.connectors import ConnectorInfo

PLAIN = PlainCatalog(
    {"given": ConnectorInfo("given", "source", needs_address=False, describes_itself=False, writes_files=False)},
    {"kept": ConnectorInfo("kept", "sink", needs_address=False, writes_files=False)},
)  # fmt: skip


def held(n, size, hop):
    """Rows of n in a row that a full window holds."""
    out = set()
    for start in range(0, n - size + 1, hop):
        out.update(range(start, start + size))
    return out


@pytest.mark.parametrize(("size", "hop"), [(4, 4), (4, 1), (5, 3), (3, 5)])
@pytest.mark.parametrize("runs", [[11], [2, 9, 4], [4, 4], [3]])
@pytest.mark.parametrize("keys", [0, 3])
def test_the_ledger_counts_them(size, hop, runs, keys):
    """Runs of samples with gaps between them; with keys, each has the same ones."""
    times, at = [], 0
    for run in runs:
        times += range(at, at + run)
        at += run + 7
    width = max(1, keys)
    time = pa.array(np.repeat(times, width) * 10**9, pa.int64()).cast(pa.timestamp("ns", "UTC"))
    columns = {"time": time, "v": np.arange(float(len(time)))}
    key = ""
    if keys:
        key = ", k: key i64"
        columns["k"] = np.tile(np.arange(keys), len(times))
    plan = flowedge.compile(
        text=f"source s (time, v: f64{key}) at 1 Hz from given()\n"
        f"sink s | window {size} samples every {hop} samples | aggregate mean(v) as m to kept()", catalog=PLAIN,
    )  # fmt: skip
    session = plan.open()
    table = pa.table(columns)
    for start in range(0, len(time), 5):
        session.push("s", table.slice(start, 5))
    session.finish()
    (counts,) = (c for name, c in session.ledger().items() if name.startswith("window"))
    lost = sum(run - len(held(run, size, hop)) for run in runs)
    skipped = 0
    if hop > size:  # rows between windows were never meant to be in one
        skipped = sum(sum(i % hop >= size for i in range(run)) for run in runs)
    assert counts["incomplete"] == (lost - skipped) * width
    assert counts["used"] + counts["incomplete"] == counts["rows_in"]
