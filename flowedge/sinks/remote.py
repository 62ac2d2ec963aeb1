"""What a sink owes whose rows go to a peer that may be away: a database, a broker, a server."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import pyarrow as pa

from flowedge.lang.errors import FlowEdgeError
from flowedge.sinks.contract import Resumed, Sink

Guarantee = Literal["exactly once", "at least once", "at most once"]
"""How often a row is there that was handed over, whatever fails on the way: see `RemoteSink.guarantee`."""


class Unreachable(FlowEdgeError):  # noqa: N818  # it is what happened, not a mistake
    """The peer is not there now, or takes nothing now: it will be tried again.

    Parameters
    ----------
    message : what happened, in a few words and without the address: ``connection refused``
    done : rows of the batch at hand, from its first on, that are safe all the same
    begun : rows of it, from its first on, of which some may have come; those behind were never sent. None: all
    """

    def __init__(self, message: str, done: int = 0, begun: int | None = None) -> None:
        super().__init__(message)
        self.done, self.begun = done, begun


class RemoteSink(Sink):
    """Rows go to a peer, in order, until it has them.

    The life of a remote sink: `connect`, `place`, any number of `deliver`; after an `Unreachable` from any of them `disconnect`,
    a pause that grows, and all again, for as long as the run lasts; at the end `forget` and `end`. All of these
    are called by one thread, which has nothing else to do and may wait, but for the `deliver` of a sink that `takes_at_once`;
    `interrupt` comes from another one. A `SinkError` from any of them ends the run.

    Rows have numbers: the first row of the stream is 0. A row is *safe* once the peer has said that it
    will not lose it: committed, acknowledged, answered with success.

    Attributes
    ----------
    guarantee : what holds with checkpoints. ``exactly once``: `place` gives a number that the peer keeps in the same transaction
        as the rows, or it `repeats` and the peer leaves out what it has; it is then given only rows that a checkpoint on the disk covers,
        so that no row of it is ever computed another time. ``at least once``: rows whose fate is not known are delivered again. ``at most once``: they are not.
    most_rows : of one `deliver`; what waits is joined up to it, so that batches grow by themselves under load
    gathers_s : so long rows may wait for others, to be delivered with them [s]
    greets : that `connect` went well says that the peer is there; else only a `deliver` does
    repeats : what was given to `deliver` once, and was not safe, is given to it again in the same pieces: the same rows with the
        same `first`. Where it promises ``exactly once``, also after a kill, so that a peer can tell by the numbers what it has; `Unreachable`
        has no `done` then
    ways : options that say how the peer is reached, and not what goes where: a state can be gone on from with others
    stream : names this stream of rows at the peer, and no other one ever: random, kept in the checkpoints
    pipeline : digest of the pipeline, for people who look there
    """

    guarantee: ClassVar[Guarantee] = "at least once"
    most_rows: int = 65_536
    gathers_s: float = 0.0
    greets: ClassVar[bool] = True
    repeats: ClassVar[bool] = False
    ways: ClassVar[frozenset[str]] = frozenset(
        {"user", "password", "token", "nkey", "credentials", "ca", "cert", "key", "sslmode"}
    )
    writes_files = False
    stream = ""
    pipeline = ""

    @classmethod
    def promises(cls, options: Mapping[str, Any], address: str = "") -> Guarantee:
        """What holds with these options, as given, at this address; most sinks promise the same with any."""
        del options, address
        return cls.guarantee

    @property
    def promised(self) -> Guarantee:
        """What holds as this one is set up."""
        return self.promises(self.given, self.address)

    @abstractmethod
    def connect(self, schema: pa.Schema) -> None:
        """Reach the peer, and make sure that it takes rows of this schema.

        Called for the first time before the run reads a row, and again after each outage.

        Raises
        ------
        Unreachable : it may pass: refused, no route, unknown host, no answer in time, shutting down, too many connections
        SinkError : it will not pass: credentials, a table with other columns, an option that does not fit, a library that is missing
        """

    def place(self) -> int | None:
        """How many rows of `stream` are safe, as the peer has it; 0 where it has never heard of it.

        None: it cannot say, and what was not known to be safe is delivered again. Called after each `connect`.

        Raises
        ------
        Unreachable, SinkError : as for `connect`
        """
        return None

    @abstractmethod
    def deliver(self, batch: pa.RecordBatch, first: int) -> None:
        """Give rows to the peer; returns when they are safe.

        It must not wait for a silent peer without a bound where its protocol can tell: raise `Unreachable` then.

        Parameters
        ----------
        batch : at most `most_rows` rows of the schema that `connect` was given, at least one
        first : number of its first row in the stream

        Raises
        ------
        Unreachable : the fate of the rows behind its `done` is not known
        SinkError : they will never be taken
        """

    @property
    def takes_at_once(self) -> bool:
        """Whether a `deliver` of a few kilobytes would not wait for anything now; such may come from the thread of the run.

        It never comes while another `deliver` is under way.
        """
        return False

    def forget(self) -> None:  # most peers keep nothing
        """All rows of the stream are safe and nobody will ask for `place` again; raises Unreachable, SinkError."""

    @abstractmethod
    def disconnect(self) -> None:
        """Let go of the connection; never raises, and may be called at any time, and again."""

    def end(self) -> None:
        """Nothing will be delivered any more: let go of all; never raises, and may be called again."""
        self.disconnect()

    def interrupt(self) -> None:  # what is abandoned ends with the process
        """Called from another thread: the call that is under way shall come to an end, by `Unreachable`; never raises.

        A sink that cannot is abandoned: the run ends without it, and its thread with the process.
        """

    # ---- what a sink is besides: one that writes at once, without a run that waits for the peer

    def open(self, schema: pa.Schema, resumed: Resumed | None = None) -> None:
        """Connect now; raises SinkError, Unreachable."""
        del resumed
        self.connect(schema)
        self._next = self.place() or 0

    def write(self, batch: pa.RecordBatch) -> None:
        """Deliver now; raises SinkError, Unreachable."""
        for at in range(0, batch.num_rows, self.most_rows):
            piece = batch.slice(at, self.most_rows)
            self.deliver(piece, self._next)
            self._next += piece.num_rows

    def finish(self) -> None:
        """All was delivered; raises SinkError, Unreachable."""
        self.forget()
        self.disconnect()

    def abort(self) -> None:
        """What is delivered stays."""
        self.disconnect()

    def paths(self) -> list[str]:
        """None: nothing is written here."""
        return []
