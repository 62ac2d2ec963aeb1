"""A chain of layers as one call of a kernel, where the last bits may differ from Torch's."""

import math
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from flowedge.compile.kernels import convolution as c
from flowedge.compile.kernels import network as k
from flowedge.compile.kernels.library import ready
from flowedge.models.convolution import Convolution, is_close, length_of, needs_scratch

Called = tuple[Callable[..., Any], Sequence[int], int]
"""What is called, the places of its arguments, and that of its answer."""


Shape = tuple[int, int]
"""Channels of samples."""


@dataclass
class _Layer:
    """A layer: what it takes and makes of a frame, and what its words hold the addresses of."""

    kind: int
    words: "array[int]"
    takes: Shape
    makes: Shape
    keeps: Any = None


class Network:
    """Convolutions along time, means over it and dense layers, one behind the other. Make it with `network_of`.

    Parameters
    ----------
    channels, samples : of a frame
    shape : of what is made of one
    layers : at least one
    """

    def __init__(self, channels: int, samples: int, shape: Sequence[int], layers: Sequence[_Layer]) -> None:  # fmt: skip
        self._shape = tuple(shape)
        self._keeps = [layer.keeps for layer in layers]
        blocks = self._blocks = array("q")
        self._scratch: list[int] = []
        for layer in layers:
            words = layer.words
            words[c.FRAMES], (words[c.CHANNELS], words[c.SAMPLES]) = 1, layer.takes
            size = 0
            if layer.kind == k.CONVOLUTION and needs_scratch(words):
                size = c.scratch(*layer.takes, words[c.TAPS], words[c.DILATION], words[c.PAD])
            self._scratch.append(size)
            blocks.extend([*words, layer.kind])
        self._between = max(math.prod(layer.makes) for layer in layers)
        words = self._words = array("q", [0] * k.WORDS)
        words[k.INPUT_SIZE], words[k.OUTPUT_SIZE] = channels * samples, math.prod(layers[-1].makes)
        words[k.LAYER_COUNT] = len(layers)
        self._kernel = ready(k.infer)

    def __call__(self, x: Any) -> Any:  # noqa: ANN401
        """The output of a tensor (frames, channels, samples), as a new one; from any thread."""
        x = x.contiguous()
        frames = len(x)
        y = x.new_empty((frames, *self._shape))
        between = x.new_empty(2 * self._between)
        words, blocks = self._words[:], self._blocks[:]
        at = between.data_ptr()
        words[k.INPUT], words[k.OUTPUT], words[k.FRAMES] = x.data_ptr(), y.data_ptr(), frames
        words[k.ODD], words[k.EVEN] = at, at + 4 * self._between
        words[k.LAYERS] = blocks.buffer_info()[0]
        if any(self._scratch):
            scratch = x.new_zeros(sum(self._scratch))
            at = scratch.data_ptr()
            for number, size in enumerate(self._scratch):
                blocks[k.BLOCK * number + c.SCRATCH] = at
                at += 4 * size
        self._kernel(words.buffer_info()[0])
        return y


def network_of(
    torch: Any,  # noqa: ANN401
    calls: Sequence[Called],
    fixed: Callable[[int], Any],
    entry: tuple[int, Any],
    end: tuple[int, Any],
) -> Network | None:
    """One call for all of them; None where they are no chain of layers that the kernel knows.

    Parameters
    ----------
    calls : in their order
    fixed : the value of a place that is the same in each call; None where it is not
    entry : place and value of the only input, with numbers of no meaning
    end : place of the only output, and what Torch makes of that value
    """
    at, x = entry
    if x.dim() != 3 or x.dtype != torch.float32 or x.device.type != "cpu":
        return None
    given: Shape = (int(x.shape[1]), int(x.shape[2]))
    layers: list[_Layer] = []
    for call, places, out in calls:
        if not places or places[0] != at:
            return None
        more = [fixed(place) for place in places[1:]]
        found = _layer(torch, call, more, given, len(x), layers)
        if found is None:
            return None
        given, at = found, out
    result = end[1]
    size = math.prod(result.shape[1:])
    if not layers or at != end[0] or result.dtype != torch.float32 or len(result) != len(x):
        return None
    if size != math.prod(layers[-1].makes):
        return None
    network = Network(int(x.shape[1]), int(x.shape[2]), result.shape[1:], layers)
    return network if is_close(torch, network(x), result) else None


def _layer(
    torch: Any,  # noqa: ANN401
    call: Callable[..., Any],
    more: Sequence[Any],
    given: Shape,
    frames: int,
    layers: list[_Layer],
) -> Shape | None:
    """Add what a call is to the layers; what it makes of such a frame, or None where it is none of them."""
    name = getattr(call, "__name__", "")
    found: _Layer | None = None
    if isinstance(call, Convolution):
        words = call.words
        size = c.length(given[1], words[c.TAPS], words[c.DILATION], words[c.PAD])
        found = _Layer(k.CONVOLUTION, words, given, (words[c.RESULTS], size), keeps=call)
    elif name == "adaptive_avg_pool1d" and more in ([1], [[1]]):
        found = _Layer(k.MEAN, array("q", [0] * c.WORDS), given, (given[0], 1))
    elif name == "as_strided":
        return _reshaped(more, given, frames)
    elif name == "linear" and given[1] == 1:
        found = _dense(torch, more, given)
    elif name == "max_pool1d":
        found = _pool(more, given)
    elif name == "batch_norm":
        found = _normed(torch, more, given, layers)
    elif name in ("relu", "relu_") and not more:
        if layers and layers[-1].kind in (k.DENSE, k.AFFINE):
            layers[-1].words[c.RECTIFIED] = 1
            return given
        found = _affine(np.ones(given[0]), np.zeros(given[0]), given)
        found.words[c.RECTIFIED] = 1
    if found is None:
        return None
    layers.append(found)
    return found.makes


def _reshaped(more: Sequence[Any], given: Shape, frames: int) -> Shape | None:
    """The same numbers in their order, as one sample of many channels."""
    shape, strides, offset = more
    expected = [math.prod(shape[place + 1 :]) for place in range(len(shape))]
    is_same = shape[0] == frames and math.prod(shape[1:]) == math.prod(given)
    return (math.prod(given), 1) if is_same and strides == expected and not offset else None


def _dense(torch: Any, more: Sequence[Any], given: Shape) -> _Layer | None:  # noqa: ANN401
    weight, bias = [*more, None][:2]
    tensors = [t for t in (weight, bias) if t is not None]
    if weight is None or any(t.dtype != torch.float32 for t in tensors):
        return None
    if weight.dim() != 2 or weight.shape[1] != given[0] or (len(more) > 1 and bias is None):
        return None
    rows = np.ascontiguousarray(weight.detach().numpy())
    numbers = np.zeros(len(rows), np.float32) if bias is None else bias.detach().numpy().copy()
    words = array("q", [0] * c.WORDS)
    words[c.RESULTS] = len(rows)
    words[c.WEIGHTS], words[c.BIAS] = rows.ctypes.data, numbers.ctypes.data
    return _Layer(k.DENSE, words, given, (len(rows), 1), keeps=(rows, numbers))


def _pool(more: Sequence[Any], given: Shape) -> _Layer | None:
    """The largest of some samples, without padding or holes."""
    usual: list[Any] = [None, [], 0, 1, False]
    size, step, padding, dilation, rounds_up = (list(more) + usual[len(more) :])[:5]
    taps, stride = length_of(size), length_of(step or size)
    is_plain = length_of(padding) == 0 and length_of(dilation) == 1 and not rounds_up
    if taps is None or stride is None or not is_plain or not 0 < taps <= given[1]:
        return None
    words = array("q", [0] * c.WORDS)
    words[c.TAPS], words[k.STRIDE] = taps, stride
    return _Layer(k.MAX_POOL, words, given, (given[0], (given[1] - taps) // stride + 1))


def _normed(torch: Any, more: Sequence[Any], given: Shape, layers: list[_Layer]) -> _Layer | None:  # noqa: ANN401
    """A norm by what was learnt of each channel; that of a convolution goes into its weights, whose layer this takes the place of."""
    weight, bias, mean, variance, trains, _, epsilon, *_ = [*more, *[None] * 8][:8]
    known = (weight, bias, mean, variance)
    if trains or epsilon is None or any(t is None or t.dtype != torch.float32 for t in known):
        return None
    weight, bias, mean, variance = (t.detach().numpy().astype(np.float64) for t in known)
    if len(mean) != given[0]:
        return None
    scale = weight / np.sqrt(variance + epsilon)
    last = layers[-1] if layers else None
    if last is not None and last.kind == k.CONVOLUTION and not last.words[c.RECTIFIED]:
        call: Convolution = layers.pop().keeps.scaled(scale, bias - mean * scale)
        return _Layer(k.CONVOLUTION, call.words, last.takes, last.makes, keeps=call)
    return _affine(scale, bias - mean * scale, given)


def _affine(scale: Any, shift: Any, given: Shape) -> _Layer:  # noqa: ANN401
    numbers = np.stack([scale, shift]).astype(np.float32)
    words = array("q", [0] * c.WORDS)
    words[c.WEIGHTS], words[c.BIAS] = (row.ctypes.data for row in numbers)
    return _Layer(k.AFFINE, words, given, given, keeps=numbers)
