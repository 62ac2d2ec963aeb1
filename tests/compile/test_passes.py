"""A strip in several passes, and sections side by side, give the bits of one row after the other."""

import numpy as np
import pyarrow as pa
import pytest

import flowedge
from flowedge.compile import memory, native
from flowedge.compile.emit.passes import Calm, passes, text_of
from flowedge.graph.catalog import PlainCatalog
from flowedge.operators.filters.iir import biquad, butterworth, steps
from flowedge.types.connectors import ConnectorInfo

PLAIN = PlainCatalog(
    {"given": ConnectorInfo("given", "source", needs_address=False, describes_itself=False, writes_files=False)},
    {"kept": ConnectorInfo("kept", "sink", needs_address=False, writes_files=False)},
)  # fmt: skip

CHAINS = [
    "filter bandpass(5 Hz .. 15 Hz, order=4) | derive p = mean((45 * (v + 2 * lag(v, 1) - 2 * lag(v, 3) - lag(v, 4))) ^ 2) over 54 samples",
    "filter lowpass(9 Hz, order=10) | derive a = abs(v), b = mean(a) over 5 samples, c = sum(v) over 30 samples, d = b - c",
    "derive a = highpass(v, 3 Hz, order=3), b = lowpass(a * a, 4 Hz, order=5), c = max(b) over 9 samples",
    "filter bandstop(20 Hz .. 30 Hz, order=5) | filter notch(50 Hz) | derive y = prev(y, 0) * 0.5 + v",
    "derive e = ema(v, 1 s), s = std(e) over 40 samples, n = if(v > 0, s, e), r = rms(n) over 3 samples",
    "filter lowpass(9 Hz, order=4) on w | derive z = mean(w) over 11 samples, t = bandpass(z - v, 1 Hz .. 2 Hz, order=3)",
]


def table(n, seed, odd):
    rng = np.random.default_rng(seed)
    v = rng.normal(size=n)
    if odd:
        v[rng.random(n) < odd] = np.nan
        v[rng.random(n) < odd / 4] = -np.inf
    return {"v": v, "w": v.astype("f4")}


@pytest.mark.parametrize("chain", CHAINS)
@pytest.mark.parametrize("odd", [0, 0.001, 0.2])
def test_a_signal_without_keys_has_the_bits_of_one_with_a_key(chain, odd):
    """With a key, a kernel goes row by row; without, by passes over strips."""
    columns = table(3000, 1, odd)
    plain = flowedge.compile(
        text=f"source s (v: f64, w: f32) at 200 Hz from given()\nsink s | {chain} to kept() as o",
        catalog=PLAIN,
    )
    keyed = flowedge.compile(
        text=f"source s (time, k: key i64, v: f64, w: f32) at 200 Hz from given()\nsink s | {chain} to kept() as o",
        catalog=PLAIN,
    )
    time = pa.array(np.arange(3000) * 5_000_000, pa.timestamp("ns", "UTC"))
    wanted = keyed.run({"s": pa.table({"time": time, "k": np.zeros(3000, np.int64), **columns})})[
        "o"
    ]
    for cuts in ([3000], [1, 14, 15, 16, 17, 511, 512, 513, 3000]):
        session, parts, at = plain.open(), [], 0
        for cut in cuts:
            batch = pa.record_batch({k: x[at : at + cut] for k, x in columns.items()})
            parts += session.push("s", batch).values()
            at += batch.num_rows
        parts += session.finish().values()
        found = pa.Table.from_batches(parts)
        for name in found.schema.names[1:]:
            a, b = found[name].to_numpy(), wanted[name].to_numpy()
            assert len(a) == len(b) == 3000
            assert np.array_equal(
                a.view(f"i{a.itemsize}")[~np.isnan(a)], b.view(f"i{b.itemsize}")[~np.isnan(b)]
            ), name
            assert np.array_equal(np.isnan(a), np.isnan(b)), name


@pytest.mark.parametrize(
    ("shape", "order", "edges"),
    [("lowpass", 4, (5.0,)), ("bandpass", 3, (5.0, 15.0)), ("highpass", 8, (1.0,))],
)
def test_sections_side_by_side_have_the_bits_of_one_behind_the_other(shape, order, edges):
    cascade = steps(butterworth(shape, order, edges, 360.0))
    count = len(cascade)
    names = ", ".join(f"s{k}" for k in range(3 * count))
    constants = [c for step in cascade for c in step.constants]
    loads = "".join(f"    s{k} = f64(i64(ctx, 3), {k})\n" for k in range(3 * count))
    stores = "".join(f"    set_f64(i64(ctx, 3), {k}, s{k})\n" for k in range(3 * count))
    kernel = native.load(native.build(
        f"def kernel(ctx):\n{loads}    ({names}) = cascade(i64(ctx, 0), i64(ctx, 1), i64(ctx, 2), ({names}), ({', '.join(map(repr, constants))}))\n"
        f"{stores}    return 0\n", {},
    ))  # fmt: skip
    rng = np.random.default_rng(2)
    for n in (16, 17, 100):
        x, y, state = rng.normal(size=n), np.zeros(n), rng.normal(size=3 * count)
        twin = np.zeros(n)
        after = memory.cascade(x.ctypes.data, twin.ctypes.data, n, tuple(state), tuple(constants))
        rows, held = [], [tuple(state[3 * k : 3 * k + 3]) for k in range(count)]
        for value in x.tolist():
            out = value
            for k, step in enumerate(cascade):
                held[k], out = biquad(held[k], out, *step.constants)
            rows.append(out)
        ctx = np.array([x.ctypes.data, y.ctypes.data, n, state.ctypes.data])
        kernel(ctx.ctypes.data)
        assert y.tolist() == twin.tolist() == rows
        assert tuple(state) == after == tuple(s for one in held for s in one)


def test_steps_that_share_a_cell_stay_in_one_pass():
    lines = [
        "x = f64(in_0, i)",
        "a = s",
        "PASS",
        "y = x * a",
        "PASS",
        "s = y",
        "PASS",
        "set_f64(out_0, m, y)",
    ]
    assert passes(lines, ["s"], {"x", "y", "a"}) is None


def test_a_value_that_may_not_be_a_float_does_not_cross():
    lines = [
        "x = i64(in_0, i)",
        "k = x + 1",
        "PASS",
        "s, y = step(s, k)",
        "PASS",
        "set_i64(out_0, m, k)",
    ]
    assert passes(lines, ["s"], {"y"}) is None


def test_a_strip_is_done_by_a_call_only_where_its_values_lie_in_a_row():
    calm = Calm("x", "abs(x) < inf", result="y", strip=("call({x}, {y}, {rows})",))
    lines = ["CALM 0", "s, y = step(s, x)", "CALMED", "PASS", "z = y * y", "set_f64(out_0, m, z)"]
    first, last = passes(["x = f64(in_3, i)", *lines], ["s"], {"y"}, [calm])
    assert text_of(first, 1).strip == ["call(in_3 + 8 * base, strips, limit - base)"]
    assert text_of(last, 1).row == [
        "y = f64(strips, i - base)",
        "z = y * y",
        "set_f64(out_0, m, z)",
    ]
    narrow, _ = passes(["x = f32(in_3, i)", *lines], ["s"], {"y"}, [calm])
    assert text_of(narrow, 1).strip == ["call(strips + 4096, strips, limit - base)"]
    assert text_of(narrow, 1).look[-1] == "set_f64(strips + 4096, i - base, x)"
    inside, _ = passes(["x = f64(in_3, i)", "q = x + s", *lines], ["s"], {"y"}, [calm])
    assert text_of(inside, 1).strip == []
