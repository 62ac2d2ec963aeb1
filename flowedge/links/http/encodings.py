"""Bodies that were made smaller for the way: ``gzip``, ``deflate`` and ``zstd``, undone up to a bound."""

import zlib
from abc import ABC, abstractmethod

import pyarrow as pa

ENCODINGS = ("gzip", "deflate", "zstd")
_AUTO = zlib.MAX_WBITS | 32
"""A header of gzip or of zlib, whichever is there (zlib manual, inflateInit2)."""
_BLOCK = 1 << 20
_MEMBERS = 64
"""Of one body: each may be empty, and all of them have to be begun."""
_LEVEL = 4
"""Of gzip: half of the default's time for a few percent more bytes on readings in JSON."""


class TooLong(ValueError):  # noqa: N818  # it is what was found
    """A body beyond the bound."""


class Inflater(ABC):
    """Takes a body piece by piece.

    Parameters
    ----------
    most : bytes of the body as it was
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._size = 0

    @abstractmethod
    def feed(self, data: bytes) -> bytes:
        """What more of the body is known by more bytes; raises ValueError, TooLong."""

    @abstractmethod
    def end(self) -> bytes:
        """The rest; raises ValueError where the body is cut short, TooLong."""

    def _counted(self, data: bytes) -> bytes:
        self._size += len(data)
        if self._size > self._most:
            raise TooLong
        return data


class Plain(Inflater):
    """A body as it is."""

    def feed(self, data: bytes) -> bytes:
        """The same; raises TooLong."""
        return self._counted(data)

    def end(self) -> bytes:
        """Nothing."""
        return b""


class Zlib(Inflater):
    """``gzip`` (RFC 1952, of any number of members) and ``deflate`` (RFC 1950, and the bare stream that some send instead)."""

    def __init__(self, most: int) -> None:
        super().__init__(most)
        self._inner = zlib.decompressobj(_AUTO)
        self._is_first = True
        self._members = 1

    def feed(self, data: bytes) -> bytes:
        """See `Inflater`."""
        out = b""
        while data:
            if self._inner.eof:
                self._members += 1
                if self._members > _MEMBERS:
                    raise ValueError(f"it has more than {_MEMBERS} members")
                self._inner = zlib.decompressobj(_AUTO)
            out += self._counted(self._inflated(data))
            data = self._inner.unconsumed_tail or self._inner.unused_data
        return out

    def _inflated(self, data: bytes) -> bytes:
        room = self._most - self._size + 1
        try:
            found = self._inner.decompress(data, room)
        except zlib.error as error:
            if not self._is_first:
                raise ValueError(f"it cannot be inflated: {error}") from None
            self._inner = zlib.decompressobj(-zlib.MAX_WBITS)
            try:
                found = self._inner.decompress(data, room)
            except zlib.error:
                raise ValueError(f"it cannot be inflated: {error}") from None
        self._is_first = False
        return found

    def end(self) -> bytes:
        """See `Inflater`."""
        if not self._inner.eof:
            raise ValueError("it is cut short")
        return b""


class Zstd(Inflater):
    """``zstd`` (RFC 8878), inflated once it is whole."""

    def __init__(self, most: int) -> None:
        super().__init__(most)
        self._held = bytearray()

    def feed(self, data: bytes) -> bytes:
        """Nothing yet; raises TooLong where even this is."""
        self._held += data
        if len(self._held) > self._most:
            raise TooLong
        return b""

    def end(self) -> bytes:
        """See `Inflater`."""
        out = []
        try:
            with pa.CompressedInputStream(pa.BufferReader(bytes(self._held)), "zstd") as stream:
                while block := stream.read(min(_BLOCK, self._most - self._size + 1)):
                    out.append(self._counted(block))
        except (OSError, pa.ArrowException) as error:
            raise ValueError(f"it cannot be inflated: {str(error)[:200]}") from None
        return b"".join(out)


def inflater(encoding: str, most: int) -> Inflater:
    """What undoes a ``Content-Encoding``.

    Raises
    ------
    ValueError : an encoding that is not known, or several
    """
    match encoding.strip().lower():
        case "" | "identity":
            return Plain(most)
        case "gzip" | "x-gzip" | "deflate":
            return Zlib(most)
        case "zstd":
            return Zstd(most)
        case other:
            raise ValueError(f"`{other[:40]}` cannot be undone; there are {', '.join(ENCODINGS)}")


def deflated(data: bytes, encoding: str) -> bytes:
    """A body made smaller; the same body always gives the same bytes.

    Examples
    --------
    >>> body = b'{"v": 1}' * 100
    >>> all(inflater(name, 1000).feed(deflated(body, name)) in (body, b"") for name in ("gzip", "zstd"))
    True
    """
    if encoding == "gzip":
        made = zlib.compressobj(_LEVEL, wbits=zlib.MAX_WBITS | 16)
        return made.compress(data) + made.flush()
    packed: bytes = pa.compress(data, codec="zstd", asbytes=True)
    return packed


__all__ = ["ENCODINGS", "Inflater", "TooLong", "deflated", "inflater"]
