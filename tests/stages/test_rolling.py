"""Every aggregate over an extent, at every row, against its reference over the rows that it sees."""

import numpy as np
import pyarrow as pa
import pytest
from support.flow import CATALOG

from flowedge.operators import discover
from flowedge.runtime.plan import compile_flow

CALLS = {
    "band": "band(x, 1 Hz .. 3 Hz)",
    "corr": "corr(x, z)",
    "count": "count(x)",
    "mel": "mel(x, 3, 1 Hz .. 4 Hz)",
}
GIVEN = {"band": {"band": (1.0, 3.0)}, "mel": {"bands": 3, "band": (1.0, 4.0)}}
QUANTILES = {"p02", "p05", "p10", "p20", "p25", "p75", "p80", "p90", "p95", "p98"}
"""One does as the next."""
NAMES = sorted(name for kind, name in discover() if kind == "aggregate" and name not in QUANTILES)
SPECTRA = {"band", "psd", "mel", "peak_frequency", "centroid"}
ROWS = 60


def recorded(*, even, missing):
    """Rows at 10 Hz, or unevenly; a few values missing where an aggregate skips them."""
    rng = np.random.default_rng(7)
    time = np.arange(ROWS) * 10**8 if even else np.cumsum(rng.integers(1, 3 * 10**8, ROWS))
    x, z = np.round(rng.normal(size=ROWS), 1), rng.normal(size=ROWS)
    if missing:
        x[rng.random(ROWS) < 0.2] = np.nan
    return time, x, z


def all_of(names, at, over):
    """Each aggregate as a column of its own name, at every row."""
    calls = ", ".join(f"{n}_ = {CALLS.get(n, f'{n}(x)')} over {over}" for n in names)
    text = f"source s (time, x: f64, z: f64){at} from given() time time\nsink s | derive {calls} to expected()"
    return compile_flow(text=text, catalog=CATALOG)


EXTENTS = [(True, "8 samples"), (False, "0.8 s"), (False, "8 samples")]
"""Of signals and of rows; each aggregate over one of them, and over the others where there is time."""


@pytest.mark.parametrize(
    ("even", "over", "first"),
    [
        pytest.param(*extent, first, marks=[pytest.mark.slow] if place != number % 2 else [])
        for number, first in enumerate(range(0, len(NAMES), 6))
        for place, extent in enumerate(EXTENTS)
    ],
)
def test_an_aggregate_over_an_extent_is_that_of_its_rows(even, over, first):
    time, x, z = recorded(even=even, missing=not even)
    names = [n for n in NAMES[first : first + 6] if even or n not in SPECTRA]
    plan = all_of(names, " at 10 Hz" if even else "", over)
    table = pa.table({"time": pa.array(time).cast(pa.timestamp("ns", "UTC")), "x": x, "z": z})
    (found,) = plan.run({"s": table}).values()
    pieces = pa.Table.from_batches(table.to_batches(max_chunksize=7))
    (cut,) = plan.run({"s": pieces}).values()
    for name in names:
        got = found[f"{name}_"].to_pylist()
        assert repr(cut[f"{name}_"].to_pylist()) == repr(got), name
        op = discover()[("aggregate", name)](**GIVEN.get(name, {}))
        for i in range(ROWS):
            seen = np.arange(i + 1)
            seen = seen[-8:] if over == "8 samples" else seen[time[: i + 1] > time[i] - 8 * 10**8]
            args = (x[seen], z[seen]) if name == "corr" else (x[seen],)
            want = op.reference(*args, time_ns=time[seen], rate_hz=10.0 if even else None)
            if name == "psd" and i < 7:
                want = np.full(
                    5, np.nan
                )  # fewer samples have fewer lines: missing until it is full
            have = np.array(got[i], dtype=float)
            np.testing.assert_allclose(have, want, rtol=1e-9, atol=1e-9, err_msg=f"{name} at {i}")


@pytest.mark.parametrize("rows", [1, 2, 16])
def test_a_spread_over_few_rows_has_the_same_bits_in_each_kernel(rows):
    """Alone or by key, whole strips or row by row, with values missing or not; what has left leaves no trace."""
    n = 1400
    x = np.random.default_rng(3).normal(size=n)
    x[[40, 41, 700, 720]] = np.nan
    x[[100, 600]] = 1e12, np.inf
    x[900:1000] = 0.1
    calls = f"a = std(x) over {rows} samples, b = var(x, ddof=1) over {rows} samples"
    table = pa.table({"time": pa.array(np.arange(n) * 10**8).cast(pa.timestamp("ns", "UTC")), "x": x, "k": np.zeros(n, np.int64)})  # fmt: skip
    found = []
    for key in ("", ", k: key i64"):
        text = f"source s (time, x: f64{key}) at 10 Hz from given() time time\nsink s | select {calls} to expected()"
        for most in (n, 600, 23, 7):
            session = compile_flow(text=text, catalog=CATALOG).open()
            out = [session.push("s", batch) for batch in table.to_batches(max_chunksize=most)]
            parts = [b for made in (*out, session.finish()) for b in made.values()]
            found.append(pa.Table.from_batches(parts).select(["a", "b"]))
    for other in found[1:]:
        for name in ("a", "b"):
            assert other[name].to_numpy().tobytes() == found[0][name].to_numpy().tobytes()
    a, b = (found[0][name].to_numpy() for name in ("a", "b"))
    for ddof, y in ((0, a**2), (1, b)):
        seen = [x[max(0, k - rows + 1) : k + 1] for k in range(n)]
        seen = [v[~np.isnan(v)] for v in seen]
        want = np.array([np.var(v, ddof=ddof) if len(v) > ddof and np.isfinite(v).all() else np.nan for v in seen])  # fmt: skip
        np.testing.assert_array_equal(np.isnan(y), np.isnan(want))
        np.testing.assert_allclose(y, want, rtol=1e-12)
    assert not a[920:1000].any()
