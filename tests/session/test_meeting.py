"""Where inputs meet: the order of NumPy's stable sort, found by merging."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from flowedge.compile.kernels import meet
from flowedge.compile.kernels.meet import Rows, Space, met
from flowedge.compile.program import NEVER

TIMES = st.lists(st.one_of(st.integers(0, 12), st.integers(-(2**62), 2**62)), max_size=40)


def wanted(inputs, has_slots, has_gaps):
    time = np.concatenate([one.time for one in inputs])
    port = np.concatenate([np.full(len(one.time), one.port, np.uint8) for one in inputs])
    row = np.concatenate([np.arange(len(one.time)) for one in inputs])
    index = np.argsort(time, kind="stable")
    more = []
    for is_wanted, of, kind in ((has_slots, "slot", np.int32), (has_gaps, "gap", np.uint8)):
        parts = [np.zeros(len(one.time), kind) if getattr(one, of) is None else getattr(one, of) for one in inputs]  # fmt: skip
        more.append(np.concatenate(parts)[index] if is_wanted else None)
    return time[index], port[index], row[index], *more


def made(parts, slots, gaps, seed=0):
    """Inputs of such times, sorted; those that are named have slots, or gaps."""
    draw = np.random.default_rng(seed)
    out = []
    for place, part in enumerate(parts):
        time = np.sort(np.array(part, np.int64))
        slot = draw.integers(0, 9, len(time)).astype(np.int32) if place in slots else None
        gap = draw.integers(0, 2, len(time)).astype(np.uint8) if place in gaps else None
        out.append(Rows(place * 3 % 7, time, slot, gap))
    return out


@settings(max_examples=200, deadline=None)
@given(
    st.lists(TIMES, min_size=1, max_size=5), st.sets(st.integers(0, 4)), st.sets(st.integers(0, 4)), st.booleans(), st.booleans()
)  # fmt: skip
@example([[1, 1, 2], [1, 2, 2]], {0, 1}, set(), True, False)
@example([[5], [], [5], [5]], {1}, {2}, True, True)
@example([[NEVER + 1, 0], [NEVER + 1]], {0, 1}, set(), True, False)
@example([[], []], set(), set(), True, True)
def test_it_is_the_order_of_a_stable_sort(parts, slots, gaps, has_slots, has_gaps):
    inputs = made(parts, slots, gaps)
    expected = wanted(inputs, has_slots, has_gaps)
    space = Space()
    for found in (
        met(inputs, has_slots=has_slots, has_gaps=has_gaps),
        met(inputs, has_slots=has_slots, has_gaps=has_gaps, space=space),
        met(inputs, has_slots=has_slots, has_gaps=has_gaps, space=space),
    ):
        for ours, theirs in zip(found, expected, strict=True):
            assert (ours is None) == (theirs is None)
            if ours is not None:
                np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("place", [0, 1, 62, 63, 64, 65, 126, 127, 128, 199])
@pytest.mark.parametrize("is_twice", [True, False])
@pytest.mark.parametrize("side", [0, 1])
def test_inputs_in_step_with_a_row_too_many_or_too_few(place, is_twice, side):
    parts = [list(range(200)), list(range(200))]
    parts[side][place : place + 1] = [place, place] if is_twice else []
    inputs = made(parts, {0, 1}, set())
    for has_slots in (True, False):
        expected = wanted(inputs, has_slots=has_slots, has_gaps=False)
        found = met(inputs, has_slots=has_slots, has_gaps=False)
        for ours, theirs in zip(found[:4], expected[:4], strict=True):
            np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("count", [2, 3])
def test_it_is_a_plain_function(monkeypatch, count):
    draw = np.random.default_rng(3)
    inputs = made([draw.integers(0, 30, 25) for _ in range(count)], {0, 1}, {1})
    expected = wanted(inputs, has_slots=True, has_gaps=count == 3)
    monkeypatch.setattr(meet, "ready", lambda run: run)
    found = met(inputs, has_slots=True, has_gaps=count == 3)
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_views_of_other_arrays_are_taken():
    time, slot = np.arange(40, dtype=np.int64), np.arange(40, dtype=np.int32)
    inputs = [Rows(0, time[::2], slot[::2], None), Rows(1, time[1::2], slot[1::2], None)]
    found = met(inputs, has_slots=True, has_gaps=False)
    np.testing.assert_array_equal(found.time, time)
    np.testing.assert_array_equal(found.slot, slot)


def test_what_is_kept_stays_as_it_is_when_the_room_is_used_again():
    space = Space()
    one, other = made([[1, 3], [2]], {0, 1}, {0}), made([[7, 9], [8]], {0, 1}, {0}, seed=1)
    found = met(one, has_slots=True, has_gaps=True, space=space, is_kept=True)
    met(other, has_slots=True, has_gaps=True, space=space)
    time, _, _, slot, gap = wanted(one, has_slots=True, has_gaps=True)
    for ours, theirs in ((found.time, time), (found.slot, slot), (found.gap, gap)):
        np.testing.assert_array_equal(ours, theirs)


def test_room_grows_and_is_used_again():
    space = Space()
    sizes = []
    for n in (10, 8, 1000, 20, 1100):
        inputs = made([range(n), range(n)], {0, 1}, set())
        found = met(inputs, has_slots=True, has_gaps=False, space=space)
        assert len(found.time) == 2 * n
        sizes.append(space.nbytes)
    assert sizes[0] == sizes[1] < sizes[2] == sizes[3] == sizes[4]
