"""Record batches of a few rows, made by one call: as messages of Arrow IPC.

To make an array of each column's buffers and a batch of the arrays takes PyArrow several times as long as to read a message, which
copies nothing. Of the metadata only lengths change from batch to batch.
https://arrow.apache.org/docs/format/Columnar.html#recordbatch-message
"""

import ctypes
import struct
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import pyarrow as pa

ROWS = 16
"""Rows of a batch at most."""
TEXT_BYTES = 2048
"""Bytes of the texts of a column at most."""
_MOST_BYTES = 16_384
"""Of a batch, each of which has memory for all rows and texts."""
_read = pa.ipc.read_record_batch
_PREFIX = struct.Struct("<Ii")
"""Of an encapsulated message: a mark, and the length of its metadata."""
_NUMBER, _PAIR = struct.Struct("<q"), struct.Struct("<qq")
_ENDS = -1
"""In the place of a width: it is of offsets."""


class Room(NamedTuple):
    """Where values of a column are to be written.

    Attributes
    ----------
    values : address of the values of a column of fixed width, or of the bytes of its texts
    offsets : address of int32[ROWS + 1], where texts begin; 0 for a column of fixed width
    """

    values: int
    offsets: int


class FewRows:
    r"""Memory for a few rows of a schema, of which record batches are made again and again. Make it with `few_of`.

    Attributes
    ----------
    rooms : of each column

    Examples
    --------
    >>> few = few_of(pa.schema([("v", pa.float64()), ("name", pa.string())]))
    >>> ctypes.c_double.from_address(few.rooms[0].values).value = 1.5
    >>> (ctypes.c_int32 * 2).from_address(few.rooms[1].offsets)[:] = [0, 1]
    >>> ctypes.c_char.from_address(few.rooms[1].values).value = b"a"
    >>> few.batch(1).to_pylist(), few.batch(1, {0: b"\0"}).to_pylist()
    ([{'v': 1.5, 'name': 'a'}], [{'v': None, 'name': 'a'}])
    """

    def __init__(self, schema: pa.Schema, template: bytes) -> None:
        self._schema = schema
        self._data = bytearray(template)
        begin = ctypes.addressof(ctypes.c_char.from_buffer(self._data))
        # As it was read: where its buffers are, and how long.
        seen = [b for c in _read(self._data, schema).columns for b in c.buffers()]
        self._body = _PREFIX.size + _PREFIX.unpack_from(template)[1]
        starts = [b.address - begin for b in seen]
        told = b"".join(_PAIR.pack(s - self._body, b.size) for s, b in zip(starts, seen, strict=True))  # fmt: skip
        nodes = _PAIR.pack(ROWS, 1) * len(schema)
        self._nodes, self._buffers = (template.find(part, 0, self._body) for part in (nodes, told))
        length = _place_of_rows(template, schema, self._nodes, len(nodes), self._body)
        if min(self._nodes, self._buffers, length) < 0:
            raise ValueError("messages are not made as they were")
        self.rooms: list[Room] = []
        self._bits: list[tuple[int, int]] = []
        """Of each column the number of the buffer of its validity, and where that begins."""
        self._texts: list[tuple[int, memoryview]] = []
        """Of each column of texts where its number of bytes is told, and where its texts begin."""
        widths: list[int] = []
        for field in schema:
            at = len(widths)
            self._bits.append((at, starts[at]))
            if pa.types.is_string(field.type):
                self.rooms.append(Room(seen[at + 2].address, seen[at + 1].address))
                ends = memoryview(self._data)[starts[at + 1] :][: 4 * (ROWS + 1)].cast("i")
                self._texts.append((self._buffers + _PAIR.size * (at + 2) + 8, ends))
                widths += [0, _ENDS, 0]
            else:
                self.rooms.append(Room(seen[at + 1].address, 0))
                widths += [0, _bits_of(field.type)]
        self._heads = [self._head_of(n, length, starts, widths) for n in range(ROWS + 1)]

    def _head_of(self, n: int, length: int, starts: Sequence[int], widths: Sequence[int]) -> bytes:
        """The metadata of a batch of n rows without a missing value or a text."""
        head = self._data[: self._body]
        _NUMBER.pack_into(head, length, n)
        for column in range(len(self._bits)):
            _PAIR.pack_into(head, self._nodes + _PAIR.size * column, n, 0)
        for place, (start, width) in enumerate(zip(starts, widths, strict=True)):
            size = 4 * (n + 1) if width == _ENDS else (width * n + 7) // 8
            _PAIR.pack_into(head, self._buffers + _PAIR.size * place, start - self._body, size)
        return bytes(head)

    def batch(self, n: int, there: Mapping[int, bytes] | None = None) -> pa.RecordBatch:
        """The first rows of what is in the memory now, which may be written to again.

        Parameters
        ----------
        n : up to `ROWS`
        there : by number of the column, where some of its values are missing, the validity bits of Arrow
        """
        data = self._data
        data[: self._body] = self._heads[n]
        for place, ends in self._texts:
            _NUMBER.pack_into(data, place, ends[n])
        for column, bits in (there or {}).items():
            buffer, start = self._bits[column]
            data[start : start + len(bits)] = bits
            _NUMBER.pack_into(data, self._buffers + _PAIR.size * buffer + 8, len(bits))
            gone = n - int.from_bytes(bits, "little").bit_count()
            _NUMBER.pack_into(data, self._nodes + _PAIR.size * column + 8, gone)
        return _read(bytes(data), self._schema)


def few_of(schema: pa.Schema) -> FewRows | None:
    """The memory for rows of a schema of numbers, truth, times and texts; None for others."""
    if not len(schema) or not all(_bits_of(f.type) or pa.types.is_string(f.type) for f in schema):
        return None
    columns = [_full(field.type) for field in schema]
    template = pa.RecordBatch.from_arrays(columns, schema=schema).serialize()
    if len(template) > _MOST_BYTES:
        return None
    try:
        return FewRows(schema, template.to_pybytes())
    except ValueError:
        return None


def _bits_of(kind: pa.DataType) -> int:
    """Bits of a value of a column of fixed width; 0 for others."""
    if pa.types.is_boolean(kind):
        return 1
    is_plain = (
        pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_timestamp(kind)
    )
    return int(kind.bit_width) if is_plain else 0


def _full(kind: pa.DataType) -> pa.Array:
    """As many rows as there can be, all but the last of which are there."""
    bits = pa.py_buffer(((1 << (ROWS - 1)) - 1).to_bytes((ROWS + 7) // 8, "little"))
    if not pa.types.is_string(kind):
        values = pa.py_buffer(bytes((_bits_of(kind) * ROWS + 7) // 8))
        return pa.Array.from_buffers(kind, ROWS, [bits, values])
    ends = pa.py_buffer(struct.pack(f"<{ROWS + 1}i", 0, *[TEXT_BYTES] * ROWS))
    return pa.Array.from_buffers(kind, ROWS, [bits, ends, pa.py_buffer(bytes(TEXT_BYTES))])


def _place_of_rows(template: bytes, schema: pa.Schema, nodes: int, size: int, body: int) -> int:
    """Where a message says how many rows it has, found out by reading it with other numbers there; -1: nowhere."""
    wanted = _NUMBER.pack(ROWS)
    at = -1
    while (at := template.find(wanted, at + 1, body)) >= 0:
        if nodes <= at < nodes + size:
            continue
        other = bytearray(template)
        other[at : at + 8] = _NUMBER.pack(1)
        other[nodes : nodes + size] = _PAIR.pack(1, 0) * len(schema)
        try:
            if _read(pa.py_buffer(bytes(other)), schema).num_rows == 1:
                return at
        except (pa.ArrowException, OSError):
            continue
    return -1
