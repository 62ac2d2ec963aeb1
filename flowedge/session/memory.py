"""The memory of a generated kernel: records and blocks by key, an arena, and what is its own."""

import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flowedge.compile import program as p
from flowedge.lang.errors import CheckpointError
from flowedge.session.batch import Array
from flowedge.session.words import address

_FIRST_KEYS = 16
_FIRST_WORDS = 1024
_LINE = 64
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
        """Have memory for so many keys; True if its addresses have changed."""
        if keys <= self.keys:
            return False
        spec, old = self.spec, self.keys
        self.keys = max(keys, 2 * old, _FIRST_KEYS)
        if spec.record:
            records = _aligned(self.keys * spec.record)
            records[: old * spec.record] = self.records
            fresh = records[old * spec.record :].reshape(-1, spec.record)
            fresh[:] = np.frombuffer(spec.record_init.ljust(spec.record, b"\0"), np.uint8)
            self.records = records
        if spec.block:
            blocks = _aligned(self.keys * spec.block)
            blocks[: old * spec.block] = self.blocks
            self.blocks = blocks
        if spec.has_touched:
            touched = np.zeros(self.keys, np.int32)
            touched[:old] = self.touched
            self.touched = touched
        return True

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

    def load(self, state: dict[str, Any]) -> None:
        """Take the bytes of a snapshot over."""
        spec = self.spec
        if list(state["layout"]) != [spec.record, spec.block, len(self.globals), _code(spec)]:
            raise CheckpointError(
                f"the snapshot's memory of `{spec.label or spec.name}` is laid out otherwise; "
                "it was made by another version"
            )
        keys = state["keys"]
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
        self.counters[:] = state["counters"]


def _code(spec: p.KernelSpec) -> str:
    """What the layout belongs to: the same on all machines."""
    return hashlib.sha256(spec.source.encode()).hexdigest()


def _aligned(size: int) -> Array:
    """Zeros that begin at a cache line; pages that are never touched take no memory."""
    raw = np.zeros(size + _LINE, np.uint8)
    start = -address(raw) % _LINE
    return raw[start : start + size]
