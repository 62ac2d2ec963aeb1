"""Kernels compiled here and in a process beside this one are the same kernels."""

import ctypes
import io
import pickle
import struct

import pyarrow as pa
import pytest

import flowedge
from flowedge.cache import Cache
from flowedge.compile import native
from flowedge.compile.builds import Builds, Helper, serve
from flowedge.compile.kernels import columns, entries, ingest, intern, library, order, slots
from flowedge.compile.kernels.needed import needed
from flowedge.graph.catalog import PlainCatalog
from flowedge.lang.errors import InternalError
from flowedge.operators.filters.iir import biquad
from flowedge.types.connectors import ConnectorInfo

PLAIN = PlainCatalog(
    {"given": ConnectorInfo("given", "source", needs_address=False, describes_itself=False, writes_files=False)},
    {"expected": ConnectorInfo("expected", "sink", needs_address=False, writes_files=False)},
)  # fmt: skip
TIMES = "def kernel(ctx):\n    return i64(ctx, 0) * {}\n"
CALLS = "def kernel(ctx):\n    _, y = step((0.0, 0.0, 0.0), 3.0, 2.0, 0.0, 0.0, 0.0, 0.0)\n    return int(y)\n"


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setattr(Helper, "is_worth_it", staticmethod(lambda: True))
    return Cache(tmp_path / "cache")


def answers(objects):
    word = ctypes.c_int64(7)
    return [native.load(code)(ctypes.addressof(word)) for code in objects]


def test_every_kernel_asked_for_is_there(store):
    with Builds(store) as builds:
        keys = [builds.ask(TIMES.format(k), {}) for k in range(2, 6)]
        keys.append(builds.ask(CALLS, {"step": biquad}))
        keys.append(builds.ask(TIMES.format(2), {}))
        found = builds.objects()
    assert keys[0] == keys[-1]
    assert answers(found[k] for k in keys) == [14, 21, 28, 35, 6, 14]
    again = Builds(Cache(store.root))
    assert [again.ask(TIMES.format(k), {}) for k in range(2, 6)] == keys[:4]
    assert again.objects().keys() == set(keys[:4])
    assert again.store.statistics.stored == 0


def test_the_helper_takes_some_of_the_work(store):
    with Builds(store) as builds:
        for k in range(20, 24):
            builds.ask(TIMES.format(k), {})
        builds.objects()
        assert builds._helper is not None
    assert store.statistics.compile_s >= 0
    assert store.statistics.stored == 4


def test_a_helper_that_dies_is_done_without(store, monkeypatch):
    monkeypatch.setattr("sys.executable", "/bin/false")
    with Builds(store) as builds:
        keys = [builds.ask(TIMES.format(k), {}) for k in (8, 9)]
        assert answers(builds.objects()[k] for k in keys) == [56, 63]


def test_a_helper_that_cannot_start_is_done_without(store, monkeypatch):
    monkeypatch.setattr("sys.executable", "/nowhere/python")
    with Builds(store) as builds:
        keys = [builds.ask(TIMES.format(k), {}) for k in (10, 11)]
        assert answers(builds.objects()[k] for k in keys) == [70, 77]


def test_a_function_without_a_place_is_compiled_here(store):
    def local(x):
        return x + 1.0

    with Builds(store) as builds:
        keys = [
            builds.ask("def kernel(ctx):\n    return int(f(2.0))\n", {"f": local}),
            builds.ask(TIMES.format(12), {}),
        ]
        assert answers(builds.objects()[k] for k in keys) == [3, 84]


def test_a_kernel_that_does_not_compile_says_so(store):
    with Builds(store) as builds:
        builds.ask(TIMES.format(13), {})
        builds.ask("def kernel(ctx):\n    return nothing_of_this_name(ctx)\n" + "\n" * 50, {})
        with pytest.raises(InternalError):
            builds.objects()


def test_the_worker_answers_in_order_and_nothing_for_what_is_wrong():
    head = struct.Struct("<q")
    asked = b"".join(
        head.pack(len(data)) + data
        for data in (
            pickle.dumps((TIMES.format(3), {})),
            pickle.dumps(("def kernel(ctx):\n    return x\n", {})),
        )
    )
    out = io.BytesIO()
    serve(io.BytesIO(asked), out)
    data = out.getvalue()
    size = head.unpack(data[:8])[0]
    assert answers([data[8 : 8 + size]]) == [21]
    assert head.unpack(data[8 + size :])[0] == 0


def test_library_kernels_are_compiled_along_and_kept_apart(store, monkeypatch):
    monkeypatch.setattr(library, "_READY", {})
    with Builds(store) as builds:
        builds.prepare([ingest.steps, ingest.count])
        key = builds.ask(TIMES.format(41), {})
        assert builds.objects().keys() == {key}
    assert library.is_ready(ingest.steps)
    assert library.is_ready(ingest.count)
    assert store.statistics.stored == 3
    again = Builds(Cache(store.root))
    monkeypatch.setattr(library, "_READY", {})
    again.prepare([ingest.steps])
    again.objects()
    assert again.store.statistics.stored == 0


def test_a_plan_brings_the_library_kernels_that_its_rows_need(store, monkeypatch):
    monkeypatch.setattr(library, "_READY", {})
    plan = flowedge.compile(
        text="source s (time, k: key string, v: f64) from given()\nsink s | where v > 1 to expected()",
        catalog=PLAIN,
    )
    asked = set(needed(plan.program.nodes, has_literals=False))
    assert asked == {
        ingest.steps, slots.one_column_dense, slots.fill, order.merge_in, entries.ids, intern.intern, intern.spell, columns.locate, columns.gather,
    }  # fmt: skip
    time = pa.array([0, 10**9], pa.timestamp("ns", "UTC"))
    session = plan.open()
    out = session.push("s", pa.record_batch({"time": time, "k": ["a", "b"], "v": [0.0, 2.0]}))
    assert sum(b.num_rows for b in (*out.values(), *session.finish().values())) == 1
    assert set(library._READY) <= asked
