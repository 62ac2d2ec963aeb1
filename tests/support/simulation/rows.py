"""Rows as the world sends them: twice, late, with holes, missing, and at the ends of the number line."""

import numpy as np
import pyarrow as pa

EXTREME = (np.inf, -np.inf, 1e300, -1e300, -0.0, 5e-324, 1e12, 2.0**53 + 2)
START_NS = 1_600_000_000 * 10**9


def rows(rng, source):
    """A record batch for a source.

    Parameters
    ----------
    rng : numpy Generator
    source : `support.simulation.pipelines.Origin`
    """
    parts = []
    period = 1 / (source.rate or 5.0)
    count = int(rng.integers(20, 160))
    keys = [f"k{n}" for n in range(int(rng.integers(1, 5)))]
    wild = rng.random() < 0.5
    for key in keys:
        k = np.arange(count) + int(rng.integers(0, 5))
        for _ in range(int(rng.integers(0, 4))):  # gaps
            k[int(rng.integers(0, count)) :] += int(rng.integers(1, 12))
        seconds = k * period
        if source.rate:
            seconds = seconds + rng.uniform(-0.15, 0.15, count) * period
        else:
            seconds = np.round(seconds + rng.uniform(-2, 2, count) * period, 1)
        parts.append((seconds, [key] * count))
    seconds = np.concatenate([p[0] for p in parts])
    key = np.array([name for p in parts for name in p[1]])
    disorder = rng.choice([0.0, 0.3, 3.0]) * period if wild else 0.0
    order = np.argsort(seconds + rng.uniform(0, 1, len(seconds)) * disorder, kind="stable")
    seconds, key = seconds[order], key[order]
    if wild:  # twice, at once or later
        again = np.sort(rng.integers(0, len(seconds), int(rng.integers(0, 8))))
        place = np.clip(again + rng.integers(1, 6, len(again)), 0, len(seconds))
        seconds = np.insert(seconds, place, seconds[again])
        key = np.insert(key, place, key[again])
    n = len(seconds)
    time = START_NS + np.round(seconds * 1e9).astype(np.int64)
    columns = {
        "time": _with_nulls(rng, pa.array(time).cast(pa.timestamp("ns", "UTC")), 0.01 * wild)
    }
    if source.keyed:
        columns["k"] = pa.array(key)
    walk = np.round(np.cumsum(rng.normal(0, 0.4, n)) + np.sin(seconds * 2), 3)
    columns["v"] = pa.array(_spoilt(rng, walk, wild))
    columns["w"] = _with_nulls(rng, pa.array(np.round(rng.normal(0, 1, n), 2)), 0.05)
    columns["n"] = _with_nulls(rng, pa.array(rng.integers(-3, 4, n)), 0.03)
    columns["c"] = _with_nulls(rng, pa.array(rng.random(n) < 0.5), 0.03)
    columns["t"] = _with_nulls(rng, pa.array(rng.choice(["", "a", "ä", "b"], n)), 0.03)
    return pa.RecordBatch.from_pydict(columns)


def _spoilt(rng, x, wild):
    x = x.copy()
    for at in np.flatnonzero(rng.random(len(x)) < 0.03):
        x[at : at + rng.integers(1, 5)] = np.nan
    if wild:
        bad = rng.random(len(x)) < 0.01
        x[bad] = rng.choice(EXTREME, bad.sum())
    return x


def _with_nulls(rng, array, share):
    missing = rng.random(len(array)) < share
    return array.take(pa.array(np.arange(len(array)), mask=missing))
