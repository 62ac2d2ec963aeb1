"""Connections come and go: a source goes on behind the last that has ended."""

import pyarrow as pa

from flowedge.runtime.plan import compile_flow

TEXT = """
source s (time, v: f64) from tcp("tcp://127.0.0.1:9000")
sink s | window 1 s | aggregate sum(v) as total to console
"""


def rows(*seconds):
    times = pa.array([int(t * 1e9) for t in seconds]).cast(pa.timestamp("ns", "UTC"))
    return pa.RecordBatch.from_arrays([times, pa.array([1.0] * len(seconds))], names=["time", "v"])


def test_rows_of_the_next_connection_are_in_time_and_ended_ones_are_forgotten():
    session = compile_flow(text=TEXT).open({})
    total = 0.0
    for k in range(50):
        session.push("s", rows(k + 0.1, k + 0.2), f"{k:012d}")
        session.end("s", f"{k:012d}")
        assert not session.sources["s"].partitions
        session = compile_flow(text=TEXT).restore(session.state(), {}) if k == 25 else session
    assert session.sources["s"].counts.late == 0
    total = session.finish()
    assert sum(batch.num_rows for batch in total.values()) > 0
    assert session.sources["s"].counts.rows_in == 100
