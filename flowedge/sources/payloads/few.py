"""Few payloads through a kernel, which writes into memory that is ready for it."""

import ctypes
from array import array
from collections.abc import Callable, Sequence
from itertools import accumulate

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from flowedge.compile.kernels.library import Run, ready
from flowedge.compile.program import DONE
from flowedge.sources.payloads.call import Call, Kind
from flowedge.sources.payloads.kernels import layout
from flowedge.types.few import ROWS, TEXT_BYTES, FewRows


class Few:
    """Takes few short payloads of one format, all of them or none.

    Parameters
    ----------
    call : its own
    kinds : of the fields; none of them is strange, or a list
    rows : memory for rows of the declared fields
    pad : what stands behind the last payload, see `flowedge.sources.payloads.kernels.layout.DATA`
    """

    def __init__(self, call: Call, kinds: Sequence[Kind], rows: FewRows, pad: bytes) -> None:
        self._call, self._rows, self._pad = call, rows, pad
        self._starts = array("q", bytes(8 * (ROWS + 1)))
        self._counts = array("q", bytes(8 * ROWS))
        self._done = array("q", bytes(8 * ROWS))
        self._valid = memoryview(bytearray(ROWS * len(kinds)))
        self._truths: dict[int, memoryview] = {}
        words = call.words
        words[layout.STARTS] = self._starts.buffer_info()[0]
        words[layout.COUNTS] = self._counts.buffer_info()[0]
        words[layout.IS_DONE] = self._done.buffer_info()[0]
        words[layout.ROOM] = ROWS
        valid = _address(self._valid)
        for k, (record, kind, room) in enumerate(zip(call.records, kinds, rows.rooms, strict=True)):
            record[layout.VALID] = valid + ROWS * k
            record[layout.OFFSETS], record[layout.TO] = room.offsets, room.values
            if kind.kind == layout.TRUTH:
                self._truths[k] = memoryview(bytearray(ROWS))
                record[layout.TO] = _address(self._truths[k])
        self._runs: dict[Run, Callable[[], int]] = {}

    @staticmethod
    def takes(payloads: Sequence[bytes]) -> bool:
        """Whether they are few and short enough."""
        return len(payloads) <= ROWS and sum(map(len, payloads)) <= TEXT_BYTES

    def rows_of(
        self, payloads: Sequence[bytes], name: str, kernel: Run
    ) -> tuple[pa.RecordBatch, NDArray[np.int64]] | None:
        """The rows of payloads, and how many there are of each; None where they are more than few, or some are left to the slow way.

        Parameters
        ----------
        payloads : at least one, which it `takes`
        name : of their format
        kernel : of this format
        """
        n, words = len(payloads), self._call.words
        data = pa.py_buffer(b"\0".join([*payloads, self._pad]))
        self._starts[1 : n + 1] = array("q", accumulate([len(p) + 1 for p in payloads]))
        words[layout.DATA], words[layout.MESSAGES] = data.address, n
        words[layout.MESSAGE] = words[layout.ROW] = words[layout.HOW_MANY_DONE] = 0
        for record in self._call.records:
            record[layout.HAS_MISSING] = 0
        self._call.guess(name)
        run = self._runs.get(kernel)
        if run is None:
            run = self._runs[kernel] = ready(kernel).bound(self._call.address)
        if run() != DONE or words[layout.HOW_MANY_DONE] != n:
            return None
        rows = words[layout.ROW]
        for k, truths in self._truths.items():
            bits = _packed(truths[:rows])
            ctypes.memmove(self._rows.rooms[k].values, bits, len(bits))
        there = {
            k: _packed(self._valid[ROWS * k : ROWS * k + rows])
            for k, record in enumerate(self._call.records)
            if record[layout.HAS_MISSING]
        }
        return self._rows.batch(rows, there), np.array(self._counts[:n], np.int64)


def _address(data: memoryview) -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(data))


def _packed(truths: memoryview) -> bytes:
    """Bytes of 0 and 1 as bits, the first one lowest."""
    found = sum(1 << k for k, truth in enumerate(truths) if truth)
    return found.to_bytes((len(truths) + 7) // 8, "little")


__all__ = ["Few"]
