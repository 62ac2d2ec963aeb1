"""Texts in kernels: whether bytes are UTF-8, and times of ISO 8601 in their commonest form."""

from flowedge.compile.memory import u8, word

_HIGH = -0x7F7F7F7F7F7F7F80
"""The highest bit of each of eight bytes."""
NO_TIME = -(2**63)
_DAY = 86_400


def is_utf8(at: int, size: int) -> bool:
    """Whether bytes are UTF-8 by RFC 3629: the shortest forms, no surrogates, none beyond U+10FFFF."""
    end = at + size
    while at + 8 <= end and word(at) & _HIGH == 0:
        at += 8
    while at < end:
        first = u8(at, 0)
        at += 1
        if first < 0x80:
            continue
        low, high = 0x80, 0xBF
        if 0xC2 <= first <= 0xDF:
            more = 1
        elif 0xE0 <= first <= 0xEF:
            more = 2
            if first == 0xE0:
                low = 0xA0
            elif first == 0xED:
                high = 0x9F
        elif 0xF0 <= first <= 0xF4:
            more = 3
            if first == 0xF0:
                low = 0x90
            elif first == 0xF4:
                high = 0x8F
        else:
            return False
        if at + more > end or u8(at, 0) < low or u8(at, 0) > high:
            return False
        for k in range(1, more):
            if u8(at, k) < 0x80 or u8(at, k) > 0xBF:
                return False
        at += more
    return True


def number_at(at: int, digits: int) -> int:
    """The number of so many digits, -1 where one is none."""
    value = 0
    for k in range(digits):
        digit = u8(at, k) - 48
        if digit < 0 or digit > 9:
            return -1
        value = 10 * value + digit
    return value


def instant(at: int, size: int) -> int:
    """Of ``2024-05-01T12:00:00.5Z`` [ns since 1970, UTC]; `NO_TIME` for any other form.

    A blank may stand for the T, up to nine digits behind the point, and the Z may be absent. Days are counted as
    by H. Hinnant, https://howardhinnant.github.io/date_algorithms.html#days_from_civil.
    """
    if size < 19 or size > 30:
        return NO_TIME
    if u8(at, 4) != 45 or u8(at, 7) != 45 or u8(at, 13) != 58 or u8(at, 16) != 58:
        return NO_TIME
    if u8(at, 10) != 84 and u8(at, 10) != 32:
        return NO_TIME
    year, month, day = number_at(at, 4), number_at(at + 5, 2), number_at(at + 8, 2)
    hour, minute, second = number_at(at + 11, 2), number_at(at + 14, 2), number_at(at + 17, 2)
    if year < 1678 or year > 2261 or month < 1 or month > 12 or day < 1:
        return NO_TIME
    if hour < 0 or hour > 23 or minute < 0 or minute > 59 or second < 0 or second > 59:
        return NO_TIME
    is_leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    longest = 30 + ((month + (month >> 3)) & 1)
    if month == 2:
        longest = 29 if is_leap else 28
    if day > longest:
        return NO_TIME
    fraction = 0
    here = 19
    if here < size and u8(at, here) == 46:
        here += 1
        digits = 0
        while here < size and u8(at, here) >= 48 and u8(at, here) <= 57:
            fraction = 10 * fraction + u8(at, here) - 48
            digits += 1
            here += 1
            if digits > 9:
                return NO_TIME
        if digits == 0:
            return NO_TIME
        while digits < 9:
            fraction *= 10
            digits += 1
    if here < size and u8(at, here) == 90:
        here += 1
    if here != size:
        return NO_TIME
    since_march = year - 1 if month <= 2 else year
    era = since_march // 400
    of_era = since_march - era * 400
    of_year = (153 * (month - 3 if month > 2 else month + 9) + 2) // 5 + day - 1
    days = era * 146_097 + of_era * 365 + of_era // 4 - of_era // 100 + of_year - 719_468
    return (days * _DAY + hour * 3600 + minute * 60 + second) * 1_000_000_000 + fraction
