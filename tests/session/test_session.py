"""A whole session: rows in, rows out, in any pieces, with stops in between."""

import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest

from flowedge.compile import program as p
from flowedge.compile.kernels import library
from flowedge.lang.errors import ModelError, SourceError
from flowedge.session.session import Session


def test_rows_go_through_a_kernel_to_a_sink(plan, h):
    plan.sink(plan.double(plan.source()))
    time, v = h.whole(plan.session(), [("s", h.rows([0, 1, 2], [1.0, 2.0, 3.0]))], "time", "v")
    assert time == [0.0, 1.0, 2.0]
    assert v == [2.0, 4.0, 6.0]


def test_a_push_gives_what_is_final_so_far(plan, h):
    plan.sink(plan.window(plan.source()))
    session = plan.session()
    assert session.push("s", h.rows([0.1, 0.5])) == {}
    out = session.push("s", h.rows([1.2]))
    assert out["out"].num_rows == 1
    assert session.finish()["out"].num_rows == 1


def test_a_window_closes_when_the_watermark_reaches_its_end(plan, h):
    plan.sink(plan.window(plan.source()))
    session = plan.session()
    assert session.push("s", h.rows([0.1, 0.5])) == {}
    assert session.mark("s", h.SECOND - 1) == {}
    assert session.mark("s", h.SECOND)["out"]["v"].to_pylist() == [1.0]


def test_the_schema_says_units_rate_and_pipeline(plan, h):
    field = p.Field("v", "f64", unit="millivolt")
    plan.sink(plan.source(fields=(field,), is_signal=True, rate_hz=10.0), rate_hz=10.0)
    session = plan.session()
    batch = session.push("s", h.rows([0.0, 0.1]))["out"]
    assert batch.schema == session.schemas["out"]
    assert batch.schema.metadata[b"flowedge.pipeline"] == b"d1"
    assert batch.schema.metadata[b"flowedge.rate"] == b"10.0"
    assert b"flowedge.version" in batch.schema.metadata
    assert batch.schema.field("v").metadata[b"flowedge.unit"] == b"millivolt"
    assert batch.schema.field("time").type == h.UTC
    batch.validate(full=True)


def test_run_takes_whole_tables(plan, h):
    plan.sink(plan.window(plan.source()))
    table = pa.Table.from_batches([h.rows([0.1, 0.5]), h.rows([1.2])])
    assert plan.session().run({"s": table})["out"]["v"].to_pylist() == [1.0, 0.0]


def test_chunks_of_a_table_are_one_sequence(plan, h):
    plan.sink(plan.running(plan.source()))
    batch = h.rows(list(range(100)))
    table = pa.Table.from_batches([batch.slice(i, 3) for i in range(0, 100, 3)])
    got = plan.session().push("s", table)["out"]
    assert got["total"].to_pylist() == np.cumsum(np.arange(100.0)).tolist()


def test_a_session_imports_neither_the_compiler_nor_the_language(plan, h, tmp_path, monkeypatch):
    # The other process finds what this one compiles here, whatever was loaded before from elsewhere.
    monkeypatch.setenv("FLOWEDGE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(library, "_READY", {})
    plan.sink(plan.double(plan.source(keys=("string",))))
    batch = h.rows([0, 1], [1.0, 2.0], k0=["a", "b"])
    session = plan.session()
    h.whole(session, [("s", batch)], "v")  # compiles what is not in the cache
    Session.restore(session.program, session.snapshot())
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write(batch)
    script = """
import sys
import pyarrow as pa
from flowedge.compile import program as p
from flowedge.session.session import Session
data = sys.stdin.buffer.read()
size = int.from_bytes(data[:8], "little")
session = Session(p.unpack(data[8 : 8 + size]))
(batch,) = pa.ipc.open_stream(data[8 + size :])
assert session.push("s", batch)["out"]["v"].to_pylist() == [2.0, 4.0]
session = Session.restore(session.program, session.snapshot())
session.finish()
heavy = {"numba", "scipy", "pint", "lark", "torch", "pandas"} & set(sys.modules)
assert not heavy, heavy
"""
    packed = p.pack(plan.program())
    given = len(packed).to_bytes(8, "little") + packed + sink.getvalue().to_pybytes()
    subprocess.run([sys.executable, "-c", script], input=given, check=True)


def test_dropped_rows_are_filtered(plan, h):
    drop = f"""
def kernel(ctx):
    n, m = i64(ctx, {p.ROWS}), i64(ctx, {p.OUT})
    x = i64(ctx, {p.COLUMNS})
    for i in range(i64(ctx, {p.ROW}), n):
        if f64(x, i) > 1.0:
            set_i64(i64(ctx, {p.OUT_TIME}), m, i64(i64(ctx, {p.TIME}), i))
            set_f64(i64(ctx, {p.COLUMNS + 1}), m, f64(x, i))
            m += 1
    set_i64(ctx, {p.ROW}, n)
    set_i64(ctx, {p.OUT}, m)
    set_i64(ctx, {p.OUT_WATERMARK}, i64(ctx, {p.WATERMARK}))
    return 0
"""
    plan.sink(plan.kernel(drop, [plan.source()], reads=((0, "v"),), is_filter=True, label="where"))
    session = plan.session()
    assert h.whole(session, [("s", h.rows([0, 1, 2]))], "v") == [2.0]
    assert session.ledger()["where"]["filtered"] == 2


def test_one_sink_can_stand_beside_another(plan, h):
    source = plan.source()
    plan.sink(plan.double(source), "a")
    plan.sink(plan.running(source), "b", fields=(p.Field("total", "f64"),))
    out = plan.session().push("s", h.rows([0, 1], [3.0, 4.0]))
    assert out["a"]["v"].to_pylist() == [6.0, 8.0]
    assert out["b"]["total"].to_pylist() == [3.0, 7.0]


def test_passed_columns_are_the_inputs_own_memory(plan, h):
    plan.sink(plan.running(plan.source()))
    batch = h.rows([0, 1], [3.0, 4.0])
    out = plan.session().push("s", batch)["out"]
    assert out["v"].buffers()[1].address == batch["v"].buffers()[1].address


def test_an_unknown_source_is_named(plan, h):
    plan.sink(plan.source())
    with pytest.raises(SourceError, match="no source `x`; it has `s`"):
        plan.session().push("x", h.rows([0]))


def test_a_source_that_has_ended_takes_no_rows(plan, h):
    plan.sink(plan.source())
    session = plan.session()
    session.end("s")
    with pytest.raises(SourceError, match="has ended"):
        session.push("s", h.rows([0]))


def test_an_empty_push_and_an_empty_run_give_nothing(plan, h):
    plan.sink(plan.window(plan.source()))
    session = plan.session()
    assert session.push("s", h.rows([])) == {}
    assert session.finish() == {}


def test_a_kernel_gets_a_larger_arena_and_gives_more_rows_than_fit(plan, h):
    plan.sink(plan.remember(plan.source()))
    n = 5000
    values = np.arange(float(n))
    batch = h.rows(list(range(n)), values)
    got = h.whole(plan.session(), [("s", batch.slice(0, 3000)), ("s", batch.slice(3000))], "v")
    assert got == values[::-1].tolist()


def test_a_model_that_was_not_handed_in_is_named(plan):
    source = plan.source()
    plan.add(p.ModelSpec, inputs=(source.id,), call=p.CallSpec(model="net"))
    with pytest.raises(ModelError, match="without the model `net`"):
        plan.session()


def test_the_ledger_says_what_became_of_each_row(plan, h):
    plan.sink(plan.window(plan.source(late_ns=0)))
    session = plan.session()
    session.push("s", h.rows([0.0, 0.5, 0.2, 1.5]))
    ledger = session.ledger()
    assert ledger["s"]["rows_in"] == 4
    assert ledger["s"]["late"] == 1
    assert ledger["s"]["used"] == ledger["s"]["rows_out"] == 3
    assert ledger["out"]["rows_in"] == 1
