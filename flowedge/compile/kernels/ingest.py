"""What each row of a source is: the next sample, a duplicate, or the first one behind a gap.

Two kernels. `steps` looks at a column of times at once: the smallest and largest step between
neighbours tell whether it is in order, and whether a signal is regular, at a fraction of a
nanosecond a row. `follow` is the slow way, key by key, for rows where that is not enough.
"""

from flowedge.compile.kernels.rounds import FEWEST, FEWEST_KEYS, round_of, turns_until
from flowedge.compile.memory import f64, i32, i64, set_f64, set_i64, set_u8
from flowedge.compile.program import DONE

NEVER = -(2**63)
FOREVER = 2**63 - 1

# ---- steps between neighbours

ROWS = 0
TIME = 1  # address of int64[ROWS]
LEAST = 2  # smallest step [ns]; out
MOST = 3  # largest step [ns]; out
STEPS_WORDS = 4


def steps(ctx: int) -> int:
    """Smallest and largest difference between neighbouring times; 0 and 0 for fewer than two."""
    rows = i64(ctx, ROWS)
    time = i64(ctx, TIME)
    least = 0
    most = 0
    if rows > 1:
        least = FOREVER
        most = NEVER
        for i in range(1, rows):
            step = i64(time, i) - i64(time, i - 1)
            least = min(least, step)
            most = max(most, step)
        # A step down to a time that is missing overflows: it is seen from the other one up, or from the end.
        if i64(time, rows - 1) < i64(time, 0):
            least = min(least, -1)
    set_i64(ctx, LEAST, least)
    set_i64(ctx, MOST, most)
    return DONE


# ---- times counted from a rate

COUNT_ROWS = 0
COUNT_OUT = 1  # address of int64[ROWS]
COUNT_BASE = 2  # ns
COUNT_FIRST = 3  # number of the first row after the base
COUNT_PERIOD = 4  # float64, ns
COUNT_TABLE = 5  # address of times after the base; 0: none, so that they are computed
COUNT_WORDS = 6


def count(ctx: int) -> int:
    """Times of rows `COUNT_FIRST`, … after a base: base + the nearest whole number of ns."""
    rows = i64(ctx, COUNT_ROWS)
    out = i64(ctx, COUNT_OUT)
    base = i64(ctx, COUNT_BASE)
    first = i64(ctx, COUNT_FIRST)
    period = f64(ctx, COUNT_PERIOD)
    table = i64(ctx, COUNT_TABLE)
    if table == 0:
        for i in range(rows):
            set_i64(out, i, base + int(float(first + i) * period + 0.5))
    else:
        table += 8 * first
        for i in range(rows):
            set_i64(out, i, base + i64(table, i))
    return DONE


# ---- key by key

F_ROWS = 0
F_TIME = 1  # address of int64[ROWS]
F_SLOT = 2  # address of int32[ROWS]; 0: all slot 0
F_LAST = 3  # address of int64 by slot: time of the key's last kept row, NEVER before the first
F_FATE = 4  # address of uint8[ROWS], out: see below
F_IS_SIGNAL = 5
F_RATE = 6  # float64, samples per ns
F_JITTER = 7  # float64, samples
F_LOW = 8  # steps from LOW to HIGH are one sample without jitter
F_HIGH = 9
F_DUPLICATES = 10  # 1: rows of a key's last time are duplicates
F_MISSED = 11  # address of int64[ROWS], out: samples missing before a GAP, at its place in F_AT
F_PREVIOUS = 12  # address of int64[ROWS], out: there as well, the row before; -1: an earlier call
F_PLACE = 13  # address of int64 by slot, scratch: F_BASE + row of the key's last kept row
F_BASE = 14  # number of row 0 of this call in F_PLACE; grows by F_ROWS from call to call
F_GAPS = 15  # out, counts of this call
F_JITTERED = 16
F_DUPLICATE = 17
F_SUM = 18  # float64, out: sum of steps / samples [ns] over steps of 1 … 1000 samples
F_STEPS = 19  # out: how many these are
F_FIRSTS = 20  # out: keys seen for the first time
F_SILENCE = 21  # a key is silent after so many ns; -1: never
F_BEFORE = 22  # address of int64[ROWS], out: time of the key's row before, where AWAY
F_AWAY = 23  # out: how many rows have been away
F_AT = 24  # address of int64[ROWS], out: rows that are a GAP or a DUPLICATE, in order
F_START = 25  # address of int64[ROWS], out: as F_PREVIOUS, the time of the row before
FOLLOW_WORDS = 26

NEXT = 0  # nothing to say
GAP = 1  # samples are missing before it
DUPLICATE = 2
AWAY = 4  # added to the others: more than F_SILENCE since the key's last row


def follow(ctx: int) -> int:
    """Look at every row of every key in order, and say what it is."""
    rows = i64(ctx, F_ROWS)
    time = i64(ctx, F_TIME)
    slots = i64(ctx, F_SLOT)
    lasts = i64(ctx, F_LAST)
    fates = i64(ctx, F_FATE)
    is_signal = i64(ctx, F_IS_SIGNAL)
    rate = f64(ctx, F_RATE)
    jitter = f64(ctx, F_JITTER)
    low = i64(ctx, F_LOW)
    high = i64(ctx, F_HIGH)
    duplicates = i64(ctx, F_DUPLICATES)
    missed = i64(ctx, F_MISSED)
    previous = i64(ctx, F_PREVIOUS)
    places = i64(ctx, F_PLACE)
    base = i64(ctx, F_BASE)
    silence = i64(ctx, F_SILENCE)
    before = i64(ctx, F_BEFORE)
    at = i64(ctx, F_AT)
    starts = i64(ctx, F_START)
    gaps = 0
    jittered = 0
    dropped = 0
    total = 0.0
    counted = 0
    firsts = 0
    away = 0
    seen = 0
    around = 0
    if slots != 0 and is_signal != 0 and (silence < 0 or silence >= high):
        around = in_turn(rows, time, slots, lasts, low, high)
    if around > 0:
        for i in range(rows):
            set_u8(fates, i, NEXT)
        for i in range(rows - around, rows):
            slot = i32(slots, i)
            total += float(i64(time, i) - i64(lasts, slot))
            set_i64(lasts, slot, i64(time, i))
            set_i64(places, slot, base + i)
        counted = seen = rows
    for i in range(seen, rows):
        t = i64(time, i)
        slot = 0 if slots == 0 else i32(slots, i)
        last = i64(lasts, slot)
        fate = NEXT
        if last == NEVER:
            firsts += 1
        else:
            step = t - last
            if step < 0:  # in order, so centuries apart
                step = FOREVER
            if silence >= 0 and step > silence:
                away += 1
                fate = AWAY
                set_i64(before, i, last)
            if is_signal != 0:
                if step >= low and step <= high:
                    total += float(step)
                    counted += 1
                else:
                    exact = float(step) * rate
                    k = int(exact + 0.5) if exact < 9.0e15 else 9000000000000000
                    if k <= 0 and duplicates != 0:
                        set_i64(at, gaps + dropped, i)
                        dropped += 1
                        set_u8(fates, i, DUPLICATE)
                        continue
                    if abs(exact - float(k)) > jitter:
                        jittered += 1
                    if k >= 1 and k <= 1000:
                        total += float(step) / float(k)
                        counted += 1
                    if k > 1:
                        fate |= GAP
                        place = i64(places, slot) - base
                        found = gaps + dropped
                        set_i64(at, found, i)
                        set_i64(starts, found, last)
                        set_i64(missed, found, k - 1)
                        set_i64(previous, found, place if place >= 0 else -1)
                        gaps += 1
            elif duplicates != 0 and step <= 0:
                set_i64(at, gaps + dropped, i)
                dropped += 1
                set_u8(fates, i, DUPLICATE)
                continue
        set_u8(fates, i, fate)
        set_i64(lasts, slot, t)
        set_i64(places, slot, base + i)
    set_i64(ctx, F_GAPS, gaps)
    set_i64(ctx, F_JITTERED, jittered)
    set_i64(ctx, F_DUPLICATE, dropped)
    set_f64(ctx, F_SUM, total)
    set_i64(ctx, F_STEPS, counted)
    set_i64(ctx, F_FIRSTS, firsts)
    set_i64(ctx, F_AWAY, away)
    return DONE


def in_turn(rows: int, time: int, slots: int, lasts: int, low: int, high: int) -> int:
    """Rows of a round where keys come in turn and each row is its key's next sample without jitter; else 0.

    Parameters
    ----------
    time, slots, lasts, low, high : as words of the context
    """
    if rows < FEWEST * FEWEST_KEYS:
        return 0
    around = round_of(slots, 0, rows)
    if around == 0 or turns_until(slots, 0, rows, around) < rows:
        return 0
    odd = 0
    for i in range(around):
        last = i64(lasts, i32(slots, i))
        step = i64(time, i) - last
        odd += 0 if last != NEVER and step >= low and step <= high else 1
    for i in range(around, rows):
        step = i64(time, i) - i64(time, i - around)
        odd += 0 if step >= low and step <= high else 1
    return around if odd == 0 else 0


# ---- the last of several

S_ROWS = 0
S_TIME = 1
S_SLOT = 2  # address of int32[ROWS]; 0: all slot 0
S_NEXT = 3  # address of int64 by slot, FOREVER before and after
S_RATE = 4  # float64, samples per ns; 0: equal times
S_DROP = 5  # address of uint8[ROWS], out: 1 where a later row of the key stands at the same instant
S_DROPPED = 6
SUPERSEDE_WORDS = 7


def supersede(ctx: int) -> int:
    """Mark the rows that a later row of the same key and instant replaces."""
    rows = i64(ctx, S_ROWS)
    time = i64(ctx, S_TIME)
    slots = i64(ctx, S_SLOT)
    after = i64(ctx, S_NEXT)
    rate = f64(ctx, S_RATE)
    drop = i64(ctx, S_DROP)
    dropped = 0
    for q in range(rows):
        i = rows - 1 - q
        t = i64(time, i)
        slot = 0 if slots == 0 else i32(slots, i)
        then = i64(after, slot)
        gone = 0
        if (
            then != FOREVER
            and (then == t or float(then - t) * rate < 0.5)
            and (rate != 0.0 or then == t)
        ):
            gone = 1
            dropped += 1
        set_u8(drop, i, gone)
        set_i64(after, slot, t)
    for i in range(rows):
        set_i64(after, 0 if slots == 0 else i32(slots, i), FOREVER)
    set_i64(ctx, S_DROPPED, dropped)
    return DONE


# ---- lives of keys

L_ROWS = 0
L_TIME = 1
L_SLOT = 2  # address of int32[ROWS]
L_LAST = 3  # address of int64 by slot: time of the key's last row, NEVER before the first
L_EXPIRE = 4  # ns
L_LIFE = 5  # address of int64 by slot: number of the key's life
L_OUT = (
    6  # address of int64[ROWS], out: the life that each row belongs to; -1: its key is one too many
)
L_NEXT = 7  # the number of the next life to begin, of whichever key
L_LIMIT = 8  # keys that may live at a time; -1: any number, and nothing below is looked at
L_LINE = 9  # address of int64 by slot: the key behind in the line of keys by their last rows, -1: the last
L_BEFORE = 10  # address of int64 by slot: the key before in that line, -1: the first, -2: not in it
L_FIRST = 11  # the key at the beginning of the line, -1: it is empty
L_LAST_KEY = 12
L_ALIVE = 13  # how many keys are in the line
L_NOW = 14  # keys that have been away for long enough at this time leave the line, too
LIVES_WORDS = 15

OUTSIDE = -2


def lives(ctx: int) -> int:
    """Tell the lives of each key: one that was away for `L_EXPIRE` or more comes back as a new one.

    Lives are numbered through, so that a key may be forgotten once its life is over. With a limit, the keys
    that live stand in line by their last rows, those that expire next in front.
    """
    rows = i64(ctx, L_ROWS)
    time = i64(ctx, L_TIME)
    slots = i64(ctx, L_SLOT)
    lasts = i64(ctx, L_LAST)
    expire = i64(ctx, L_EXPIRE)
    life = i64(ctx, L_LIFE)
    out = i64(ctx, L_OUT)
    following = i64(ctx, L_NEXT)
    limit = i64(ctx, L_LIMIT)
    for i in range(rows):
        t = i64(time, i)
        slot = i32(slots, i)
        last = i64(lasts, slot)
        if limit >= 0:
            leave_line(ctx, t)
            if i64(i64(ctx, L_BEFORE), slot) == OUTSIDE and i64(ctx, L_ALIVE) >= limit:
                set_i64(out, i, -1)
                continue
            stand_last(ctx, slot)
        if last == NEVER or t - last >= expire:
            set_i64(life, slot, following)
            following += 1
        set_i64(lasts, slot, max(t, last))
        set_i64(out, i, i64(life, slot))
    set_i64(ctx, L_NEXT, following)
    if limit >= 0:
        leave_line(ctx, i64(ctx, L_NOW))
    return DONE


def leave_line(ctx: int, now: int) -> int:
    """Let the keys at the front of the line leave whose time is over."""
    lasts = i64(ctx, L_LAST)
    line = i64(ctx, L_LINE)
    before = i64(ctx, L_BEFORE)
    expire = i64(ctx, L_EXPIRE)
    while i64(ctx, L_FIRST) >= 0:
        slot = i64(ctx, L_FIRST)
        if now == NEVER or now - i64(lasts, slot) < expire:
            return 0
        behind = i64(line, slot)
        set_i64(before, slot, OUTSIDE)
        set_i64(ctx, L_FIRST, behind)
        set_i64(ctx, L_ALIVE, i64(ctx, L_ALIVE) - 1)
        if behind >= 0:
            set_i64(before, behind, -1)
        else:
            set_i64(ctx, L_LAST_KEY, -1)
    return 0


def stand_last(ctx: int, slot: int) -> int:
    """Put a key at the end of the line, wherever it stood."""
    line = i64(ctx, L_LINE)
    before = i64(ctx, L_BEFORE)
    last = i64(ctx, L_LAST_KEY)
    if last == slot:
        return 0
    front = i64(before, slot)
    if front == OUTSIDE:
        set_i64(ctx, L_ALIVE, i64(ctx, L_ALIVE) + 1)
    else:
        behind = i64(line, slot)
        if front >= 0:
            set_i64(line, front, behind)
        else:
            set_i64(ctx, L_FIRST, behind)
        set_i64(before, behind, front)
    set_i64(line, slot, -1)
    set_i64(before, slot, last)
    if last >= 0:
        set_i64(line, last, slot)
    else:
        set_i64(ctx, L_FIRST, slot)
    set_i64(ctx, L_LAST_KEY, slot)
    return 0


__all__ = ["count", "follow", "lives", "steps", "supersede"]
