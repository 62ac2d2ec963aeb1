"""Convolutions of a network by a kernel of our own, where the last bits may differ from Torch's."""

import math
from array import array
from collections.abc import Sequence
from typing import Any

import numpy as np

from flowedge.compile.kernels import convolution as k
from flowedge.compile.kernels.library import ready

_STRIDE, _PADDING, _DILATION, _GROUPS = 3, 4, 5, 6
"""Places of the arguments of ``torch.conv1d``."""
_RELATIVE, _ABSOLUTE = 1e-4, 1e-5


class Convolution:
    """A convolution along time with given weights: (frames, channels, samples) to (frames, results, samples).

    Each number is a sum in one order, whatever stands beside it in a batch. Make it with `convolution_of`.

    Parameters
    ----------
    weight : float32 (results, channels, taps)
    bias : float32 (results,)
    pad : zeros before and behind the samples
    dilation : samples from one tap to the next
    rectified : what is below zero becomes zero
    """

    def __init__(self, weight: Any, bias: Any, pad: int, dilation: int, *, rectified: bool) -> None:  # fmt: skip  # noqa: ANN401
        self._given = weight, bias, pad, dilation
        results, channels, taps = weight.shape
        groups = -(-results // k.GROUP)
        filled = np.zeros((groups * k.GROUP, channels, taps), np.float32)
        filled[:results] = weight
        by_group = filled.reshape(groups, k.GROUP, channels, taps).transpose(0, 2, 3, 1)
        self._weights = np.ascontiguousarray(by_group)
        self._bias = np.zeros(groups * k.GROUP, np.float32)
        self._bias[:results] = bias
        words = self._words = array("q", [0] * k.WORDS)
        words[k.CHANNELS], words[k.RESULTS], words[k.TAPS] = channels, results, taps
        words[k.DILATION], words[k.PAD], words[k.RECTIFIED] = dilation, pad, int(rectified)
        words[k.WEIGHTS], words[k.BIAS] = self._weights.ctypes.data, self._bias.ctypes.data
        self._kernel = ready(k.convolve)

    @property
    def words(self) -> "array[int]":
        """Those of the kernel's context that do not depend on the frames."""
        return self._words[:]

    def rectified(self) -> "Convolution":
        """The same with a rectifier behind it."""
        return Convolution(*self._given, rectified=True)

    def scaled(self, scale: Any, shift: Any) -> "Convolution":  # noqa: ANN401
        """The same with its results, not rectified, by numbers (results,), and others added."""
        weight, bias, pad, dilation = self._given
        weight = (weight * scale[:, None, None]).astype(np.float32)
        bias = (bias * scale + shift).astype(np.float32)
        return Convolution(weight, bias, pad, dilation, rectified=False)

    def __call__(self, x: Any) -> Any:  # noqa: ANN401
        """The result of a tensor, as a new one; from any thread."""
        x = x.contiguous()
        frames, channels, samples = x.shape
        words = self._words[:]
        taps, dilation, pad, results = (
            words[k.TAPS],
            words[k.DILATION],
            words[k.PAD],
            words[k.RESULTS],
        )
        size = k.length(samples, taps, dilation, pad)
        y = x.new_empty((frames, results, size))
        words[k.SAMPLES] = samples
        if needs_scratch(words):
            scratch = x.new_zeros(k.scratch(channels, samples, taps, dilation, pad))
            words[k.SCRATCH] = scratch.data_ptr()
        words[k.X], words[k.Y] = x.data_ptr(), y.data_ptr()
        words[k.FRAMES] = frames
        self._kernel(words.buffer_info()[0])
        return y


def convolution_of(torch: Any, given: Sequence[Any], result: Any) -> Convolution | None:  # noqa: ANN401
    """What computes ``conv1d`` with these arguments, of which the weights are those of each call; None where it is another kind.

    Parameters
    ----------
    given : arguments in their order, with values of no meaning in the place of the frames
    result : what Torch makes of them, to which ours must be close
    """
    x, weight, bias, *_ = [*given, None, None]
    stride, dilation, groups = (
        length_of(given[at]) if len(given) > at else 1 for at in (_STRIDE, _DILATION, _GROUPS)
    )
    around = given[_PADDING] if len(given) > _PADDING else 0
    if isinstance(around, str):
        both = (weight.shape[-1] - 1) * (dilation or 1) if around == "same" else 0
        around = None if both % 2 else both // 2
    padding = length_of(around)
    tensors = [t for t in (x, weight, bias) if t is not None]
    if not all(t.dtype == torch.float32 and t.device.type == "cpu" for t in tensors):
        return None
    if (
        x.dim() != weight.dim()
        or x.dim() != 3
        or (stride, groups) != (1, 1)
        or padding is None
        or dilation is None
    ):
        return None
    numbers = np.zeros(len(weight), np.float32) if bias is None else bias.detach().numpy()
    found = Convolution(weight.detach().numpy(), numbers, padding, dilation, rectified=False)
    return found if is_close(torch, found(x), result) else None


def needs_scratch(words: "array[int]") -> bool:
    """Whether the kernel needs memory of its own: for zeros around the samples, for few of them, or for a group that is not whole."""
    size = k.length(words[k.SAMPLES], words[k.TAPS], words[k.DILATION], words[k.PAD])
    return bool(words[k.PAD]) or size < k.SHORT or bool(words[k.RESULTS] % k.GROUP)


def is_close(torch: Any, ours: Any, result: Any) -> bool:  # noqa: ANN401
    """Whether numbers are what Torch makes of the same, but for their last bits; never of numbers that are none."""
    largest = float(result.abs().max()) if result.numel() else 0.0
    bound = _ABSOLUTE * (1 + largest)
    return math.isfinite(largest) and bool(torch.allclose(ours.reshape(result.shape), result, rtol=_RELATIVE, atol=bound))  # fmt: skip


def length_of(value: Any) -> int | None:  # noqa: ANN401
    """A length of one axis, as Torch takes it; None where it is none."""
    if isinstance(value, (list, tuple)):
        value = value[0] if len(value) == 1 else None
    return value if isinstance(value, int) else None
