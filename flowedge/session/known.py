"""Slots of keys that have been seen, for pushes of few rows.

A row that comes alone has its key looked up in two tables, that of the texts and that of the keys, each a kernel whose
context takes longer to fill in than it runs. A dictionary of what the rows say themselves knows the slot at once.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from flowedge.session.batch import WIRE, Array
from flowedge.session.lives import Life
from flowedge.types.arrays import to_list

MOST_ROWS = 64
"""Of a push; of more the tables are faster."""
_MOST_KEYS = 16_384
_TEXTS = (pa.string(), pa.dictionary(pa.int32(), pa.string()))


class Known:
    """Keys as rows say them, and their slots."""

    def __init__(self) -> None:
        self._slots: dict[Any, tuple[int, Life]] = {}

    def __len__(self) -> int:
        """How many keys are known."""
        return len(self._slots)

    def slots(self, columns: Sequence[Any]) -> "tuple[Array, list[Life]] | None":
        """The slots of rows, int32, shape ``(rows,)``, and the lives that they are of; None where a key is missing or not known.

        Parameters
        ----------
        columns : key columns as Arrow arrays
        """
        keys = self._keys(columns)
        if keys is None:
            return None
        known = self._slots
        try:
            found = [known[key] for key in keys]
        except KeyError:
            return None
        return np.array([slot for slot, _ in found], np.int32), [life for _, life in found]

    def learn(self, columns: Sequence[Any], slots: Array, lives: Sequence[Life]) -> None:
        """Note the slots of rows, while there is room."""
        keys = self._keys(columns)
        if keys is not None and len(self._slots) < _MOST_KEYS:
            self._slots |= zip(keys, zip(slots.tolist(), lives, strict=True), strict=True)

    def forget(self) -> None:
        """Slots may have been given to other keys."""
        self._slots.clear()

    def _keys(self, columns: Sequence[Any]) -> "list[Any] | None":
        parts = [to_list(column) for column in columns]
        if any(None in part for part in parts):
            return None
        return parts[0] if len(parts) == 1 else list(zip(*parts, strict=True))


def fits(kind: Any, store: str) -> bool:  # noqa: ANN401
    """Whether columns of an Arrow type can be looked at for keys of a store."""
    if store == "string":
        return kind in _TEXTS
    return store in WIRE and WIRE[store].kind in "iu" and kind == pa.from_numpy_dtype(WIRE[store])


__all__ = ["MOST_ROWS", "Known", "fits"]
