"""Convolutions of a network by a kernel of our own, where the last bits may differ from Torch's."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from flowedge.compile.kernels import convolution as c
from flowedge.models import chain
from flowedge.models.chain import Chain, Floats, Layer

_STRIDE, _PADDING, _DILATION, _GROUPS = 3, 4, 5, 6
"""Places of the arguments of ``torch.conv1d``."""
_RELATIVE, _ABSOLUTE = 1e-4, 1e-5


class Convolution:
    """A convolution along time with given weights: (frames, channels, samples) to (frames, results, samples).

    Make it with `convolution_of`.

    Parameters
    ----------
    weight : float32 (results, channels, taps)
    bias : float32 (results,)
    pad : zeros before and behind the samples
    dilation : samples from one tap to the next
    rectified : what is below zero becomes zero
    """

    def __init__(self, weight: Floats, bias: Floats, pad: int, dilation: int, *, rectified: bool) -> None:  # fmt: skip
        self._given = weight, bias, pad, dilation
        self.is_rectified = rectified
        self._chains: dict[int, Chain] = {}

    def rectified(self) -> "Convolution":
        """The same with a rectifier behind it."""
        return Convolution(*self._given, rectified=True)

    def scaled(self, scale: Any, shift: Any) -> "Convolution":  # noqa: ANN401
        """The same with its results, not rectified, by numbers (results,), and others added."""
        weight, bias, pad, dilation = self._given
        weight = (weight * scale[:, None, None]).astype(np.float32)
        bias = (bias * scale + shift).astype(np.float32)
        return Convolution(weight, bias, pad, dilation, rectified=False)

    def layer(self, samples: int) -> Layer:
        """It as a layer of frames of so many samples."""
        weight, bias, pad, dilation = self._given
        made = chain.convolution(weight, bias, (weight.shape[1], samples), pad, dilation)
        made.words[c.RECTIFIED], made.origin = int(self.is_rectified), self
        return made

    def __call__(self, x: Any) -> Any:  # noqa: ANN401
        """The result of a tensor, as a new one; from any thread."""
        samples = int(x.shape[2])
        found = self._chains.get(samples)
        if found is None:
            found = self._chains[samples] = Chain([self.layer(samples)])
        return found(x)


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
