"""Decimal numbers to the nearest float64, without a doubt or not at all.

A short number is exact in one multiplication or division (Clinger 1990). A longer one is multiplied with a power of
five in 128 bits (Lemire 2021); where even those leave a doubt, or the result would be subnormal or infinite, NaN says
so.

References
----------
W. D. Clinger, How to read floating point numbers accurately, PLDI 1990. https://doi.org/10.1145/93542.93557
D. Lemire, Number parsing at a gigabyte per second, Software: Practice and Experience 51(8), 2021, sections 5 to 7.
https://doi.org/10.1002/spe.2984
"""

import math
from functools import cache
from typing import Any

import numpy as np

from flowedge.compile.memory import f64, high, i64, real, wrap, zeros

_LOWEST = -(2**63)
LEAST_POWER, MOST_POWER = -342, 308
_SMALL = 22
"""10^22 is the largest power of ten that a float64 holds exactly."""
_EXACT = 2**53
_FIVES = 8 * (_SMALL + 1)
"""Where the powers of five begin behind those of ten [bytes]."""


@cache
def powers() -> Any:  # noqa: ANN401
    """10^0 … 10^22 as float64, then 5^q for each q as two words, the upper one first, cut to 128 bits.

    The highest bit of each is 1. Negative powers are rounded up, as the proof of the method wants it.
    """
    words = [int(np.float64(10.0**k).view(np.int64)) for k in range(_SMALL + 1)]
    for q in range(LEAST_POWER, MOST_POWER + 1):
        five = 5 ** abs(q)
        size = five.bit_length()
        if q >= 0:
            value = five << 128 - size if size <= 128 else five >> size - 128
        else:
            value = (1 << size + 127) // five + 1
            value >>= value.bit_length() - 128
        words += [wrap(value >> 64), wrap(value)]
    return np.array(words, np.int64)


def nearest(digits: int, exponent: int, table: int) -> float:
    """The float64 nearest to ``digits * 10**exponent``, NaN where that is in doubt.

    Parameters
    ----------
    digits : from 0 to 2^63 - 1
    table : address of `powers`
    """
    if digits == 0:
        return 0.0
    if digits <= _EXACT and -_SMALL <= exponent <= _SMALL:
        if exponent < 0:
            return float(digits) / f64(table, -exponent)
        return float(digits) * f64(table, exponent)
    if exponent < LEAST_POWER or exponent > MOST_POWER:
        return math.nan
    shift = zeros(digits)
    digits = wrap(digits << shift)
    five = table + _FIVES + 16 * (exponent - LEAST_POWER)
    upper = high(digits, i64(five, 0))
    lower = wrap(digits * i64(five, 0))
    if (
        upper & 0x1FF == 0x1FF
    ):  # what the lower word of the power adds may reach the bits that count
        more = high(digits, i64(five, 1))
        lower = wrap(lower + more)
        if (lower ^ _LOWEST) < (more ^ _LOWEST):
            upper = wrap(upper + 1)
    if lower == -1 and (exponent < -27 or exponent > 55):
        return math.nan
    top = (upper >> 63) & 1
    cut = top + 9
    mantissa = (upper >> cut) & ((1 << 64 - cut) - 1)
    power = (
        ((217706 * exponent) >> 16) + 63 + top - shift + 1023
    )  # 217706 / 2^16 is log2(10), nearly
    if power <= 0:
        return math.nan
    # Half way between two floats, exactly: to the even one.
    if (
        0 <= lower <= 1
        and -4 <= exponent <= 23
        and mantissa & 3 == 1
        and wrap(mantissa << cut) == upper
    ):
        mantissa -= 1
    mantissa = (mantissa + (mantissa & 1)) >> 1
    if mantissa >= 1 << 53:
        mantissa = 1 << 52
        power += 1
    if power >= 0x7FF:
        return math.nan
    return real((mantissa & ((1 << 52) - 1)) | (power << 52))
