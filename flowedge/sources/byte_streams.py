"""What the sources of connections share: the rows of each are a partition, which ends with it."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from flowedge.sources.connections import Chunk, Connection
from flowedge.sources.contract import OnError
from flowedge.sources.framing import FRAMINGS, Framer, Payload, framer
from flowedge.sources.inbox import Inbox
from flowedge.sources.live import Arrival, Shell
from flowedge.sources.messages import RECEIVED, MessageSource
from flowedge.sources.payloads import PayloadError
from flowedge.sources.payloads.arrow import fitted
from flowedge.types.connectors import Option

PEER = "_peer"
"""Raw field: who sent the row."""
FRAMING = Option(
    "framing",
    "text",
    "auto",
    "where a payload ends; `auto` tells it from the first byte of a connection",
    choices=FRAMINGS,
)
PATIENCE = Option(
    "patience", "duration", 300.0, "a connection that gives nothing whole for so long is closed [s]"
)
_SMALL = 8192
"""Rows of a batch that is worth joining with the next."""


class ByteStreams(MessageSource):
    """A source whose payloads come in streams of bytes, each from one peer.

    Mistakes of those who send never stop the run, unless ``on error stop`` says so: anybody may send.
    """

    mistakes: ClassVar[OnError] = "skip"
    about: ClassVar[Mapping[str, pa.DataType]] = {
        PEER: pa.string(), RECEIVED: pa.timestamp("ns", "UTC"),
    }  # fmt: skip

    def prepare(self, shell: Shell, state: Mapping[str, Any] | None) -> None:
        """Make ready to take what comes; raises SourceError."""
        self._decoder = self.decoder()
        self._decoder.prepare()
        declared = self.declared or pa.schema([])
        self._inside = pa.schema([f for f in declared if f.name not in self.about])
        self._beside = [f.name for f in declared if f.name in self.about]
        self._inbox: Inbox[Chunk] = Inbox(shell.bell.ring)
        self._wall = shell.wall
        self._misfits: Counter[str] = Counter()
        self._made = int(state["made"]) if state else 0
        # Partitions of a run that was stopped: nobody is behind them any more.
        self._open: dict[str, None] = dict.fromkeys(state["open"]) if state else {}
        self._orphans = list(self._open)

    def new_framer(self) -> Framer:
        """The framing of a new connection."""
        return framer(self.given["framing"], self._inside, self.given["format"])

    def take_rows(self) -> list[Arrival]:
        """The rows of all connections, in the order of these; raises SourceError under ``on error stop``."""
        out = [Arrival(name, self._none, self._wall(), ends=True) for name in self._orphans]
        for name in self._orphans:
            del self._open[name]
        self._orphans = []
        by_connection: dict[Connection, list[Chunk]] = {}
        for chunk in self._inbox.take():
            by_connection.setdefault(chunk.connection, []).append(chunk)
        out += self._decoded(by_connection)
        for one, chunks in by_connection.items():
            out += self._batches(one, chunks)
            if chunks[-1].ends and one.partition:
                del self._open[one.partition]
                out.append(Arrival(one.partition, self._none, chunks[-1].received_ns, ends=True))
        return out

    @property
    def _none(self) -> pa.RecordBatch:
        schema = self._decoder.schema
        return pa.RecordBatch.from_arrays([pa.nulls(0, f.type) for f in schema], schema=schema)

    def _partition(self, one: Connection) -> str:
        """The name of a connection's partition, which no other of this run and those that resume it has."""
        if not one.partition:
            self._made += 1
            one.partition = f"{self._made:012d}"
            self._open[one.partition] = None
        return one.partition

    def _decoded(self, by_connection: Mapping[Connection, Sequence[Chunk]]) -> list[Arrival]:
        """Payloads of all connections, decoded at once."""
        payloads: list[bytes] = []
        times: list[int] = []
        pieces = []
        for one, chunks in by_connection.items():
            before = len(payloads)
            for chunk in chunks:
                found = [p for p in chunk.payloads if isinstance(p, bytes)]
                payloads += found
                times += [chunk.received_ns] * len(found)
            if len(payloads) > before:
                pieces.append((one, before, len(payloads)))
        if not pieces:
            return []
        peers = (
            [one.peer for one, begin, end in pieces for _ in range(end - begin)]
            if PEER in self._beside
            else []
        )
        extra: dict[str, Sequence[Any]] = {PEER: peers, RECEIVED: times}
        counts = self._decoder.add_many(payloads, {name: extra[name] for name in self._beside})
        rows = self._decoder.take()
        rejected = self.turned_away(self._decoder, self.address)
        if len(pieces) == 1:
            ((one, _, _),) = pieces
            name = self._partition(one)
            return [Arrival(name, rows, times[-1], rejected, first_ns=times[0])]
        ends = np.concatenate([[0], np.cumsum(counts)]).tolist()
        out = []
        for one, begin, end in pieces:
            part = rows.slice(ends[begin], ends[end] - ends[begin])
            out.append(
                Arrival(self._partition(one), part, times[end - 1], rejected, first_ns=times[begin])
            )
            rejected = None
        return out

    def _batches(self, one: Connection, chunks: Sequence[Chunk]) -> list[Arrival]:
        """Batches of Arrow as they came; small ones joined."""
        out: list[Arrival] = []
        few: list[pa.RecordBatch] = []
        at = 0

        def give() -> None:
            if few:
                whole = few[0] if len(few) == 1 else _joined(few)
                out.append(Arrival(self._partition(one), whole, at, self._turned_away()))
                few.clear()

        for chunk in chunks:
            for payload in chunk.payloads:
                if isinstance(payload, bytes):
                    continue
                rows = self._fitted(payload, one, chunk.received_ns)
                if rows is None:
                    continue
                if rows.num_rows >= _SMALL or sum(b.num_rows for b in few) >= _SMALL:
                    give()
                at = chunk.received_ns
                few.append(rows)
        give()
        if (rejected := self._turned_away()) is not None:
            out.append(Arrival(self._partition(one), self._none, chunks[-1].received_ns, rejected))
        return out

    def _turned_away(self) -> pa.RecordBatch | None:
        return self.turned_away(self._decoder, self.address)

    def _fitted(self, batch: pa.RecordBatch, one: Connection, at: int) -> pa.RecordBatch | None:
        """The declared fields of a batch, without moving what has their types; None: turned away."""
        try:
            rows = fitted(batch, self._inside)
        except PayloadError as error:
            self._decoder.turn_away(str(error), f"{batch.num_rows} rows")
            return None
        if not self._beside:
            return rows
        columns = dict(zip(self._inside.names, rows.columns, strict=True))
        for field in self._decoder.schema:
            if field.name == PEER:
                zeros = pa.repeat(pa.scalar(0, pa.int32()), rows.num_rows)
                columns[PEER] = pa.DictionaryArray.from_arrays(zeros, pa.array([one.peer]))
            elif field.name == RECEIVED:
                columns[RECEIVED] = pa.repeat(pa.scalar(at, field.type), rows.num_rows)
        schema = self._decoder.schema
        return pa.RecordBatch.from_arrays([columns[f.name] for f in schema], schema=schema)

    def state(self) -> dict[str, Any]:
        """How many partitions were named, and which have not ended."""
        return {"made": self._made, "open": list(self._open)}

    @property
    def nbytes(self) -> int:
        """Bytes of the payloads that wait."""
        return self._inbox.nbytes if hasattr(self, "_inbox") else 0


def _joined(batches: Sequence[pa.RecordBatch]) -> pa.RecordBatch:
    return pa.Table.from_batches(batches).combine_chunks().to_batches()[0]


__all__ = ["FRAMING", "PATIENCE", "PEER", "ByteStreams", "Payload"]
