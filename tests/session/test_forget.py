"""Texts of ever new values take no more memory than what is held of them."""

import numpy as np
import pyarrow as pa
import pytest
from support.flow import CATALOG

from flowedge.runtime.plan import compile_flow

SOURCE = "source s (time, k: key string, text: string, v: f64) from given() late 2 s\n"
CHAINS = [
    "sink s to expected()",
    'sink s | where v > 0 | derive before = prev(text, "none"), same = text == "row 7" to expected()',
    "sink s | window 10 s | aggregate first(text) as a, last(text) as b, count() as n to expected()",
    "sink s | window 4 samples | aggregate mode(text) as a, max(v) as m to expected()",
    'sink s | classify rules { "hot" when v > 1 for 2 s otherwise "ok" } to expected()',
    "stream other = s | where v > 1 | select told = text\nsink s | join other latest to expected()",
    "sink s | split gap 1 s | aggregate distinct(text) as n, last(text) as b to expected()",
]


def rows(n, first, rng):
    time = (first + np.arange(n) + rng.integers(-1, 2, n)) * 10**9 // 4
    return pa.record_batch({
        "time": pa.array(time, pa.timestamp("ns", "UTC")), "k": [f"key {i % 5}" for i in range(n)],
        "text": pa.array([f"row {first + i}" for i in range(n)], mask=rng.random(n) < 0.1), "v": rng.normal(size=n),
    })  # fmt: skip


@pytest.mark.parametrize("chain", CHAINS)
def test_rows_do_not_depend_on_what_is_forgotten(chain):
    plan = compile_flow(text=SOURCE + chain, catalog=CATALOG)
    found = []
    for slack in ((2**40, 2**40), (50, 2**40)):
        rng, session = np.random.default_rng(5), plan.open()
        session._shared.pool.slack = slack
        out, largest = [], 0
        for first in range(0, 3000, 60):
            out += session.push("s", rows(60, first, rng)).values()
            largest = max(largest, session._shared.pool.count)
            if first == 1200:
                session = plan.restore(session.snapshot())
                session._shared.pool.slack = slack
        out += session.finish().values()
        found.append(pa.Table.from_batches(out).combine_chunks())
        assert (largest > 2500) == (slack[0] > 50)
        assert slack[0] > 50 or largest < 700
    assert found[0].num_rows > 10
    assert repr(found[0].to_pydict()) == repr(found[1].to_pydict())


def test_the_session_forgets_by_itself():
    plan = compile_flow(text=SOURCE + CHAINS[0], catalog=CATALOG)
    session, rng = plan.open(), np.random.default_rng(1)
    for first in range(0, 600_000, 30_000):
        session.push("s", rows(30_000, first, rng))
    assert session._shared.pool.count < 200_000
