"""Rows as the world sends them: twice, late, with holes, missing, and at the ends of the number line."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

EXTREME = (np.inf, -np.inf, 1e300, -1e300, -0.0, 5e-324, 1e12, 2.0**53 + 2)
START_NS = 1_600_000_000 * 10**9


@dataclass(frozen=True)
class Log:
    """All that a source will ever read, row by row in the order of arrival.

    Attributes
    ----------
    whole : the rows, those included that cannot be read
    unreadable : their numbers, from 0
    ends : of the files that they stand in, behind the last row of each
    """

    whole: pa.RecordBatch
    unreadable: frozenset
    ends: tuple

    def __len__(self):
        return self.whole.num_rows

    def between(self, first, last):
        """The rows that can be read, from one number to before another, and the numbers of the others."""
        bad = [at for at in range(first, last) if at in self.unreadable]
        found = self.whole.slice(first, max(0, last - first))
        if bad:
            keep = np.ones(found.num_rows, bool)
            keep[np.array(bad) - first] = False
            found = found.filter(pa.array(keep))
        return found, bad

    @property
    def readable(self):
        """Numbers of the rows that can be read."""
        return [at for at in range(len(self)) if at not in self.unreadable]

    def place(self, number):
        """In which file a row stands, and which row of it that is, from 0."""
        file = next(k for k, end in enumerate(self.ends) if number < end)
        return file, number - (self.ends[file - 1] if file else 0)


def log(rng, source):
    """What a source reads.

    Parameters
    ----------
    rng : numpy Generator
    source : `support.simulation.pipelines.Origin`
    """
    whole = _rows(rng, source)
    count, ends = whole.num_rows, []
    if source.is_recorded:
        ends = sorted({int(end) for end in rng.integers(1, count, int(rng.integers(0, 4)))})
    bad = frozenset()
    if source.on_error != "stop" and rng.random() < 0.6:
        bad = frozenset(np.flatnonzero(rng.random(count) < rng.choice([0.02, 0.3])).tolist())
    return Log(whole, bad, (*ends, count))


def _rows(rng, source):
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
