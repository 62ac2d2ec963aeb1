"""Where the columns of a record batch lie in memory: one call of PyArrow and one of a kernel."""

from array import array
from collections.abc import Sequence
from typing import Any

from flowedge.compile.export import Export
from flowedge.compile.kernels import columns as k
from flowedge.compile.kernels.library import ready


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
        self._export = Export()
        words[k.LOCATE_BATCH] = self._export.address

    def of(self, rows: Any) -> "array[int] | None":  # noqa: ANN401
        """The addresses of their first values; None where a value is missing.

        Parameters
        ----------
        rows : a record batch
        """
        self._export.begin(rows)
        self._run()
        self._export.end()
        words = self._words
        return None if words[k.LOCATE_LACKING] else words[self._outs]
