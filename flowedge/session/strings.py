"""The texts of a session as numbers: kernels compare, gather and keep ids instead of bytes."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from flowedge.compile.kernels import intern as k
from flowedge.compile.kernels.library import ready
from flowedge.compile.program import GROW
from flowedge.lang.errors import CheckpointError
from flowedge.session.dictionaries import Dictionaries
from flowedge.session.words import address
from flowedge.types.arrays import bytes_array, nullable

_FORMAT = 2
_SLACK = 65_536, 16 << 20
"""Before so many new texts, or bytes of them, nothing is forgotten."""
_FEW = 64
"""Up to this many texts are made one by one, which costs less than a gather."""
_STRING = pa.string()


class StringPool:
    """The distinct texts (or strings of bytes) that a session knows, numbered as they first appear.

    Texts that nothing holds any more can be forgotten (`forget`); their numbers are then given again, so that a
    stream of ever new texts takes no more memory than what is held of it.

    Parameters
    ----------
    literals : texts that get the ids 0, 1, 2, …: those that kernels hold as numbers
    seed : of the hash, so that nobody who writes names can make them collide; no result depends
        on it

    Attributes
    ----------
    count : ids given so far, those free again among them
    slack : texts, and bytes of them, that may come beyond twice what was held before it `is_swollen`

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
        self._old = self._table[:0]
        self._heap = np.empty(4096, np.uint8)
        self._used = 0
        self._spans = np.zeros((512, 2), np.int64)
        self._free = np.empty(0, np.int64)
        self._hashes = np.empty(k.BLOCK, np.int64)
        self._kept = 0, 0
        self.slack = _SLACK
        self.count = 0
        if literals:
            self.intern(bytes_array([text.encode() for text in literals]))
            if self.count != len(literals):
                raise ValueError("a literal is there twice")
        self._pinned = set(range(self.count))
        self._dictionaries = Dictionaries(self.intern)

    def __len__(self) -> int:
        """How many distinct texts there are."""
        return self.count - len(self._free)

    @property
    def nbytes(self) -> int:
        """Memory that the pool takes [bytes]."""
        parts = (self._table, self._heap, self._spans, self._free)
        return sum(part.nbytes for part in parts) + self._dictionaries.nbytes

    # ---- texts to ids

    def intern(self, values: Any) -> NDArray[np.int64]:  # noqa: ANN401
        """Ids of the texts of an Arrow array.

        Parameters
        ----------
        values : array or chunked array of (large) string, (large, fixed) binary, string view, or a
            dictionary of them, of which each entry that occurs is looked up once (`flowedge.session.dictionaries`)

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
            return self._dictionaries.ids(values)
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

    def pin(self, values: Any) -> NDArray[np.int64]:  # noqa: ANN401
        """Ids of texts that are never forgotten: those that something outside the state holds."""
        ids = self.intern(values)
        self._pinned.update(ids[ids >= 0].tolist())
        return ids

    def _run(self, ctx: NDArray[np.int64]) -> None:
        """Give ids to the rows that a context names, enlarging what they do not fit into."""
        ctx[k.COUNT], ctx[k.SEED], ctx[k.HASHES] = self.count, self._seed, address(self._hashes)
        ctx[k.OLD], ctx[k.OLD_WORDS] = address(self._old) if len(self._old) else 0, len(self._old)
        ctx[k.FREE], ctx[k.FREE_COUNT], ctx[k.USED] = (
            address(self._free),
            len(self._free),
            self._used,
        )
        run = ready(k.intern)
        while True:
            ctx[k.TABLE], ctx[k.MASK] = address(self._table), len(self._table) - 1
            ctx[k.HEAP], ctx[k.HEAP_SIZE] = address(self._heap), len(self._heap)
            ctx[k.SPANS], ctx[k.ROOM] = address(self._spans), len(self._spans)
            status = run(address(ctx))
            self.count, self._used = int(ctx[k.COUNT]), int(ctx[k.USED])
            self._free = self._free[: int(ctx[k.FREE_COUNT])]
            self._old = self._table[:0]
            if status != GROW:
                return
            need = int(ctx[k.NEED])
            if need:
                self._heap = _enlarged(self._heap, len(self._heap) + need)
            else:
                old, self._table = self._table, np.zeros(2 * len(self._table), np.int64)
                ctx[k.OLD], ctx[k.OLD_WORDS] = address(old), len(old)
                self._spans = _enlarged(self._spans, len(self._table) // 2)

    # ---- forgetting

    @property
    def is_swollen(self) -> bool:
        """Whether so many texts have come since the last `forget` that another one is worth its while."""
        (texts, size), (more, bytes_) = self._kept, self.slack
        return len(self) > 2 * texts + more or self._used > 2 * size + bytes_

    def forget(self, held: NDArray[np.bool_]) -> None:
        """Forget all texts but those held, the literals, and those pinned.

        Parameters
        ----------
        held : by id, shape ``(count,)``
        """
        held = held.copy()
        held[list(self._pinned)] = True
        held[self._free] = False
        self._dictionaries.forget()
        live = np.flatnonzero(held)
        # Word by word of the table, so that no text is hashed again.
        entries = np.concatenate([self._old, self._table[self._table != 0]])
        entries = entries[held[(entries & 0xFFFFFFFF) - 1]]
        words = 1024
        while words < 2 * self.count:
            words *= 2
        self._old, self._table = entries, np.zeros(words, np.int64)
        heap = self._heap
        spans, self._spans = self._spans, np.zeros((words // 2, 2), np.int64)
        sizes = spans[live, 1] - spans[live, 0]
        ends = np.cumsum(sizes)
        self._used = int(ends[-1]) if len(live) else 0
        self._heap = np.empty(max(4096, self._used), np.uint8)
        self._spans[live, 0], self._spans[live, 1] = ends - sizes, ends
        self._spell(live, np.concatenate([[0], ends]), self._heap, heap, spans)
        self._free = np.flatnonzero(~held[: self.count])[::-1].astype(np.int64)
        self._kept = len(live), self._used

    # ---- ids to texts

    def raw(self, number: int) -> bytes:
        """The bytes of an id."""
        if not 0 <= number < self.count:
            raise IndexError(f"no text has the id {number}")
        start, end = self._spans[number].tolist()
        return self._heap[start:end].tobytes()

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
            indices = nullable(places.astype(np.int32) - np.int32(skip), pa.int32())
            return pa.DictionaryArray.from_arrays(indices, entries).cast(kind)
        if len(ids) <= _FEW:
            texts = [None if i < 0 else self.raw(i) for i in ids.tolist()]
            if kind == _STRING and all(t is None or t.isascii() for t in texts):
                return bytes_array(texts, kind)
            return bytes_array(texts).cast(kind)
        ids = np.ascontiguousarray(ids, np.int64)
        is_there = ids >= 0
        sizes = self._spans[ids, 1] - self._spans[ids, 0]
        offsets = np.zeros(len(ids) + 1, np.int64)
        np.cumsum(np.where(is_there, sizes, 0), out=offsets[1:])
        data = np.empty(int(offsets[-1]), np.uint8)
        self._spell(ids, offsets, data, self._heap, self._spans)
        bits = None if is_there.all() else pa.py_buffer(np.packbits(is_there, bitorder="little"))
        buffers = [bits, pa.py_buffer(offsets), pa.py_buffer(data)]
        return pa.Array.from_buffers(pa.large_binary(), len(ids), buffers).cast(kind)

    @staticmethod
    def _spell(
        ids: NDArray[np.int64],
        offsets: NDArray[np.int64],
        out: NDArray[np.uint8],
        heap: NDArray[np.uint8],
        spans: NDArray[np.int64],
    ) -> None:
        """Copy the bytes of ids out of a heap to the places that the offsets say."""
        ctx = np.zeros(k.SPELL_WORDS, np.int64)
        ctx[k.SPELL_ROWS], ctx[k.SPELL_IDS] = len(ids), address(ids)
        ctx[k.SPELL_HEAP], ctx[k.SPELL_SPANS] = address(heap), address(spans)
        ctx[k.SPELL_OFFSETS], ctx[k.SPELL_OUT] = address(offsets), address(out)
        ready(k.spell)(address(ctx))

    def addresses(self) -> tuple[int, int]:
        """Addresses of the bytes, and of where each id's begin and end (int64 pairs).

        They stand until the next `intern`.
        """
        return address(self._heap), address(self._spans)

    # ---- snapshots

    def state(self) -> dict[str, Any]:
        """All texts in the order of their ids, as plain data; the table is made again from them."""
        held = np.ones(self.count, np.bool_)
        held[self._free] = False
        live = np.flatnonzero(held)
        texts = self.arrow(live, pa.large_binary())
        _, offsets, data = texts.buffers()
        return {
            "format": _FORMAT,
            "free": self._free.astype("<i8", copy=False).tobytes(),
            "ends": b"" if offsets is None else offsets.to_pybytes()[: 8 * (len(live) + 1)],
            "heap": b"" if data is None else data.to_pybytes(),
            "kept": list(self._kept),
            "pinned": sorted(self._pinned),
        }

    @classmethod
    def restore(
        cls, state: dict[str, Any], seed: int = 0, *, is_text: bool = False
    ) -> "StringPool":
        """The pool of a snapshot.

        Parameters
        ----------
        is_text : none of it is bytes, so all must be UTF-8

        Raises
        ------
        CheckpointError
            it is not the state of a pool
        """
        try:
            if state["format"] != _FORMAT:
                raise ValueError("format")
            ends = np.frombuffer(state["ends"], "<i8").astype(np.int64)
            free = np.frombuffer(state["free"], "<i8").astype(np.int64)
            heap, (texts, bytes_) = state["heap"], state["kept"]
            size, pinned = len(heap), set(state["pinned"])
        except (ValueError, KeyError, TypeError) as error:
            raise CheckpointError("the snapshot's texts are damaged") from error
        if not len(ends) or ends[0] != 0 or ends[-1] != size or (ends[1:] < ends[:-1]).any():
            raise CheckpointError("the snapshot's texts are damaged: lengths do not fit")
        live, count = len(ends) - 1, len(ends) - 1 + len(free)
        is_free = np.zeros(count, np.bool_)
        numbers = (*free.tolist(), *pinned)
        if any(type(number) is not int or not 0 <= number < count for number in numbers):
            raise CheckpointError("the snapshot's texts are damaged: numbers do not fit")
        is_free[free] = True
        pool = cls(seed=seed)
        words = len(pool._table)
        while words < 2 * count:
            words *= 2
        pool._table, pool._spans = np.zeros(words, np.int64), np.zeros((words // 2, 2), np.int64)
        pool._heap = np.empty(max(4096, size), np.uint8)
        # The texts take the numbers that are given again, in order: those that they had.
        ids = np.flatnonzero(~is_free)
        pool.count, pool._free = count, ids[::-1].copy()
        if live:
            buffers = [None, pa.py_buffer(ends), pa.py_buffer(heap)]
            entries = pa.Array.from_buffers(pa.large_binary(), live, buffers)
            try:
                pool.intern(entries.cast(pa.large_string()) if is_text else entries)
            except pa.ArrowInvalid:
                raise CheckpointError("the snapshot's texts are damaged: one is no UTF-8") from None
        if len(pool._free) or len(ids) != live:
            raise CheckpointError("the snapshot's texts are damaged: one is there twice")
        pool._free, pool._kept, pool._pinned = free, (int(texts), int(bytes_)), pinned
        return pool


def _enlarged(array: NDArray[Any], least: int) -> NDArray[Any]:
    """A copy of at least twice the length."""
    out = np.zeros((max(least, 2 * len(array)), *array.shape[1:]), array.dtype)
    out[: len(array)] = array
    return out
