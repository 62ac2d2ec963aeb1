"""`detect peaks`: the compiled steps against the slow reference, wherever they are cut and restored."""

import dataclasses

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.flow import CATALOG

from flowedge.compile.emit.peaks import FOREVER, peaks_due, peaks_restart, peaks_row, peaks_time
from flowedge.compile.memory import set_f64, set_i64
from flowedge.operators.contract import Refused
from flowedge.operators.detect.peaks import LEAD, ROWS, Adaptive, Peaks
from flowedge.runtime.plan import compile_flow

WORDS = LEAD + 1  # one column that the event keeps: the row's number
NAN, INF = float("nan"), float("inf")


class Machine:
    """The steps of one key, in plain Python, on a block of words."""

    def __init__(self, op, rate_hz=None):
        self.op, self.room = op, op.candidates(rate_hz)
        self.block = np.zeros(ROWS + (3 + self.room) * WORDS + (self.room + 2) * WORDS, np.int64)
        adaptive = op.threshold if isinstance(op.threshold, Adaptive) else None
        self.learn = round(adaptive.learn * 1e9) if adaptive else 0
        level = (1, 0.0, adaptive.fraction) if adaptive else (0, float(op.threshold), 0.0)
        self.apart = round(op.apart * 1e9)
        self.limits = (
            WORDS, self.room, *level, self.learn, self.apart, op.rise, round(op.recovery * 1e9), op.share, op.search_back,
        )  # fmt: skip
        peaks_restart(self.at)

    @property
    def at(self):
        return self.block.ctypes.data

    def moved(self):
        """The same state, elsewhere in memory."""
        other = Machine(self.op)
        other.room, other.limits, other.block = self.room, self.limits, self.block.copy()
        return other

    def _found(self, count):
        start = ROWS + (3 + self.room) * WORDS
        rows = self.block[start : start + count * WORDS].reshape(count, WORDS)
        return [(int(r[3]), float(r[2:3].view(np.float64)[0])) for r in rows]

    def row(self, i, t, x):
        set_i64(self.at, ROWS, t)
        set_f64(self.at, ROWS + 1, x)
        set_i64(self.at, ROWS + LEAD, i)
        waits = (round(s * 1e9) for s in (self.op.at_most, self.op.follows_s))
        return self._found(peaks_row(self.at, t, x, *self.limits, *waits))

    def time(self, now):
        return self._found(peaks_time(self.at, now, *self.limits))

    def due(self):
        return peaks_due(self.at, WORDS, self.learn, self.apart)


def found(op, time, x, cut=None):
    """What the steps find; with `cut`, the state moves there, and timers fire as early as they may."""
    machine, out = Machine(op), []
    for i, (t, v) in enumerate(zip(time, x, strict=True)):
        if i == cut:
            machine = machine.moved()
        if cut is not None and machine.due() <= t:
            out += machine.time(machine.due())
        out += machine.row(i, t, v)
    return out + machine.time(FOREVER)


def agree(left, right):
    assert [i for i, _ in left] == [i for i, _ in right]
    np.testing.assert_allclose([h for _, h in left], [h for _, h in right], rtol=1e-12, atol=1e-12)


steps_ns = st.sampled_from([1, 5, 10, 10, 10, 10, 40, 700]).map(lambda ms: ms * 1_000_000)
heights = st.one_of(
    st.integers(0, 6).map(float), st.floats(-2, 10, width=32), st.sampled_from([NAN, INF])
)
series = st.lists(st.tuples(steps_ns, heights), max_size=120)
operators = st.builds(
    Peaks,
    threshold=st.one_of(
        st.sampled_from([0.5, 2.0]),
        st.builds(Adaptive, st.sampled_from([0.1, 0.3]), st.sampled_from([0.2, 0.5])),
    ),
    apart=st.sampled_from([0.0, 0.025, 0.1]),
    rise=st.sampled_from([0.0, 0.5, 1.0]),
    recovery=st.sampled_from([0.0, 0.15]),
    share=st.sampled_from([0.3, 0.8]),
    search_back=st.sampled_from([0.0, 1.1, 1.66]),
    at_most=st.sampled_from([0.3, 3.0]),
)


@given(operators, series, st.integers(0, 120))
def test_the_steps_find_what_the_definition_says(op, rows, cut):
    time, x = np.cumsum([0, *(d for d, _ in rows)])[1:].tolist(), [v for _, v in rows]
    expected = op.reference(time, x)
    agree(found(op, time, x), expected)
    agree(found(op, time, x, cut), expected)


@pytest.mark.parametrize("seed", range(6))
def test_the_steps_find_the_beats_of_a_long_noisy_signal(seed):
    random = np.random.default_rng(seed)
    n = 3000
    x = np.abs(random.standard_normal(n)) * 0.2
    beats = np.cumsum(random.integers(50, 110, 40))
    for k, b in enumerate(beats[beats < n - 12]):
        x[b : b + 12] += (0.3 if k % 7 == 3 else random.uniform(0.8, 2.0)) * np.hanning(12)
    op = Peaks(threshold=Adaptive(2.0, 0.4), apart=0.2, rise=0.5, recovery=0.36, search_back=1.66)
    time = (np.arange(n) * 10_000_000).tolist()
    expected = op.reference(time, x.tolist())
    assert len(expected) > 25
    agree(found(op, time, x.tolist()), expected)
    agree(found(op, time, x.tolist(), cut=n // 3), expected)


def peaks_of(op, *x, step_ms=10):
    return [i for i, _ in found(op, [k * step_ms * 1_000_000 for k in range(len(x))], list(x))]


def test_of_a_plateau_the_first_row_stands():
    assert peaks_of(Peaks(1.0), 0, 2, 2, 0) == [1]


def test_the_ends_are_no_peaks():
    assert peaks_of(Peaks(1.0), 3, 2, 3) == []


def test_a_higher_one_within_the_refractory_period_takes_its_place():
    op = Peaks(1.0, apart=0.03)
    assert peaks_of(op, 0, 2, 0, 3, 0, 0, 0, 0) == [3]
    assert peaks_of(op, 0, 3, 0, 2, 0, 0, 0, 0) == [1]
    assert peaks_of(op, 0, 2, 0, 0, 3, 0, 0, 0) == [1, 4]


def test_a_peak_that_has_not_risen_is_none():
    assert peaks_of(Peaks(1.0), 0, 3, 2, 3, 0) == [1, 3]
    assert peaks_of(Peaks(1.0, rise=0.5), 0, 3, 2, 3, 0) == [1]
    assert found(Peaks(1.0), [0, 10, 20, 30, 40], [0.0, 3.0, 2.0, 3.5, 0.0]) == [(1, 3.0), (3, 1.5)]


def test_a_row_after_silence_says_nothing_about_the_one_before():
    op = Peaks(1.0, at_most=1.0)
    assert found(op, [0, 10**9, 3 * 10**9], [0.0, 2.0, 0.0]) == []


def test_a_fixed_threshold_waits_for_its_neighbour_only():
    machine = Machine(Peaks(1.0))
    assert machine.row(0, 0, 0.0) == machine.row(1, 10, 2.0) == []
    assert machine.row(2, 20, 1.0) == [(1, 2.0)]


def test_the_clock_of_other_keys_makes_a_candidate_final():
    machine = Machine(Peaks(1.0, apart=0.2))
    for i, v in enumerate([0.0, 2.0, 1.0]):
        assert machine.row(i, i * 10_000_000, v) == []
    assert machine.due() == 210_000_000
    assert machine.time(209_999_999) == []
    assert machine.time(210_000_000) == [(1, 2.0)]
    assert machine.due() == FOREVER


@pytest.mark.parametrize("wrong", [
    {"apart": -1.0}, {"rise": 1.5}, {"at_most": 0.1, "apart": 0.2}, {"search_back": 0.5}, {"threshold": Adaptive(5.0)},
    {"threshold": Adaptive(0.1), "apart": 0.2}, {"threshold": Adaptive(1.0, 1.0)},
])  # fmt: skip
def test_what_cannot_be_meant_is_refused(wrong):
    with pytest.raises(Refused):
        Peaks(**{"threshold": 1.0} | wrong).check()


OPTIONS = "threshold=adaptive(500 ms, fraction=0.4), apart=50 ms, rise=0.5, recovery=90 ms, search_back=1.66, at_most=1 s"
OP = Peaks(Adaptive(0.5, 0.4), apart=0.05, rise=0.5, recovery=0.09, search_back=1.66, at_most=1.0)


def run(text, time, cut, **columns):
    """Rows of the one sink, the input cut into pieces."""
    table = pa.table(
        {
            "time": pa.array(time, pa.int64()).cast(pa.timestamp("ns", "UTC")),
            **{k: pa.array(v) for k, v in columns.items()},
        }
    )
    pieces = pa.Table.from_batches(table.to_batches(max_chunksize=cut), table.schema)
    return next(iter(compile_flow(text=text, catalog=CATALOG).run({"s": pieces}).values()))


@pytest.mark.parametrize("cut", [1000, 37])
def test_the_engine_finds_what_the_reference_finds_key_by_key_and_between_gaps(cut):
    random = np.random.default_rng(7)
    n, keys = 500, 3
    times, x, k = [], [], []
    for key in range(keys):
        t = np.arange(n) * 10_000_000
        t[260:] += 400_000_000 * (key + 1)  # a gap: the rest is judged, and all starts afresh
        y = np.abs(random.standard_normal(n)) + 6 * (random.random(n) < 0.05)
        times.append(t), x.append(y), k.append(np.full(n, key, np.int32))
    order = np.lexsort((np.concatenate(k), np.concatenate(times)))
    expected = []
    for key in range(keys):
        for part in (slice(0, 260), slice(260, n)):
            t, y = times[key][part], x[key][part]
            expected += [
                (int(t[i]), key, float(y[i]), h) for i, h in OP.reference(t.tolist(), y.tolist())
            ]
    text = f"source s (time, k: key i32, v: f64) at 100 Hz from given() time time\nsink s | detect peaks(v, {OPTIONS}) to expected()"
    out = run(
        text,
        np.concatenate(times)[order],
        cut,
        k=np.concatenate(k)[order],
        v=np.concatenate(x)[order],
    )
    got = sorted(
        zip(
            out["time"].cast(pa.int64()).to_pylist(),
            *(out[c].to_pylist() for c in ("k", "value", "prominence")),
            strict=True,
        )
    )
    assert len(got) > 40
    assert [g[:3] for g in got] == sorted(e[:3] for e in expected)
    np.testing.assert_allclose([g[3] for g in got], [e[3] for e in sorted(expected)], atol=1e-12)
    assert out["v"].to_pylist() == out["value"].to_pylist()


@pytest.mark.parametrize("cut", [1000, 1])
def test_what_follows_sees_events_in_time_although_a_key_falls_silent(cut):
    # Key 0 stops at its last candidate; key 1 goes on. The window of key 0's peak must not have closed without it.
    t0, t1 = [0, 10, 20], list(range(0, 20_000, 100))
    time = sorted(
        [(t, 0, v) for t, v in zip(t0, [0.0, 5.0, 1.0], strict=True)] + [(t, 1, 0.0) for t in t1]
    )
    text = (
        "source s (time, k: key i32, v: f64) from given() time time\n"
        "sink s | detect peaks(v, threshold=1, apart=300 ms) | window 1 s | aggregate count() as n, max(value) as v to expected()"
    )
    out = run(
        text,
        [t * 1_000_000 for t, _, _ in time],
        cut,
        k=pa.array([k for _, k, _ in time], pa.int32()),
        v=[v for _, _, v in time],
    )
    assert out.select(["k", "n", "v"]).to_pylist() == [{"k": 0, "n": 1, "v": 5.0}]


def test_the_wait_is_what_is_promised():
    assert Peaks(1.0, apart=0.2, rate_hz=100.0).wait_s == pytest.approx(0.22)
    assert Peaks(1.0, apart=0.2).wait_s == pytest.approx(3.2)
    assert dataclasses.replace(OP, rate_hz=100.0).wait_s == pytest.approx(1.05)
