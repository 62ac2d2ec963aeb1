"""A small network from its input to its output, frame by frame, so that what lies between two layers never leaves the cache."""

from flowedge.compile.kernels.convolution import (
    BIAS,
    CHANNELS,
    DILATION,
    RECTIFIED,
    RESULTS,
    SAMPLES,
    TAPS,
    WEIGHTS,
    X,
    Y,
    convolve,
)
from flowedge.compile.kernels.convolution import WORDS as CONVOLUTION_WORDS
from flowedge.compile.memory import f32, i64, set_f32, set_i64
from flowedge.compile.program import DONE

# ---- words of the context

INPUT = 0  # address of float32 (frames, input size)
INPUT_SIZE = 1
OUTPUT = 2  # address of float32 (frames, output size)
OUTPUT_SIZE = 3
FRAMES = 4
LAYERS = 5  # address of their blocks
LAYER_COUNT = 6
ODD = 7  # addresses of memory for what lies between two layers, in turn
EVEN = 8
WORDS = 9

# ---- words of a layer's block: those of a convolution of one frame, and

STRIDE = DILATION  # of `MAX_POOL`, which has no dilation: samples from one result to the next
KIND = CONVOLUTION_WORDS
BLOCK = CONVOLUTION_WORDS + 1

CONVOLUTION, MEAN, DENSE, MAX_POOL, AFFINE = range(5)
"""Kinds of layers. `MEAN`: over the samples of each channel; `DENSE`: weights float32 (results, channels) of one sample; `MAX_POOL`: of
`TAPS` samples, every `STRIDE` samples; `AFFINE`: weights and bias float32 (channels,)."""


def infer(ctx: int) -> int:
    """All frames."""
    x, y = i64(ctx, INPUT), i64(ctx, OUTPUT)
    count = i64(ctx, LAYER_COUNT)
    for _ in range(i64(ctx, FRAMES)):
        at = x
        for number in range(count):
            block = i64(ctx, LAYERS) + 8 * BLOCK * number
            to = y if number == count - 1 else i64(ctx, ODD + (number & 1))
            set_i64(block, X, at)
            set_i64(block, Y, to)
            if i64(block, KIND) == CONVOLUTION:
                convolve(block)
            elif i64(block, KIND) == MEAN:
                mean(block)
            elif i64(block, KIND) == DENSE:
                dense(block)
            elif i64(block, KIND) == MAX_POOL:
                max_pool(block)
            else:
                affine(block)
            at = to
        x += 4 * i64(ctx, INPUT_SIZE)
        y += 4 * i64(ctx, OUTPUT_SIZE)
    return DONE


def mean(block: int) -> int:
    """The mean of each channel; eight sums side by side, since each addition waits for the one before."""
    x, y, samples = i64(block, X), i64(block, Y), i64(block, SAMPLES)
    for channel in range(i64(block, CHANNELS)):
        at = x + 4 * channel * samples
        a = b = c = d = e = f = g = h = 0.0
        whole = samples & -8
        for k in range(0, whole, 8):
            a += f32(at, k)
            b += f32(at, k + 1)
            c += f32(at, k + 2)
            d += f32(at, k + 3)
            e += f32(at, k + 4)
            f += f32(at, k + 5)
            g += f32(at, k + 6)
            h += f32(at, k + 7)
        for k in range(whole, samples):
            a += f32(at, k)
        total = ((a + b) + (c + d)) + ((e + f) + (g + h))
        set_f32(y, channel, total / samples)
    return 0


def dense(block: int) -> int:
    """Sums over the channels of one sample, with a bias."""
    x, y, weights, bias = i64(block, X), i64(block, Y), i64(block, WEIGHTS), i64(block, BIAS)
    channels, rectified = i64(block, CHANNELS), i64(block, RECTIFIED)
    for result in range(i64(block, RESULTS)):
        row = weights + 4 * result * channels
        a, b = f32(bias, result), 0.0
        for k in range(0, channels - 1, 2):
            a += f32(row, k) * f32(x, k)
            b += f32(row, k + 1) * f32(x, k + 1)
        if channels & 1:
            a += f32(row, channels - 1) * f32(x, channels - 1)
        total = a + b
        if rectified == 1 and total < 0.0:
            total = 0.0
        set_f32(y, result, total)
    return 0


def max_pool(block: int) -> int:
    """The largest of some samples of each channel; of numbers that are none, none."""
    x, y, samples = i64(block, X), i64(block, Y), i64(block, SAMPLES)
    taps, stride = i64(block, TAPS), i64(block, STRIDE)
    made = (samples - taps) // stride + 1
    for channel in range(i64(block, CHANNELS)):
        for place in range(made):
            at = x + 4 * (channel * samples + place * stride)
            most = f32(at, 0)
            for k in range(1, taps):
                value = f32(at, k)
                if value > most or value != value:  # noqa: PLR0124  # NaN is none, and stays
                    most = value
            set_f32(y, channel * made + place, most)
    return 0


def affine(block: int) -> int:
    """Each channel by a number, and with one added."""
    x, y, samples = i64(block, X), i64(block, Y), i64(block, SAMPLES)
    weights, bias, rectified = i64(block, WEIGHTS), i64(block, BIAS), i64(block, RECTIFIED)
    for channel in range(i64(block, CHANNELS)):
        scale, shift = f32(weights, channel), f32(bias, channel)
        for k in range(channel * samples, (channel + 1) * samples):
            value = f32(x, k) * scale + shift
            if rectified == 1 and value < 0.0:
                value = 0.0
            set_f32(y, k, value)
    return 0
