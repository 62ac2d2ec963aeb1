"""Compressions: what is kept, that no value errs by more than its bound, and that `expand` gives every row again."""

import numpy as np
import pyarrow as pa
import pytest
from support.flow import CATALOG

from flowedge.runtime.plan import compile_flow

RATE = 10.0
BOUNDED = ("deadband", "constant", "swing", "quantize", "auto")
WAYS = ("i64", "f64", "f32", "f32", "i16", "f32", "i16", "f64", "i64", "f64")
"""Each way meets floats and whole numbers, and all stores are met."""
WITH_LAST = ("constant", "swing", "auto")
"""Those that keep the last row of a key, too."""


def signal(store, rows=6000, seed=3):
    """Quiet and lively stretches, with steps, ramps and noise."""
    draw = np.random.default_rng(seed)
    walk = np.cumsum(
        draw.normal(size=rows) * np.repeat(draw.choice([0.01, 0.1, 2.0], rows // 100), 100)
    )
    walk[rows // 2 :] += 40
    walk[rows // 3 : rows // 3 + 200] = 7.25
    if store in ("f64", "f32"):
        return walk.astype({"f64": np.float64, "f32": np.float32}[store])
    return np.rint(walk * 20).astype({"i64": np.int64, "i16": np.int16}[store])


def run(stage, store, samples, **columns):
    """The rows of a stage over samples of these numbers; whole, in pieces and with each stage by itself they are the same."""
    key = ", k: key i64" if "k" in columns else ""
    text = f"source s (time, v: {store}{key}) at 10 Hz from given() time time\nsink s | {stage} to expected()"
    ns = np.round(np.asarray(samples) / RATE * 1e9).astype(np.int64)
    table = pa.table(
        {
            "time": pa.array(ns).cast(pa.timestamp("ns", "UTC")),
            **{k: pa.array(v) for k, v in columns.items()},
        }
    )
    plan = compile_flow(text=text, catalog=CATALOG)
    (whole,) = plan.run({"s": table}).values()
    pieces = pa.Table.from_batches(table.to_batches(max_chunksize=7), table.schema)
    for found in (
        plan.run({"s": pieces}),
        compile_flow(text=text, catalog=CATALOG, fuse=False).run({"s": table}),
    ):
        assert repr(next(iter(found.values())).to_pydict()) == repr(whole.to_pydict())
    out = {name: whole[name].to_numpy() for name in whole.column_names if name != "time"}
    return {
        "at": np.round(whole["time"].cast(pa.int64()).to_numpy() / 1e9 * RATE).astype(int),
        **out,
    }


@pytest.mark.parametrize(("name", "store"), list(zip(BOUNDED * 2, WAYS, strict=True)))
def test_expand_gives_the_rows_within_the_bound(name, store):
    v, bound = signal(store), 0.5 if store[0] == "f" else 6
    kept = run(f"compress {name}({bound}) on v", store, range(len(v)), v=v)
    assert len(kept["v"]) < len(v)
    again = run(f"compress {name}({bound}) on v | expand", store, range(len(v)), v=v)
    n = len(again["v"])
    assert n == len(v) if name in WITH_LAST else n > len(v) - 300
    assert np.array_equal(again["at"], np.arange(n))
    assert np.abs(again["v"].astype(float) - v[:n].astype(float)).max() <= bound * (1 + 1e-12)


@pytest.mark.parametrize("name", BOUNDED)
@pytest.mark.parametrize("bound", [0, 1e300])
def test_bounds_of_any_size(name, bound):
    v = signal("f64", 600)
    again = run(f"compress {name}({bound!r}) | expand", "f64", range(600), v=v)
    assert np.abs(again["v"] - v[: len(again["v"])]).max() <= bound + 2e-15 * np.abs(v).max()


@pytest.mark.parametrize("name", BOUNDED)
def test_values_that_are_huge_or_none(name):
    """Rows with a value that is no number stand alone; what is infinite or beyond a grid is kept as it is."""
    v = np.array(
        [1, 1.1, np.nan, np.nan, 1.2, np.inf, np.inf, -np.inf, 1e300, 1e300, -1e18, 3, 3.1, np.nan]
    )
    got = run(f"compress {name}(0.5) | expand", "f64", range(len(v)), v=v)["v"]
    expected = v[: len(got)]
    assert len(got) >= len(v) - 1
    assert np.array_equal(np.isnan(got), np.isnan(expected))
    small = np.abs(expected) < 1e10
    assert np.abs(got[small] - expected[small]).max() <= 0.5
    large = ~small & ~np.isnan(expected)
    assert np.array_equal(got[large], expected[large])


@pytest.mark.parametrize("name", BOUNDED)
def test_keys_are_apart_and_gaps_stay(name):
    """Each key gives what it gives alone; a piece ends at a gap, and `expand` puts no rows into it."""
    at = np.concatenate([np.arange(300), np.arange(400, 700)])
    values = {k: signal("f64", 600, seed=k) for k in (1, 2)}
    stage = f"compress {name}(0.5) | expand"
    both = run(
        stage,
        "f64",
        np.repeat(at, 2),
        v=np.stack(list(values.values()), 1).ravel(),
        k=np.tile([1, 2], 600),
    )
    for key, v in values.items():
        alone = run(stage, "f64", at, v=v, k=np.full(600, key))
        assert set(alone["at"]) <= set(at)
        if name in WITH_LAST:
            assert np.array_equal(alone["at"], at)
            assert np.abs(alone["v"] - v).max() <= 0.5 * (1 + 1e-12)
        mine = both["k"] == key
        assert np.array_equal(both["at"][mine], alone["at"])
        assert np.array_equal(both["v"][mine], alone["v"])


def test_constant_pieces_are_as_few_as_can_be():
    v = np.array([0, 1, 0.5, 1.01, 2.0, 2.0, 9.0])
    kept = run("compress constant(0.5)", "f64", range(7), v=v)
    np.testing.assert_allclose(kept["v"], [0.5, 1.505, 9])
    assert list(kept["at"]) == [0, 3, 6]


def test_quantize_goes_to_the_nearest_of_a_grid():
    v = np.array([0, 0.49, 0.51, 0.49, 1.49, 1.51])
    np.testing.assert_allclose(
        run("compress quantize(0.5)", "f64", range(6), v=v)["v"], [0, 1, 0, 1, 2]
    )
    whole = np.array([0, 1, 2, 4, 5, -1, -2])
    assert list(run("compress quantize(1.2) on v", "i64", range(7), v=whole)["v"]) == [
        0,
        3,
        6,
        0,
        -3,
    ]


def test_auto_takes_lines_where_they_cost_less_and_samples_where_not():
    draw = np.random.default_rng(1)
    slow = 10 * np.sin(np.arange(8000) / 2000) + 0.05 * draw.normal(size=8000)
    lively = draw.normal(size=8000)
    kept = run("compress auto(0.25)", "f64", range(24000), v=np.concatenate([slow, lively, slow]))
    quiet, noisy, after = np.histogram(kept["at"], bins=[0, 8000, 16000, 24000])[0]
    assert quiet < 200
    assert noisy > 4000
    assert after < 5000
    assert np.all(kept["v"] % (0.25 * 0.25) == 0)


def test_the_grid_of_auto_has_steps_of_few_bits():
    """So that their multiples are exact in float32, too, and end in zeros."""
    v = np.random.default_rng(2).normal(size=3000).astype(np.float32)
    kept = run("compress auto(0.0171)", "f32", range(3000), v=v)["v"]
    assert np.all(kept.view(np.uint32) & 0xFF == 0)
    step = np.floor(np.frexp(2 * 0.0171)[0] * 256) / 256 * 2.0 ** np.frexp(2 * 0.0171)[1]
    assert np.mean(kept / step == np.round(kept / step)) > 0.8


@pytest.mark.parametrize(("name", "store"), list(zip(BOUNDED, WAYS, strict=False)))
def test_a_bound_in_percent_is_of_the_range_so_far(name, store):
    """No value errs by more than that part of what its key has reached when it comes, or when its piece is over."""
    v = np.stack([signal(store, 2000, seed=4), signal(store, 2000, seed=5) // 8], 1).astype(
        signal(store, 1).dtype
    )
    keys, at = np.tile([1, 2], 2000), np.repeat(np.arange(2000), 2)
    again = run(f"compress {name}(2 percent) on v | expand", store, at, v=v.ravel(), k=keys)
    kept = run(f"compress {name}(2 percent) on v", store, at, v=v.ravel(), k=keys)
    assert len(kept["v"]) < 3600
    for key in (1, 2):
        mine, x = again["v"][again["k"] == key].astype(float), v[:, key - 1].astype(float)
        reached = np.maximum.accumulate(x) - np.minimum.accumulate(x)
        n = len(mine)
        assert n > 1500
        if name == "constant":
            reached[:] = reached[-1]
        assert np.all(np.abs(mine - x[:n]) <= 0.02 * reached[:n] * (1 + 1e-9) + 1e-12)


@pytest.mark.parametrize("name", BOUNDED)
def test_ranges_stay_over_gaps_and_beside_values_that_are_none(name):
    v = np.concatenate([signal("f64", 400), [np.nan, np.inf, -np.inf], signal("f64", 400, seed=9)])
    at = np.concatenate([np.arange(500), np.arange(600, 600 + len(v) - 500)])
    again = run(f"compress {name}(1 percent) | expand", "f64", at, v=v)
    got = dict(zip(again["at"].tolist(), again["v"].tolist(), strict=True))
    finite = np.where(np.isfinite(v), v, np.nan)
    reached = np.fmax.accumulate(finite) - np.fmin.accumulate(finite)
    for place, x, r in zip(at.tolist(), v.tolist(), reached.tolist(), strict=True):
        if np.isfinite(x) and place in got:
            assert abs(got[place] - x) <= 0.01 * r * (1 + 1e-9) + 1e-12


@pytest.mark.parametrize("name", BOUNDED)
def test_a_column_may_be_called_as_what_kernels_call(name):
    at = np.arange(50) * 10**8
    table = pa.table(
        {"time": pa.array(at).cast(pa.timestamp("ns", "UTC")), "f64": np.sin(at / 1e9)}
    )
    text = f"source s (time, f64: f64) at 10 Hz from given() time time\nsink s | compress {name}(0.1) to expected()"
    (found,) = compile_flow(text=text, catalog=CATALOG).run({"s": table}).values()
    expected = run(f"compress {name}(0.1)", "f64", range(50), v=np.sin(at / 1e9))
    assert np.array_equal(found["f64"].to_numpy(), expected["v"])
