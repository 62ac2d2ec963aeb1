"""The head of a WAV that is streamed, or lies in a file."""

import struct
from typing import NamedTuple

from flowedge.lang.errors import SourceError
from flowedge.sources.samples.pcm import Form

LONGEST_HEAD = 1 << 16
"""Bytes of a WAV before its samples, at most."""
_MARK = 12
"""Bytes that tell a WAV."""
_FORM = 26
"""Bytes of the chunk that tells of the samples, as far as it matters."""
_OPEN_ENDED = 0x7FFF_0000
"""From here on, and 0, lengths are those of recorders who do not know when they will stop."""
_EXTENSIBLE = 0xFFFE
_CODINGS = {(1, 8): "u8", (1, 16): "s16le", (1, 24): "s24le", (1, 32): "s32le", (3, 32): "f32le", (3, 64): "f64le"}  # fmt: skip
"""Codings of WAV: 1 whole numbers, 3 floats; with so many bits."""


class Place(NamedTuple):
    """Where the samples begin, and how many bytes they take; -1: as many as come."""

    begin: int
    size: int = -1


def samples_of(data: bytes, wanted: Form, where: str) -> Place | None:
    """Where the samples lie of a stream that begins so, be it a WAV or not; None: more is needed to tell.

    Behind the samples of a WAV there may be texts, pictures and marks. Who streams does not know how long it will be.

    Parameters
    ----------
    wanted : what the samples are to be
    where : the address, for messages

    Raises
    ------
    SourceError : it is a WAV of something else, or one that cannot be read
    """
    if not _may_be_wav(data):
        return Place(0)
    if len(data) < _MARK:
        return None
    found, at = None, _MARK
    while len(data) >= at + 8:
        name, size = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
        if name == b"data":
            if found is None:
                raise _unreadable(where, "its samples come before it says what they are")
            if found != wanted:
                raise SourceError(
                    f"`{where}` is a WAV of {found}, and the pipeline asks for {wanted}; change these options, or the sender"
                )
            return Place(at + 8, -1 if size == 0 or size >= _OPEN_ENDED else size)
        if name == b"fmt ":
            if size < 16:
                raise _unreadable(where, f"its chunk `fmt ` has {size} bytes, not 16")
            if len(data) < at + 8 + min(size, _FORM):
                return None
            found = _form(data[at + 8 : at + 8 + size], where)
        at += 8 + size + size % 2
        if at > LONGEST_HEAD:
            raise _unreadable(where, f"it has no samples in its first {LONGEST_HEAD} bytes")
    return None


def _may_be_wav(data: bytes) -> bool:
    return b"RIFF".startswith(data[:4]) and b"WAVE".startswith(data[8:12])


def _form(chunk: bytes, where: str) -> Form:
    coding, channels, rate, _, _, bits = struct.unpack_from("<HHIIHH", chunk)
    if coding == _EXTENSIBLE and len(chunk) >= _FORM:
        coding = int.from_bytes(chunk[24:26], "little")
    if (coding, bits) not in _CODINGS:
        raise _unreadable(where, f"coding {coding} with {bits} bits is no PCM that is known here")
    return Form(rate, channels, _CODINGS[coding, bits])


def _unreadable(where: str, why: str) -> SourceError:
    return SourceError(f"`{where}` is a WAV that cannot be read: {why}")
