"""The memory of a generated kernel: records and blocks by key, an arena, and what is its own."""

import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flowedge.compile import program as p
from flowedge.lang.errors import CheckpointError
from flowedge.session.batch import Array
from flowedge.session.snapshot import tally, whole
from flowedge.session.words import address
from flowedge.types.heap import untouched

_FIRST_KEYS = 16
_AHEAD = 4
"""A quarter more keys than there were is made ready at a time."""
_FACTOR = 4
"""And four times the room, most of which is never touched: keys are copied a third of a time each."""
_FIRST_WORDS = 1024
_BLOCK = 65_536
"""So many records are judged at a time, which fit into the cache."""
_FAR = 2.0**40
"""A sum in float64 that is so far from the one in int64 says that this one went round."""
_ALL = slice(None)
_NONE = np.empty(0, np.int64)
_LOST = p.COUNTER_NAMES.index("incomplete")


class Memory:
    """All memory of a kernel that outlives a call.

    Parameters
    ----------
    spec : how much there is for each key, and what it begins with
    """

    def __init__(self, spec: p.KernelSpec) -> None:
        self.spec = spec
        self.keys = 0
        self.records = np.empty(0, np.uint8)
        self.blocks = np.empty(0, np.uint8)
        self.touched = np.empty(0, np.int32)
        self._room = 0
        self._whole: dict[str, Array] = {}
        # Scratch words lie behind the cells, and are no state.
        self._own = np.frombuffer(
            spec.globals_init + bytes(8 * max(1, spec.scratch)), np.uint8
        ).copy()
        self.globals = self._own[: len(spec.globals_init)]
        words = _FIRST_WORDS if spec.has_arena else 1
        self.arena = np.zeros(words, np.int64)
        self.arena[0] = 1
        self.counters = np.zeros(8, np.int64)

    def make_room(self, keys: int) -> bool:
        """Have memory for so many keys; True if its addresses have changed.

        A page of memory that is touched for the first time costs more than what is written there. So room is made for
        many keys, and made ready for few more than there are.
        """
        if keys <= self.keys:
            return False
        spec, old = self.spec, self.keys
        self.keys = max(keys, old + old // _AHEAD, _FIRST_KEYS)
        has_moved = self.keys > self._room
        if has_moved:
            self._room = max(self.keys, _FACTOR * old)
            self._whole = {
                name: _enlarged(whole, self._room * width, old * width)
                for name, whole, width in (
                    ("records", self.records, spec.record), ("blocks", self.blocks, spec.block),
                    ("touched", self.touched.view(np.uint8), 4 * spec.has_touched),
                )
            }  # fmt: skip
        self.records = self._whole["records"][: self.keys * spec.record]
        self.blocks = self._whole["blocks"][: self.keys * spec.block]
        self.touched = self._whole["touched"].view(np.int32)[: self.keys * spec.has_touched]
        if spec.record:
            fresh = self.records[old * spec.record :].view(np.int64).reshape(-1, spec.record // 8)
            words = np.frombuffer(spec.record_init.ljust(spec.record, b"\0"), np.int64)
            for place in np.flatnonzero(words).tolist():  # the others are zero already
                fresh[:, place] = words[place]
        return has_moved

    def grow_arena(self, need: int) -> None:
        """An arena with room for `need` more words, with the same content."""
        arena = np.zeros(max(2 * len(self.arena), len(self.arena) + need), np.int64)
        arena[: len(self.arena)] = self.arena
        self.arena = arena

    @property
    def globals_at(self) -> int:
        """The address of the globals."""
        return address(self._own)

    @property
    def nbytes(self) -> int:
        """Bytes that it takes."""
        parts: list[Array] = [self.records, self.blocks, self.touched, self._own, self.arena]
        return sum(part.nbytes for part in parts)

    def mark_held(self, held: NDArray[np.bool_], late: NDArray[np.bool_]) -> None:
        """Mark the slots whose keys may give rows without one coming, and of `late` those with a past."""
        spec = self.spec
        if not spec.record:
            return
        words = self.records.view(np.int64).reshape(-1, spec.record // 8)
        n = min(len(held), len(words))
        for place in spec.busy:
            held[:n] |= words[:n, place // 8] != 0
        slots = np.flatnonzero(late[:n])
        if len(slots):
            fresh = np.frombuffer(spec.record_init.ljust(spec.record, b"\0"), np.int64)
            differs = words[slots] != fresh
            differs[:, [place // 8 for place in spec.stays]] = False
            held[slots[differs.any(axis=1)]] = True

    def forget(self, gone: NDArray[np.bool_]) -> None:
        """Records as at the start; places of rings in the arena stay, for the next key to use."""
        spec = self.spec
        if not spec.record:
            return
        words = self.records.view(np.int64).reshape(-1, spec.record // 8)
        slots = np.flatnonzero(gone[: len(words)])
        for place, sign in spec.lost:
            self.counters[_LOST] += sign * int(np.maximum(words[slots, place // 8], 0).sum())
        stays = np.array([place // 8 for place in spec.stays], np.int64)
        kept = words[np.ix_(slots, stays)]
        words[slots] = np.frombuffer(spec.record_init.ljust(spec.record, b"\0"), np.int64)
        words[np.ix_(slots, stays)] = kept

    def state(self, keys: int) -> dict[str, Any]:
        """The raw bytes of what `keys` keys use, with their layout."""
        spec = self.spec
        return {
            "layout": [spec.record, spec.block, len(self.globals), _code(spec)],
            "keys": keys,
            "records": self.records[: keys * spec.record].tobytes(),
            "blocks": self.blocks[: keys * spec.block].tobytes(),
            "touched": self.touched[:keys].tobytes(),
            "globals": self.globals.tobytes(),
            "arena": self.arena[: int(self.arena[0])].tobytes() if spec.has_arena else b"",
            "counters": self.counters.tolist(),
        }

    def load(self, state: dict[str, Any], slots: Callable[[int], int], table: int) -> None:
        """Take the bytes of a snapshot over.

        Parameters
        ----------
        slots : how many slots a key table has
        table : the one that records are counted by

        Raises
        ------
        CheckpointError
            they are not of this kernel, or it would look beyond what there is
        """
        spec = self.spec
        if list(state["layout"]) != [spec.record, spec.block, len(self.globals), _code(spec)]:
            raise CheckpointError(
                f"the snapshot's memory of `{spec.label or spec.name}` is laid out otherwise; "
                "it was made by another version"
            )
        keys = whole(state["keys"], 0)
        sizes = {
            "records": keys * spec.record, "blocks": keys * spec.block, "touched": keys * 4 * spec.has_touched,
            "globals": len(self.globals),
        }  # fmt: skip
        arena = np.frombuffer(state["arena"], np.int64)
        # Before room is made: a number of keys that is not true would take all memory there is.
        if any(len(state[n]) != size for n, size in sizes.items()) or len(arena) != (
            int(arena[0]) if spec.has_arena and len(arena) else 0
        ):
            raise CheckpointError(
                f"the snapshot's memory of `{spec.label or spec.name}` is damaged: lengths do not fit"
            )
        if len(state["counters"]) != len(self.counters):
            raise CheckpointError("the snapshot's counters are damaged")
        if any(sizes.values()):
            self.make_room(max(1, keys))
        for name in sizes:
            held: Array = getattr(self, name)
            given = np.frombuffer(state[name], held.dtype)
            held[: len(given)] = given
        if len(arena) > len(self.arena):
            self.grow_arena(len(arena) - len(self.arena))
        self.arena[: len(arena)] = arena
        self.counters[:] = [tally(number) for number in state["counters"]]
        if any(sizes.values()):
            self._judge(max(1, keys) if spec.record else 1, slots, table)

    def _judge(self, keys: int, slots: Callable[[int], int], table: int) -> None:
        """Refuse memory by which the kernel would look beyond what there is."""
        spec, touched = self.spec, self.touched[:keys]
        is_sound = not len(touched) or 0 <= touched.min() <= touched.max() < max(1, slots(table))
        for first in range(0, keys, _BLOCK):
            rows = slice(first, min(first + _BLOCK, keys))
            is_sound = is_sound and all(self._holds(*b, rows) for b in spec.bounds)
        for place, total in spec.totals:
            cells = self._words("record", place, slice(0, keys))
            is_sound = is_sound and cells.sum() == self._words("globals", total, _ALL)[0]
        # A ring must lie in the arena before what is in it is looked at.
        for at, room, head, length, words, word, named in spec.ring_slots if is_sound else ():
            ring = [self._words("record", c, slice(0, keys)) for c in (at, room, head, length)]
            is_sound = is_sound and ring[1].sum() * words <= self.arena[0]
            found = self._in_ring(ring, words, word) if is_sound else _NONE
            is_sound = is_sound and (
                not len(found) or 0 <= found.min() <= found.max() < slots(named)
            )
        if not is_sound:
            raise CheckpointError(
                f"the snapshot's memory of `{spec.label or spec.name}` is damaged: its parts do not fit together"
            )

    def _words(self, where: str, place: int, rows: slice) -> NDArray[np.int64]:
        """A word of these records or blocks, of the globals, or how much there is."""
        if where == "arena":
            return self.arena[:1]
        if where == "globals":
            return self.globals[place : place + 8].view(np.int64)
        held, size = (
            (self.records, self.spec.record)
            if where == "record"
            else (self.blocks, self.spec.block)
        )
        return held.view(np.int64).reshape(-1, size // 8)[rows, place // 8]

    def _holds(
        self, terms: tuple[p.Term, ...], constant: int, when: p.Word | None, rows: slice
    ) -> bool:
        """Whether a sum is not below 0, nor beyond 64 bits, in each of these records."""
        exact, near = np.full(1, constant), np.full(1, float(constant))
        for where, place, factor in terms:
            cells = self._words(where, place, rows)
            exact = exact + cells * factor
            near = near + cells * float(factor)
        bad = (exact < 0) | (np.abs(near - exact) > _FAR)
        if when is not None:
            bad = bad & (self._words(*when, rows) != 0)
        return not bad.any()

    def _in_ring(self, ring: list[NDArray[np.int64]], words: int, word: int) -> NDArray[np.int64]:
        """A word of all elements of a ring, of all keys."""
        at, room, head, length = ring
        key = np.repeat(np.arange(len(length)), length)
        nth = np.arange(len(key)) - np.repeat(np.cumsum(length) - length, length)
        element = (head[key] + nth) & (room[key] - 1)
        return self.arena[at[key] + element * words + word]


def _code(spec: p.KernelSpec) -> str:
    """What the layout belongs to: the same on all machines."""
    return hashlib.sha256(spec.source.encode()).hexdigest()


def _enlarged(values: Array, size: int, used: int) -> Array:
    """Zeros behind the bytes used of an array."""
    out = untouched(size)
    out[:used] = values[:used]
    return out
