"""A flatbuffer read without trusting it: every offset is looked at before it is followed (flatbuffers.dev, *Internals*)."""

import struct
from collections.abc import Mapping
from typing import Any

import numpy as np

MOST_TABLES = 2**16
"""Tables of one file, at most; one that several others point to counts each time."""
_DEEPEST = 8
_SCALARS = {"u1": "B", "i1": "b", "i4": "i", "u4": "I", "i8": "q", "u8": "Q"}

Table = dict[str, Any]
Schema = Mapping[str, tuple[tuple[str, str], ...]]


class MalformedError(Exception):
    """The bytes are no flatbuffer of the schema: what does not fit."""


class Reader:
    """Reads tables by a schema; what is not in the schema is refused, so that nothing is left unseen.

    Parameters
    ----------
    data : the bytes of the file
    schema : of each table, its fields in order: a name, and a kind. ``u1 i1 i4 u4 i8 u8`` are scalars, ``[i4]`` a vector of
        them, ``text`` is bytes, ``Name`` a table, ``[Name]`` a vector of tables; ``scalars`` a table of numbers alone,
        which is looked at and not read; empty: nothing may stand there

    Raises
    ------
    MalformedError
        an offset that leads outside, too many tables, or a field that the schema does not have
    """

    def __init__(self, data: bytes, schema: Schema) -> None:
        self._data, self._schema, self._left = data, schema, MOST_TABLES

    def root(self, kind: str) -> Table:
        """The first table."""
        place = self._number("I", 0)
        if place + 4 > len(self._data):
            raise MalformedError(f"a root at byte {place}, outside the file")
        return self.table(kind, place)

    def table(self, kind: str, at: int, depth: int = 0) -> Table:
        """The table at a place."""
        self._left -= 1
        if self._left < 0 or depth > _DEEPEST:
            raise MalformedError(f"more than {MOST_TABLES} tables, or too deep")
        offsets, size = self._fields(at)
        fields = self._schema.get(kind, ())
        if kind == "scalars":
            return {}
        out: Table = {}
        for number, offset in enumerate(offsets):
            if not offset:
                continue
            name, type_ = fields[number] if number < len(fields) else (str(number), "")
            if not type_:
                raise MalformedError(f"`{kind}` has the field `{name}`, which is not read")
            out[name] = self._value(type_, at + offset, at + size, depth)
        return out

    def _fields(self, at: int) -> tuple[list[int], int]:
        """Where the fields of a table are, from its place, and how long it is."""
        start = at - self._number("i", at)
        length, size = self._number("H", start), self._number("H", start + 2)
        if length < 4 or length % 2 or size < 4:
            raise MalformedError("a table without a list of its fields")
        self._within(start, length)
        self._within(at, size)
        offsets = list(struct.unpack_from(f"<{length // 2 - 2}H", self._data, start + 4))
        if any(offset and not 4 <= offset < size for offset in offsets):
            raise MalformedError("a field outside its table")
        return offsets, size

    def _value(self, type_: str, at: int, end: int, depth: int) -> Any:  # noqa: ANN401
        letter = _SCALARS.get(type_)
        if letter is not None:
            if at + struct.calcsize("<" + letter) > end:
                raise MalformedError("a field that does not fit into its table")
            return self._number(letter, at)
        at = self._offset(at)
        if type_ == "text":
            return bytes(self._vector(at, np.dtype("u1")))
        if not type_.startswith("["):
            return self.table(type_, at, depth + 1)
        inner = type_[1:-1]
        if inner in _SCALARS or inner == "f4":
            return self._vector(at, np.dtype("<" + inner))
        places = self._vector(at, np.dtype("<u4"))
        if len(places) > self._left:
            raise MalformedError(f"more than {MOST_TABLES} tables")
        return [
            self.table(inner, self._inside(at + 4 + 4 * i + int(p)), depth + 1)
            for i, p in enumerate(places)
        ]

    def _vector(self, at: int, dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
        length = self._number("I", at)
        self._within(at + 4, length * dtype.itemsize)
        return np.frombuffer(self._data, dtype, length, at + 4)

    def _offset(self, at: int) -> int:
        return self._inside(at + self._number("I", at))

    def _inside(self, at: int) -> int:
        self._within(at, 4)
        return at

    def _within(self, at: int, size: int) -> None:
        if at < 0 or at + size > len(self._data):
            raise MalformedError(
                f"an offset that leads outside the file, to byte {at + size} of {len(self._data)}; it may break off there"
            )

    def _number(self, letter: str, at: int) -> int:
        self._within(at, struct.calcsize("<" + letter))
        return int(struct.unpack_from("<" + letter, self._data, at)[0])
