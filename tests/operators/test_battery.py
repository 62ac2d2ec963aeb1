"""Every operator, found by discovery, against its reference and at the edges of its input.

The functions are run as plain Python, which is what the compiler reads; a few are compiled at the
end, as the machine's arithmetic is the same.
"""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit
from support.operators import (
    CONDITIONS,
    RATE_HZ,
    TIMES,
    all_of,
    arity,
    finish,
    fold,
    inputs_for,
    run,
    times,
    types_of,
)

from flowedge.compile.native import jitted
from flowedge.operators.contract import Aggregate, Context, Function
from flowedge.types.schema import F64, TEXT, TIME

FUNCTIONS = dict(all_of(Function))
AGGREGATES = dict(all_of(Aggregate))
TOLERANCE = 1e-9
"""References sum in another order, and NumPy's transcendentals differ from the C library's by some
2^-52; feedback filters gather a few thousand such roundings. 1e-9 of the largest value is far above
that, and far below any mistake."""


def check(found, expected):
    """Equal up to rounding, NaN for NaN."""
    found, expected = np.asarray(found, dtype=float), np.asarray(expected, dtype=float)
    finite = np.abs(expected[np.isfinite(expected)])
    scale = max(1.0, float(finite.max())) if finite.size else 1.0
    np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE * scale)


def aggregate_of(operator, time_ns, columns):
    """The aggregate over one window, by its own functions."""
    types = types_of(operator, len(columns))
    if operator.collects:
        return finish(operator, columns, types)
    return fold(operator, time_ns, columns, types)


@pytest.mark.parametrize("n", [0, 1, 2, 300])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_equals_its_reference(name, n):
    function = FUNCTIONS[name]
    rng = np.random.default_rng(n)
    for count in arity(function):
        columns = inputs_for(function, count, rng, n)
        time_ns, types = times(n), types_of(function, count)
        expected = function.reference(*columns, rate_hz=RATE_HZ, time_ns=time_ns)
        check(run(function, time_ns, columns, types), expected)


@pytest.mark.parametrize("name", ["ema(tau=0.05)", "rate()", "held(span=0.05)", "since()"])
def test_what_reads_the_time_follows_irregular_rows(name):
    function = FUNCTIONS[name]
    rng = np.random.default_rng(7)
    time_ns = np.cumsum(rng.integers(0, 10**8, 200))
    columns = inputs_for(function, 1, rng, 200)
    expected = function.reference(*columns, rate_hz=None, time_ns=time_ns)
    check(run(function, time_ns, columns, types_of(function, 1), rate_hz=None), expected)


@pytest.mark.parametrize(
    "name", [n for n, f in FUNCTIONS.items() if f.name not in CONDITIONS | TIMES]
)
def test_an_infinity_leaves_no_lasting_trace(name):
    """After one has gone by, a filter gives numbers again, as its reference says."""
    function = FUNCTIONS[name]
    count = arity(function)[0]
    x = np.concatenate([[1.0, 2.0], [np.inf], np.linspace(0.5, 3.0, 60)])
    columns = (x, *(np.ones(len(x)) for _ in range(count - 1)))
    with np.errstate(all="ignore"):
        found = run(function, times(len(x)), columns, types_of(function, count))
        expected = function.reference(*columns, rate_hz=RATE_HZ, time_ns=times(len(x)))
    finite = np.isfinite(expected)
    np.testing.assert_array_equal(np.isfinite(found.astype(float)), finite)
    check(found[finite], expected[finite])
    if function.kind == "filter" and function.name != "fir":  # which keeps it for its length
        assert finite[-10:].all()


@pytest.mark.parametrize("n", [0, 1, 2, 7, 100, 257])
@pytest.mark.parametrize("name", AGGREGATES)
def test_an_aggregate_equals_its_reference(name, n):
    aggregate = AGGREGATES[name]
    rng = np.random.default_rng(n)
    for count in arity(aggregate):
        columns = inputs_for(aggregate, count, rng, n)
        if aggregate.needs_rate:
            columns = tuple(np.nan_to_num(c) for c in columns)
        expected = aggregate.reference(*columns, time_ns=times(n), rate_hz=RATE_HZ)
        if count == 0:
            assert fold(aggregate, times(n), (), ()) == n
            continue
        check(aggregate_of(aggregate, times(n), columns), expected)


@pytest.mark.parametrize("name", AGGREGATES)
def test_an_aggregate_of_missing_values_only(name):
    aggregate = AGGREGATES[name]
    columns = tuple(np.full(6, np.nan) for _ in range(max(1, arity(aggregate)[-1])))
    found = np.asarray(aggregate_of(aggregate, times(6), columns), dtype=float)
    if aggregate.name in ("count", "sum", "energy", "distinct", "zero_crossings"):
        assert found == 0.0
    else:
        assert np.isnan(found).all()


@pytest.mark.parametrize(
    "name",
    ["max()", "min()", "range()", "sum()", "mean()", "var(ddof=0)", "std(ddof=0)", "kurtosis()"],
)
def test_an_aggregate_of_infinities(name):
    aggregate = AGGREGATES[name]
    for x in (np.array([np.inf]), np.array([-np.inf, -np.inf]), np.array([1.0, np.inf, 2.0])):
        with np.errstate(all="ignore"):
            expected = aggregate.reference(x, time_ns=times(len(x)), rate_hz=RATE_HZ)
        check(fold(aggregate, times(len(x)), (x,), (F64,)), expected)


FOLDS = {n: a for n, a in AGGREGATES.items() if not a.collects}


@pytest.mark.parametrize("name", FOLDS)
@settings(max_examples=15)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(0, 40))
def test_merging_is_associative(name, seed, n):
    """Parts may be merged in any grouping, as panes and rolling extents do."""
    aggregate = FOLDS[name]
    rng = np.random.default_rng(seed)
    columns = inputs_for(aggregate, arity(aggregate)[-1], rng, n)
    types = types_of(aggregate, len(columns))
    left = fold(aggregate, times(n), columns, types)
    check(fold(aggregate, times(n), columns, types, order=rng), left)


@pytest.mark.parametrize("name", [n for n, a in FOLDS.items() if a.adds])
def test_an_aggregate_that_adds_does_nothing_else(name):
    """Long frames add the numbers of its state without asking it."""
    draw = np.random.default_rng(2)
    for _ in range(20):
        a, b = (tuple(draw.normal(size=len(FOLDS[name].zero))) for _ in range(2))
        assert FOLDS[name].merge(a, b) == tuple(x + y for x, y in zip(a, b, strict=True))
    assert not any(FOLDS[name].zero)


@pytest.mark.parametrize("name", [n for n, a in AGGREGATES.items() if a.needs_rate])
def test_a_spectrum_over_a_missing_sample_is_missing(name):
    aggregate = AGGREGATES[name]
    x = np.sin(np.arange(64.0))
    x[10] = np.nan
    assert np.isnan(np.asarray(finish(aggregate, (x,), (F64,)))).all()


@pytest.mark.parametrize("name", [n for n, a in AGGREGATES.items() if a.needs_rate])
@pytest.mark.parametrize("n", [3, 8, 9, 11, 30, 49, 64, 98, 121, 202, 360])
def test_spectra_hold_for_lengths_of_all_factors(name, n):
    aggregate = AGGREGATES[name]
    x = np.random.default_rng(n).normal(3.0, 1.0, n)
    check(
        finish(aggregate, (x,), (F64,)), aggregate.reference(x, time_ns=times(n), rate_hz=RATE_HZ)
    )


COMPILED = ("ema(tau=0.05)", "median(length=Extent(seconds=None, samples=5))", "lag(n=30)", "clock(zone=Europe/Brussels)",
            "date(zone=Europe/Brussels)", "kalman(process=0.5, noise=0.5)", "cumsum()", "round()", "clip()")  # fmt: skip


@pytest.mark.parametrize("name", COMPILED)
def test_the_compiled_step_gives_the_same_bits(name):
    function = FUNCTIONS[name]
    count = arity(function)[0]
    rng = np.random.default_rng(3)
    columns = inputs_for(function, count, rng, 200)
    types = types_of(function, count)
    plain = run(function, times(200), columns, types)
    (step,) = function.steps(types, Context(rate_hz=RATE_HZ))
    fast = jitted(step.run)
    call = ", ".join([*(["state"] if step.start else []), *(["ring"] if step.ring else []), *(["t[k]"] if step.needs_time else []),
                      *(f"c{j}[k]" for j in range(count)), *(repr(c) for c in step.constants)])  # fmt: skip
    targets = "state, y" if step.start else "y"
    whole = plain.dtype.kind == "i"
    text = f"def drive(t, ring, out, start, {', '.join(f'c{j}' for j in range(count))}):\n    state = start\n    for k in range(len(t)):\n        {targets} = step({call})\n        out[k] = y\n"
    scope = {"step": fast}
    exec(text, scope)
    out = np.zeros(200, dtype=np.int64 if whole else np.float64)
    njit(error_model="numpy")(scope["drive"])(
        times(200), np.full(step.ring, 1e300), out, step.start or (0,), *columns
    )
    np.testing.assert_array_equal(out, plain)


def test_times_and_texts_go_through_lag_unharmed():
    lag = FUNCTIONS["lag(n=3)"]
    x = np.array([2**62 + 1, -(2**63), 2**53 + 1, -7, 3, 9], dtype=np.int64)
    found = run(lag, times(6), (x,), (TIME,))
    assert found.tolist() == [-(2**63)] * 3 + x[:3].tolist()


def test_ties_of_a_mode():
    mode = AGGREGATES["mode()"]
    x = np.array([5.0, 2.0, 2.0, 5.0, 1.0])
    assert finish(mode, (x,), (F64,)) == 2.0
    assert finish(mode, (x,), (TEXT,)) == 5.0
    assert math.isnan(finish(mode, (x[:0],), (TEXT,)))
