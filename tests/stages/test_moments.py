"""Moments of frames that lie whole in memory, beside NumPy: far from zero, of equal values, with values that are none."""

import numpy as np
import pyarrow as pa
import pytest
from support.flow import CATALOG

from flowedge.runtime.plan import compile_flow

SIZE = 100
TEXT = """
source s (time, v: {store}) at 1 kHz from given() time time
sink s | window 100 samples
       | aggregate std(v) as std, var(v, ddof=1) as var, skew(v) as skew, kurtosis(v) as kurtosis, mean(v) as mean to expected()
"""


def frames(values):
    """The moments of each hundred values; pushed whole, and in pieces that cut frames: the same."""
    values = np.asarray(values)
    store = {"float64": "f64", "float32": "f32"}[str(values.dtype)]
    ns = np.arange(len(values)) * 1_000_000
    table = pa.table({"time": pa.array(ns).cast(pa.timestamp("ns", "UTC")), "v": pa.array(values)})
    plan = compile_flow(text=TEXT.format(store=store), catalog=CATALOG)
    (whole,) = plan.run({"s": table}).values()
    pieces = pa.Table.from_batches(table.to_batches(max_chunksize=33), table.schema)
    assert repr(plan.run({"s": pieces}).popitem()[1].to_pydict()) == repr(whole.to_pydict())
    return {n: whole[n].to_numpy() for n in ("std", "var", "skew", "kurtosis", "mean")}


@pytest.mark.parametrize("offset", [0.0, 1e3, 1e9])
def test_they_are_those_of_numpy(offset):
    x = np.random.default_rng(2).gamma(2.0, size=(20, SIZE)) + offset
    x[3, :50] = np.nan
    x[4, 7] += 1e4  # an outlier, also where it comes first
    x[5, 0] -= 1e4
    got = frames(x.ravel())
    d = x - np.nanmean(x, axis=1, keepdims=True)
    m2, m3, m4 = (np.nanmean(d**k, axis=1) for k in (2, 3, 4))
    n = np.sum(~np.isnan(x), axis=1)
    tolerance = 1e-12 + 1e-15 * offset
    np.testing.assert_allclose(got["std"], np.sqrt(m2), rtol=tolerance)
    np.testing.assert_allclose(got["var"], m2 * n / (n - 1), rtol=tolerance)
    np.testing.assert_allclose(got["skew"], m3 / m2**1.5, rtol=10 * tolerance)
    np.testing.assert_allclose(got["kurtosis"], m4 / m2**2, rtol=10 * tolerance)


@pytest.mark.parametrize("value", [0.0, 0.1, -1e-300, 1e300, 3.3e17])
def test_equal_values_have_none(value):
    got = frames(np.full(2 * SIZE, value))
    assert list(got["std"]) == [0, 0]
    assert np.isnan(got["skew"]).all()
    assert np.isnan(got["kurtosis"]).all()


def test_frames_without_values_and_with_infinite_ones():
    x = np.random.default_rng(3).normal(size=(4, SIZE)).astype(np.float32)
    x[0], x[1, 5], x[2, 0] = np.nan, np.inf, -np.inf
    x[3, 1:] = np.nan
    got = frames(x.ravel())
    assert np.isnan(got["std"][:3]).all()
    assert got["std"][3] == 0
    assert np.isnan(got["kurtosis"]).all()
    assert np.isnan(got["var"]).all()
