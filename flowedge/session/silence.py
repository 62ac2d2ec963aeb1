"""Keys that have gone silent, and those that are back: the rows of ``S.silent``."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from flowedge.compile.program import FOREVER, NEVER
from flowedge.session.batch import Array, Times, require_within


class Silence:
    """Notes, by slot, when a key was last heard of.

    A key is silent once the watermark has passed its last time + `silence_ns` without a row; that
    instant is the time of the row with `silent` = true. A row that comes later brings it back.

    Parameters
    ----------
    silence_ns : how long a key may say nothing
    """

    def __init__(self, silence_ns: int) -> None:
        self.silence_ns = silence_ns
        self._is_silent = np.zeros(1, np.uint8)
        self._least = NEVER
        # Events wait until the watermark is beyond them: time, slot, silent.
        self._waiting = np.empty((0, 3), np.int64)

    def back(self, slot: Array, last: Times, time: Times) -> None:
        """Rows that came more than `silence_ns` after their key's row before."""
        self._room(int(slot.max()) + 1)
        first = np.zeros(len(slot), bool)
        first[np.unique(slot, return_index=True)[1]] = True
        announced = first & (self._is_silent[slot] == 1)
        self._is_silent[slot] = 0
        gone = ~announced
        self._put(last[gone] + self.silence_ns, slot[gone], 1)
        self._put(time, slot, 0)
        self._least = NEVER

    def until(self, watermark: int, lasts: Times, newest: int) -> Array:
        """Events before the watermark, unsorted inside one time: rows of (time, slot, silent).

        Parameters
        ----------
        lasts : time of each slot's last row, NEVER where there is none
        newest : newest time of all; the end of the input passes no further
        """
        limit = min(watermark, newest) if watermark == FOREVER else watermark
        if limit > self._least:
            self._room(len(lasts))
            quiet = self._is_silent[: len(lasts)]
            heard = lasts != NEVER
            due = np.where(
                heard & (quiet == 0), np.maximum(lasts, NEVER + 1) + self.silence_ns, FOREVER
            )
            fresh = np.flatnonzero(due < limit)
            quiet[fresh] = 1
            self._put(due[fresh], fresh, 1)
            rest = due[due >= limit]
            # Until this time nobody else can fall silent, however the others go on, and whoever is new.
            least = limit + self.silence_ns
            self._least = min(int(rest.min()), least) if len(rest) else least
        if not len(self._waiting):
            return self._waiting
        leaves = self._waiting[:, 0] < watermark
        out, self._waiting = self._waiting[leaves], self._waiting[~leaves]
        return out

    def mark_slots(self, lasts: Times, held: NDArray[np.bool_]) -> None:
        """Mark the slots of keys that are still to be told of."""
        self._room(len(lasts))
        held[: len(lasts)] |= (lasts != NEVER) & (self._is_silent[: len(lasts)] == 0)
        held[self._waiting[:, 1]] = True

    def forget_slots(self, gone: NDArray[np.bool_]) -> None:
        """Begin afresh for these slots."""
        self._room(len(gone))
        self._is_silent[: len(gone)][gone] = 0

    @property
    def nbytes(self) -> int:
        """Bytes of what is noted."""
        return self._is_silent.nbytes + self._waiting.nbytes

    def _put(self, time: Array, slot: Array, silent: int) -> None:
        if len(time):
            more = np.stack([time, slot, np.full(len(time), silent)], axis=1).astype(np.int64)
            self._waiting = np.concatenate([self._waiting, more])

    def _room(self, keys: int) -> None:
        if keys > len(self._is_silent):
            grown = np.zeros(2 * keys, np.uint8)
            grown[: len(self._is_silent)] = self._is_silent
            self._is_silent = grown

    def state(self) -> dict[str, Any]:
        """All of it as plain data."""
        return {"is_silent": self._is_silent.tobytes(), "waiting": self._waiting.tobytes()}

    def load(self, state: dict[str, Any], slots: int) -> None:
        """Take a snapshot over, of so many slots."""
        self._is_silent = np.frombuffer(state["is_silent"], np.uint8).copy()
        self._waiting = np.frombuffer(state["waiting"], np.int64).reshape(-1, 3).copy()
        require_within(self._waiting[:, 1], slots, "a key that is not there")
        require_within(self._waiting[:, 2], 2, "a flag that is none")
