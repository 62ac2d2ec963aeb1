"""What a kernel is called with: a row of words, some of them addresses of arrays."""

import numpy as np
import pyarrow as pa

from flowedge.session.batch import Array


def address(values: Array) -> int:
    """The address of a contiguous array's first item; seven times faster than NumPy says it."""
    return pa.py_buffer(values).address


class Context:
    """The words of a library kernel."""

    def __init__(self, words: int) -> None:
        self.words = np.zeros(words, np.int64)
        self.reals = self.words.view(np.float64)
        self.address = address(self.words)
