"""Frames of columns as the channels of a model's input: one pass over them, in machine code."""

from array import array
from collections.abc import Callable, Sequence
from math import prod

import numpy as np
import pyarrow as pa

from flowedge.compile.kernels import frames as k
from flowedge.compile.kernels.library import ready
from flowedge.compile.program import Field
from flowedge.session.batch import Array
from flowedge.session.words import address

Scaling = Sequence[tuple[tuple[float, ...], tuple[float, ...]]]


class Channels:
    """Makes the one float32 input of a model whose channels are columns of floats, one after the other.

    What is beyond float32 becomes infinite, and ``(x - mean) / std`` is computed in float32: the same bits as
    `flowedge.models.load.arrange` gives.

    Parameters
    ----------
    fields : of the columns, all of one shape and of float32 or float64
    scaling : for each (mean, deviation), of one number each, or of none; empty: nothing is scaled
    shape : of one frame in the input
    """

    def __init__(self, fields: Sequence[Field], scaling: Scaling, shape: tuple[int, ...]) -> None:
        self._shape = shape
        self._words = words = array("q", [0] * (k.FILL_COLUMNS + k.FILL_EACH * len(fields)))
        self._run = ready(k.fill).bound(words.buffer_info()[0])
        words[k.FILL_CHANNELS], words[k.FILL_ELEMENTS] = len(fields), prod(fields[0].shape)
        words[k.FILL_IS_SCALED] = any(mean for mean, _ in scaling)
        for number, field in enumerate(fields):
            at = k.FILL_COLUMNS + k.FILL_EACH * number
            mean, std = scaling[number] if scaling else ((), ())
            told = np.array([mean[0] if mean else 0.0, std[0] if std else 1.0], np.float32)
            words[at + 1] = field.store == "f64"
            words[at + 2], words[at + 3] = told.astype(np.float64).view(np.int64).tolist()

    def fill(self, columns: Sequence[Array]) -> tuple[Array, Array | None]:
        """The input, and which frames lack no value.

        Parameters
        ----------
        columns : contiguous, shape ``(n, …)``

        Returns
        -------
        x : float32, shape ``(n, …)``
        whole : shape ``(n,)``; None: all
        """
        n = len(columns[0])
        x, whole = self._input(n), np.empty(n, np.bool_)
        self._hand_in(self._words, columns, x, whole)
        self._words[k.FILL_FRAMES] = n
        self._run()
        return x, whole if self._words[k.FILL_LACKING] else None

    def fixed(self, columns: Sequence[Array], x: Array) -> Callable[[int, int], int]:
        """What fills an input that stays from columns that stay.

        It takes how many frames there are and the place of the first one in the input, and gives how many of them
        lack a value. Columns with a place for each frame of the input are read from that place on, too.
        """
        whole, words = np.empty(len(x), np.bool_), array("q", self._words)
        self._hand_in(words, columns, x, whole)
        run = ready(k.fill).bound(words.buffer_info()[0])
        out, width = words[k.FILL_OUT], x.nbytes // len(x)
        moving = [
            (k.FILL_COLUMNS + k.FILL_EACH * i, address(c), c.nbytes // len(c))
            for i, c in enumerate(columns)
            if len(c) == len(x)
        ]

        def fill(frames: int, at: int, _kept: object = (columns, whole)) -> int:
            words[k.FILL_FRAMES], words[k.FILL_OUT] = frames, out + at * width
            for word, first, each in moving:
                words[word] = first + at * each
            run()
            return words[k.FILL_LACKING]

        return fill

    def empty(self, frames: int) -> Array:
        """An input of zeros; it begins where Torch lets its own tensors begin."""
        x = self._input(frames)
        x[:] = 0
        return x

    def _input(self, frames: int) -> Array:
        buffer = pa.allocate_buffer(4 * frames * prod(self._shape))
        return np.frombuffer(buffer, np.float32).reshape(frames, *self._shape)

    @staticmethod
    def _hand_in(words: "array[int]", columns: Sequence[Array], x: Array, whole: Array) -> None:
        words[k.FILL_OUT], words[k.FILL_WHOLE] = address(x), address(whole)
        for number, column in enumerate(columns):
            words[k.FILL_COLUMNS + k.FILL_EACH * number] = address(column)
