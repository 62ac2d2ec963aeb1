"""Payloads of rows by a kernel, and what it needs to know of their columns."""

import ctypes
from array import array
from collections.abc import Callable

import msgpack as packing
import pyarrow as pa

from flowedge.compile.builds import Builds
from flowedge.compile.export import Export
from flowedge.compile.kernels.library import is_ready, ready
from flowedge.compile.program import DONE
from flowedge.sinks.payloads.kernels import msgpack as k

_KINDS = {
    pa.float64(): k.F64, pa.float32(): k.F32, pa.int64(): k.I64, pa.int32(): k.I32, pa.int16(): k.I16, pa.int8(): k.I8,
    pa.uint64(): k.U64, pa.uint32(): k.U32, pa.uint16(): k.U16, pa.uint8(): k.U8, pa.bool_(): k.TRUTH,
    pa.string(): k.TEXT, pa.binary(): k.BYTES,
    pa.dictionary(pa.int32(), pa.string()): k.LABEL, pa.dictionary(pa.int32(), pa.string(), ordered=True): k.LABEL,
}  # fmt: skip
_HEAD = 3
"""Bytes of the head of a map at most."""
_VALUE = 9
"""Bytes of a number, or of the head of a text."""
_MOST_FIELDS = 1 << 15
_FIRST_ROOM = 1 << 12
MANY = 64
"""Rows for which the kernel is loaded; fewer go through it only where it is there."""


class Fast:
    """Rows of one schema as maps of msgpack. Make it with `fast_of`; for one thread at a time.

    Parameters
    ----------
    names : of the columns
    kinds : of each what the kernel calls it
    """

    def __init__(self, names: list[str], kinds: list[int]) -> None:
        packed = [packing.packb(name, use_bin_type=True) for name in names]
        self._names = pa.py_buffer(b"".join(packed))
        records = self._records = array("q")
        at = self._names.address
        for name, kind in zip(packed, kinds, strict=True):
            records.extend((at, len(name), kind))
            at += len(name)
        self._export = Export()
        ctx = self._context = array("q", [0] * k.WORDS)
        ctx[k.BATCH] = self._export.address
        ctx[k.FIELDS], ctx[k.FIELD_COUNT] = records.buffer_info()[0], len(names)
        ctx[k.WIDEST] = _HEAD + sum(map(len, packed)) + _VALUE * len(names)
        self._ends = array("q")
        self._run: Callable[[], int] | None = None
        self._make_room(_FIRST_ROOM)

    def _make_room(self, size: int) -> None:
        self._room = ctypes.create_string_buffer(size + k.SLACK)
        self._begin = ctypes.addressof(self._room)
        self._size = size

    def prepare(self) -> None:
        """Load the kernel; at the first time on a machine it is compiled, which takes a second."""
        if not is_ready(k.msgpack_maps):
            with Builds() as builds:
                builds.prepare([k.msgpack_maps])
                builds.objects()
            ready(k.msgpack_maps)

    @staticmethod
    def is_worth_it(rows: int) -> bool:
        """Whether so many rows should go through the kernel: it is there, or they are many."""
        return rows >= MANY or is_ready(k.msgpack_maps)

    def payloads(self, batch: pa.RecordBatch) -> list[bytes]:
        """A map for each row, without what is missing or NaN."""
        n = batch.num_rows
        if self._run is None:
            self._run = ready(k.msgpack_maps).bound(self._context.buffer_info()[0])
        if len(self._ends) < n:
            self._ends = array("q", bytes(8 * n))
            self._context[k.ENDS] = self._ends.buffer_info()[0]
        self._export.begin(batch)
        try:
            return self._written(n, self._run)
        finally:
            self._export.end()

    def _written(self, n: int, run: Callable[[], int]) -> list[bytes]:
        """The maps of the batch that is exported."""
        ctx, out = self._context, list[bytes]()
        ctx[k.ROW], ctx[k.STOP] = 0, n
        while True:
            first, begin = ctx[k.ROW], self._begin
            ctx[k.AT], ctx[k.END] = begin, begin + self._size
            status = run()
            data, at = ctypes.string_at(begin, ctx[k.AT] - begin), 0
            for end in self._ends[first : ctx[k.ROW]]:
                out.append(data[at : end - begin])
                at = end - begin
            if status == DONE:
                return out
            self._make_room(4 * self._size)


def fast_of(schema: pa.Schema) -> Fast | None:
    """What makes maps of msgpack of rows of a schema; None where a column is of a kind that the kernel does not know."""
    kinds = [_KINDS.get(field.type, -1) for field in schema]
    for place, field in enumerate(schema):
        if pa.types.is_timestamp(field.type) and field.type.unit == "ns":
            kinds[place] = k.I64
    if -1 in kinds or len(kinds) > _MOST_FIELDS:
        return None
    return Fast(schema.names, kinds)
