"""Layers of a network, one behind the other, as one call of a kernel; the last bits may differ from Torch's."""

import math
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flowedge.compile.hands import HANDS, cuts
from flowedge.compile.kernels import convolution as c
from flowedge.compile.kernels import network as k
from flowedge.compile.kernels.library import ready
from flowedge.compile.memory import POINTS, SIDE, address

Shape = tuple[int, int]
"""Channels of samples."""
Floats = NDArray[np.float32]

_WORTH_A_THREAD = 4_000_000
"""Products, below which a thread takes longer to wake than to make them."""
_LINE = 16
"""Numbers of a line of the cache, where memory starts that vectors are read from."""


@dataclass
class Layer:
    """A layer: what it takes and makes of a frame, its words but for what depends on where it stands, and what they point to."""

    kind: int
    words: "array[int]"
    takes: Shape
    makes: Shape
    pad: int = 0
    """Zeros before the first sample, and behind the last."""
    keeps: Any = None
    origin: Any = None
    """What it was made of."""


class Chain:
    """Layers one behind the other: (frames, channels, samples) to (frames, results, samples of the result).

    Each number depends on its frame alone, whatever stands beside it in a batch.

    Parameters
    ----------
    layers : at least one
    shape : of what is made of a frame, if not that of the last layer
    """

    def __init__(self, layers: Sequence[Layer], shape: Sequence[int] | None = None) -> None:
        self._layers = layers
        self._shape = tuple(layers[-1].makes if shape is None else shape)
        self._free: list[_Memory] = []
        self._kernel = ready(k.infer)
        self._work = max(1, sum(_work(layer) for layer in layers))

    def __call__(self, x: Any) -> Any:  # noqa: ANN401
        """The output of a tensor, as a new one; from any thread."""
        x = x.contiguous()
        frames = len(x)
        y = x.new_empty((frames, *self._shape))
        parts = min(HANDS.count, frames * self._work // _WORTH_A_THREAD)
        if parts < 2:
            self._infer(x.data_ptr(), y.data_ptr(), frames)
            return y
        frame, result = (t.element_size() * (t.numel() // frames) for t in (x, y))
        HANDS.share([
            partial(self._infer, x.data_ptr() + frame * a, y.data_ptr() + result * a, b - a)
            for a, b in cuts(frames, parts)
        ])  # fmt: skip
        return y

    def _infer(self, x: int, y: int, frames: int) -> None:
        """Frames at an address, to results at another."""
        try:
            memory = self._free.pop()
        except IndexError:  # the first call, or one beside others
            memory = _Memory(self._layers)
        words = memory.words
        words[k.INPUT], words[k.OUTPUT], words[k.FRAMES] = x, y, frames
        self._kernel(words.buffer_info()[0])
        self._free.append(memory)


def _work(layer: Layer) -> int:
    """About how many products a layer makes of a frame."""
    (channels, _), (results, samples) = layer.takes, layer.makes
    if layer.kind == k.CONVOLUTION:
        return results * samples * channels * layer.words[c.TAPS]
    return results * samples * (channels if layer.kind == k.DENSE else 1)


class _Memory:
    """What one call works in: the words, and what lies between the layers."""

    def __init__(self, layers: Sequence[Layer]) -> None:
        steps = [wide(layer.takes[0]) for layer in layers]
        first, last = layers[0], layers[-1]
        if first.kind == k.CONVOLUTION and not first.words[c.FAST]:
            steps[0] = first.takes[0]  # all taps are one stretch
        steps.append(wide(last.makes[0]))
        sizes = [(layer.takes[1] + 2 * layer.pad) * step for layer, step in zip(layers, steps, strict=False)]  # fmt: skip
        sizes.append(last.makes[1] * steps[-1])
        rooms = [
            c.scratch(n.takes[1] + 2 * n.pad, step, n.words[c.BLOCKS], n.words[c.TAPS], n.words[c.FAST])
            for n, step in zip(layers, steps, strict=False)
        ]  # fmt: skip
        between = [aligned((size,)) for size in sizes]
        widest = SIDE * max(layer.words[c.BLOCKS] for layer in layers)
        scratch, nothing = aligned((max(rooms),)), aligned((widest,))
        self._keeps = [*between, scratch, nothing]
        entries = [
            address(held) + 4 * layer.pad * step
            for held, layer, step in zip(between, layers, steps, strict=False)
        ]
        entries.append(address(between[-1]))
        blocks = self._blocks = array("q")
        for number, layer in enumerate(layers):
            words = layer.words[:]
            words[c.X], words[c.X_STEP] = address(between[number]), steps[number]
            words[c.CHANNELS], words[c.SAMPLES] = layer.takes[0], layer.takes[1] + 2 * layer.pad
            words[c.Y], words[c.Y_STEP] = entries[number + 1], steps[number + 1]
            words[c.NOTHING], words[c.SCRATCH] = address(nothing), address(scratch)
            blocks.extend([*words, layer.kind])
        words = self.words = array("q", [0] * k.WORDS)
        words[k.LAYERS], words[k.LAYER_COUNT] = blocks.buffer_info()[0], len(layers)
        words[k.FIRST], words[k.FIRST_STEP] = entries[0], steps[0]
        words[k.CHANNELS_IN], words[k.SAMPLES_IN] = first.takes
        words[k.CHANNELS_OUT], words[k.SAMPLES_OUT] = last.makes


def convolution(weight: Floats, bias: Floats, takes: Shape, pad: int, dilation: int) -> Layer:
    """A convolution along time of frames of one shape: weights (results, channels, taps), bias (results,)."""
    results, channels, taps = weight.shape
    size = c.length(takes[1] + 2 * pad, taps, dilation)
    words = array("q", [0] * c.WORDS)
    words[c.TAPS], words[c.DILATION], words[c.BLOCKS] = taps, dilation, wide(results) // SIDE
    beside, starts = by_blocks(weight.transpose(0, 2, 1).reshape(results, -1)), by_blocks(bias)
    words[c.WEIGHTS], words[c.BIAS] = address(beside), address(starts)
    keeps: list[Any] = [beside, starts]
    made = _fast(channels, results, taps, dilation, size)
    if made:
        fast = aligned((c.VALUES, wide(results) // SIDE, channels, SIDE))
        for place, powers in enumerate(_powers(taps)):
            fast[place] = by_blocks(weight.astype(np.float64) @ powers)
        keeps.append(fast)
        words[c.FAST], words[c.FAST_WEIGHTS] = made, address(fast)
    return Layer(k.CONVOLUTION, words, takes, (results, size), pad, keeps)


def dense(weight: Floats, bias: Floats) -> Layer:
    """Sums over the channels of one sample: weights (results, channels), bias (results,)."""
    words = array("q", [0] * c.WORDS)
    keeps = by_blocks(weight), by_blocks(bias)
    words[c.BLOCKS] = wide(len(weight)) // SIDE
    words[c.WEIGHTS], words[c.BIAS] = (address(numbers) for numbers in keeps)
    return Layer(k.DENSE, words, (weight.shape[1], 1), (len(weight), 1), keeps=keeps)


def affine(scale: Any, shift: Any, takes: Shape) -> Layer:  # noqa: ANN401
    """Each channel by a number (channels,), and with one added."""
    words = array("q", [0] * c.WORDS)
    keeps = [np.asarray(numbers, np.float32) for numbers in (scale, shift)]
    words[c.WEIGHTS], words[c.BIAS] = (address(numbers) for numbers in keeps)
    return Layer(k.AFFINE, words, takes, takes, keeps=keeps)


def max_pool(taps: int, stride: int, takes: Shape) -> Layer:
    """The largest of so many samples of each channel."""
    words = array("q", [0] * c.WORDS)
    words[c.TAPS], words[k.STRIDE] = taps, stride
    return Layer(k.MAX_POOL, words, takes, (takes[0], (takes[1] - taps) // stride + 1))


def mean(takes: Shape) -> Layer:
    """That of each channel over time."""
    return Layer(k.MEAN, array("q", [0] * c.WORDS), takes, (takes[0], 1))


def flat(takes: Shape) -> Layer:
    """All numbers as one sample of many channels."""
    return Layer(k.FLAT, array("q", [0] * c.WORDS), takes, (math.prod(takes), 1))


def wide(channels: int) -> int:
    """Channels in whole blocks."""
    return -(-channels // SIDE) * SIDE


def aligned(shape: Sequence[int]) -> Floats:
    """Zeros that start with a line of the cache."""
    size = math.prod(shape)
    held = np.zeros(size + _LINE, np.float32)
    start = -(address(held) // 4) % _LINE
    return held[start : start + size].reshape(shape)


def by_blocks(numbers: Any) -> Floats:  # noqa: ANN401
    """Those of results (results, …) as blocks (blocks, …, SIDE), the last one filled up with zeros."""
    results, *rest = numbers.shape
    out = aligned((wide(results) // SIDE, *rest, SIDE))
    for place in range(results):
        out[place // SIDE, ..., place % SIDE] = numbers[place]
    return out


def _fast(channels: int, results: int, taps: int, dilation: int, size: int) -> int:
    """Results that are best computed at once; 0 where that does not pay."""
    made = c.VALUES + 1 - taps
    if dilation > 1 or taps < 2 or made < 2 or size < made:
        return 0
    plain = size * taps * channels * wide(results)
    turning = _COST * (wide(channels) + wide(results))
    fast = -(-size // made) * c.VALUES * (channels * wide(results) + turning)
    room = c.scratch(size + taps - 1, wide(channels), wide(results) // SIDE, taps, made)
    return made if fast < _GAIN * plain and room <= _ROOM else 0


_COST, _GAIN = 3, 0.85
"""What eight values take to a multiplication of `panel`; and what has to be won for numbers that are a little less exact."""
_ROOM = 2**20
"""Values and sums that still stay near the processor."""


def _powers(taps: int) -> NDArray[np.float64]:
    """What makes values of weights (VALUES, taps), with the divisors that `to_points` leaves out."""
    divisors = [math.prod(p - q for q in POINTS if q != p) for p in POINTS]
    rows = [[p**n / by for n in range(taps)] for p, by in zip(POINTS, divisors, strict=True)]
    return np.array([*rows, [0.0] * (taps - 1) + [1.0]])
