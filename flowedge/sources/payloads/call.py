"""What a kernel of payloads is called with: the declared fields, and where it finds and puts all else."""

import ctypes
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from flowedge.compile.memory import address, wrap
from flowedge.sources.payloads.formats import Format
from flowedge.sources.payloads.kernels import decimal, layout
from flowedge.sources.payloads.values import limits

_KINDS = {
    pa.float64(): layout.F64, pa.float32(): layout.F32, pa.int64(): layout.I64, pa.int32(): layout.I32, pa.int16(): layout.I16,
    pa.int8(): layout.I8, pa.uint64(): layout.U64, pa.uint32(): layout.U32, pa.uint16(): layout.U16, pa.uint8(): layout.U8,
    pa.bool_(): layout.TRUTH, pa.string(): layout.TEXT, pa.timestamp("ns"): layout.TIME, pa.timestamp("ns", "UTC"): layout.TIME,
}  # fmt: skip


class Kind:
    """What the kernels call the type of a field.

    Attributes
    ----------
    kind : one of `flowedge.sources.payloads.kernels.layout`
    value_type : of a list, of its elements; else that of the field
    size : length of a list, 0: no list
    bytes : of a row; of texts and of what is not written 0
    limits : the least and the most whole number
    """

    def __init__(self, given: pa.DataType) -> None:
        self.type = given
        self.size = 0
        if pa.types.is_fixed_size_list(given) and given.list_size > 0:
            self.size, given = given.list_size, given.value_type
        self.value_type = given
        self.kind = _KINDS.get(given, layout.STRANGE)
        if self.size and self.kind in (layout.TEXT, layout.TIME):
            self.kind = layout.STRANGE
        self.limits = (-(2**63), 2**63 - 1)
        if pa.types.is_integer(given):
            least, most = limits(given)
            self.limits = (least, min(most, 2**63 - 1))
        self.bytes = 0
        if self.kind not in (layout.TEXT, layout.STRANGE):
            width = 1 if self.kind == layout.TRUTH else given.bit_width // 8
            self.bytes = width * max(1, self.size)


class Call:
    """The words of a kernel's context, and the records of the fields.

    Parameters
    ----------
    names, kinds : of the declared fields
    format : of all payloads
    width : bytes of a row, see `flowedge.sources.payloads.bounds.width_of`

    Attributes
    ----------
    words, records : see `flowedge.sources.payloads.kernels.layout`
    address : of the words
    """

    def __init__(
        self, names: Sequence[str], kinds: Sequence[Kind], format: Format, width: int  # noqa: A002
    ) -> None:  # fmt: skip
        data = [name.encode() for name in names]
        self._names = pa.py_buffer(b"".join(name + bytes(8) for name in data))
        block = (ctypes.c_int64 * (layout.RECORD * len(data)))()
        self.records: list[Any] = [
            (ctypes.c_int64 * layout.RECORD).from_buffer(block, 8 * layout.RECORD * k)
            for k in range(len(data))
        ]
        at = self._names.address
        for record, name, kind in zip(self.records, data, kinds, strict=True):
            record[layout.NAME] = at
            record[layout.LENGTH] = len(name)
            record[layout.FRONT] = wrap(int.from_bytes(name[:8], "little"))
            record[layout.KIND] = kind.kind
            record[layout.SIZE] = kind.size
            record[layout.LEAST], record[layout.MOST] = kind.limits
            record[layout.BYTES] = kind.bytes
            at += len(name) + 8
        self._powers = decimal.powers()
        self._guesses: dict[str, Any] = {}
        self._others = np.zeros(2 * layout.MOST_OTHERS + 1, np.int64)
        self.words: Any = (ctypes.c_int64 * layout.WORDS)()
        for word, value in (
            (layout.FIELDS, ctypes.addressof(block)),
            (layout.FIELD_COUNT, len(data)),
            (layout.IS_AUTO, int(format == "auto")),
            (layout.OTHERS, address(self._others)),
            (layout.SCRATCH, address(self._others[-1:])),
            (layout.POWERS, address(self._powers)),
            (layout.WIDTH, max(1, width)),
        ):
            self.words[word] = value
        self.address = ctypes.addressof(self.words)

    def guess(self, kernel: str) -> None:
        """Let it go on with what it knows of payloads of a format."""
        found = self._guesses.get(kernel)
        if found is None:
            nothing = [-1] * layout.PLACES
            found = self._guesses[kernel] = (ctypes.c_int32 * layout.PLACES)(*nothing)
        self.words[layout.GUESSES] = ctypes.addressof(found)


__all__ = ["Call", "Kind"]
