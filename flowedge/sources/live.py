"""What a live source owes: rows as they come, by partition, and an ear for what is safe."""

import contextlib
import threading
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import pyarrow as pa

from flowedge.lang.errors import SourceError
from flowedge.links.turns import Turns
from flowedge.links.waker import Waker
from flowedge.sources.contract import Piece, Position, Predicate, Source

Wall = Callable[[], int]
"""The time of day [ns since 1970, UTC]."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """What came of one partition, in its order.

    Attributes
    ----------
    rows : with the raw columns; may be empty
    received_ns : when the last of them came [ns since 1970, UTC]
    rejected : what could not be read, in the shape of `flowedge.sources.contract.REJECTED`
    ends : the partition is over
    first_ns : when the first of them came; -1: with the last
    """

    partition: str
    rows: pa.RecordBatch
    received_ns: int
    rejected: pa.RecordBatch | None = None
    ends: bool = False
    first_ns: int = -1

    @property
    def since_ns(self) -> int:
        """When the first of them came [ns since 1970, UTC]."""
        return self.received_ns if self.first_ns < 0 else self.first_ns


class Bell:
    """Wakes the run: rung by the threads of sources, waited for by the one of the run."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._waker: Waker | None = None
        self._is_awaited = False

    def ring(self) -> None:
        """Something has come."""
        if not self._event.is_set():
            self._event.set()
            if self._is_awaited and self._waker is not None:
                self._waker.wake()

    def hush(self) -> None:
        """All that it was rung for so far is about to be taken."""
        if self._event.is_set():
            self._event.clear()

    def fileno(self) -> int:
        """What becomes readable when it rings while the run is `awaiting` it among other things."""
        if self._waker is None:
            self._waker = Waker()
        return self._waker.fileno()

    @contextlib.contextmanager
    def awaiting(self) -> Iterator[bool]:
        """Wait for `fileno` among others; whether it has rung already."""
        assert self._waker is not None, "`fileno` makes it"
        self._is_awaited = True
        try:
            yield self._event.is_set()
        finally:
            self._is_awaited = False
            if self._event.is_set():
                self._waker.drain()

    def close(self) -> None:
        """Nobody waits any more."""
        if self._waker is not None:
            self._waker.close()

    def wait(self, most_s: float) -> bool:
        """Wait until it rings, so many seconds at most; whether it has rung since the last call."""
        if not self._event.is_set():
            self._event.wait(most_s)
        has_rung = self._event.is_set()
        self._event.clear()
        return has_rung


@dataclass(frozen=True, slots=True)
class Shell:
    """What a run lends its live sources.

    Attributes
    ----------
    bell : to be rung, from any thread, when there is something to take
    wall : the time of day
    covers : the run keeps checkpoints, and `LiveSource.covered` will be called
    """

    bell: Bell
    wall: Wall
    covers: bool = False


class LiveSource(Source):
    """Rows that come by themselves, until the run ends.

    The life of a live source: `begin`, any number of `take`, `close`. With checkpoints, `state` is asked for with each
    of them, and `covered` says later which of these the state on the disk holds: what came before need not be
    kept by whoever sends.

    `take` must not wait: it gives what is there. What comes while nobody takes it waits inside, of which `nbytes` tells, up to a
    bound; beyond that the source lets its sender wait where the protocol can, and counts what is lost where it cannot.
    """

    is_live: ClassVar[bool] = True
    describes_itself: ClassVar[bool] = False
    asks_again: ClassVar[bool] = False
    """What was not `covered` comes again after a restart."""
    is_watched: ClassVar[bool] = True
    """The clocks that give its times, where these are not those of the receipt, are compared with this machine's."""

    @classmethod
    def comes_again(cls, options: Mapping[str, Any], address: str = "") -> bool:
        """Whether that holds with these options, as given, at this address."""
        del options, address
        return cls.asks_again

    @abstractmethod
    def begin(self, shell: Shell, state: Mapping[str, Any] | None) -> None:
        """Start to listen.

        Parameters
        ----------
        shell : what the run lends it
        state : what `state` gave, to go on from; None: start afresh

        Raises
        ------
        SourceError : it cannot work as it is told to; that a peer is not there yet is no error
        """

    @abstractmethod
    def take(self) -> list[Arrival]:
        """All that came since the last call, in the order in which it came.

        Raises
        ------
        SourceError : it will never work: refused credentials, or a row that cannot be read under ``on error stop``
        """

    def state(self) -> dict[str, Any]:
        """Plain data about all that `take` gave so far, for a checkpoint."""
        return {}

    def covered(self, state: Mapping[str, Any]) -> None:  # most feeds do not ask
        """Hear that a checkpoint with this state is on the disk, and all that was taken until then safe."""

    @property
    def turns(self) -> Turns | None:
        """Its sockets, where the run may serve them itself while it waits; None: it has a thread for them, or none."""
        return None

    @property
    def is_pressing(self) -> bool:
        """Whether nothing more will come until something is covered: a checkpoint is wanted soon."""
        return False

    @property
    def is_over(self) -> bool:
        """Whether nothing will ever come again."""
        return False

    @property
    def away(self) -> str:
        """Why the peer cannot be reached now; empty where it can, and where others come to this side."""
        return ""

    @property
    def nbytes(self) -> int:
        """Bytes of what waits to be taken."""
        return 0

    def told(self) -> dict[str, int]:
        """Counts for the report: messages, connections, what was lost and why."""
        return {}

    @abstractmethod
    def close(self) -> None:
        """Stop to listen, and end all threads; may be called at any time, and again."""

    def paths(self) -> list[str]:
        """None: nothing lies on this machine."""
        return []

    def batches(
        self,
        columns: Sequence[str] | None = None,
        predicate: Predicate | None = None,
        start: Position | None = None,
    ) -> Iterator[Piece]:
        """Refused: rows that do not end cannot be read as a recording; raises SourceError."""
        del columns, predicate, start
        raise SourceError(
            f"`{self.name}` is live, and this wants a recording; record it with `run --record FILE`, or name a file"
        )
