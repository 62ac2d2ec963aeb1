"""Ids of the texts of Arrow dictionaries: each entry that occurs is looked up once, however often its dictionary comes."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from flowedge.compile.kernels import entries as k
from flowedge.compile.kernels.library import ready
from flowedge.session.words import address

_MOST, _MOST_BYTES = 16, 32 << 20
"""Dictionaries that are kept for when they come again; where they take more than so many bytes, the newest one."""
_PLAIN = {pa.string_view(): pa.large_string(), pa.binary_view(): pa.large_binary()}
_ALL = slice(None)
_FEW = 256
"""Entries; fewer are looked up anew as fast as they are compared with those of all others."""


@dataclass(slots=True)
class _Seen:
    """A dictionary, held so that nothing else can lie where it lies, and the ids of its entries."""

    entries: Any
    ids: NDArray[np.int32]
    is_comparable: bool
    """It lies within its bytes, as far as offsets go; UTF-8 is looked at where an entry occurs."""
    nbytes: int


class Dictionaries:
    """The dictionaries seen last.

    Batches of one file or stream have their dictionary in common, the same bytes in the same place. One that lies elsewhere,
    but begins with all entries of one that is known (a copy, or what a delta has made of it), takes over what is known of
    these, where it has many, and no more than rows come with it: else comparing it would cost more than it saves.

    Parameters
    ----------
    intern : gives ids to the texts of an Arrow array
    """

    def __init__(self, intern: Callable[[Any], NDArray[np.int64]]) -> None:
        self._intern = intern
        self._seen: dict[tuple[Any, ...], _Seen] = {}

    @property
    def nbytes(self) -> int:
        """Bytes of the dictionaries and their tables."""
        return sum(one.nbytes for one in self._seen.values())

    def forget(self) -> None:
        """Ids may have been given to other texts."""
        self._seen.clear()

    def ids(self, values: Any) -> NDArray[np.int64]:  # noqa: ANN401
        """Ids of the texts of a dictionary array, -1 for null, shape ``(len(values),)``.

        Parameters
        ----------
        values : structurally valid (`validate`); its entries and indices need not be

        Raises
        ------
        pyarrow.ArrowInvalid
            an index is that of no entry, or an entry that occurs is damaged
        """
        indices, rows = values.indices, len(values)
        out = np.empty(rows, np.int64)
        if not rows:
            return out
        entries = values.dictionary
        key = _identity(entries)
        one = self._seen.pop(key, None) or self._new(entries, rows)
        # While it is not among the others an exception leaves nothing that is half looked up.
        validity, places = indices.buffers()
        width, asked = indices.type.bit_width // 8, np.empty(min(rows, len(entries)), np.int64)
        is_signed = pa.types.is_signed_integer(indices.type)
        ctx = np.zeros(k.WORDS, np.int64)
        ctx[k.ROWS], ctx[k.PLACES] = rows, places.address + indices.offset * width
        ctx[k.WIDTH], ctx[k.BIT] = width, indices.offset
        ctx[k.VALID] = validity.address if validity is not None and indices.null_count else 0
        ctx[k.ENTRIES] = min(len(entries), 1 << (8 * width - is_signed))
        ctx[k.IDS], ctx[k.OUT], ctx[k.ASKED] = address(one.ids), address(out), address(asked)
        run = ready(k.ids)
        run(address(ctx))
        if ctx[k.WRONG]:
            raise pa.ArrowInvalid(f"an index is that of none of {len(entries)} entries")
        if ctx[k.ASKED_COUNT]:
            fresh = asked[: int(ctx[k.ASKED_COUNT])]
            one.ids[fresh] = self._intern(_entries_at(entries, fresh)) + k.KNOWN
            ctx[k.ROW] = ctx[k.WAITING]
            run(address(ctx))
        self._seen[key] = one
        return out

    def _new(self, entries: Any, rows: int) -> _Seen:  # noqa: ANN401
        """A dictionary that is not known, or one that begins as another does."""
        ids = np.zeros(len(entries), np.int32)
        if _is_view(entries.type):
            entries.validate(full=True)
        may_compare = _FEW <= len(ids) <= rows and _lie_within(entries)
        one = _Seen(entries, ids, may_compare, entries.nbytes + ids.nbytes)
        for old in reversed(self._seen.values()):
            if one.is_comparable and _begins_with(one, old):
                ids[: len(old.ids)] = old.ids
                break
        while self._seen and (len(self._seen) >= _MOST or self.nbytes + one.nbytes > _MOST_BYTES):
            del self._seen[next(iter(self._seen))]
        return one


def _identity(entries: Any) -> tuple[Any, ...]:  # noqa: ANN401
    """What no other dictionary has while this one is held: where it lies."""
    places = [0 if part is None else part.address for part in entries.buffers()]
    return entries.type, len(entries), entries.offset, *places


def _begins_with(one: _Seen, old: _Seen) -> bool:
    """Whether a dictionary begins with all entries of another one."""
    size = len(old.ids)
    return (
        old.is_comparable
        and old.entries.type == one.entries.type
        and size <= len(one.ids)
        and one.entries.slice(0, size).equals(old.entries)
    )


def _entries_at(entries: Any, places: NDArray[np.int64]) -> Any:  # noqa: ANN401
    """Some entries, which are sound; raises ArrowInvalid where they are not, whatever the others are."""
    if not _lie_within(entries, places):
        raise pa.ArrowInvalid("an entry does not lie in its dictionary")
    if _is_view(entries.type):  # which Arrow cannot take apart
        entries = entries.cast(_PLAIN[entries.type])
    out = entries
    if len(places) < len(entries) or (places[:-1] > places[1:]).any():  # not simply all of them
        indices = pa.Array.from_buffers(pa.int64(), len(places), [None, pa.py_buffer(places)])
        out = entries.take(indices)
    out.validate(full=True)
    return out


def _lie_within(entries: Any, places: NDArray[np.int64] | slice = _ALL) -> bool:  # noqa: ANN401
    """Whether the bytes of entries lie in their dictionary, which has room for their offsets."""
    kind = entries.type
    is_wide = pa.types.is_large_string(kind) or pa.types.is_large_binary(kind)
    if not len(entries) or not (
        is_wide or pa.types.is_string(kind) or pa.types.is_binary(kind)
    ):  # views have been validated, and others have a fixed size
        return True
    _, offsets, data = entries.buffers()
    width, size = (np.int64 if is_wide else np.int32), len(entries) + 1
    ends: NDArray[Any] = np.frombuffer(offsets, width)[entries.offset : entries.offset + size]
    first, last = ends[:-1][places], ends[1:][places]
    most = 0 if data is None else data.size
    return bool((first >= 0).all() and (first <= last).all() and (last <= most).all())


def _is_view(kind: Any) -> bool:  # noqa: ANN401
    return kind in _PLAIN
