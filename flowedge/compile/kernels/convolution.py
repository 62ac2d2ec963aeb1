"""Convolutions along time of one frame of float32: what small networks spend nearly all of their time on.

A frame lies by samples, with all channels of a sample side by side, so that what a result is the sum of are stretches of the frame as
it lies. Where there are many channels, `FAST` results of samples that follow each other are computed as values at eight points of the
product of two polynomials, one of samples and one of weights: eight multiplications for four results of five taps instead of
twenty (Winograd, "Arithmetic Complexity of Computations", SIAM, 1980, chapter V; for networks Lavin and Gray, "Fast Algorithms for
Convolutional Neural Networks", CVPR 2016). Numbers that are none, or far too large, would reach results that they have no
part in: a frame that has them is computed sum by sum.
"""

from flowedge.compile.memory import SIDE, from_points, i64, largest, panel, to_points
from flowedge.compile.program import DONE

X = 0  # address of float32 (samples, X_STEP), zeros before and behind them included
X_STEP = 1  # numbers from one sample to the next: at least the channels; whole blocks if it is fast
SAMPLES = 2  # with those zeros
CHANNELS = 3
TAPS = 4
DILATION = 5  # samples from one tap to the next
Y = 6  # address of float32 (SAMPLES - (TAPS - 1) * DILATION, Y_STEP)
Y_STEP = 7  # at least the blocks
BLOCKS = 8  # of sixteen channels of the result, the last one filled up
WEIGHTS = 9  # address of float32 (blocks, taps, channels, 16)
BIAS = 10  # address of float32 (blocks, 16)
RECTIFIED = 11  # 1: what is below zero becomes zero
FAST = 12  # results that are computed at once; 0: sum by sum
FAST_WEIGHTS = 13  # address of float32 (VALUES, blocks, channels, 16)
NOTHING = 14  # address of zeros for the blocks
SCRATCH = 15  # address of `scratch` float32
WORDS = 16

VALUES = 8
"""Points, infinity among them."""
_TOO_LARGE = 0x71800000
"""The bits of 2^100: where all samples are below, so are all values what float32 holds."""


def length(samples: int, taps: int, dilation: int) -> int:
    """Samples of the result."""
    return samples - (taps - 1) * dilation


def scratch(samples: int, x_step: int, blocks: int, taps: int, fast: int) -> int:
    """Numbers of the memory for values."""
    if fast == 0:
        return 0
    return VALUES * -(-length(samples, taps, 1) // fast) * (x_step + SIDE * blocks)


def convolve(ctx: int) -> int:
    """One frame."""
    size = length(i64(ctx, SAMPLES), i64(ctx, TAPS), i64(ctx, DILATION))
    if i64(ctx, FAST) > 0:
        whole = i64(ctx, SAMPLES) * i64(ctx, X_STEP) // SIDE
        if largest(i64(ctx, X), whole) < _TOO_LARGE:
            return fast(ctx, size)
    channels, x_step, taps = i64(ctx, CHANNELS), i64(ctx, X_STEP), i64(ctx, TAPS)
    step = i64(ctx, DILATION) * x_step
    if step == channels:  # all taps are one stretch
        channels, taps = channels * taps, 1
    weights, bias, rectified = i64(ctx, WEIGHTS), i64(ctx, BIAS), i64(ctx, RECTIFIED)
    return rows(i64(ctx, X), x_step, taps, channels, step, weights, bias, i64(ctx, Y), i64(ctx, Y_STEP), size, i64(ctx, BLOCKS), rectified)  # fmt: skip


def fast(ctx: int, size: int) -> int:
    """Some results at once; the last ones may be computed with some before them again."""
    x, x_step, channels = i64(ctx, X), i64(ctx, X_STEP), i64(ctx, CHANNELS)
    y, y_step, blocks = i64(ctx, Y), i64(ctx, Y_STEP), i64(ctx, BLOCKS)
    made, weights, bias = i64(ctx, FAST), i64(ctx, FAST_WEIGHTS), i64(ctx, BIAS)
    groups, wide, rectified = (size + made - 1) // made, SIDE * blocks, i64(ctx, RECTIFIED)
    values = i64(ctx, SCRATCH)
    sums = values + 4 * VALUES * groups * x_step
    for group in range(groups):
        first = min(group * made, size - made)
        to_points(x + 4 * first * x_step, x_step, values + 4 * group * x_step, groups * x_step, x_step // SIDE)  # fmt: skip
    for k in range(VALUES):
        rows(values + 4 * k * groups * x_step, x_step, 1, channels, 0, weights + 4 * k * channels * wide, i64(ctx, NOTHING), sums + 4 * k * groups * wide, wide, groups, blocks, 0)  # fmt: skip
    for group in range(groups):
        first = min(group * made, size - made)
        from_points(sums + 4 * group * wide, groups * wide, bias, y + 4 * first * y_step, y_step, made, blocks, rectified)  # fmt: skip
    return DONE


def rows(x: int, x_step: int, segments: int, size: int, segment_step: int, weights: int, bias: int, y: int, y_step: int, count: int, blocks: int, rectified: int) -> int:  # fmt: skip
    """`panel`, whose code is long, in one place."""
    panel(x, x_step, segments, size, segment_step, weights, bias, y, y_step, count, blocks, rectified)  # fmt: skip
    return DONE
