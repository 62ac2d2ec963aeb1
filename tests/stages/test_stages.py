"""What each stage means, on small tables: whole, in pieces, fused or not."""

import numpy as np
import pyarrow as pa
import pytest
from support.flow import CATALOG

from flowedge.runtime.plan import compile_flow


def table(time, **columns):
    """A table with times in seconds."""
    ns = np.round(np.asarray(time, dtype=np.float64) * 1e9).astype(np.int64)
    return pa.table(
        {
            "time": pa.array(ns).cast(pa.timestamp("ns", "UTC")),
            **{k: pa.array(v) for k, v in columns.items()},
        }
    )


def rows(found):
    """Columns as lists: times in seconds, floats rounded."""
    out = {}
    for name in found.column_names:
        column = found[name]
        if pa.types.is_timestamp(column.type):
            out[name] = [
                None if v is None else round(v / 1e9, 6)
                for v in column.cast(pa.int64()).to_pylist()
            ]
        else:
            out[name] = [round(v, 9) if isinstance(v, float) else v for v in column.to_pylist()]
    return out


@pytest.fixture
def run():
    """Compile a text and run it whole, cut into pieces of 1 and 3 rows, and unfused: all must agree."""

    def call(text, **tables):
        plan = compile_flow(text=text, catalog=CATALOG)
        whole = {k: rows(v) for k, v in plan.run(tables).items()}
        for size in (1, 3):
            cut = {
                k: pa.Table.from_batches(v.to_batches(max_chunksize=size), v.schema)
                for k, v in tables.items()
            }
            pieces = {k: rows(v) for k, v in plan.run(cut).items()}
            assert repr(pieces) == repr(whole), f"cut into pieces of {size}"
        apart = compile_flow(text=text, catalog=CATALOG, fuse=False).run(tables)
        assert repr({k: rows(v) for k, v in apart.items()}) == repr(whole), "unfused"
        return {**whole, "only": next(iter(whole.values()))}

    return call


SRC = "source s (time, k: key i32, v: f64) from given() time time\n"
ONE = "source s (time, v: f64) from given() time time\n"


def test_where_and_derive(run):
    out = run(
        ONE + "sink s | where v > 1 | derive w = v * 2, u = w + 1 to expected()",
        s=table([0, 1, 2], v=[1.0, 2.0, 3.0]),
    )["only"]
    assert out == {"time": [1, 2], "v": [2, 3], "w": [4, 6], "u": [5, 7]}


def test_tumbling_window_closes_in_key_order(run):
    out = run(SRC + "sink s | window 1 s | aggregate sum(v) as n to expected()",
              s=table([0.0, 0.5, 0.6, 1.2, 3.0], k=[2, 1, 2, 2, 1], v=[1.0, 2.0, 4.0, 8.0, 16.0]))["only"]  # fmt: skip
    assert out["time"] == [1, 1, 2, 4]
    assert out["k"] == [1, 2, 2, 1]
    assert out["n"] == [2, 5, 8, 16]
    assert out["start"] == [0, 0, 1, 3]


def test_sliding_window(run):
    t = np.arange(10) * 0.5
    out = run(
        ONE + "sink s | window 2 s every 1 s | aggregate sum(v) as n, median(v) as m to expected()",
        s=table(t, v=np.arange(10.0)),
    )["only"]
    v = np.arange(10.0)
    want = [(end, v[(t >= end - 2) & (t < end)]) for end in range(1, 7)]
    want = [(e, w) for e, w in want if len(w)]
    assert out["time"] == [e for e, _ in want]
    assert out["n"] == [w.sum() for _, w in want]
    assert out["m"] == [np.median(w) for _, w in want]


def test_windows_of_windows_take_the_row_at_their_end(run):
    out = run(ONE + "sink s | window 1 s | aggregate count() as n | window 5 s | aggregate sum(n) as n to expected()",
              s=table(np.arange(100) * 0.1, v=np.ones(100)))["only"]  # fmt: skip
    assert out["time"] == [5, 10]
    assert out["n"] == [50, 50]


def test_count_window(run):
    out = run("source s (time, v: f64) at 10 Hz from given() time time\nsink s | window 4 samples every 2 samples | aggregate mean(v) as m, max(v) as h to expected()",
              s=table(np.arange(9) / 10, v=np.arange(9.0)))["only"]  # fmt: skip
    assert out["m"] == [1.5, 3.5, 5.5]
    assert out["h"] == [3, 5, 7]


def test_rolling_by_time_and_by_count(run):
    out = run(SRC + "sink s | derive a = sum(v) over 1 s, b = max(v) over 2 samples, c = median(v) over 2 s to expected()",
              s=table([0, 0.5, 1.0, 1.2, 3.0], k=[1, 1, 1, 1, 1], v=[1.0, 2.0, 4.0, 8.0, 16.0]))["only"]  # fmt: skip
    assert out["a"] == [1, 3, 6, 14, 16]
    assert out["b"] == [1, 2, 4, 8, 16]
    assert out["c"] == [1, 1.5, 2, 3, 12]


def test_a_spike_that_has_left_the_window_leaves_no_trace(run):
    v = np.full(200, 0.1)
    v[20] = 1e12
    v[40] = np.inf
    v[60] = np.nan
    out = run("source s (time, v: f64) at 100 Hz from given() time time\nsink s | derive m = mean(v) over 100 ms to expected()",
              s=table(np.arange(200) / 100, v=v))["only"]  # fmt: skip
    assert out["m"][100:] == [0.1] * 100


def test_split_gap(run):
    out = run(SRC + "sink s | split gap 1 s | aggregate count() as n, sum(v) as t, median(v) as m to expected()",
              s=table([0, 0.5, 0.7, 2.0, 2.1, 9.0], k=[1, 1, 2, 1, 2, 1], v=[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]))["only"]  # fmt: skip
    assert list(zip(out["time"], out["k"], out["n"], out["t"], strict=True)) == [
        (0.5, 1, 2, 3),
        (0.7, 2, 1, 3),
        (2.0, 1, 1, 4),
        (2.1, 2, 1, 5),
        (9.0, 1, 1, 6),
    ]
    assert out["start"] == [0, 0.7, 2.0, 2.1, 9.0]


def test_split_on_and_while(run):
    out = run(ONE + "stream a = s | split on v > 2 | aggregate count() as n\nstream b = s | split while v > 2 | aggregate max(v) as h\nsink a to expected()\nsink b to expected()",
              s=table(range(6), v=[1.0, 3.0, 4.0, 1.0, 5.0, 6.0]))  # fmt: skip
    assert out["a"]["n"] == [1, 2, 1, 2]
    assert out["a"]["time"] == [0, 2, 3, 5]
    assert out["b"]["h"] == [4, 6]
    assert out["b"]["time"] == [2, 5]


def test_split_into(run):
    out = run(ONE + 'stream r = s | split into hi when v > 2, lo otherwise\nsink r.hi to expected()\nsink r.lo to expected() as low',
              s=table(range(4), v=[1.0, 3.0, 2.0, 4.0]))  # fmt: skip
    values = sorted({tuple(o["v"]) for o in out.values()})
    assert values == [(1, 2), (3, 4)]


def test_rules_with_for(run):
    out = run(ONE + 'sink s | classify rules { "hot" when v > 2 for 1 s "warm" when v > 1 otherwise "ok" } to expected()',
              s=table([0, 1, 2, 3, 4], v=[0.0, 3.0, 3.0, 2.0, 0.0]))["only"]  # fmt: skip
    assert out["label"] == ["ok", "warm", "hot", "warm", "ok"]


@pytest.mark.parametrize(
    ("method", "want"),
    [("linear", [1, 2, 3, 3.5, 4]), ("nearest", [1, 1, 3, 3, 4]), ("hold", [1, 1, 3, 3, 4])],
)
def test_resample(run, method, want):
    out = run(
        ONE + f"sink s | resample 1 Hz {method} to expected()",
        s=table([0.0, 2.0, 4.0], v=[1.0, 3.0, 4.0]),
    )["only"]
    assert out["time"] == [0, 1, 2, 3, 4][: len(out["time"])]
    assert out["v"] == want[: len(out["v"])]
    assert len(out["v"]) >= (4 if method == "hold" else 5)


def test_linear_interpolation_of_whole_numbers_gives_floats(run):
    out = run(
        "source s (time, n: i32, u: u8) from given() time time\n"
        "sink s | resample 0.5 s linear to expected()",
        s=table([0, 1, 2], n=np.array([-3, 0, 1], np.int32), u=np.array([0, 9, 255], np.uint8)),
    )["only"]
    assert out == {
        "time": [0, 0.5, 1, 1.5, 2],
        "n": [-3, -1.5, 0, 0.5, 1],
        "u": [0, 4.5, 9, 132, 255],
    }


def test_unnest(run):
    lists = pa.FixedSizeListArray.from_arrays(pa.array([1.0, 2.0, 3.0, 4.0]), 2)
    out = run(
        "source s (time, v: f64<2>) from given() time time\nsink s | unnest v at 2 Hz to expected()",
        s=table([0, 1], v=lists),
    )["only"]
    assert out == {"time": [0, 0.5, 1, 1.5], "v": [1, 2, 3, 4]}


def test_join_latest_within_nearest_linear(run):
    two = "source a (time, k: key i32, v: f64) from given() time time\nsource b (time, k: key i32, w: f64) from given() time time\n"
    a = table([1, 2, 5, 6], k=[1, 2, 1, 1], v=[1.0, 2.0, 3.0, 4.0])
    b = table([0, 2, 4.5, 7], k=[1, 2, 1, 1], w=[10.0, 20.0, 40.0, 90.0])
    assert run(two + "sink a | join b latest to expected()", a=a, b=b)["only"]["w"] == [
        10,
        20,
        40,
        40,
    ]
    assert repr(
        run(two + "sink a | join b within 600 ms to expected()", a=a, b=b)["only"]["w"]
    ) == repr([float("nan"), 20.0, 40.0, float("nan")]) or run(
        two + "sink a | join b within 600 ms to expected()", a=a, b=b
    )["only"]["w"] == [None, 20, 40, None]
    near = run(two + "sink a | join b within 1 s nearest to expected()", a=a, b=b)["only"]
    assert dict(zip(near["time"], near["w"], strict=True)) == {1: 10, 2: 20, 5: 40, 6: 90}
    line = run(two + "sink a | join b within 3 s linear to expected()", a=a, b=b)["only"]
    assert line["w"][line["time"].index(6)] == 40 + 50 * 1.5 / 2.5


def test_union_and_rekey(run):
    two = "source a (time, k: key i32, v: f64) from given() time time\nsource b (time, k: key i32, v: f64) from given() time time\n"
    a, b = table([0, 2], k=[1, 2], v=[1.0, 2.0]), table([1, 2], k=[1, 2], v=[3.0, 4.0])
    out = run(two + "stream all = a, b\nsink all to expected()", a=a, b=b)["only"]
    assert out["v"] == [1, 3, 2, 4]
    assert out["branch"] == ["a", "b", "a", "b"]
    out = run(
        two + "stream all = a, b | key none | derive n = cumsum(v)\nsink all to expected()",
        a=a,
        b=b,
    )["only"]
    assert out["n"] == [1, 4, 6, 10]
    text = (
        two
        + "stream all = a, b\nsink all | key none | window 2 s | aggregate count() as n to expected()"
    )
    assert run(text, a=a, b=b)["only"]["n"] == [2, 2]  # of rows without any column


def test_split_at_events_on_a_signal(run):
    text = 'source s (time, v: f64) at 10 Hz from given() time time\nstream e = s | detect edges(v > 4.5, direction="rise")\nsink s | split at e from -200 ms to 200 ms | aggregate sum(v) as t, count() as n to expected()'
    v = np.array([0, 1, 2, 3, 4, 5, 6, 7, 8, 9.0])
    out = run(text, s=table(np.arange(10) / 10, v=v))["only"]
    assert out["t"] == [3 + 4 + 5 + 6]
    assert out["n"] == [4]
    assert out["time"] == [0.5]


def test_split_at_to_next(run):
    text = 'source s (time, v: f64) at 10 Hz from given() time time\nstream e = s | detect edges(v > 4.5, direction="rise")\nsink s | split at e to next | aggregate max(v) as h, count() as n to expected()'
    v = np.array([0, 5, 3, 3, 6, 9, 1, 7, 0, 0.0])
    out = run(text, s=table(np.arange(10) / 10, v=v))["only"]
    assert out["h"] == [5, 9, 7]
    assert out["n"] == [3, 3, 3]


def test_compress_keeps_the_bound_and_expand_gives_every_row(run):
    x = np.cumsum(np.random.default_rng(3).normal(size=300))
    src = "source s (time, v: f64) at 10 Hz from given() time time\n"
    data = table(np.arange(300) / 10, v=x)
    for how, bound in (("deadband(0.5)", 0.5), ("swing(0.5)", 0.5)):
        kept = run(src + f"sink s | compress {how} to expected()", s=data)["only"]
        assert len(kept["v"]) < 300
        full = run(src + f"sink s | compress {how} | expand to expected()", s=data)["only"]
        n = len(full["v"])
        assert np.abs(np.array(full["v"]) - x[:n]).max() <= bound + 1e-9
        if how.startswith("swing"):
            assert n == 300
            assert full["time"] == [round(t, 6) for t in np.arange(300) / 10]
    assert run(src + "sink s | compress decimate(4) to expected()", s=data)["only"]["v"] == [
        round(v, 9) for v in x[::4]
    ]


def test_lead(run):
    out = run(
        SRC + "sink s | derive n = lead(v, 1) to expected()",
        s=table([0, 1, 2, 3], k=[1, 2, 1, 2], v=[1.0, 2.0, 3.0, 4.0]),
    )["only"]
    pairs = dict(zip(out["v"], out["n"], strict=True))
    assert pairs[1] == 3
    assert pairs[2] == 4
    assert pairs[3] is None or np.isnan(pairs[3])


def test_previous_is_recursion(run):
    out = run(
        ONE + "sink s | derive p = prev(p, 1) + v to expected()",
        s=table(range(3), v=[1.0, 2.0, 3.0]),
    )["only"]
    assert out["p"] == [2, 4, 7]


def test_peaks_with_a_fixed_threshold(run):
    v = np.array([0, 1, 0, 3, 0, 2.5, 0, 0, 5, 0, 0.0])
    out = run(
        "source s (time, v: f64) at 10 Hz from given() time time\nsink s | detect peaks(v, threshold=2, apart=300 ms) to expected()",
        s=table(np.arange(11) / 10, v=v),
    )["only"]
    assert out["value"] == [3, 5]
    assert out["time"] == [0.3, 0.8]


def test_gaps_restart_what_remembers(run):
    out = run("source s (time, v: f64) at 10 Hz from given() time time\nsink s | derive d = diff(v), c = cumsum(v) to expected()",
              s=table([0, 0.1, 0.2, 0.9, 1.0], v=[1.0, 2.0, 4.0, 8.0, 16.0]))["only"]  # fmt: skip
    assert out["c"] == [1, 3, 7, 8, 24]
    assert [d is None or np.isnan(d) for d in out["d"]] == [True, False, False, True, False]


def test_late_rows_have_their_own_stream(run):
    out = run("source s (time, v: f64) from given() time time late 1 s\nsink s to expected()\nsink s.late to expected() as late",
              s=table([0, 2, 1.5, 0.5, 4], v=[1.0, 2.0, 3.0, 4.0, 5.0]))  # fmt: skip
    assert out["only"]["v"] == [1, 3, 2, 5]
    assert out["late"]["v"] == [4]


@pytest.mark.parametrize("frame", ["window 1 h", "split gap 1 min", "split while v >= 0"])
def test_what_closes_after_a_restore_has_room_to_work(frame):
    rng = np.random.default_rng(1)
    given = table(np.arange(200_000) / 1000, v=rng.random(200_000))
    plan = compile_flow(text=ONE + f"sink s | {frame} | aggregate median(v) as m to expected()",
                        catalog=CATALOG)  # fmt: skip
    session = plan.open()
    for batch in given.to_batches():
        session.push("s", batch)
    (found,) = plan.restore(session.snapshot()).finish().values()
    assert found["m"].to_pylist() == [np.median(given["v"])]


def test_rolling_medians_of_long_and_short_extents_share_their_memory():
    rng = np.random.default_rng(2)
    time, v = np.sort(rng.random(3000) * 100), rng.random(3000)
    plan = compile_flow(text=SRC + "sink s | derive a = median(v) over 50 s, b = median(v) over 0.5 s to expected()",
                        catalog=CATALOG)  # fmt: skip
    keys = rng.integers(0, 40, 3000).astype(np.int32)
    (found,) = plan.run({"s": table(time, k=keys, v=v)}).values()
    for name, extent in (("a", 50), ("b", 0.5)):
        want = [
            np.median(v[: i + 1][(keys[: i + 1] == keys[i]) & (time[: i + 1] > time[i] - extent)])
            for i in range(3000)
        ]
        np.testing.assert_allclose(found[name], want)


@pytest.mark.parametrize(
    "between", ["derive w = v * 1 |", "derive w = v | select w |", "derive w = v / slope(v) |"]
)
def test_slope_over_kept_frames_of_uneven_rows_knows_their_times(run, between):
    rng = np.random.default_rng(3)
    time, v = np.cumsum(rng.random(15)), rng.random(15)
    out = run(
        ONE + f"sink s | window 5 samples | {between} aggregate slope(w) as m to expected()",
        s=table(time, v=v),
    )["only"]
    want = [np.polyfit(time[i : i + 5], v[i : i + 5], 1)[0] for i in (0, 5, 10)]
    np.testing.assert_allclose(out["m"], [1, 1, 1] if "/" in between else want, atol=1e-6)


KEYS = {
    "i8": pa.int8(), "u8": pa.uint8(), "i16": pa.int16(), "u16": pa.uint16(), "i32": pa.int32(), "u32": pa.uint32(),
    "i64": pa.int64(), "bool": pa.bool_(), "string": pa.string(),
}  # fmt: skip


@pytest.mark.parametrize("kind", KEYS)
def test_a_key_in_an_expression_has_its_value_whatever_its_width(run, kind):
    keys = {"bool": [True, False, True], "string": ["b", "a", "b"]}.get(kind, [7, 100, 7])
    text = f"source s (time, k: key {kind}, v: f64) from given() time time\n"
    out = run(
        text + "sink s | derive same = k, w = if(k == k, v, -1) to expected()",
        s=table([0, 1, 2], k=pa.array(keys, KEYS[kind]), v=[1.0, 2.0, 3.0]),
    )["only"]
    assert out["same"] == keys
    assert out["w"] == [1, 2, 3]


def test_a_join_gives_a_row_for_each_of_very_many_keys():
    """More rows for one than the kernel has room for at once; newest of each key, keys in order."""
    rng, n = np.random.default_rng(8), 5000
    keys = rng.permutation(n)
    text = (
        "source s (time, v: f64) from given() time time\n"
        "source r (time, k: key i32, x: f64) from given() time time\n"
        "sink s | join r within 4 s | select v, x to expected()"
    )
    plan = compile_flow(text=text, catalog=CATALOG)
    left = table([5.0, 6.0], v=[1.0, 2.0])
    right = table(
        np.linspace(0, 4.9, 2 * n), k=np.concatenate([keys, keys]).astype(np.int32), x=np.arange(2.0 * n)
    )  # fmt: skip
    (whole,) = plan.run({"r": right, "s": left}).values()
    newest = n + np.argsort(keys)
    at = np.linspace(0, 4.9, 2 * n)[newest]
    late = np.flatnonzero(at >= 2.0)
    assert whole["k"].to_pylist() == [*range(n), *late.tolist()]
    np.testing.assert_array_equal(whole["x"], np.concatenate([newest, newest[late]]))
