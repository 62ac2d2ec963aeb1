"""Where the columns of a record batch lie in memory, by the Arrow C data interface.

One call of PyArrow and one of a kernel; to ask each column for its buffers takes five times as long.
https://arrow.apache.org/docs/format/CDataInterface.html
"""

import ctypes
from array import array
from collections.abc import Callable, Sequence
from typing import Any

from flowedge.compile.kernels import columns as k
from flowedge.compile.kernels.library import ready

_RELEASE = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


class Places:
    """Finds columns of fixed width. Their addresses hold as long as the record batch is kept.

    Parameters
    ----------
    columns : of each its number in the record batch, and bytes of a value
    """

    def __init__(self, columns: Sequence[tuple[int, int]]) -> None:
        words = self._words = array("q", [0] * k.LOCATE_FIRST)
        words[k.LOCATE_COLUMNS] = len(columns)
        for number, width in columns:
            words.extend((number, width, 0))
        self._outs = slice(k.LOCATE_FIRST + 2, len(words), k.LOCATE_EACH)
        self._run = ready(k.locate).bound(words.buffer_info()[0])
        struct = self._struct = array("q", [0] * k.ARROW_WORDS)
        self._at = words[k.LOCATE_BATCH] = struct.buffer_info()[0]
        self._releases: dict[int, Callable[[int], None]] = {}

    def of(self, rows: Any) -> "array[int] | None":  # noqa: ANN401
        """The addresses of their first values; None where a value is missing.

        Parameters
        ----------
        rows : a record batch
        """
        rows._export_to_c(self._at)  # noqa: SLF001  # as the documentation of the interface calls it
        self._run()
        release = self._struct[k.ARROW_RELEASE]
        call = self._releases.get(release)
        if call is None:
            call = self._releases[release] = _RELEASE(release)
        call(self._at)
        words = self._words
        return None if words[k.LOCATE_LACKING] else words[self._outs]
