"""Rows as messages to a broker: one for each, or lists and columns of many."""

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import pyarrow as pa

from flowedge.lang.errors import SinkError
from flowedge.sinks.payloads import FORMATS, LAYOUTS, Encoder
from flowedge.sinks.publishing import Message, Publishing
from flowedge.sinks.topics import Naming, Topics
from flowedge.types.connectors import Option

LAYING = (
    Option("format", "text", "json", "of the payloads", choices=FORMATS),
    Option("rows", "text", "each", "a message for each row, or a list or columns of many", choices=LAYOUTS),
    Option("batch", "integer", 1000, "rows of a message at most, where it holds many"),
)  # fmt: skip
"""Options of each of these sinks."""


class RowMessages(Publishing):
    """A sink that publishes rows.

    Attributes
    ----------
    naming : how its broker calls where messages go; the option of that name stands in for the address
    """

    naming: ClassVar[Naming]
    _encoder: Encoder | None = None

    def __init__(self, address: str = "", **given: Any) -> None:  # noqa: ANN401
        super().__init__(address, **given)
        text = self.given[self.naming.what] or self._peer.path
        self._topics = Topics(text, self.wanted_names, self.naming)
        if self.given["batch"] < 1:
            raise SinkError(f"`{self.name}`: a message has one row or more; mend `batch`")

    def fits(self, schema: pa.Schema) -> None:
        """The format holds all columns, and the topic names some of them; raises SinkError."""
        self._topics.template.check(schema)
        try:
            self._encoder = Encoder(schema, self.given["format"], self.given["rows"])
        except ValueError as error:
            raise SinkError(f"`{self.name}`: {error}") from None
        self._encoder.prepare()

    def messages(self, batch: pa.RecordBatch, first: int, most_bytes: int) -> list[Message]:
        """One for each row, or for some; raises SinkError."""
        del first
        found = [
            message
            for topic, rows, places in self._topics.split(batch)
            for message in self._of(topic, rows, places, most_bytes)
        ]
        if self.given["rows"] == "each":
            found.sort(key=lambda message: message.row)
        return found

    def _of(
        self, topic: str, rows: pa.RecordBatch, places: Sequence[int], most_bytes: int
    ) -> Iterator[Message]:
        encoder = self._encoder
        assert encoder is not None
        if encoder.most_rows == 1:
            for payload, place in zip(encoder.payloads(rows), places, strict=True):
                self.check_size(topic, payload, most_bytes)
                yield Message(topic, payload, place)
            return
        most = min(self.given["batch"], encoder.most_rows)
        at = 0
        while at < rows.num_rows:
            (payload,) = encoder.payloads(rows.slice(at, most))
            size = min(most, rows.num_rows - at)
            if most_bytes and len(payload) + len(topic.encode()) > most_bytes and size > 1:
                most = (size + 1) // 2  # as long as the broker takes
                continue
            self.check_size(topic, payload, most_bytes)
            yield Message(topic, payload, places[at])
            at += size


__all__ = ["LAYING", "RowMessages"]
