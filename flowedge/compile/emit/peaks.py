"""The running part of `detect peaks`, on one block of words per key; see the layout beside `Peaks`.

`words` is the length of a row: time, value, low, then what the event keeps. Rows in the block: the
newest, the one before, the best since the last candidate, a ring of candidates, and the rows found
by this call. All decisions are taken by times [ns], so that signals and irregular rows mean the same.
"""

import math

from flowedge.compile.memory import copy, f64, i64, set_f64, set_i64
from flowedge.operators.detect.peaks import (
    AFTER,
    BEST,
    CANDIDATE,
    COUNT,
    FOUND,
    FRESH,
    HEAD,
    HELD,
    HIGHEST,
    INTERVALS,
    LAST_TIME,
    LAST_VALUE,
    LEARNING,
    LEVELS,
    LOOK,
    LOW,
    MODE,
    NOISE,
    RISING,
    ROWS,
    RUNNING,
    SEEN,
    SIGNAL,
    START,
    TOTAL,
)

NEVER = -9223372036854775808
FOREVER = 9223372036854775807


def peaks_restart(b: int) -> int:
    """Empty the block of a key."""
    for k in range(ROWS):
        set_i64(b, k, 0)
    set_i64(b, LAST_TIME, NEVER)
    set_i64(b, CANDIDATE, NEVER)
    set_i64(b, LOOK, FOREVER)
    set_f64(b, LOW, math.inf)
    set_f64(b, AFTER, math.inf)
    return 0


def peaks_row(
    b: int, t: int, x: float, words: int, room: int, is_adaptive: int, fixed: float, fraction: float, learn: int,
    apart: int, rise: float, recovery: int, share: float, search_back: float, at_most: int, follows: int,
) -> int:  # fmt: skip
    """Take the newest row; returns how many peaks were found.

    The caller has written time, value and columns at ``ROWS``, and finds the peaks behind the ring
    of candidates: times, values, prominences and columns.
    """
    peaks_time(
        b,
        t,
        words,
        room,
        is_adaptive,
        fixed,
        fraction,
        learn,
        apart,
        rise,
        recovery,
        share,
        search_back,
    )
    if x - x != 0.0:  # NaN and infinities
        return i64(b, FOUND)
    newest, before, best = ROWS, ROWS + words, ROWS + 2 * words
    if i64(b, MODE) == FRESH:
        set_i64(b, MODE, LEARNING if is_adaptive == 1 else RUNNING)
        set_i64(b, START, t)
        set_f64(b, HIGHEST, x)
    else:
        y = f64(b, before + 1)
        if i64(b, RISING) == 1 and y >= x and t - i64(b, before) <= follows:
            found = i64(b, CANDIDATE)
            if (found == NEVER or i64(b, before) >= found + apart) and i64(b, BEST) == 0:
                copy(b + 8 * best, b + 8 * before, 8 * words)
                set_i64(b, BEST, 1)
                joined(b)
        if i64(b, BEST) == 1:
            if t >= i64(b, best) + apart:
                candidate(
                    b, words, room, is_adaptive, fixed, fraction, rise, recovery, share, search_back
                )
            elif x > f64(b, best + 1):
                set_i64(b, BEST, 0)
                joined(b)
        set_i64(b, RISING, 1 if x > y else 0)
    copy(b + 8 * before, b + 8 * newest, 8 * words)
    if i64(b, BEST) == 1:
        set_f64(b, AFTER, min(f64(b, AFTER), x))
    else:
        set_f64(b, LOW, min(f64(b, LOW), x))
    if i64(b, MODE) == LEARNING:
        set_f64(b, HIGHEST, max(f64(b, HIGHEST), x))
        set_f64(b, TOTAL, f64(b, TOTAL) + x)
        set_i64(b, COUNT, i64(b, COUNT) + 1)
    elif t > i64(b, LOOK):
        look_back(
            b, t, words, room, is_adaptive, fixed, fraction, recovery, share, search_back, at_most
        )
    return i64(b, FOUND)


def peaks_time(
    b: int, now: int, words: int, room: int, is_adaptive: int, fixed: float, fraction: float, learn: int, apart: int,
    rise: float, recovery: int, share: float, search_back: float,
) -> int:  # fmt: skip
    """No row before `now` will come: judge what that makes certain; returns how many peaks were found.

    ``FOREVER`` judges all that waits: at the end of input, and at a gap.
    """
    set_i64(b, FOUND, 0)
    best = ROWS + 2 * words
    if i64(b, MODE) == LEARNING and now >= i64(b, START) + learn:
        if i64(b, BEST) == 1 and i64(b, best) + apart <= i64(b, START) + learn:
            candidate(
                b, words, room, is_adaptive, fixed, fraction, rise, recovery, share, search_back
            )
        learned(b, words, room, fraction, rise, recovery, share, search_back)
    if i64(b, BEST) == 1 and now >= i64(b, best) + apart:
        candidate(b, words, room, is_adaptive, fixed, fraction, rise, recovery, share, search_back)
    return i64(b, FOUND)


def peaks_due(b: int, words: int, learn: int, apart: int) -> int:
    """When `peaks_time` next has something to do, if no row comes before."""
    if i64(b, MODE) == LEARNING:
        return i64(b, START) + learn
    if i64(b, BEST) == 1:
        return i64(b, ROWS + 2 * words) + apart
    return FOREVER


def joined(b: int) -> int:
    """What came after the best so far belongs to what comes before the next best."""
    set_f64(b, LOW, min(f64(b, LOW), f64(b, AFTER)))
    set_f64(b, AFTER, math.inf)
    return 0


def candidate(
    b: int, words: int, room: int, is_adaptive: int, fixed: float, fraction: float, rise: float, recovery: int, share: float,
    search_back: float,
) -> int:  # fmt: skip
    """The best so far becomes a candidate: judged at once, or kept while the levels are learned."""
    best = ROWS + 2 * words
    set_i64(b, BEST, 0)
    set_i64(b, CANDIDATE, i64(b, best))
    set_f64(b, best + 2, f64(b, LOW))
    set_f64(b, LOW, math.inf)
    if i64(b, MODE) == LEARNING:
        keep(b, best, words, room)
    elif (
        judge(
            b, best, words, room, is_adaptive, fixed, fraction, rise, recovery, share, search_back
        )
        == 0
    ):
        set_f64(b, LOW, f64(b, best + 2))
    joined(b)
    return 0


def place(b: int, k: int, words: int, room: int) -> int:
    """Where candidate number k of the ring lies."""
    return ROWS + (3 + (i64(b, HEAD) + k) % room) * words


def keep(b: int, row: int, words: int, room: int) -> int:
    """Put a row into the ring of candidates; the oldest makes way, and leaves the next its low."""
    held = i64(b, HELD)
    if held == room:
        low = f64(b, place(b, 0, words, room) + 2)
        set_i64(b, HEAD, (i64(b, HEAD) + 1) % room)
        held -= 1
        if held == 0:
            set_f64(b, row + 2, min(low, f64(b, row + 2)))
        else:
            oldest = place(b, 0, words, room)
            set_f64(b, oldest + 2, min(low, f64(b, oldest + 2)))
    at = place(b, held, words, room)
    if at != row:
        copy(b + 8 * at, b + 8 * row, 8 * words)
    set_i64(b, HELD, held + 1)
    return 0


def level(b: int, is_adaptive: int, fixed: float, fraction: float) -> float:
    """The threshold as it stands."""
    if is_adaptive == 1:
        return f64(b, NOISE) + fraction * (f64(b, SIGNAL) - f64(b, NOISE))
    return fixed


def has_recovered(b: int, row: int, recovery: int, share: float) -> bool:
    """Whether the last peak leaves room for this one: the relative refractory period."""
    last = i64(b, LAST_TIME)
    return (
        last == NEVER
        or i64(b, row) - last >= recovery
        or f64(b, row + 1) >= share * f64(b, LAST_VALUE)
    )


def lowest(b: int, count: int, low: float, words: int, room: int) -> float:
    """The lowest of `low` and of the lows of the first `count` candidates kept."""
    for k in range(count):
        low = min(low, f64(b, place(b, k, words, room) + 2))
    return low


def judge(
    b: int, row: int, words: int, room: int, is_adaptive: int, fixed: float, fraction: float, rise: float, recovery: int,
    share: float, search_back: float,
) -> int:  # fmt: skip
    """A peak moves the signal level, anything else the noise level; what has risen waits in the ring.

    Returns 0 where the row is forgotten, and its low with it unless the caller hands it on.
    """
    v = f64(b, row + 1)
    prominence = v - lowest(b, i64(b, HELD), f64(b, row + 2), words, room)
    has_risen = prominence >= rise * v
    if (
        has_risen
        and v >= level(b, is_adaptive, fixed, fraction)
        and has_recovered(b, row, recovery, share)
    ):
        stand(b, row, prominence, words, room, search_back)
        set_f64(b, SIGNAL, 0.125 * v + 0.875 * f64(b, SIGNAL))
        set_i64(b, HELD, 0)
        return 1
    set_f64(b, NOISE, 0.125 * v + 0.875 * f64(b, NOISE))
    if has_risen:
        keep(b, row, words, room)
        return 1
    return 0


def stand(b: int, row: int, prominence: float, words: int, room: int, search_back: float) -> int:
    """Note a peak: its interval, its time and height; copy its row to what was found."""
    last, t = i64(b, LAST_TIME), i64(b, row)
    if last != NEVER:
        seen = i64(b, SEEN)
        set_i64(b, INTERVALS + seen % LEVELS, t - last)
        set_i64(b, SEEN, seen + 1)
    if search_back > 0.0 and i64(b, SEEN) > 0:
        n = min(i64(b, SEEN), LEVELS)
        total = 0
        for k in range(n):
            total += i64(b, INTERVALS + k)
        patience = search_back * total / n
        set_i64(b, LOOK, t + int(patience) if patience < 1e18 else FOREVER)
    set_i64(b, LAST_TIME, t)
    set_f64(b, LAST_VALUE, f64(b, row + 1))
    at = ROWS + (3 + room + i64(b, FOUND)) * words
    copy(b + 8 * at, b + 8 * row, 8 * words)
    set_f64(b, at + 2, prominence)
    set_i64(b, FOUND, i64(b, FOUND) + 1)
    return 0


def learned(
    b: int,
    words: int,
    room: int,
    fraction: float,
    rise: float,
    recovery: int,
    share: float,
    search_back: float,
) -> int:
    """The first look is over: set the levels, then judge the candidates in order."""
    set_i64(b, MODE, RUNNING)
    set_f64(b, SIGNAL, f64(b, HIGHEST) / 3.0)
    set_f64(b, NOISE, 0.5 * f64(b, TOTAL) / max(1, i64(b, COUNT)))
    held, head = i64(b, HELD), i64(b, HEAD)
    set_i64(b, HELD, 0)
    left = math.inf
    for k in range(held):
        # Judging keeps rows in the same ring, behind those still to be judged: never beyond them.
        row = ROWS + (3 + (head + k) % room) * words
        if i64(b, HELD) == 0:
            set_i64(b, HEAD, (head + k) % room)
        set_f64(b, row + 2, min(left, f64(b, row + 2)))
        left = math.inf
        if judge(b, row, words, room, 1, 0.0, fraction, rise, recovery, share, search_back) == 0:
            left = f64(b, row + 2)
    set_f64(b, LOW, min(left, f64(b, LOW)))
    return 0


def look_back(
    b: int, t: int, words: int, room: int, is_adaptive: int, fixed: float, fraction: float, recovery: int, share: float,
    search_back: float, at_most: int,
) -> int:  # fmt: skip
    """No peak for too long: the highest candidate since the last one, if it reaches half the threshold."""
    held, found = i64(b, HELD), -1
    least = 0.5 * level(b, is_adaptive, fixed, fraction)
    for k in range(held):
        row = place(b, k, words, room)
        v = f64(b, row + 1)
        if t - i64(b, row) > at_most or v < least or not has_recovered(b, row, recovery, share):
            continue
        if found < 0 or v > f64(b, place(b, found, words, room) + 1):
            found = k
    if found < 0:
        return 0
    row = place(b, found, words, room)
    v = f64(b, row + 1)
    stand(b, row, v - lowest(b, found + 1, math.inf, words, room), words, room, search_back)
    set_f64(b, SIGNAL, 0.25 * v + 0.75 * f64(b, SIGNAL))
    set_i64(b, HEAD, (i64(b, HEAD) + found + 1) % room)
    set_i64(b, HELD, held - found - 1)
    return 1
