"""``expire key after D``: the lives of keys, and how many live at a time."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from flowedge.compile.kernels import ingest as k
from flowedge.compile.kernels.library import ready
from flowedge.compile.program import NEVER
from flowedge.lang.errors import CheckpointError
from flowedge.session.batch import Array, Times
from flowedge.session.keys import KeyTable
from flowedge.session.node import Mask
from flowedge.session.snapshot import whole
from flowedge.session.times import word_at
from flowedge.session.words import Context, address

LATE = -1
"""The life that late rows of a key belong to: they say nothing about when it was last there."""


class Life(NamedTuple):
    """A life of a key: the slot of the key among all, and the number of the life."""

    slot: int
    number: int


class Lives:
    """Numbers the lives of the keys of a source, through all keys, in the order in which they begin.

    Parameters
    ----------
    is_text : of the key columns
    expire_ns : a key that was away for so long comes back as a new one
    limit : keys that may live at a time, -1: any number

    Notes
    -----
    A key is forgotten once no row can belong to its last life any more. That its next life is another one is
    known all the same, by the number.
    """

    def __init__(self, is_text: list[bool], expire_ns: int, limit: int, seed: int) -> None:
        self._is_text, self._expire_ns, self._limit, self._seed = is_text, expire_ns, limit, seed
        self.table = KeyTable(is_text, seed=seed)
        self._life = np.zeros(1, np.int64)
        self._last = np.full(1, NEVER, np.int64)
        self._line = np.full(1, -1, np.int64)
        self._before = np.full(1, k.OUTSIDE, np.int64)
        self._context = Context(k.LIVES_WORDS)
        words = self._context.words
        words[k.L_EXPIRE], words[k.L_LIMIT] = expire_ns, limit
        words[k.L_FIRST] = words[k.L_LAST_KEY] = -1

    def of(self, keys: list[Array], time: Times) -> Array:
        """The life that each row belongs to; -1 where its key is one too many.

        Parameters
        ----------
        keys : the key columns, int64, shape ``(rows,)`` each
        time : of the rows, in order
        """
        slot = self.table.slots(keys)
        out = np.empty(len(slot), np.int64)
        self._run(slot, time, out, NEVER)
        return out

    def now(self, keys: list[Array]) -> list[Life]:
        """The lives that keys are in which are there."""
        slot = self.table.slots(keys)
        return [Life(*one) for one in zip(slot.tolist(), self._life[slot].tolist(), strict=True)]

    def are_now(self, lives: Sequence[Life]) -> bool:
        """Whether these are the lives that their keys are in."""
        life = self._life
        return all(life[one.slot] == one.number for one in lives)

    def go_on(self, lives: Sequence[Life], time: int) -> bool:
        """Whether rows in order, by the address of their times, still belong to these lives."""
        last, most = self._last, self._expire_ns
        return self.are_now(lives) and all(
            word_at(time + 8 * row) - int(last[one.slot]) < most for row, one in enumerate(lives)
        )

    def went_on(self, lives: Sequence[Life], time: int) -> None:
        """Note such rows."""
        times = np.array([word_at(time + 8 * row) for row in range(len(lives))], np.int64)
        slot = np.array([one.slot for one in lives], np.int32)
        self._run(slot, times, np.empty(len(slot), np.int64), NEVER)

    def over(self, keys: list[Array], life: Array, watermark: int) -> Mask:
        """Which of the lives given are over, once no row before the watermark [ns] comes.

        Keys of which no life goes on are forgotten.
        """
        none = np.empty(0, np.int64)
        self._run(np.empty(0, np.int32), none, none, watermark)
        slot = self.table.slots(keys)
        self._room()
        limit = max(NEVER, watermark - self._expire_ns)
        gone = self._last[: self.table.count] <= limit
        if self._limit >= 0:
            gone &= self._before[: self.table.count] == k.OUTSIDE
        out = gone[slot] | (self._life[slot] != life)
        self._last[: len(gone)][gone] = NEVER
        self.table.forget(gone)
        return out

    @property
    def nbytes(self) -> int:
        """Bytes that all this takes."""
        parts = (self._life, self._last, self._line, self._before)
        return self.table.nbytes + sum(part.nbytes for part in parts)

    def _room(self) -> None:
        count = self.table.count
        self._life = longer(self._life, count, 0)
        self._last = longer(self._last, count, NEVER)
        if self._limit >= 0:
            self._line = longer(self._line, count, -1)
            self._before = longer(self._before, count, k.OUTSIDE)

    def _run(self, slot: Array, time: Times, out: Array, now: int) -> None:
        self._room()
        words = self._context.words
        words[k.L_ROWS], words[k.L_TIME] = len(slot), address(time)
        words[k.L_SLOT], words[k.L_OUT] = address(slot), address(out)
        words[k.L_LAST], words[k.L_LIFE] = address(self._last), address(self._life)
        words[k.L_LINE], words[k.L_BEFORE] = address(self._line), address(self._before)
        words[k.L_NOW] = now
        ready(k.lives)(self._context.address)

    def state(self) -> dict[str, Any]:
        """All of it as plain data."""
        words, count = self._context.words, self.table.count
        return {
            "keys": self.table.state(),
            "life": self._life[:count].tobytes(),
            "last": self._last[:count].tobytes(),
            "line": self._line[:count].tobytes(),
            "before": self._before[:count].tobytes(),
            "words": [int(words[w]) for w in _KEPT],
        }

    def load(self, state: dict[str, Any]) -> None:
        """Take a snapshot over."""
        self.table = KeyTable.restore(state["keys"], self._is_text, seed=self._seed)
        count, words = self.table.count, self._context.words
        for name in ("life", "last", "line", "before"):
            given = np.frombuffer(state[name], np.int64)
            if len(given):
                setattr(self, f"_{name}", given.copy())
        for word, value in zip(_KEPT, state["words"], strict=True):
            words[word] = whole(value)
        if len(self._life) < count or len(self._last) < count:
            raise CheckpointError("the snapshot's lives of keys are damaged: some lack")
        if self._limit >= 0 and not self._is_line(count):
            raise CheckpointError("the snapshot's lives of keys are damaged: they are in no line")

    def _is_line(self, count: int) -> bool:
        """Whether the keys that live stand in one line, each between its neighbours."""
        first, last, alive = (int(self._context.words[w]) for w in _KEPT[1:])
        line, before = self._line[:count], self._before[:count]
        inside = np.flatnonzero(before != k.OUTSIDE)
        if len(inside) != alive or min(len(line), len(before)) < count:
            return False
        if not alive:
            return first == last == -1
        both = np.concatenate([line[inside], before[inside], [first, last]])
        if both.min() < -1 or both.max() >= count:
            return False
        inner, outer = inside[line[inside] >= 0], inside[line[inside] < 0]
        heads = inside[before[inside] < 0]
        return (
            bool((before[line[inner]] == inner).all())
            and heads.tolist() == [first]
            and outer.tolist() == [last]
        )


_KEPT = (k.L_NEXT, k.L_FIRST, k.L_LAST_KEY, k.L_ALIVE)


def longer(values: Array, size: int, fill: int) -> Array:
    """The array with room for `size` items, new ones filled."""
    if size <= len(values):
        return values
    out = np.full(max(size, 2 * len(values)), fill, values.dtype)
    out[: len(values)] = values
    return out
