"""Where bytes of samples come from: a pipe, a file, standard input, or one connection at a time."""

import contextlib
import errno
import os
import socket
import stat
from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar, Protocol

from flowedge.links.address import Address
from flowedge.links.sockets import listening

_CONNECT_S = 1.0


class End(Protocol):
    """What can be read by its number."""

    def fileno(self) -> int:
        """Of the open file."""

    def close(self) -> None:
        """Read no more."""


class Wire(ABC):
    """Gives one end after the other to read.

    Attributes
    ----------
    ends : behind the first end there is no other
    is_recording : all is there, and how fast it is read says nothing
    """

    ends: ClassVar[bool] = False
    is_recording: bool = False

    @abstractmethod
    def open(self) -> End | None:
        """The next end; None if nobody is there yet; raises OSError where nobody will ever be."""

    def close(self) -> None:  # noqa: B027  # most have nothing else open
        """Let nobody else come."""


class Pipe(Wire):
    """A named pipe; whoever writes may go, and another one come."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._next: End | None = None

    def open(self) -> End | None:
        """The pipe, opened before the last end of it is closed: so no writer finds it without a reader."""
        found, self._next = self._next, None
        return found if found is not None else self._opened()

    def _opened(self) -> End | None:
        try:
            number = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        if stat.S_ISREG(os.fstat(number).st_mode):
            os.close(number)
            raise OSError(errno.EINVAL, "is a file and no pipe; leave `pipe:` away")
        return os.fdopen(number, "rb", buffering=0)

    def again(self) -> None:
        """Open it anew while the last end is still open."""
        with contextlib.suppress(OSError):
            self._next = self._opened()

    def close(self) -> None:
        """Close what nobody has asked for."""
        if self._next is not None:
            self._next.close()
            self._next = None


class File(Wire):
    """A recording."""

    ends = True
    is_recording = True

    def __init__(self, path: str) -> None:
        self._path = path

    def open(self) -> End | None:
        """The file; raises OSError."""
        return Path(self._path).open("rb", buffering=0)


class Standard(Wire):
    """Standard input, whatever is behind it."""

    ends = True

    def __init__(self) -> None:
        self.is_recording = stat.S_ISREG(os.fstat(0).st_mode)

    def open(self) -> End | None:
        """A copy of its number; raises OSError."""
        return os.fdopen(os.dup(0), "rb", buffering=0)


class Dial(Wire):
    """Connects to a program that listens, again and again."""

    def __init__(self, address: Address) -> None:
        self._place = (address.host, address.port)

    def open(self) -> End | None:
        """A connection."""
        with contextlib.suppress(OSError):
            return socket.create_connection(self._place, _CONNECT_S)
        return None


class Listen(Wire):
    """Lets programs connect, one at a time."""

    def __init__(self, address: Address) -> None:
        self._socket = listening(address)

    def open(self) -> End | None:
        """A connection."""
        with contextlib.suppress(OSError):
            return self._socket.accept()[0]
        return None

    def close(self) -> None:
        """Listen no more."""
        self._socket.close()
