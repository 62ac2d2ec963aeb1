"""Record batches for kernels: where their columns lie, by the Arrow C data interface.

One call of PyArrow and one of a kernel; to ask each column for its buffers takes five times as long.
https://arrow.apache.org/docs/format/CDataInterface.html
"""

import ctypes
from array import array
from collections.abc import Callable
from typing import Any

from flowedge.compile.kernels.arrow import RELEASE, WORDS

_FUNCTION = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


class Export:
    """A place for ``struct ArrowArray`` of one record batch after the other; of one thread at a time.

    Attributes
    ----------
    address : of the struct, the same for all batches

    Examples
    --------
    >>> import pyarrow as pa
    >>> export = Export()
    >>> export.begin(pa.record_batch({"v": [1.5, 2.5]}))
    >>> ctypes.c_int64.from_address(export.address).value
    2
    >>> export.end()
    >>> export.renamed(pa.record_batch({"v": [1.5]}), pa.schema([("w", pa.float64())])).to_pylist()
    [{'w': 1.5}]
    """

    def __init__(self) -> None:
        self._struct = array("q", [0] * WORDS)
        self.address: int = self._struct.buffer_info()[0]
        self._releases: dict[int, Callable[[int], None]] = {}

    def begin(self, rows: Any) -> None:  # noqa: ANN401
        """Let kernels see a record batch, until `end`."""
        rows._export_to_c(self.address)  # noqa: SLF001  # as the documentation of the interface calls it

    def end(self) -> None:
        """Give it back; what its columns hold stays as long as the record batch is kept."""
        release = self._struct[RELEASE]
        call = self._releases.get(release)
        if call is None:
            call = self._releases[release] = _FUNCTION(release)
        call(self.address)

    def renamed(self, rows: Any, schema: Any) -> Any:  # noqa: ANN401
        """The same columns under a schema with other names and metadata, and the same types; nothing is copied."""
        rows._export_to_c(self.address)  # noqa: SLF001
        return type(rows)._import_from_c(self.address, schema)  # noqa: SLF001
