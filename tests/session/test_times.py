"""Times of rows, from numbers of a unit of time."""

import numpy as np
import pytest

from flowedge.session.times import LATEST, MISSING, from_numbers


@pytest.mark.parametrize("scale", [1e3, 1e6, 1e9])
def test_numbers_that_are_all_near_are_scaled_as_others_are(scale):
    most = LATEST // int(scale)
    good = np.array([0, -1, 1_700_000_000, most - 1, 1 - most])
    good = good[abs(good) < most]
    for far in (MISSING, most, -most, 2**63 - 1):
        values = np.append(good, far)
        expected = [int(v) * int(scale) for v in good]
        assert from_numbers(values, scale, is_float=False).tolist() == [*expected, MISSING]
        assert from_numbers(good, scale, is_float=False).tolist() == expected
    assert from_numbers(good[:0], scale, is_float=False).tolist() == []
