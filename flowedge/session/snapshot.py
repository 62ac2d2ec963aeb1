"""State as bytes: versioned, checksummed or authenticated, plain data all through.

Layout, little endian: 8 bytes of magic, u32 version, u32 kind of check (0: CRC-32, 1: HMAC-SHA256), u64
length of the body, 32 bytes of check over all of this but itself (a CRC fills the first 4), and the body:
msgpack without extension types. Nothing in it is ever run, and it is checked before it is unpacked.
"""

import hashlib
import hmac
import zlib
from typing import Any, NoReturn

import msgpack

from flowedge.lang.errors import CheckpointError

VERSION = 4
SNAPSHOT = b"FLOWSNAP"
CHECKPOINT = b"FLOWCKP1"
_CRC, _HMAC = 0, 1
_FRONT = 8 + 4 + 4 + 8
_HEAD = _FRONT + 32
_MOST = 1 << 30
"""msgpack takes at most 4 GiB in one piece; longer bytes travel in pieces of this size."""
_ELEMENTS = 1 << 21
"""Of all lists and maps together, at most: what there is much of in a state is bytes."""


def seal(state: dict[str, Any], *, magic: bytes = SNAPSHOT, key: bytes | None = None) -> bytes:
    """State, plain data all through, as bytes; with a key, nobody without it can make such bytes."""
    body = msgpack.packb(_cut(state))
    kind = _CRC if key is None else _HMAC
    front = magic + VERSION.to_bytes(4, "little") + kind.to_bytes(4, "little")
    front += len(body).to_bytes(8, "little")
    return front + _check(front, body, key) + body


def unseal(data: bytes, *, magic: bytes = SNAPSHOT, key: bytes | None = None) -> dict[str, Any]:
    """The state back from `seal`.

    Raises
    ------
    CheckpointError
        the bytes are no snapshot, of another version, cut short or damaged, or not made with the key
    """
    if data[:8] != magic or len(data) < _HEAD:
        raise CheckpointError("these bytes are not a snapshot of a session")
    version, kind = int.from_bytes(data[8:12], "little"), int.from_bytes(data[12:16], "little")
    if version != VERSION:
        raise CheckpointError(
            f"the snapshot has format {version}, this version of FlowEdge reads {VERSION}"
        )
    body = memoryview(data)[_HEAD:]
    if len(body) != int.from_bytes(data[16:24], "little"):
        raise CheckpointError("the snapshot is cut short; use an older one")
    if kind == _HMAC and key is None:
        raise CheckpointError("the snapshot is authenticated; give the key that it was made with")
    if kind != _HMAC and key is not None:
        raise CheckpointError("the snapshot is not authenticated, and a key was given")
    if not hmac.compare_digest(_check(data[:_FRONT], body, key), data[_FRONT:_HEAD]):
        raise CheckpointError(
            "the snapshot is damaged: its checksum does not match; use an older one"
            if key is None
            else "the snapshot is damaged, changed, or made with another key"
        )
    try:
        count = _Count()
        state = msgpack.unpackb(
            body,
            strict_map_key=False,
            ext_hook=_refuse,
            list_hook=count.taken,
            object_hook=count.joined,
            max_bin_len=len(body),
            max_str_len=len(body),
            max_array_len=min(len(body), _ELEMENTS),
            max_map_len=min(len(body), _ELEMENTS),
            max_ext_len=0,
        )
    except (ValueError, TypeError, msgpack.UnpackException) as error:  # a list as a key: TypeError
        raise CheckpointError("the snapshot is damaged: it cannot be unpacked") from error
    if not isinstance(state, dict):
        raise CheckpointError("the snapshot is damaged: it holds no state")
    return state


def whole(value: Any, least: int = -(2**63), most: int = 2**63 - 1) -> int:  # noqa: ANN401
    """A number of a snapshot: whole, and from `least` to `most`; raises CheckpointError."""
    if type(value) is not int or not least <= value <= most:
        raise CheckpointError(f"the snapshot is damaged: {value!r:.40} is not a number that fits")
    return value


def _check(front: bytes, body: bytes | memoryview, key: bytes | None) -> bytes:
    if key is None:
        return zlib.crc32(body, zlib.crc32(front)).to_bytes(4, "little") + bytes(28)
    made = hmac.new(key, front, hashlib.sha256)
    made.update(body)
    return made.digest()


def _refuse(code: int, data: bytes) -> NoReturn:
    message = f"extension type {code} of {len(data)} bytes"
    raise ValueError(message)


_LONG = "\0long"


def _cut(value: Any) -> Any:  # noqa: ANN401
    if isinstance(value, bytes) and len(value) > _MOST:
        return {_LONG: [value[at : at + _MOST] for at in range(0, len(value), _MOST)]}
    if isinstance(value, dict):
        return {k: _cut(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_cut(v) for v in value]
    return value


def tally(value: Any) -> int:  # noqa: ANN401
    """A count of a snapshot, to which more can be added; raises CheckpointError."""
    return whole(value, 0, 2**62)


class _Count:
    """Bounds lists and maps all together: a byte of an empty list takes 56 bytes of memory."""

    def __init__(self) -> None:
        self.left = _ELEMENTS

    def taken(self, value: list[Any]) -> list[Any]:
        """A list, counted."""
        self.left -= 1 + len(value)
        if self.left < 0:
            message = f"more than {_ELEMENTS} elements"
            raise ValueError(message)
        return value

    def joined(self, value: dict[Any, Any]) -> Any:  # noqa: ANN401
        """A map, counted; long bytes are one piece again."""
        self.left -= 1 + len(value)
        if self.left < 0:
            message = f"more than {_ELEMENTS} elements"
            raise ValueError(message)
        return b"".join(value[_LONG]) if _LONG in value else value
