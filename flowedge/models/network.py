"""A chain of layers as one call of a kernel, where the last bits may differ from Torch's."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from flowedge.compile.kernels import convolution as c
from flowedge.compile.kernels import network as k
from flowedge.models import chain
from flowedge.models.chain import Chain, Layer, Shape
from flowedge.models.convolution import Convolution, is_close, length_of

Called = tuple[Callable[..., Any], Sequence[int], int]
"""What is called, the places of its arguments, and that of its answer."""


def network_of(
    torch: Any,  # noqa: ANN401
    calls: Sequence[Called],
    fixed: Callable[[int], Any],
    entry: tuple[int, Any],
    end: tuple[int, Any],
) -> Chain | None:
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
    layers: list[Layer] = []
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
    one = Chain(layers, result.shape[1:])
    return one if is_close(torch, one(x), result) else None


def _layer(
    torch: Any,  # noqa: ANN401
    call: Callable[..., Any],
    more: Sequence[Any],
    given: Shape,
    frames: int,
    layers: list[Layer],
) -> Shape | None:
    """Add what a call is to the layers; what it makes of such a frame, or None where it is none of them."""
    name = getattr(call, "__name__", "")
    found: Layer | None = None
    if isinstance(call, Convolution):
        found = call.layer(given[1])
    elif name == "adaptive_avg_pool1d" and more in ([1], [[1]]):
        found = chain.mean(given)
    elif name == "as_strided":
        if not _is_flat(more, given, frames):
            return None
        if given[1] == 1:
            return given
        found = chain.flat(given)
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
        found = chain.affine(np.ones(given[0]), np.zeros(given[0]), given)
        found.words[c.RECTIFIED] = 1
    if found is None:
        return None
    layers.append(found)
    return found.makes


def _is_flat(more: Sequence[Any], given: Shape, frames: int) -> bool:
    """Whether numbers stay in their order, as one sample of many channels."""
    shape, strides, offset = more
    expected = [math.prod(shape[place + 1 :]) for place in range(len(shape))]
    is_same = shape[0] == frames and math.prod(shape[1:]) == math.prod(given)
    return bool(is_same and strides == expected and not offset)


def _dense(torch: Any, more: Sequence[Any], given: Shape) -> Layer | None:  # noqa: ANN401
    weight, bias = [*more, None][:2]
    tensors = [t for t in (weight, bias) if t is not None]
    if weight is None or any(t.dtype != torch.float32 for t in tensors):
        return None
    if weight.dim() != 2 or weight.shape[1] != given[0] or (len(more) > 1 and bias is None):
        return None
    rows = weight.detach().numpy()
    return chain.dense(rows, np.zeros(len(rows), np.float32) if bias is None else bias.detach().numpy())  # fmt: skip


def _pool(more: Sequence[Any], given: Shape) -> Layer | None:
    """The largest of some samples, without padding or holes."""
    usual: list[Any] = [None, [], 0, 1, False]
    size, step, padding, dilation, rounds_up = (list(more) + usual[len(more) :])[:5]
    taps, stride = length_of(size), length_of(step or size)
    is_plain = length_of(padding) == 0 and length_of(dilation) == 1 and not rounds_up
    if taps is None or stride is None or not is_plain or not 0 < taps <= given[1]:
        return None
    return chain.max_pool(taps, stride, given)


def _normed(torch: Any, more: Sequence[Any], given: Shape, layers: list[Layer]) -> Layer | None:  # noqa: ANN401
    """A norm by what was learnt of each channel; that of a convolution goes into its weights, whose layer this takes the place of."""
    weight, bias, mean, variance, trains, _, epsilon, *_ = [*more, *[None] * 8][:8]
    known = (weight, bias, mean, variance)
    if trains or epsilon is None or any(t is None or t.dtype != torch.float32 for t in known):
        return None
    weight, bias, mean, variance = (t.detach().numpy().astype(np.float64) for t in known)
    if len(mean) != given[0]:
        return None
    scale = weight / np.sqrt(variance + epsilon)
    shift = bias - mean * scale
    if layers and layers[-1].kind == k.CONVOLUTION and not layers[-1].words[c.RECTIFIED]:
        last = layers.pop()
        call: Convolution = last.origin.scaled(scale, shift)
        return call.layer(last.takes[1])
    return chain.affine(scale, shift, given)
