"""A small network from its input to its output, frame by frame, so that what lies between two layers never leaves the cache.

Inside, a frame lies by samples, with the channels of a sample side by side.
"""

from flowedge.compile.kernels.convolution import (
    BIAS,
    BLOCKS,
    CHANNELS,
    DILATION,
    RECTIFIED,
    SAMPLES,
    TAPS,
    WEIGHTS,
    X_STEP,
    Y_STEP,
    X,
    Y,
    convolve,
    rows,
)
from flowedge.compile.kernels.convolution import WORDS as CONVOLUTION_WORDS
from flowedge.compile.memory import SIDE, f32, i64, set_f32, total
from flowedge.compile.program import DONE

# ---- words of the context

INPUT = 0  # address of float32 (frames, channels, samples)
OUTPUT = 1  # address of float32 (frames, results, samples of the result)
FRAMES = 2
LAYERS = 3  # address of their blocks, at least one
LAYER_COUNT = 4
FIRST = 5  # address of the first sample in the memory for what the first layer takes
FIRST_STEP = 6  # numbers from one of its samples to the next
CHANNELS_IN = 7
SAMPLES_IN = 8
CHANNELS_OUT = 9
SAMPLES_OUT = 10
WORDS = 11

# ---- words of a layer's block: those of a convolution, and

STRIDE = DILATION  # of `MAX_POOL`, which has no dilation: samples from one result to the next
KIND = CONVOLUTION_WORDS
BLOCK = CONVOLUTION_WORDS + 1

CONVOLUTION, MEAN, DENSE, MAX_POOL, AFFINE, FLAT = range(6)
"""Kinds of layers. `MEAN`: over the samples of each channel; `DENSE`: as a convolution of one sample; `MAX_POOL`: of
`TAPS` samples, every `STRIDE` samples; `AFFINE`: weights and bias float32 (channels,); `FLAT`: one sample of the numbers by channels."""


def infer(ctx: int) -> int:
    """All frames."""
    x, y = i64(ctx, INPUT), i64(ctx, OUTPUT)
    channels, samples = i64(ctx, CHANNELS_IN), i64(ctx, SAMPLES_IN)
    results, made = i64(ctx, CHANNELS_OUT), i64(ctx, SAMPLES_OUT)
    layers, count = i64(ctx, LAYERS), i64(ctx, LAYER_COUNT)
    last = layers + 8 * BLOCK * (count - 1)
    for _ in range(i64(ctx, FRAMES)):
        turn(x, samples, i64(ctx, FIRST), i64(ctx, FIRST_STEP), channels, samples)
        for number in range(count):
            block = layers + 8 * BLOCK * number
            kind = i64(block, KIND)
            if kind == CONVOLUTION:
                convolve(block)
            elif kind == MEAN:
                mean(block)
            elif kind == DENSE:
                dense(block)
            elif kind == MAX_POOL:
                max_pool(block)
            elif kind == AFFINE:
                affine(block)
            else:
                flat(block)
        turn(i64(last, Y), i64(last, Y_STEP), y, made, made, results)
        x += 4 * channels * samples
        y += 4 * results * made
    return DONE


def turn(x: int, x_step: int, y: int, y_step: int, count: int, size: int) -> int:
    """Rows (count, size) as columns (size, count)."""
    for k in range(size):
        for row in range(count):
            set_f32(y, k * y_step + row, f32(x, row * x_step + k))
    return 0


def mean(block: int) -> int:
    """The mean of each channel."""
    y, samples, channels = i64(block, Y), i64(block, SAMPLES), i64(block, CHANNELS)
    total(i64(block, X), i64(block, X_STEP), y, samples, i64(block, Y_STEP) // SIDE)
    for channel in range(channels):
        set_f32(y, channel, f32(y, channel) / samples)
    return 0


def dense(block: int) -> int:
    """Sums over the channels of one sample, with a bias."""
    weights, bias, channels = i64(block, WEIGHTS), i64(block, BIAS), i64(block, CHANNELS)
    return rows(i64(block, X), 0, 1, channels, 0, weights, bias, i64(block, Y), 0, 1, i64(block, BLOCKS), i64(block, RECTIFIED))  # fmt: skip


def max_pool(block: int) -> int:
    """The largest of some samples of each channel; of numbers that are none, none."""
    taps, stride, channels = i64(block, TAPS), i64(block, STRIDE), i64(block, CHANNELS)
    step, y_step = i64(block, X_STEP), i64(block, Y_STEP)
    for place in range((i64(block, SAMPLES) - taps) // stride + 1):
        x, y = i64(block, X) + 4 * place * stride * step, i64(block, Y) + 4 * place * y_step
        for channel in range(channels):
            most = f32(x, channel)
            for k in range(1, taps):
                value = f32(x, k * step + channel)
                if value > most or value != value:  # noqa: PLR0124  # NaN is none, and stays
                    most = value
            set_f32(y, channel, most)
    return 0


def affine(block: int) -> int:
    """Each channel by a number, and with one added."""
    weights, bias, rectified = i64(block, WEIGHTS), i64(block, BIAS), i64(block, RECTIFIED)
    for sample in range(i64(block, SAMPLES)):
        x = i64(block, X) + 4 * sample * i64(block, X_STEP)
        y = i64(block, Y) + 4 * sample * i64(block, Y_STEP)
        for channel in range(i64(block, CHANNELS)):
            value = f32(x, channel) * f32(weights, channel) + f32(bias, channel)
            if rectified == 1 and value < 0.0:
                value = 0.0
            set_f32(y, channel, value)
    return 0


def flat(block: int) -> int:
    """All numbers as one sample, channel by channel."""
    samples = i64(block, SAMPLES)
    return turn(i64(block, X), i64(block, X_STEP), i64(block, Y), samples, samples, i64(block, CHANNELS))  # fmt: skip
