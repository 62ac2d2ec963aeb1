"""What a framing owes: bytes in, whole payloads out, and an end where it is lost."""

from abc import ABC, abstractmethod
from typing import TypeAlias

import pyarrow as pa

Payload: TypeAlias = bytes | pa.RecordBatch
"""Bytes to be decoded, or rows that need none of it."""


class FramingError(ValueError):
    """Nobody knows where the next payload begins.

    Parameters
    ----------
    message : one clause
    count : under which name it is counted

    Attributes
    ----------
    payloads : those that were whole before it was lost
    """

    def __init__(self, message: str, count: str = "framing_lost") -> None:
        super().__init__(message)
        self.count = count
        self.payloads: list[Payload] = []


class Framer(ABC):
    """Cuts the bytes of one connection.

    Attributes
    ----------
    held : bytes of the payload that is not whole yet
    """

    held: int = 0

    def room(self) -> memoryview | None:
        """Where the next bytes are best put, so that they need not be moved; None: anywhere.

        What was put there is told to `filled`, anything else to `feed`.
        """
        return None

    def filled(self, size: int) -> list[Payload]:
        """So many bytes have been put where `room` said; the payloads that are whole by it; raises FramingError."""
        raise NotImplementedError(size)

    def feed(self, data: bytes | memoryview) -> list[Payload]:
        """More bytes, copied as far as they are kept; the payloads that are whole by them; raises FramingError."""
        out: list[Payload] = []
        try:
            self.cut(data, out)
        except FramingError as error:
            error.payloads = out
            raise
        return out

    @abstractmethod
    def cut(self, data: bytes | memoryview, out: list[Payload]) -> None:
        """As `feed`, with the payloads put into `out`."""

    def end(self) -> list[Payload]:
        """The connection has ended: what is whole by that; raises FramingError where it was cut short."""
        if self.held:
            raise FramingError("it ends inside a payload", "cut_short")
        return []


def too_long() -> FramingError:
    """A payload beyond the bound."""
    return FramingError("a payload is longer than 64 MiB", "too_long")
