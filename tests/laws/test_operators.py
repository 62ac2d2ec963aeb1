"""What every function owes, and outlaws that break just one law each."""

import math
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.operators import RATE_HZ, all_of, arity, inputs_for, run, times, types_of

from flowedge.operators.contract import Context, Function, Step
from flowedge.types.schema import F64

FUNCTIONS = dict(all_of(Function))
STATEFUL = {n: f for n, f in FUNCTIONS.items() if f.stateful}


def ignores_how_the_input_is_cut(function):
    """The same rows give the same values, bit for bit, in whatever pieces they come."""

    @settings(max_examples=15)
    @given(seed=st.integers(0, 2**32 - 1), cuts=st.lists(st.integers(0, 80), max_size=6))
    def holds(seed, cuts):
        count = arity(function)[0]
        columns = inputs_for(function, count, np.random.default_rng(seed), 80)
        types = types_of(function, count)
        whole = run(function, times(80), columns, types)
        np.testing.assert_array_equal(run(function, times(80), columns, types, cuts), whole)

    holds()


def goes_on_from_a_copy_at_every_place(function):
    """Stopped after any row and restarted from a copy of its state, it gives the same values."""
    count = arity(function)[0]
    columns = inputs_for(function, count, np.random.default_rng(1), 40)
    types = types_of(function, count)
    whole = run(function, times(40), columns, types, restart=False)
    for place in range(41):
        np.testing.assert_array_equal(run(function, times(40), columns, types, [place]), whole)


def equals_its_reference(function):
    """The step and the plain way to say the same agree."""
    count = arity(function)[0]
    columns = inputs_for(function, count, np.random.default_rng(2), 60)
    found = run(function, times(60), columns, types_of(function, count)).astype(float)
    expected = function.reference(*columns, rate_hz=RATE_HZ, time_ns=times(60))
    # Rounding in another order; see the battery.
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", STATEFUL)
def test_the_cut_is_not_seen(name):
    ignores_how_the_input_is_cut(STATEFUL[name])


@pytest.mark.parametrize("name", STATEFUL)
def test_a_copy_goes_on(name):
    goes_on_from_a_copy_at_every_place(STATEFUL[name])


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_delay_is_a_duration(name):
    delay = FUNCTIONS[name].delay_s(Context(rate_hz=RATE_HZ))
    assert math.isfinite(delay)
    assert delay > -1


class Counter(Function):
    """Shared by the outlaws."""

    name = "outlaw"
    stateful = True

    def out(self, args, context):
        """Anything."""
        return F64


@dataclass(frozen=True)
class Forgetful(Counter):
    """Keeps part of its memory where no snapshot finds it."""

    def steps(self, args, context):
        """A cell outside the state."""
        hidden = [0.0]

        def step(state, x):
            hidden[0] += 1.0
            return (state[0],), hidden[0]

        return (Step(step, (0.0,)),)


@dataclass(frozen=True)
class Wrong(Counter):
    """A difference that looks two rows back, with the reference of one."""

    def steps(self, args, context):
        """The state is two values."""

        def step(state, x):
            return (x, state[0]), x - state[1]

        return (Step(step, (math.nan, math.nan)),)

    def reference(self, *x, rate_hz, time_ns):
        """One row back."""
        return np.concatenate([[np.nan], np.diff(x[0])])


def test_a_hidden_memory_is_caught():
    with pytest.raises(AssertionError):
        ignores_how_the_input_is_cut(Forgetful())
    with pytest.raises(AssertionError):
        goes_on_from_a_copy_at_every_place(Forgetful())


def test_a_wrong_step_is_caught():
    ignores_how_the_input_is_cut(Wrong())
    with pytest.raises(AssertionError):
        equals_its_reference(Wrong())
