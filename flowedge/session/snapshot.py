"""A session's state as bytes: versioned, checksummed, and bound to the plan that made it."""

import zlib
from typing import Any

import msgpack

from flowedge.lang.errors import CheckpointError

VERSION = 2
_MAGIC = b"FLOWSNAP"
_HEAD = len(_MAGIC) + 4 + 4 + 8
_MOST = 1 << 30
"""msgpack takes at most 4 GiB in one piece; longer bytes travel in pieces of this size."""


def seal(state: dict[str, Any]) -> bytes:
    """State, plain data all through, as bytes."""
    body = msgpack.packb(_cut(state))
    head = _MAGIC + VERSION.to_bytes(4, "little") + zlib.crc32(body).to_bytes(4, "little")
    return head + len(body).to_bytes(8, "little") + body


def unseal(data: bytes) -> dict[str, Any]:
    """The state back from `seal`.

    Raises
    ------
    CheckpointError
        the bytes are no snapshot, of another version, cut short or damaged
    """
    if data[: len(_MAGIC)] != _MAGIC or len(data) < _HEAD:
        raise CheckpointError("these bytes are not a snapshot of a session")
    version = int.from_bytes(data[8:12], "little")
    if version != VERSION:
        raise CheckpointError(
            f"the snapshot has format {version}, this version of FlowEdge reads {VERSION}"
        )
    body = data[_HEAD:]
    if len(body) != int.from_bytes(data[16:24], "little"):
        raise CheckpointError("the snapshot is cut short; use an older one")
    if zlib.crc32(body) != int.from_bytes(data[12:16], "little"):
        raise CheckpointError(
            "the snapshot is damaged: its checksum does not match; use an older one"
        )
    try:
        state = msgpack.unpackb(
            body,
            strict_map_key=False,
            max_bin_len=len(body),
            max_array_len=len(body),
            max_map_len=len(body),
        )
    except (ValueError, msgpack.UnpackException) as error:
        raise CheckpointError("the snapshot is damaged: it cannot be unpacked") from error
    if not isinstance(state, dict):
        raise CheckpointError("the snapshot is damaged: it holds no state")
    return _joined(state)


_LONG = "\0long"


def _cut(value: Any) -> Any:  # noqa: ANN401
    if isinstance(value, bytes) and len(value) > _MOST:
        return {_LONG: [value[at : at + _MOST] for at in range(0, len(value), _MOST)]}
    if isinstance(value, dict):
        return {k: _cut(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_cut(v) for v in value]
    return value


def _joined(value: Any) -> Any:  # noqa: ANN401
    if isinstance(value, dict):
        if _LONG in value:
            return b"".join(value[_LONG])
        return {k: _joined(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_joined(v) for v in value]
    return value
