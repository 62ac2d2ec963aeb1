"""Keys of senders: what was taken under one is not taken again."""

import struct
from collections import OrderedDict
from typing import NamedTuple

_ENTRY = struct.Struct("<16s8sII")
_MOST = (1 << 32) - 1


class Taken(NamedTuple):
    """What was taken under a key.

    Attributes
    ----------
    check : 8 bytes that tell bodies apart
    rows : that it gave
    refused : readings in it that were turned away
    """

    check: bytes
    rows: int
    refused: int


class Keys:
    """The keys that were used last, with what was taken under each.

    Parameters
    ----------
    most : that are remembered; those that came first are forgotten first
    packed : what `packed` gave, to go on from

    Raises
    ------
    ValueError : `packed` is not what it should be

    Examples
    --------
    >>> keys = Keys(2)
    >>> for key in (b"a" * 16, b"b" * 16, b"c" * 16):
    ...     keys.add(key, Taken(b"checksum", 1, 0))
    >>> keys.get(b"a" * 16), Keys(2, keys.packed()).get(b"c" * 16)
    (None, Taken(check=b'checksum', rows=1, refused=0))
    """

    def __init__(self, most: int, packed: bytes = b"") -> None:
        if len(packed) % _ENTRY.size:
            raise ValueError("the keys of senders in the state are damaged")
        self._most = most
        self._known: OrderedDict[bytes, Taken] = OrderedDict()
        for key, check, rows, refused in _ENTRY.iter_unpack(packed):
            self.add(key, Taken(check, rows, refused))

    def add(self, key: bytes, taken: Taken) -> None:
        """Remember a key of 16 bytes."""
        self._known[key] = taken
        while len(self._known) > self._most:
            self._known.popitem(last=False)

    def get(self, key: bytes) -> Taken | None:
        """What was taken under a key; None: nothing that is remembered."""
        return self._known.get(key)

    def packed(self) -> bytes:
        """All of them, for a checkpoint."""
        return b"".join(
            _ENTRY.pack(key, one.check, min(one.rows, _MOST), min(one.refused, _MOST))
            for key, one in self._known.items()
        )


__all__ = ["Keys", "Taken"]
