"""Messages to an MQTT broker."""

from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa

from flowedge.lang.errors import SinkError
from flowedge.sinks.contract import connector
from flowedge.sinks.payloads import FORMATS, LAYOUTS, Encoder
from flowedge.sinks.publishing import PUBLISHING, Message, Publishing
from flowedge.sinks.topics import Topics
from flowedge.types.connectors import Option, Signature


@connector("mqtt")
class Mqtt(Publishing):
    """Publish rows to an MQTT broker: ``mqtt("mqtts://host/alarms/{device}/{kind}", qos=1)``.

    Behind the host stands the topic; names of columns in braces are the values of each row (`flowedge.sinks.topics.level` says
    what becomes of ``/``, wildcards and missing ones). A row is one message, a JSON map; ``rows="list"`` or ``rows="columns"``
    puts the rows together that wait, ``batch`` of them at most, in order for each topic. `flowedge.sinks.payloads.Encoder`
    tells of the formats; the source `mqtt` reads all of them.

    Raises
    ------
    SinkError : the broker does not let it in, refuses the topic, or takes no message as long as that of a row
    """

    options = Signature((
        Option("topic", "text", "", "the topic, where it is not in the address"),
        Option("format", "text", "json", "of the payloads", choices=FORMATS),
        Option("rows", "text", "each", "a message for each row, or a list or columns of many", choices=LAYOUTS),
        Option("batch", "integer", 1000, "rows of a message at most, where it holds many"),
        *PUBLISHING,
    ))  # fmt: skip
    _encoder: Encoder | None = None

    def __init__(self, address: str = "", **given: Any) -> None:  # noqa: ANN401
        super().__init__(address, **given)
        self._topics = Topics(self.given["topic"] or self._peer.path, self.wanted_names)
        if self.given["batch"] < 1:
            raise SinkError("`mqtt`: a message has one row or more; mend `batch`")

    def fits(self, schema: pa.Schema) -> None:
        """The format holds all columns, and the topic names some of them; raises SinkError."""
        self._topics.template.check(schema)
        try:
            self._encoder = Encoder(schema, self.given["format"], self.given["rows"])
        except ValueError as error:
            raise SinkError(f"`mqtt`: {error}") from None

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


__all__ = ["Mqtt"]
