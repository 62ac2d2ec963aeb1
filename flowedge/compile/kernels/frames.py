"""What stands around a model: frames of columns become its input, its scores become shares.

Two kernels, so that a window costs a call each instead of a dozen passes over small arrays.
"""

import math

from flowedge.compile.memory import f32, f64, i64, set_f32, set_f64, set_i32, set_i64, set_u8
from flowedge.compile.program import DONE

# ---- columns of floats to the channels of an input

FILL_FRAMES = 0
FILL_CHANNELS = 1
FILL_ELEMENTS = 2  # of a frame in each column
FILL_OUT = 3  # address of float32[FRAMES, CHANNELS, ELEMENTS]
FILL_WHOLE = 4  # address of uint8[FRAMES], out: 0 where a value is missing
FILL_LACKING = 5  # how many frames lack a value; out
FILL_IS_SCALED = 6
FILL_COLUMNS = (
    8  # for each channel: address, is float64, mean and deviation (float64 that hold float32)
)
FILL_EACH = 4


def fill(ctx: int) -> int:
    """Frames of columns as the channels of one input: in float32, scaled, and whether each is whole.

    What is beyond float32 becomes infinite; what is missing is NaN in every column.
    """
    frames = i64(ctx, FILL_FRAMES)
    channels = i64(ctx, FILL_CHANNELS)
    elements = i64(ctx, FILL_ELEMENTS)
    whole = i64(ctx, FILL_WHOLE)
    scales = i64(ctx, FILL_IS_SCALED) != 0
    lacking = 0
    for frame in range(frames):
        gone = 0
        for channel in range(channels):
            at = ctx + 8 * (FILL_COLUMNS + FILL_EACH * channel)
            out = i64(ctx, FILL_OUT) + 4 * elements * (frame * channels + channel)
            gone += fill_one(at, out, frame, elements, scales)
        set_u8(whole, frame, int(gone == 0))
        lacking += int(gone != 0)
    set_i64(ctx, FILL_LACKING, lacking)
    return DONE


def fill_one(at: int, out: int, frame: int, elements: int, scales: bool) -> int:  # of a kernel
    """One channel of one frame; how many of its values are missing."""
    gone = 0
    if i64(at, 1):
        source = i64(at, 0) + 8 * elements * frame
        for k in range(elements):
            value = f64(source, k)
            gone += int(math.isnan(value))
            set_f32(out, k, value)
    else:
        source = i64(at, 0) + 4 * elements * frame
        for k in range(elements):
            single = f32(source, k)
            gone += int(math.isnan(single))
            set_f32(out, k, single)
    if scales:
        mean = f64(at, 2)
        width = f64(at, 3)
        # Each step is rounded to float32 where it is stored: the same bits as float32 arithmetic gives.
        for k in range(elements):
            set_f32(out, k, f32(out, k) - mean)
        for k in range(elements):
            set_f32(out, k, f32(out, k) / width)
    return gone


# ---- scores to shares

SHARES_FRAMES = 0
SHARES_SCORES = 1  # for each frame
SHARES_IN = 2  # address of float32 or float64[FRAMES, SCORES]
SHARES_IS_DOUBLE = 3
SHARES_KIND = 4
SHARES_IS_BINARY = 5  # one score decides between two labels: there are two shares
SHARES_PROBS = 6  # address of float64[FRAMES, shares], out
SHARES_BEST = 7  # address of int64[FRAMES], out
SHARES_TOP = 8  # address of float64[FRAMES], out: the share of the best
SHARES_WORDS = 9
SOFTMAX, SIGMOID = 0, 1

LABELS_COLUMNS = SHARES_WORDS  # how many columns are written of the shares
LABELS_LACKING = 10  # how many frames have no share that is a number; out
LABELS_FIRST = (
    11  # for each column: what it is, address of float64 or int64[FRAMES], address it is written to
)
LABELS_EACH = 3
COPY, LABEL, SINGLE, DOUBLE = 0, 1, 2, 3
"""An int64 as it is, a number as int32, a real number as float32 or float64."""


def shares(ctx: int) -> int:
    """Of each frame the shares of its scores, and the place of the largest: the first of those alike, or of NaN."""
    scores = i64(ctx, SHARES_SCORES)
    each = scores + i64(ctx, SHARES_IS_BINARY)
    for frame in range(i64(ctx, SHARES_FRAMES)):
        source = i64(ctx, SHARES_IN) + (8 if i64(ctx, SHARES_IS_DOUBLE) else 4) * scores * frame
        out = i64(ctx, SHARES_PROBS) + 8 * each * frame
        for k in range(scores):
            set_f64(out, k, f64(source, k) if i64(ctx, SHARES_IS_DOUBLE) else f32(source, k))
        if i64(ctx, SHARES_KIND) == SOFTMAX:
            weigh(out, scores)
        else:
            for k in range(scores):
                set_f64(out, k, 1 / (1 + math.exp(-f64(out, k))))
        if each > scores:
            sure = f64(out, 0)
            set_f64(out, 0, 1 - sure)
            set_f64(out, 1, sure)
        best = each - 1  # of two that are alike the second is meant by a score of 0
        if each == scores:
            best = 0
        for k in range(each):
            share, top = f64(out, k), f64(out, best)
            if share > top or (math.isnan(share) and not math.isnan(top)):
                best = k
        set_i64(i64(ctx, SHARES_BEST), frame, best)
        set_f64(i64(ctx, SHARES_TOP), frame, f64(out, best))
    return DONE


def weigh(out: int, scores: int) -> int:
    """Scores to shares that add up to 1, in place."""
    highest = -math.inf
    for k in range(scores):
        value = f64(out, k)
        if value > highest or math.isnan(value):
            highest = value
    total = 0.0
    for k in range(scores):
        share = math.exp(f64(out, k) - highest)
        set_f64(out, k, share)
        total += share
    for k in range(scores):
        set_f64(out, k, f64(out, k) / total)
    return 0


def labels(ctx: int) -> int:
    """The same as `shares`, and of what they are the columns of a sink."""
    shares(ctx)
    frames = i64(ctx, SHARES_FRAMES)
    lacking = 0
    for frame in range(frames):
        lacking += int(math.isnan(f64(i64(ctx, SHARES_TOP), frame)))
    set_i64(ctx, LABELS_LACKING, lacking)
    for column in range(i64(ctx, LABELS_COLUMNS)):
        at = ctx + 8 * (LABELS_FIRST + LABELS_EACH * column)
        what, source, out = i64(at, 0), i64(at, 1), i64(at, 2)
        for frame in range(frames):
            if what == COPY:
                set_i64(out, frame, i64(source, frame))
            elif what == LABEL:
                set_i32(out, frame, i64(source, frame))
            elif what == SINGLE:
                set_f32(out, frame, f64(source, frame))
            else:
                set_f64(out, frame, f64(source, frame))
    return DONE
