"""Many payloads at once through kernels; which of them it left to the slow way."""

import ctypes
from collections.abc import Callable, Sequence
from itertools import accumulate, islice
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from flowedge.compile.builds import Builds
from flowedge.compile.kernels.library import Run, is_ready, ready
from flowedge.compile.program import DONE
from flowedge.sources.payloads.call import Call, Kind
from flowedge.sources.payloads.few import Few
from flowedge.sources.payloads.formats import Format
from flowedge.sources.payloads.kernels import layout
from flowedge.sources.payloads.kernels.json import json_messages
from flowedge.sources.payloads.kernels.msgpack import msgpack_messages
from flowedge.types.few import few_of

KERNELS: dict[str, Run] = {"msgpack": msgpack_messages, "json": json_messages}
_FIRST = {
    "msgpack": frozenset(bytes([b]) for b in (*range(0x80, 0xA0), *range(0xDC, 0xE0))),
    "json": frozenset((b"{", b"[")),
}
"""First bytes of payloads, where the format is not said."""
MANY = 16
"""Payloads for which a kernel is loaded; fewer go through it only where it is there."""
_MOST_BYTES = 8 << 20
"""Bytes of payloads that a kernel gets at once: for each field of text there is so much room, although untouched."""
_BYTES_A_ROW = 24
"""Guessed at first, a quarter of the row's width where that is more; if rows are shorter, the kernel comes back."""
_NOT_PLAIN = set('"\\') | {chr(c) for c in range(32)}
"""What a name cannot be written with in JSON as it is."""
_NONE = np.zeros(0, np.int64)


class Part(NamedTuple):
    """Rows that a kernel made.

    Attributes
    ----------
    rows : in the order of their messages
    counts : int64 (payloads,), the rows of each
    """

    rows: pa.RecordBatch
    counts: NDArray[np.int64]


class Fast:
    """The kernels, and what they need to know of the declared fields.

    Parameters
    ----------
    schema : declared fields
    format : of all payloads
    width : bytes of a row, see `flowedge.sources.payloads.bounds.width_of`
    """

    def __init__(self, schema: pa.Schema, format: Format, width: int) -> None:  # noqa: A002
        self.schema = schema
        self._width = width
        is_plain = not any(_NOT_PLAIN & set(f.name) for f in schema)
        self.kernels = {
            name: kernel
            for name, kernel in KERNELS.items()
            if schema.names and format in ("auto", name) and (is_plain or name != "json")
        }
        self._pad = bytes(max((len(name.encode()) for name in schema.names), default=0) + 16)
        self._columns = [_Column(f.type) for f in schema]
        self._call = Call(schema.names, self._columns, format, width)
        self._few: Few | None = None
        if self.kernels and all(c.kind != layout.STRANGE and not c.size for c in self._columns):
            rows = few_of(schema)
            if rows is not None:
                call = Call(schema.names, self._columns, format, width)
                self._few = Few(call, self._columns, rows, self._pad)

    def prepare(self) -> None:
        """Load the kernels; at the first time on a machine they are compiled, side by side, which takes seconds."""
        if all(map(is_ready, self.kernels.values())):
            return
        with Builds() as builds:
            builds.prepare(self.kernels.values())
            builds.objects()
        for kernel in self.kernels.values():
            ready(kernel)

    def is_worth_it(self, payloads: int) -> bool:
        """Whether so many payloads may go through a kernel: it is there, or they are many."""
        return payloads > 0 and any(
            payloads >= MANY or is_ready(kernel) for kernel in self.kernels.values()
        )

    def run(self, payloads: Sequence[bytes]) -> tuple[list[Part], NDArray[np.int64]]:
        """The rows of payloads, and the places of those that are left."""
        few = self._of_few(payloads)
        if few is not None:
            return [few], _NONE
        count = len(payloads)
        sizes = list(map(len, payloads))
        if sum(sizes) <= _MOST_BYTES:
            return self._some(payloads, sizes)
        parts: list[Part] = []
        left = []
        at = 0
        while at < count:
            stop, total = at, 0
            while stop < count and (stop == at or total + sizes[stop] <= _MOST_BYTES):
                total += sizes[stop]
                stop += 1
            found, rest = self._some(payloads[at:stop], sizes[at:stop])
            for part in found:
                counts = np.zeros(count, np.int64)
                counts[at:stop] = part.counts
                parts.append(Part(part.rows, counts))
            left.append(rest + at)
            at = stop
        return parts, np.concatenate(left)

    def _of_few(self, payloads: Sequence[bytes]) -> Part | None:
        """The rows of few payloads of one format; None: they are not."""
        if self._few is None or not self._few.takes(payloads):
            return None
        for name, kernel in self.kernels.items():
            if is_ready(kernel) and (len(self.kernels) == 1 or payloads[0][:1] in _FIRST[name]):
                found = self._few.rows_of(payloads, name, kernel)
                return None if found is None else Part(*found)
        return None

    def _some(
        self, payloads: Sequence[bytes], sizes: list[int]
    ) -> tuple[list[Part], NDArray[np.int64]]:
        """The same of so many bytes that a kernel takes them at once."""
        n = len(payloads)
        data = pa.py_buffer(b"\0".join([*payloads, self._pad]))
        words = np.zeros(n + 1 + 2 * n, np.int64)
        starts, counts, done = words[: n + 1], words[n + 1 : -n], words[-n:]
        # Of few it takes NumPy longer to begin.
        starts[1:] = (
            list(accumulate(size + 1 for size in sizes))
            if n < MANY
            else np.cumsum(np.array(sizes, np.int64) + 1)
        )
        ctx, at = self._call.words, pa.py_buffer(words).address
        ctx[layout.DATA] = data.address
        ctx[layout.STARTS] = at
        ctx[layout.MESSAGES] = n
        ctx[layout.HOW_MANY_DONE] = 0
        ctx[layout.COUNTS] = at + 8 * (n + 1)
        ctx[layout.IS_DONE] = at + 8 * (2 * n + 1)
        parts: list[Part] = []
        for name, kernel in self.kernels.items():
            if len(self.kernels) > 1 and not self._is_worth_it(name, payloads):
                continue
            self._call.guess(name)
            parts += self._by(ready(kernel), n, int(starts[-1]), counts)
            counts[:] = 0
        is_all = ctx[layout.HOW_MANY_DONE] == n
        return parts, _NONE if is_all else np.flatnonzero(done == 0)

    @staticmethod
    def _is_worth_it(name: str, payloads: Sequence[bytes]) -> bool:
        """Whether a payload has this format, and its kernel is there or there are many."""
        wanted = _FIRST[name]
        if is_ready(KERNELS[name]) and payloads[0][:1] in wanted:
            return True
        few = min(len(payloads), 1 if is_ready(KERNELS[name]) else MANY)
        return sum(1 for _ in islice((p for p in payloads if p[:1] in wanted), few)) == few

    def _by(
        self,
        kernel: Callable[[int], int],
        n: int,
        total: int,
        counts: NDArray[np.int64],
    ) -> list[Part]:
        """The rows of all messages that one kernel takes."""
        ctx = self._call.words
        parts: list[Part] = []
        room = n + total // max(_BYTES_A_ROW, self._width // 4)
        ctx[layout.MESSAGE] = 0
        while True:
            ctx[layout.ROW], ctx[layout.ROOM] = 0, room
            sizes = [column.size_for(room, total) for column in self._columns]
            block = pa.allocate_buffer(sum(sizes))
            at, base = 0, block.address
            for column, record, size in zip(self._columns, self._call.records, sizes, strict=True):
                column.lay(record, base, at, room)
                at += size
            status = kernel(self._call.address)
            rows = ctx[layout.ROW]
            if rows:
                arrays = [
                    column.array(block, rows, has_missing=record[layout.HAS_MISSING] != 0)
                    for column, record in zip(self._columns, self._call.records, strict=True)
                ]
                found = pa.RecordBatch.from_arrays(arrays, schema=self.schema)
                parts.append(Part(found, counts.copy()))
            if status == DONE:
                return parts
            counts[:] = 0
            room *= 4


class _Column(Kind):
    """Where a column lies in the memory that a kernel writes: validity, offsets of texts, values."""

    def __init__(self, given: pa.DataType) -> None:
        super().__init__(given)
        self._valid = self._offsets = self._values = 0

    def size_for(self, room: int, total: int) -> int:
        """Bytes for so many rows, whose texts have `total` bytes at most."""
        if self.kind == layout.TEXT:
            return _even(room) + _even(4 * (room + 1)) + _even(total)
        return _even(room) + _even(room * self.bytes)

    def lay(self, record: Any, block: int, at: int, room: int) -> None:  # noqa: ANN401
        """Say where it lies: from byte `at` of a block on."""
        self._valid, self._values = at, at + _even(room)
        if self.kind == layout.TEXT:
            self._offsets = self._values
            self._values += _even(4 * (room + 1))
            record[layout.OFFSETS] = block + self._offsets
            ctypes.c_int32.from_address(block + self._offsets).value = 0
        record[layout.VALID] = block + self._valid
        record[layout.TO] = block + self._values
        record[layout.HAS_MISSING] = 0

    def array(self, block: pa.Buffer, rows: int, *, has_missing: bool) -> pa.Array:
        """The first rows, as the kernel wrote them."""
        if self.kind == layout.STRANGE:
            return pa.nulls(rows, self.type)
        bits = None
        if has_missing:
            bits = _packed(block.slice(self._valid, rows))
        if self.kind == layout.TEXT:
            offsets = block.slice(self._offsets, 4 * (rows + 1))
            used = int(np.frombuffer(offsets, np.int32)[-1])
            buffers = [bits, offsets, block.slice(self._values, used)]
            return pa.Array.from_buffers(self.type, rows, buffers)
        values = block.slice(self._values, rows * self.bytes)
        if self.kind == layout.TRUTH:
            values = _packed(values)
        if not self.size:
            return pa.Array.from_buffers(self.type, rows, [bits, values])
        child = pa.Array.from_buffers(self.value_type, rows * self.size, [None, values])
        return pa.Array.from_buffers(self.type, rows, [bits], children=[child])


def _packed(values: pa.Buffer) -> pa.Buffer:
    """Bytes of 0 and 1 as bits."""
    return pa.py_buffer(np.packbits(np.frombuffer(values, np.uint8), bitorder="little"))


def _even(size: int) -> int:
    """The next multiple of 64 bytes, where Arrow wants columns to begin."""
    return (size + 63) & -64


__all__ = ["MANY", "Fast", "Part"]
