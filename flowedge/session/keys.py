"""Keys of a stream as dense numbers: slots, by which kernels find the memory of each key."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flowedge.compile.kernels import slots as k
from flowedge.compile.kernels.library import ready
from flowedge.compile.kernels.order import sorted_slots
from flowedge.compile.program import GROW
from flowedge.lang.errors import CheckpointError
from flowedge.session.dense import window_of
from flowedge.session.strings import StringPool
from flowedge.session.words import address
from flowedge.types.heap import untouched

_FORMAT = 2
_FIRST_WORDS = 1024
_FIRST_KEYS = 16
"""From so many keys on it is looked at again how they lie, each time that they have doubled."""
_FEW_HASHED = 8
"""While one key of so many is hashed, the window is good enough."""


class KeyTable:
    """Every distinct key of a stream as a number, its slot; no result depends on which one.

    Keys that nothing needs any more can be forgotten (`forget`); their slots are then given again, so that a
    stream of ever new keys takes no more memory than those that live at a time.

    A key is a row of int64 columns: integers by value, texts by their id in the pool. The order of
    keys, in which rows that are due together leave, is that of the values: integers by value,
    texts by UTF-8 bytes, column after column, a missing value first.

    Parameters
    ----------
    is_text : for each key column, whether it holds ids of `pool`
    pool : the session's texts; needed for `order` if a column is text
    limit : most keys there may be; rows of further ones get slot -1. None: no limit
    seed : of the hash, so that nobody who chooses keys can make them collide

    Examples
    --------
    >>> table = KeyTable([False])
    >>> table.slots([np.array([70, 50, 70, 60])])
    array([0, 1, 0, 2], dtype=int32)
    >>> order, rank = table.order()
    >>> table.values(0)[order]
    array([50, 60, 70])
    """

    def __init__(
        self,
        is_text: Sequence[bool],
        pool: StringPool | None = None,
        limit: int | None = None,
        seed: int = 0,
    ) -> None:
        if not is_text:
            raise ValueError("a key table needs a column")
        self._is_text = tuple(is_text)
        self._pool = pool
        self._limit = 2**31 - 1 if limit is None else limit
        self._table = np.zeros(_FIRST_WORDS, np.int64)
        self._places = np.zeros(_FIRST_WORDS, np.int32)
        self._seen = 0  # keys when it was looked at how they lie
        self._values = [np.empty(_FIRST_WORDS // 2, np.int64) for _ in is_text]
        self._hashes = np.empty(k.BLOCK, np.int64)
        self._order = np.empty(0, np.int32)
        self._rank = np.empty(0, np.int32)
        self._known = 0  # so many of the slots in the order had a key
        self._free = np.empty(0, np.int32)
        self._kept = 0
        n = len(is_text)
        self._ctx = np.zeros(k.FIRST + 2 * n, np.int64)
        self._ctx[k.COLUMNS], self._ctx[k.SEED] = n, seed
        self._ctx[k.LIMIT], self._ctx[k.HASHES] = self._limit, address(self._hashes)
        self._context = address(self._ctx)
        self._bind()

    def __len__(self) -> int:
        """How many distinct keys there are."""
        return self.count - int(self._ctx[k.FREE_COUNT])

    @property
    def count(self) -> int:
        """How many slots there are, those of forgotten keys among them."""
        return int(self._ctx[k.COUNT])

    @property
    def is_taken(self) -> NDArray[np.bool_]:
        """Which slots have a key, shape ``(count,)``."""
        out = np.ones(self.count, np.bool_)
        out[self._free[: int(self._ctx[k.FREE_COUNT])]] = False
        return out

    def is_swollen(self, slack: int) -> bool:
        """Whether there are twice as many keys as after the last `forget`, and `slack` more."""
        return len(self) > 2 * self._kept + slack

    @property
    def refused(self) -> int:
        """How many rows got slot -1 because their key was beyond the limit."""
        return int(self._ctx[k.REFUSED])

    @property
    def nbytes(self) -> int:
        """Memory that the table takes [bytes]."""
        parts: list[NDArray[Any]] = [
            self._table, self._places, *self._values, self._order, self._rank, self._free,
        ]  # fmt: skip
        return sum(part.nbytes for part in parts)

    def slots(self, columns: Sequence[NDArray[np.int64] | NDArray[np.int32]]) -> NDArray[np.int32]:
        """The slot of each row's key; a new key gets a free one.

        Parameters
        ----------
        columns : one int64 array per key column, shape ``(rows,)`` each; a single one is read as it is where it is of int32

        Returns
        -------
        numpy.ndarray
            int32 slots, shape ``(rows,)``; -1 where the key is beyond the limit
        """
        is_narrow = len(columns) == 1 and columns[0].dtype == np.int32 and self._ctx[k.SPAN] > 0
        kind: type[np.int32 | np.int64] = np.int32 if is_narrow else np.int64
        held = [np.ascontiguousarray(c, kind) for c in columns]
        if len(held) != len(self._is_text) or len({len(c) for c in held}) != 1:
            raise ValueError("key columns of unequal number or length")
        rows = len(held[0])
        out = np.empty(rows, np.int32)
        ctx = self._ctx
        ctx[k.ROW], ctx[k.ROWS], ctx[k.OUT] = 0, rows, address(out)
        ctx[k.IS_NARROW] = is_narrow
        for c, column in enumerate(held):
            ctx[k.FIRST + c] = address(column)
        if not self._seen and rows:
            self._look(held[0].astype(np.int64, copy=False))
        while ready(self._kernel)(self._context) == GROW:
            self._grow()
            if ctx[k.IS_NARROW] and not ctx[k.SPAN]:  # the others read int64
                held = [held[0].astype(np.int64)]
                ctx[k.IS_NARROW], ctx[k.FIRST] = 0, address(held[0])
        if self._is_due and ctx[k.HASHED] * _FEW_HASHED > len(self):
            self._look()
        return out

    def forget(self, gone: NDArray[np.bool_]) -> None:
        """Forget keys; their slots may be given again.

        Parameters
        ----------
        gone : by slot, shape ``(count,)``; slots without a key stay so
        """
        taken = self.is_taken
        here = self._order[: self._known]
        self._order = here[~gone[here]]
        self._known = len(self._order)
        fresh = np.flatnonzero(gone & taken).astype(np.int32)
        for column in self._values:
            column[fresh] = -1  # no text is held by it
        free = self._free[: int(self._ctx[k.FREE_COUNT])]
        self._free = np.concatenate([free, fresh[::-1]])
        self._ctx[k.FREE_COUNT] = len(self._free)
        if not self._look():
            self._enter()
        self._kept = len(self)

    def values(self, column: int) -> NDArray[np.int64]:
        """The values of a key column by slot, shape ``(count,)``; a view until the next `slots`."""
        return self._values[column][: self.count]

    @property
    def is_in_order(self) -> bool:
        """Whether no key has come since the last call of `order`."""
        return self._known == len(self) and len(self._order) >= self.count

    def sort(self, slots: NDArray[np.int32]) -> bool:
        """Bring a few slots into the order of their keys, in place; False: these keys are only sorted all at once.

        Those that stand in order already cost little.
        """
        if any(self._is_text):
            return False
        columns = [self.values(c)[slots] for c in range(len(self._is_text))]
        order = (
            np.argsort(columns[0], kind="stable")
            if len(columns) == 1
            else np.lexsort(columns[::-1])
        )
        slots[:] = slots[order]
        return True

    def order(self) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Slots in the order of their keys, and each slot's place in that order.

        Returns
        -------
        order, rank : numpy.ndarray
            int32, shape ``(count,)``; new arrays when keys have come since the last call. Slots without a
            key stand at the end
        """
        if not self.is_in_order:
            heap, spans = 0, 0
            if any(self._is_text):
                if self._pool is None:
                    raise ValueError("the order of texts needs their pool")
                heap, spans = self._pool.addresses()
            columns = [self.values(c) for c in range(len(self._is_text))]
            known, fresh = self._order[: self._known], None
            # Where slots were given again, those in order need not be the first ones.
            if len(self._free) or self._kept:
                is_new = self.is_taken
                is_new[known] = False
                fresh = np.flatnonzero(is_new).astype(np.int32)
            self._order, self._rank = sorted_slots(
                known, columns, self._is_text, heap, spans, fresh
            )
            self._known = len(self)
        return self._order, self._rank

    def state(self) -> dict[str, Any]:
        """The keys by slot, as plain data; the table is made again from them."""
        columns = [
            self.values(c).astype("<i8", copy=False).tobytes() for c in range(len(self._is_text))
        ]
        free = self._free[: int(self._ctx[k.FREE_COUNT])].astype("<i4", copy=False).tobytes()
        return {"format": _FORMAT, "refused": self.refused, "columns": columns, "free": free}

    @classmethod
    def restore(
        cls,
        state: dict[str, Any],
        is_text: Sequence[bool],
        pool: StringPool | None = None,
        limit: int | None = None,
        seed: int = 0,
    ) -> "KeyTable":
        """The table of a snapshot; `pool` must have been restored before.

        Raises
        ------
        CheckpointError
            it is not the state of a table of such columns
        """
        try:
            if state["format"] != _FORMAT or len(state["columns"]) != len(is_text):
                raise ValueError("format")
            columns = [np.frombuffer(c, "<i8").astype(np.int64) for c in state["columns"]]
            free = np.frombuffer(state["free"], "<i4").astype(np.int32)
            refused = int(state["refused"])
        except (ValueError, KeyError, TypeError) as error:
            raise CheckpointError("the snapshot's keys are damaged") from error
        table = cls(is_text, pool, limit, seed)
        count = len(columns[0])
        if any(len(c) != count for c in columns):
            raise CheckpointError("the snapshot's keys are damaged: columns of unequal length")
        for column, text in zip(columns, is_text, strict=True):
            if (
                text
                and pool is not None
                and count
                and not -1 <= column.min() <= column.max() < pool.count
            ):
                raise CheckpointError("the snapshot's keys are damaged: a text is not there")
        if len(free) and not 0 <= free.min() <= free.max() < count:
            raise CheckpointError("the snapshot's keys are damaged: numbers do not fit")
        room = len(table._values[0])
        while room < count:
            room *= 2
        table._values = [_enlarged(v, room) for v in table._values]
        for values, column in zip(table._values, columns, strict=True):
            values[:count] = column
        ctx = table._ctx
        ctx[k.COUNT], table._free, ctx[k.FREE_COUNT] = count, free, len(free)
        ctx[k.REFUSED] = refused
        table._bind()
        table._look()
        if len(np.unique(free)) != len(free) or table._enter():
            raise CheckpointError("the snapshot's keys are damaged: one is there twice")
        return table

    @property
    def _is_due(self) -> bool:
        """Whether there are so many more keys that another window may be better."""
        return len(self) >= 2 * self._seen and len(self._values) == 1

    def _grow(self) -> None:
        """Room for twice as many keys, or in the hash table."""
        if self._ctx[k.HASHED] <= self._ctx[k.MASK] >> 1:
            self._values = [_enlarged(v, 2 * len(v)) for v in self._values]
            self._bind()
        elif not self._is_due or not self._look():
            old, ctx = self._table, self._ctx
            ctx[k.OLD], ctx[k.OLD_WORDS] = address(old), len(old)
            self._fill(2 * len(old))

    def _look(self, sample: NDArray[np.int64] | None = None) -> bool:
        """See how the keys lie, or a sample of them; whether they got another window."""
        self._seen = max(_FIRST_KEYS, len(self))
        if len(self._values) > 1:
            return False
        ctx = self._ctx
        keys = self._values[0][: self.count] if sample is None else sample
        if sample is None and ctx[k.FREE_COUNT]:
            keys = keys[self.is_taken]
        window = window_of(keys, max(len(self._values[0]), len(keys)))
        if window == (ctx[k.LOW], ctx[k.SPAN]):
            return False
        ctx[k.LOW], ctx[k.SPAN] = window
        self._enter()
        return True

    def _enter(self, words: int = _FIRST_WORDS) -> int:
        """Enter all keys anew, with a hash table of so many words or more; returns how many are there twice."""
        ctx = self._ctx
        span, hashed = int(ctx[k.SPAN]), len(self)
        live = np.flatnonzero(self.is_taken).astype(np.int32) if ctx[k.FREE_COUNT] else None
        if span:
            keys = self._values[0][: self.count] if live is None else self._values[0][live]
            # Where the difference goes round, it is beyond the window all the same.
            hashed -= int(np.count_nonzero((keys - ctx[k.LOW]).view(np.uint64) < np.uint64(span)))
        while words < 2 * hashed:
            words *= 2
        self._places = untouched(4 * span).view(np.int32)
        ctx[k.LIVE], ctx[k.LIVE_COUNT] = 0 if live is None else address(live), len(self)
        ctx[k.HASHED] = 0
        return self._fill(words)

    def _fill(self, words: int) -> int:
        """Have a hash table of so many words, and fill it as the context says; returns how many keys are there twice."""
        self._table = np.zeros(words, np.int64)
        if len(self._values) == 1 and not self._ctx[k.SPAN]:
            self._places = np.zeros(words if words <= k.CACHED else 0, np.int32)
        self._bind()
        return ready(k.fill)(self._context) if self.count else 0

    def _bind(self) -> None:
        ctx = self._ctx
        self._kernel = k.choose(len(self._values), len(self._table), int(ctx[k.SPAN]))
        ctx[k.TABLE], ctx[k.MASK] = address(self._table), len(self._table) - 1
        ctx[k.ROOM], ctx[k.FREE] = len(self._values[0]), address(self._free)
        ctx[k.PLACES] = address(self._places)
        first = k.FIRST + len(self._values)
        ctx[first:] = [address(v) for v in self._values]


def _enlarged(array: NDArray[Any], size: int) -> NDArray[Any]:
    out = np.empty(size, array.dtype)
    out[: len(array)] = array
    return out
