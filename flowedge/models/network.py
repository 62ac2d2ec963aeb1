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
from flowedge.models.convolution import Convolution, is_close, needs_scratch

Called = tuple[Callable[..., Any], Sequence[int], int]
"""What is called, the places of its arguments, and that of its answer."""


@dataclass
class _Layer:
    """A layer, and what it makes of a frame: `channels` of `samples`."""

    kind: int
    words: "array[int]"
    channels: int
    samples: int
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
        given = (channels, samples)
        for layer in layers:
            words = layer.words
            words[c.FRAMES], (words[c.CHANNELS], words[c.SAMPLES]) = 1, given
            size = 0
            if layer.kind == k.CONVOLUTION and needs_scratch(words):
                size = c.scratch(*given, words[c.TAPS], words[c.APART], words[c.PAD])
            self._scratch.append(size)
            blocks.extend([*words, layer.kind])
            given = (layer.channels, layer.samples)
        self._between = max(layer.channels * layer.samples for layer in layers)
        words = self._words = array("q", [0] * k.WORDS)
        words[k.INPUT_SIZE], words[k.OUTPUT_SIZE] = channels * samples, given[0] * given[1]
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
    given = (int(x.shape[1]), int(x.shape[2]))
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
    if size != given[0] * given[1]:
        return None
    network = Network(int(x.shape[1]), int(x.shape[2]), result.shape[1:], layers)
    return network if is_close(torch, network(x), result) else None


def _layer(
    torch: Any,  # noqa: ANN401
    call: Callable[..., Any],
    more: Sequence[Any],
    given: tuple[int, int],
    frames: int,
    layers: list[_Layer],
) -> tuple[int, int] | None:
    """Add what a call is to the layers; channels and samples of what it makes, or None where it is none of them."""
    channels, samples = given
    name = getattr(call, "__name__", "")
    if isinstance(call, Convolution):
        words = call.words
        made = words[c.RESULTS], c.length(samples, words[c.TAPS], words[c.APART], words[c.PAD])
        layers.append(_Layer(k.CONVOLUTION, words, *made, keeps=call))
        return made
    if name == "adaptive_avg_pool1d" and more in ([1], [[1]]):
        layers.append(_Layer(k.MEAN, array("q", [0] * c.WORDS), channels, 1))
        return channels, 1
    if name == "as_strided":  # of the same numbers in their order
        shape, strides, offset = more
        expected = [math.prod(shape[place + 1 :]) for place in range(len(shape))]
        is_same = shape[0] == frames and math.prod(shape[1:]) == channels * samples
        return (channels * samples, 1) if is_same and strides == expected and not offset else None
    if name == "linear" and samples == 1 and len(more) in (1, 2) and more[0] is not None:
        return _dense(torch, more, channels, layers)
    if name in ("relu", "relu_") and not more and layers and layers[-1].kind == k.DENSE:
        layers[-1].words[c.RECTIFIED] = 1
        return given
    return None


def _dense(torch: Any, more: Sequence[Any], channels: int, layers: list[_Layer]) -> tuple[int, int] | None:  # fmt: skip  # noqa: ANN401
    weight, bias = [*more, None][:2]
    tensors = [weight] if bias is None else [weight, bias]
    if (
        any(t.dtype != torch.float32 for t in tensors)
        or weight.dim() != 2
        or weight.shape[1] != channels
    ):
        return None
    results = len(weight)
    rows = np.ascontiguousarray(weight.detach().numpy())
    numbers = np.zeros(results, np.float32) if bias is None else bias.detach().numpy().copy()
    words = array("q", [0] * c.WORDS)
    words[c.RESULTS], words[c.WEIGHTS], words[c.BIAS] = results, rows.ctypes.data, numbers.ctypes.data  # fmt: skip
    layers.append(_Layer(k.DENSE, words, results, 1, keeps=(rows, numbers)))
    return results, 1
