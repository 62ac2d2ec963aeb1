"""What sinks have in common that publish to a broker: they wait until it has each message."""

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, Protocol

import pyarrow as pa

from flowedge.lang.errors import SecretError, SinkError
from flowedge.links.address import Address, parse
from flowedge.sinks.remote import Guarantee, RemoteSink, Unreachable
from flowedge.types.connectors import Option

_ANSWER_S = 15.0
"""So long a broker may say nothing while something is asked of it."""


class Message(NamedTuple):
    """What is published; `row` is the first row of the batch that is in it."""

    topic: str
    payload: bytes
    row: int
    headers: Mapping[str, str] | None = None


class Line(Protocol):
    """A connection of `flowedge.links`, as far as publishing needs it."""

    is_up: bool
    is_over: bool
    refused: str
    trouble: str

    def start(self) -> None:
        """Begin to connect."""

    def close(self) -> None:
        """Say goodbye."""

    def publish(self, messages: Sequence[Any]) -> None:
        """Send messages."""


class Bus(ABC):
    """A kind of broker.

    Parameters
    ----------
    name : of the sink, for messages
    peer : where it is
    given : the options of the sink

    Attributes
    ----------
    word : how people call it
    extra, library : what it needs, and how it is installed
    ports : by scheme of the address
    options : what it takes
    """

    word: ClassVar[str]
    extra: ClassVar[str]
    library: ClassVar[str]
    ports: ClassVar[Mapping[str, int]]
    options: ClassVar[tuple[Option, ...]]

    def __init__(self, name: str, peer: Address, given: Mapping[str, Any]) -> None:
        self.name, self.peer, self.given = name, peer, given

    @classmethod
    @abstractmethod
    def promises(cls, options: Mapping[str, Any]) -> Guarantee:
        """What holds with these options, as given."""

    @abstractmethod
    def line(
        self, on_change: Callable[[], None], on_published: Callable[[int, int, str], None]
    ) -> Line:
        """A new connection, which does not come back; raises SecretError, ValueError, ImportError."""

    @abstractmethod
    def see(self) -> None:
        """See that the broker does what the options ask, now that it is up; raises SinkError."""

    @property
    @abstractmethod
    def most_bytes(self) -> int:
        """Of topic and payload together; 0: as many as there are. Known once it is up."""

    @abstractmethod
    def outgoing(self, number: int, message: Message, mark: str) -> Any:  # noqa: ANN401
        """A message as the connection takes it; `mark` names its first row, and no other of any stream."""

    @abstractmethod
    def is_final(self, code: int) -> bool:
        """Whether a message that is refused so will be refused again."""


class Publishing(RemoteSink):
    """A sink that publishes.

    A batch is safe when the broker has answered for all of its messages, or where it answers for none, when they are sent. A
    connection that is lost is not taken up again: what was not answered for is published anew, in order, over the next one, so that a
    message may come twice and none is missing.

    A broker that says nothing for 15 s is taken to be away.

    Attributes
    ----------
    buses : kinds of broker that it publishes to; the scheme of the address says which
    """

    buses: ClassVar[tuple[type[Bus], ...]]
    most_rows: int = 4096

    def __init__(self, address: str = "", **given: Any) -> None:  # noqa: ANN401
        super().__init__(address, **given)
        try:
            peer = parse(address, {s: port for bus in self.buses for s, port in bus.ports.items()})
        except ValueError as error:
            raise SinkError(f"`{self.name}`: {error}") from None
        kind = bus_of(self.buses, address)
        known = {option.name for option in kind.options}
        for option in (o for bus in self.buses for o in bus.options if o.name not in known):
            if self.given[option.name] != option.default:
                raise SinkError(f"`{self.name}` has no `{option.name}` over {kind.word}")
        self._peer = peer
        self._bus = kind(self.name, peer, self.given)
        self._line: Line | None = None
        self._changed = threading.Condition()
        self._open: dict[int, int] = {}
        self._answers = 0
        self._refusal: tuple[int, str] = (0, "")
        self._is_interrupted = False

    @classmethod
    def promises(cls, options: Mapping[str, Any], address: str = "") -> Guarantee:
        """That of the kind of broker."""
        return bus_of(cls.buses, address).promises(options)

    @abstractmethod
    def fits(self, schema: pa.Schema) -> None:
        """See that rows of this schema can be published; raises SinkError."""

    @abstractmethod
    def messages(self, batch: pa.RecordBatch, first: int, most_bytes: int) -> Sequence[Message]:
        """What is to be published of a batch, in order.

        Parameters
        ----------
        first : number of its first row in the stream
        most_bytes : of topic and payload together; 0: as many as there are

        Raises
        ------
        SinkError : a row that the broker will never take
        """

    def connect(self, schema: pa.Schema) -> None:
        """Be let in by the broker; raises SinkError, Unreachable."""
        self.disconnect()
        self.fits(schema)
        self._is_interrupted = False
        try:
            line = self._bus.line(self._tell, self._has)
        except (SecretError, ValueError) as error:
            raise SinkError(f"`{self.name}` {self._peer}: {error}") from None
        except ImportError:
            bus = self._bus
            raise SinkError(
                f"`{self.name}` needs {bus.library}; `pip install 'flowedge[{bus.extra}]'`"
            ) from None
        self._line = line
        line.start()
        try:
            self._let_in(line)
        except (SinkError, Unreachable):
            self.disconnect()
            raise

    def _let_in(self, line: Line) -> None:
        with self._changed:
            self._changed.wait_for(
                lambda: line.is_up or line.is_over or self._is_interrupted, _ANSWER_S
            )
        if line.refused:
            raise SinkError(f"`{self.name}` {self._peer}: the broker refuses: {line.refused}")
        if not line.is_up:
            raise Unreachable(self._why(line, "it does not answer"))
        self._bus.see()

    def deliver(self, batch: pa.RecordBatch, first: int) -> None:
        """Publish, and wait until the broker has it; raises SinkError, Unreachable."""
        line, bus = self._line, self._bus
        assert line is not None
        messages = self.messages(batch, first, bus.most_bytes)
        with self._changed:
            self._open = {number: one.row for number, one in enumerate(messages)}
            self._refusal = (0, "")
        line.publish([bus.outgoing(n, m, f"{self.stream}-{first + m.row}") for n, m in enumerate(messages)])  # fmt: skip
        with self._changed:
            while self._open and not self._refusal[0]:
                done = min(self._open.values())
                if line.is_over or self._is_interrupted:
                    raise Unreachable(self._why(line, "the connection is lost"), done)
                answers = self._answers
                if not self._changed.wait(_ANSWER_S) and answers == self._answers:
                    raise Unreachable(f"it has said nothing for {_ANSWER_S:g} s", done)
            code, reason = self._refusal
            done = min(self._open.values(), default=batch.num_rows)
        if code:
            topic = next(m.topic for m in messages if m.row == done)
            if bus.is_final(code):
                raise SinkError(f"`{self.name}` {self._peer}: the broker refuses a message to `{topic[:200]}`: {reason}")  # fmt: skip
            raise Unreachable(f"it refuses a message: {reason}", done)

    def check_size(self, topic: str, payload: bytes, most_bytes: int) -> None:
        """Refuse what the broker will never take; raises SinkError."""
        if most_bytes and len(payload) + len(topic.encode()) > most_bytes:
            raise SinkError(
                f"`{self.name}` {self._peer}: a row makes a message of {len(payload):,} bytes to `{topic[:200]}`, and the broker takes "
                f"{most_bytes:,}; let it take more, or select fewer columns"
            )

    def disconnect(self) -> None:
        """Say goodbye."""
        line, self._line = self._line, None
        if line is not None:
            line.close()

    def interrupt(self) -> None:
        """Wait no longer."""
        with self._changed:
            self._is_interrupted = True
            self._changed.notify_all()

    def _why(self, line: Line, otherwise: str) -> str:
        return "interrupted" if self._is_interrupted else line.trouble or otherwise

    # ---- in the thread of the connection

    def _tell(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _has(self, number: int, code: int, reason: str) -> None:
        with self._changed:
            self._answers += 1
            if code:
                self._refusal = (code, reason)
            else:
                self._open.pop(number, None)
            if code or not self._open:
                self._changed.notify_all()


def bus_of(buses: Sequence[type[Bus]], address: str) -> type[Bus]:
    """The kind of broker at an address; the first where none has its scheme."""
    scheme = address.partition("://")[0]
    return next((bus for bus in buses if scheme in bus.ports), buses[0])
