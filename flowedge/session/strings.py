"""The texts of a session as numbers: kernels compare, gather and keep ids instead of bytes."""

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import msgpack
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from flowedge.compile.kernels import intern as k
from flowedge.compile.kernels.columns import valid
from flowedge.compile.kernels.library import ready
from flowedge.compile.kernels.order import sorted_slots
from flowedge.compile.memory import address
from flowedge.compile.program import GROW
from flowedge.lang.errors import CheckpointError

_FORMAT = 1
_FEW = 64
"""Up to this many texts are made one by one, which costs less than a gather."""


class StringPool:
    """Every distinct text (or string of bytes) of a session, numbered in order of first appearance.

    Parameters
    ----------
    literals : texts that get the ids 0, 1, 2, …: those that kernels hold as numbers
    seed : of the hash, so that nobody who writes names can make them collide; no result depends
        on it

    Examples
    --------
    >>> pool = StringPool(["ok"])
    >>> pool.intern(pa.array(["hot", "ok", None, "hot"]))
    array([ 1,  0, -1,  1])
    >>> pool.text(1), pool.count
    ('hot', 2)
    """

    def __init__(self, literals: Sequence[str] = (), seed: int = 0) -> None:
        self._seed = seed
        self._table = np.zeros(1024, np.int64)
        self._heap = np.empty(4096, np.uint8)
        self._ends = np.zeros(513, np.int64)
        self._hashes = np.empty(k.BLOCK, np.int64)
        self._order = np.empty(0, np.int32)
        self._rank = np.empty(0, np.int32)
        self.count = 0
        if literals:
            self.intern(_texts([text.encode() for text in literals]))
            if self.count != len(literals):
                raise ValueError("a literal is there twice")

    def __len__(self) -> int:
        """How many distinct texts there are."""
        return self.count

    @property
    def nbytes(self) -> int:
        """Memory that the pool takes [bytes]."""
        parts = (self._table, self._heap, self._ends, self._order, self._rank)
        return sum(part.nbytes for part in parts)

    # ---- texts to ids

    def intern(self, values: Any) -> NDArray[np.int64]:  # noqa: ANN401
        """Ids of the texts of an Arrow array.

        Parameters
        ----------
        values : array or chunked array of (large) string, (large, fixed) binary, string view, or a
            dictionary of them; a dictionary costs one look-up per entry

        Returns
        -------
        numpy.ndarray
            int64 ids, shape ``(len(values),)``; -1 for null
        """
        if isinstance(values, pa.ChunkedArray):
            parts = [self.intern(chunk) for chunk in values.chunks]
            return np.concatenate(parts) if parts else np.empty(0, np.int64)
        kind = values.type
        if pa.types.is_dictionary(kind):
            return self._intern_dictionary(values)
        is_wide = pa.types.is_large_string(kind) or pa.types.is_large_binary(kind)
        if not is_wide and not pa.types.is_string(kind) and not pa.types.is_binary(kind):
            if pa.types.is_null(kind):
                return np.full(len(values), -1, np.int64)
            is_bytes = pa.types.is_binary_view(kind) or pa.types.is_fixed_size_binary(kind)
            return self.intern(values.cast(pa.large_binary() if is_bytes else pa.large_string()))
        validity, offsets, data = values.buffers()
        start = values.offset
        out = np.empty(len(values), np.int64)
        if not len(values):
            return out
        ctx = np.zeros(k.WORDS, np.int64)
        ctx[k.ROWS], ctx[k.OUT], ctx[k.BIT] = len(values), address(out), start
        ctx[k.OFFSETS], ctx[k.IS_WIDE] = offsets.address + start * (8 if is_wide else 4), is_wide
        ctx[k.DATA] = 0 if data is None else data.address
        ctx[k.VALID] = 0 if validity is None or not values.null_count else validity.address
        self._run(ctx)
        return out

    def _intern_dictionary(self, values: Any) -> NDArray[np.int64]:  # noqa: ANN401
        ids = np.append(self.intern(values.dictionary), -1)
        indices = values.indices
        validity, data = indices.buffers()
        kind = np.dtype(indices.type.to_pandas_dtype())
        rows, first = len(indices), indices.offset
        places = np.frombuffer(data, kind, first + rows)[first:] if rows else np.empty(0, kind)
        if validity is None or not indices.null_count:
            return ids[places]
        is_there = valid(np.frombuffer(validity, np.uint8), rows, first)
        return ids[np.where(is_there, places, len(ids) - 1)]

    def _run(self, ctx: NDArray[np.int64]) -> None:
        """Give ids to the rows that a context names, enlarging what they do not fit into."""
        ctx[k.COUNT], ctx[k.SEED], ctx[k.HASHES] = self.count, self._seed, address(self._hashes)
        run = ready(k.intern)
        while True:
            ctx[k.TABLE], ctx[k.MASK] = address(self._table), len(self._table) - 1
            ctx[k.HEAP], ctx[k.HEAP_SIZE] = address(self._heap), len(self._heap)
            ctx[k.ENDS], ctx[k.ROOM] = address(self._ends), len(self._ends) - 1
            status = run(address(ctx))
            self.count = int(ctx[k.COUNT])
            if status != GROW:
                return
            need = int(ctx[k.NEED])
            if need:
                self._heap = _enlarged(self._heap, len(self._heap) + need)
            else:
                old, self._table = self._table, np.zeros(2 * len(self._table), np.int64)
                ctx[k.OLD], ctx[k.OLD_WORDS] = address(old), len(old)
                self._ends = _enlarged(self._ends, len(self._table) // 2 + 1)

    # ---- ids to texts

    def raw(self, number: int) -> bytes:
        """The bytes of an id."""
        if not 0 <= number < self.count:
            raise IndexError(f"no text has the id {number}")
        return self._heap[self._ends[number] : self._ends[number + 1]].tobytes()

    def text(self, number: int) -> str:
        """The text of an id; bytes that are no UTF-8 show as U+FFFD."""
        return self.raw(number).decode("utf-8", "replace")

    def arrow(self, ids: NDArray[Any], kind: Any = None) -> Any:  # noqa: ANN401
        """Texts of ids as an Arrow array.

        Parameters
        ----------
        ids : whole numbers, shape ``(rows,)``; -1 for null
        kind : Arrow type of the array: string (default), binary, their large forms, or a
            dictionary of one of them (with the entries that occur, by id)
        """
        kind = pa.string() if kind is None else kind
        if pa.types.is_dictionary(kind):
            used, places = np.unique(ids, return_inverse=True)
            skip = int(len(used) > 0 and used[0] < 0)
            entries = self.arrow(used[skip:], kind.value_type)
            indices = _whole(places.astype(np.int32) - np.int32(skip), pa.int32())
            return pa.DictionaryArray.from_arrays(indices, entries).cast(kind)
        if len(ids) <= _FEW:
            return _texts([None if i < 0 else self.raw(i) for i in ids.tolist()]).cast(kind)
        return self._view().take(_whole(ids.astype(np.int64, copy=False), pa.int64())).cast(kind)

    def _view(self) -> Any:  # noqa: ANN401
        """All texts by id, without copying them."""
        buffers = [None, pa.py_buffer(self._ends), pa.py_buffer(self._heap)]
        return pa.Array.from_buffers(pa.large_binary(), self.count, buffers)

    # ---- order

    def rank(self) -> NDArray[np.int32]:
        """The place of each id in the order of the texts' UTF-8 bytes, shape ``(count,)``."""
        if len(self._order) < self.count:
            column = np.arange(self.count, dtype=np.int64)
            self._order, self._rank = sorted_slots(self._order, [column], [True], *self.addresses())
        return self._rank

    def addresses(self) -> tuple[int, int]:
        """Addresses of the bytes and of the int64 ends (the word before an id's end is its start).

        They stand until the next `intern`.
        """
        return address(self._heap), address(self._ends)

    # ---- snapshots

    def snapshot(self) -> bytes:
        """All texts in the order of their ids; the table is made again from them."""
        ends = self._ends[: self.count + 1]
        return msgpack.packb(
            {
                "format": _FORMAT,
                "ends": ends.astype("<i8", copy=False).tobytes(),
                "heap": self._heap[: ends[-1]].tobytes(),
            }
        )

    @classmethod
    def restore(cls, state: bytes, seed: int = 0) -> "StringPool":
        """The pool of a snapshot.

        Raises
        ------
        CheckpointError
            the bytes are not a snapshot of a pool
        """
        try:
            value = msgpack.unpackb(state, max_bin_len=len(state))
            if value["format"] != _FORMAT:
                raise ValueError("format")
            ends = np.frombuffer(value["ends"], "<i8").astype(np.int64)
            heap = np.frombuffer(value["heap"], np.uint8)
        except (ValueError, KeyError, TypeError, msgpack.UnpackException) as error:
            raise CheckpointError("the snapshot's texts are damaged") from error
        if not len(ends) or ends[0] != 0 or ends[-1] != len(heap) or (np.diff(ends) < 0).any():
            raise CheckpointError("the snapshot's texts are damaged: lengths do not fit")
        pool = cls(seed=seed)
        count = len(ends) - 1
        if count:
            pool._heap = np.empty(max(4096, len(heap)), np.uint8)
            buffers = [None, pa.py_buffer(ends), pa.py_buffer(value["heap"])]
            pool.intern(pa.Array.from_buffers(pa.large_binary(), count, buffers))
        if pool.count != count:
            raise CheckpointError("the snapshot's texts are damaged: one is there twice")
        return pool


def _whole(numbers: NDArray[Any], kind: Any) -> Any:  # noqa: ANN401
    """Numbers as an Arrow array, the negative ones null; pyarrow's own way would import pandas."""
    is_there = numbers >= 0
    bits = None if is_there.all() else pa.py_buffer(np.packbits(is_there, bitorder="little"))
    return pa.Array.from_buffers(kind, len(numbers), [bits, pa.py_buffer(numbers)])


def _texts(texts: Sequence[bytes | None]) -> Any:  # noqa: ANN401
    """A few texts as an Arrow array of large binary."""
    ends = np.array([0, *accumulate(0 if t is None else len(t) for t in texts)], np.int64)
    bits = None
    if None in texts:
        there = np.array([t is not None for t in texts], np.bool_)
        bits = pa.py_buffer(np.packbits(there, bitorder="little"))
    buffers = [bits, pa.py_buffer(ends), pa.py_buffer(b"".join(t for t in texts if t is not None))]
    return pa.Array.from_buffers(pa.large_binary(), len(texts), buffers)


def _enlarged(array: NDArray[Any], least: int) -> NDArray[Any]:
    """A copy of at least twice the size."""
    out = np.zeros(max(least, 2 * len(array)), array.dtype)
    out[: len(array)] = array
    return out
