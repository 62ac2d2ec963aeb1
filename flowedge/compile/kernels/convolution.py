"""Convolutions along time of many frames of float32: what small networks spend nearly all of their time on.

Of a frame all channels lie in the fastest cache, and four channels of the result over 24 samples in registers (`tile_24`). Each
number of a result is the sum over channels and taps in one order, from the bias on, wherever it stands in a tile and in a batch.
"""

from flowedge.compile.memory import copy, i64, tile_8, tile_24
from flowedge.compile.program import DONE

X = 0  # address of float32 (frames, channels, samples)
Y = 1  # address of float32 (frames, results, samples + 2 * pad - (taps - 1) * dilation)
FRAMES = 2
CHANNELS = 3
SAMPLES = 4
RESULTS = 5  # channels of the result
TAPS = 6
DILATION = 7  # samples from one tap to the next
PAD = 8  # zeros before the first sample, and behind the last
WEIGHTS = 9  # address of float32 (four channels of the result each, channels, taps, 4), the last ones filled up with zeros
BIAS = 10  # address of float32 (results, filled up likewise)
RECTIFIED = 11  # 1: what is below zero becomes zero
SCRATCH = 12  # address of `scratch` zeros
WORDS = 13

GROUP = 4
"""Channels of the result that are computed at once."""
SHORT, LONG = 8, 24
"""Samples of the tiles."""


def length(samples: int, taps: int, dilation: int, pad: int) -> int:
    """Samples of the result."""
    return samples + 2 * pad - (taps - 1) * dilation


def scratch(channels: int, samples: int, taps: int, dilation: int, pad: int) -> int:
    """Numbers of the memory for a frame between its zeros, and for four channels of the result."""
    wide = max(samples + 2 * pad, SHORT + (taps - 1) * dilation)
    return channels * wide + GROUP * max(length(samples, taps, dilation, pad), SHORT)


def convolve(ctx: int) -> int:
    """All frames."""
    x, y, channels, samples = i64(ctx, X), i64(ctx, Y), i64(ctx, CHANNELS), i64(ctx, SAMPLES)
    taps, dilation, pad, results = (
        i64(ctx, TAPS),
        i64(ctx, DILATION),
        i64(ctx, PAD),
        i64(ctx, RESULTS),
    )
    size = length(samples, taps, dilation, pad)
    wide = max(samples + 2 * pad, SHORT + (taps - 1) * dilation)
    between = i64(ctx, SCRATCH)
    aside = between + 4 * channels * wide
    for _ in range(i64(ctx, FRAMES)):
        source, step = x, samples
        if pad > 0 or size < SHORT:
            source, step = between, wide
            for c in range(channels):
                copy(between + 4 * (c * wide + pad), x + 4 * c * samples, 4 * samples)
        for first in range(0, results, GROUP):
            if size < SHORT or first + GROUP > results:
                room = max(size, SHORT)
                group(ctx, source, step, first, aside, room, room)
                for c in range(first, min(first + GROUP, results)):
                    copy(y + 4 * c * size, aside + 4 * (c - first) * room, 4 * size)
            else:
                group(ctx, source, step, first, y + 4 * first * size, size, size)
        x += 4 * channels * samples
        y += 4 * results * size
    return DONE


def group(ctx: int, x: int, x_step: int, first: int, y: int, y_step: int, size: int) -> int:
    """Four channels of the result of a frame, of at least eight samples; the last tile may overlap the one before."""
    channels, taps, dilation = i64(ctx, CHANNELS), i64(ctx, TAPS), i64(ctx, DILATION)
    weights = i64(ctx, WEIGHTS) + 4 * first * channels * taps
    bias, rectified = i64(ctx, BIAS) + 4 * first, i64(ctx, RECTIFIED)
    at = 0
    if size >= LONG:
        while at < size:
            at = min(at, size - LONG)
            tile_24(x + 4 * at, x_step, channels, taps, dilation, weights, bias, y + 4 * at, y_step, rectified)  # fmt: skip
            at += LONG
    else:
        while at < size:
            at = min(at, size - SHORT)
            tile_8(x + 4 * at, x_step, channels, taps, dilation, weights, bias, y + 4 * at, y_step, rectified)  # fmt: skip
            at += SHORT
    return 0
