"""Rows that are put into gaps: the kernels beside a slow twin, for all policies, types and keys, however pushes are cut."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowedge.compile.kernels import gaps as k
from flowedge.compile.kernels import ingest
from flowedge.compile.program import Field, SourceSpec
from flowedge.lang.errors import RunError
from flowedge.session import gaps as room
from flowedge.session.batch import DTYPES, MISSING, Batch, missing
from flowedge.session.gaps import Filled, Gaps
from flowedge.session.ledger import Counts
from flowedge.session.settle import Settle

STORES = ("f64", "f32", "i64", "u64", "u8", "bool", "string", "time")
SHAPES = ((), (3,), (2, 2))
POLICIES = ("reset", "hold", "linear", "nan")
PERIOD_NS = 1_000_003.5


class Slow(Gaps):
    """The same by NumPy, row numbers first: each row with those put in before it."""

    def fill(self, batch, told):
        fate = told.fate
        missed, previous, before = (np.zeros(batch.n, np.int64) for _ in range(3))
        for of_rows, of_places in (
            (missed, told.missed),
            (previous, told.previous),
            (before, told.start),
        ):
            of_rows[told.at] = of_places
        spec = self.spec
        at = np.flatnonzero(fate & ingest.GAP)
        fillable = np.zeros(len(at), bool)
        if self.fills:
            length = missed[at] * self._period_ns
            fillable = (length <= spec.gaps_up_to_ns) if spec.gaps_up_to_ns >= 0 else length >= 0
        gap = np.zeros(batch.n, np.uint8) if batch.gap is None else batch.gap.copy()
        gap[at[~fillable]] = 1
        good = (fate & ingest.DUPLICATE) == 0
        count = np.zeros(batch.n, np.int64)
        count[at[fillable]] = missed[at[fillable]]
        total = int(count.sum())
        flagged = Batch(batch.n, batch.time, batch.slot, gap, batch.columns)
        if not total:
            return Filled(flagged.keep(good), None, 0)
        size = count + good
        index = np.repeat(np.arange(batch.n), size)
        ends = np.cumsum(size)
        nth = np.arange(len(index)) - np.repeat(ends - size, size)
        is_new = nth < count[index]
        out = flagged.take(index)
        row, step = index[is_new], nth[is_new] + 1
        start = before[row]
        out.time[is_new] = start + np.rint(step * self._period_ns).astype(np.int64)
        out.gap[is_new] = 0
        whole = (out.time[is_new] - start) / (batch.time[row] - start)
        slot = np.zeros(len(row), np.int64) if batch.slot is None else batch.slot[row]
        for field in spec.fields:
            column = out.columns[field.name]
            if spec.gaps_policy == "nan":
                column[is_new] = missing(field, len(row))
                continue
            here = previous[row]
            left = batch.columns[field.name][np.maximum(here, 0)]
            old = here < 0
            if old.any():
                left[old] = self._last[field.name][slot[old]]
            if spec.gaps_policy == "linear" and field.store in ("f64", "f32"):
                right = batch.columns[field.name][row]
                share = whole.reshape(-1, *[1] * len(field.shape))
                with np.errstate(all="ignore"):
                    left = (left + (right.astype(np.float64) - left) * share).astype(left.dtype)
            column[is_new] = left
        return Filled(out, is_new.view(np.uint8), int(is_new.sum()))

    def remember(self, batch, fate, keys):
        good = fate != ingest.DUPLICATE
        slot = np.zeros(batch.n, np.int64) if batch.slot is None else batch.slot
        for field in self.spec.fields:
            last = missing(field, keys)
            if field.name in self._last:
                last[: len(self._last[field.name])] = self._last[field.name]
            last[slot[good]] = batch.columns[field.name][good]
            self._last[field.name] = last


def source(policy, fields, *, keyed, up_to_ns=-1, duplicates="first"):
    return SourceSpec(
        id=0, name="s", inputs=(), fields=fields, table=0 if keyed else -1, time="time", rate_hz=1e9 / PERIOD_NS, is_signal=True,
        gaps_policy=policy, gaps_up_to_ns=up_to_ns, duplicates=duplicates,
    )  # fmt: skip


def settle(spec, kind=Gaps, keys=1):
    shared = SimpleNamespace(tables=[SimpleNamespace(count=keys)], seed=0)
    out = Settle(spec, shared, (), Counts(), is_counted=False)
    out._judge = lambda at_end: None  # recordings with this many gaps are refused
    out._gaps = kind(spec, out.period_ns, fills=spec.gaps_policy != "reset")
    return out


def column(draw, store, shape):
    """Values with missing ones, infinities and zeros of both signs."""
    size = shape
    if store in ("f64", "f32"):
        out = draw.normal(0, 100, size)
        some = draw.random(size)
        for limit, value in (
            (0.05, np.nan),
            (0.1, np.inf),
            (0.15, -np.inf),
            (0.2, -0.0),
            (0.25, 1e300),
        ):
            out[(limit - 0.05 <= some) & (some < limit)] = value
        with np.errstate(all="ignore"):
            return out.astype(DTYPES[store])
    out = draw.integers(0, 2, size).astype(DTYPES[store])
    if store in ("i64", "time"):
        out = draw.integers(-(2**62), 2**62, size)
    out[draw.random(size) < 0.1] = MISSING[store]
    return out


def rows(draw, n, fields, keys, *, with_gap, jitter):
    """Samples of several keys, of which a third is lost and some come twice."""
    tick = np.cumsum(draw.choice([0, 1, 1, 1, 2, 3, 9], n)) // keys
    time = 10**18 + np.rint(tick * PERIOD_NS).astype(np.int64)
    time = np.sort(time + draw.integers(-jitter, jitter + 1, n))
    slot = draw.integers(0, keys, n).astype(np.int32) if keys > 1 else None
    gap = draw.integers(0, 2, n).astype(np.uint8) if with_gap else None
    columns = {f.name: column(draw, f.store, (n, *f.shape)) for f in fields}
    return Batch(n, time, slot, gap, columns)


def is_same(ours, theirs):
    """The same bits; one NaN is as good as another."""
    if ours.dtype != theirs.dtype or ours.shape != theirs.shape:
        return False
    if ours.dtype.kind != "f":
        return np.array_equal(ours, theirs)
    gone = np.isnan(theirs)
    bits = f"i{ours.dtype.itemsize}"
    return np.array_equal(np.isnan(ours), gone) and np.array_equal(ours[~gone].view(bits), theirs[~gone].view(bits))  # fmt: skip


def assert_same(ours, theirs):
    a, b = ours.batch, theirs.batch
    assert (a.n, ours.put_in) == (b.n, theirs.put_in)
    assert is_same(a.time, b.time)
    assert (a.slot is None) == (b.slot is None)
    assert a.slot is None or is_same(a.slot, b.slot)
    zeros = np.zeros(a.n, np.uint8)
    assert is_same(zeros if a.gap is None else a.gap, zeros if b.gap is None else b.gap)
    if ours.marks is not None or (theirs.marks is not None and a.slot is not None):
        assert is_same(ours.marks, zeros if theirs.marks is None else theirs.marks)
    assert a.columns.keys() == b.columns.keys()
    for name, values in a.columns.items():
        assert is_same(values, b.columns[name]), name


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(POLICIES), st.sampled_from([-1, 0, 1_000_004, 3_000_010]), st.sampled_from([1, 2, 7]),
    st.lists(st.integers(1, 60), min_size=1, max_size=6), st.booleans(), st.booleans(), st.integers(0, 2**32),
)  # fmt: skip
def test_it_is_what_row_numbers_say(policy, up_to_ns, keys, cuts, with_gap, drops, seed):
    draw = np.random.default_rng(seed)
    fields = [Field(f"{s}{len(shape)}", s, shape=shape) for s in STORES for shape in SHAPES]
    fields = tuple(f for f in fields if draw.random() < 0.5)
    spec = source(policy, fields, keyed=keys > 1, up_to_ns=up_to_ns, duplicates="first" if drops else "keep")  # fmt: skip
    ours, theirs = settle(spec, keys=keys), settle(spec, Slow, keys=keys)
    both = rows(draw, sum(cuts), fields, keys, with_gap=with_gap, jitter=100_000)
    start = 0
    for size in cuts:
        part = both.slice(start, start + size)
        start += size
        assert_same(ours._follow(part), theirs._follow(part))
        assert ours._gaps._last.keys() == theirs._gaps._last.keys()
        for name, last in ours._gaps._last.items():
            assert is_same(last, theirs._gaps._last[name])
    assert ours.counts == theirs.counts


@pytest.mark.parametrize("policy", ["hold", "linear", "nan"])
def test_it_is_a_plain_function(monkeypatch, policy):
    draw = np.random.default_rng(5)
    fields = (Field("a", "f64"), Field("b", "f32"), Field("c", "bool"), Field("d", "f32", shape=(3,)))  # fmt: skip
    spec = source(policy, fields, keyed=True)
    ours, theirs = settle(spec, keys=3), settle(spec, Slow, keys=3)
    monkeypatch.setattr(room, "ready", lambda run: run)
    for _ in range(3):
        part = rows(draw, 30, fields, 3, with_gap=False, jitter=0)
        assert_same(ours._follow(part), theirs._follow(part))
        for each in (ours, theirs):
            each._last[:] -= 40_000_140  # the next rows have like times


@pytest.mark.parametrize("keyed", [False, True])
def test_a_gap_that_begins_in_an_earlier_push_is_held_from_there(keyed):
    spec = source("hold", (Field("v", "f64"),), keyed=keyed)
    one = settle(spec)
    slot = np.zeros(1, np.int32) if keyed else None
    for tick, value in ((0, 5.0), (4, 6.0)):
        time = np.array([round(tick * PERIOD_NS)])
        out = one._follow(Batch(1, time, slot, None, {"v": np.array([value])}))
    assert out.batch.columns["v"].tolist() == [5.0, 5.0, 5.0, 6.0]
    assert (out.put_in, out.batch.gap) == (3, None)


def test_too_many_rows_are_refused():
    spec = source("nan", (Field("v", "f64"),), keyed=False)
    one = settle(spec)
    time = np.array([0, round(PERIOD_NS * 60_000_000)])
    with pytest.raises(RunError, match="filled with 59999999 rows"):
        one._follow(Batch(2, time, None, None, {"v": np.zeros(2)}))


@pytest.mark.parametrize(
    "x", [0.0, 0.5, 1.5, 2.5, 2.0**52 - 0.5, 2.0**52 + 1, 2.0**60, 1000003.4999]
)
def test_whole_numbers_are_the_nearest(x):
    assert k.nearest(x) == np.rint(x)
