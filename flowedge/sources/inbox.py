"""Messages on their way from the thread of a client to the run, bounded in bytes or in number."""

import threading
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

Message = TypeVar("Message")

MOST_BYTES = 64 << 20
"""Of the messages that wait."""


class Inbox(Generic[Message]):
    """First in, first out; one thread puts, another takes.

    Parameters
    ----------
    ring : tells the run that something has come
    most_bytes : bound of what waits, which the last message may exceed

    Attributes
    ----------
    nbytes : of what waits
    """

    def __init__(self, ring: Callable[[], None], most_bytes: int = MOST_BYTES) -> None:
        self._ring, self._most_bytes = ring, most_bytes
        self._lock = threading.Lock()
        self._waiting: list[Message] = []
        self.nbytes = 0

    @property
    def has_room(self) -> bool:
        """Whether more may be put."""
        return self.nbytes < self._most_bytes

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits."""
        return not self._waiting

    def put(self, message: Message, size: int) -> None:
        """Let a message of `size` bytes wait."""
        self.put_all([message], size)

    def put_all(self, messages: list[Message], size: int) -> None:
        """Let messages of `size` bytes together wait."""
        with self._lock:
            self._waiting += messages
            self.nbytes += size
        self._ring()

    def take(self) -> list[Message]:
        """All that waits; makes room."""
        with self._lock:
            found, self._waiting = self._waiting, []
            self.nbytes = 0
        return found


class Newest(Generic[Message]):
    """The newest few messages; one thread puts, another takes.

    Parameters
    ----------
    ring : tells the run that something has come
    most : so many wait, the oldest of which give way
    """

    def __init__(self, ring: Callable[[], None], most: int) -> None:
        self._ring = ring
        self._lock = threading.Lock()
        self._waiting: deque[Message] = deque(maxlen=most)

    def __len__(self) -> int:
        """How many wait."""
        return len(self._waiting)

    def put(self, message: Message) -> bool:
        """Let a message wait; whether another had to go."""
        with self._lock:
            is_full = len(self._waiting) == self._waiting.maxlen
            self._waiting.append(message)
        self._ring()
        return is_full

    def take(self) -> list[Message]:
        """All that wait, the oldest first."""
        with self._lock:
            found = list(self._waiting)
            self._waiting.clear()
        return found
