"""Events for EdgeX Foundry, over its message bus on MQTT or NATS."""

import base64
import json
import uuid
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from flowedge.lang.errors import SinkError
from flowedge.sinks.cells import plain
from flowedge.sinks.contract import connector
from flowedge.sinks.mqtt_bus import MqttBus
from flowedge.sinks.nats_bus import NatsBus
from flowedge.sinks.payloads import cbor
from flowedge.sinks.publishing import Message, Publishing
from flowedge.sinks.template import Template
from flowedge.sinks.topics import level, token
from flowedge.types.connectors import NEEDED, Option, Signature, united
from flowedge.types.metadata import UNIT

_VERSION = "v3"
"""What EdgeX 3 and 4 both write."""
_APART = "\x1f"
_TYPES = {
    "double": "Float64", "float": "Float32", "bool": "Bool", "string": "String", "binary": "Binary",
    **{f"int{b}": f"Int{b}" for b in (8, 16, 32, 64)}, **{f"uint{b}": f"Uint{b}" for b in (8, 16, 32, 64)},
}  # fmt: skip
_NAMESPACE = uuid.UUID("6f1d3c1e-5a0b-5c7e-9a55-0f10ed6e0001")


@connector("edgex")
class Edgex(Publishing):
    """Publish rows as events of EdgeX: ``edgex("mqtt://127.0.0.1:1883", profile="flowedge", device="{device}")``.

    A row is an event, in the envelope of EdgeX 4 (which EdgeX 3 reads, but for the payload that is not base64), its `time` the origin; each other
    column that no name needs is a reading with its value type and unit. What is missing is left out, where all is they are null
    readings. Bytes make the payload CBOR, as in EdgeX. It goes to ``edgex/events/device/SERVICE/PROFILE/DEVICE/SOURCE``; names in
    the topic are written as those of the sink `mqtt`. Over NATS dots stand between them, and the message is the payload alone, with the
    rest of the envelope in its header; ``format="json"`` sends the envelope there, too.

    The ids of a row's event and readings are made of its number in the stream, so that what is published again after an outage has the ids that it had.

    Raises
    ------
    SinkError : the stream has no time, or a column of a type that EdgeX lacks
    """

    options = Signature((
        Option("profile", "text", NEEDED, "name of the device profile; columns in braces, as in all names"),
        Option("device", "text", "{device}", "name of the device"),
        Option("source", "text", "", "name of the source; the column, where there is one, else `flowedge`"),
        Option("service", "text", "flowedge", "name of the device service"),
        Option("topic", "text", "edgex/events/device", "what stands before the names in the topic"),
        Option("format", "text", "auto", "`json`: an envelope. `nats`: the payload, under a header. `auto`: `nats` over NATS", choices=("auto", "json", "nats")),
        *united(MqttBus.options, NatsBus.options),
    ))  # fmt: skip
    extra = "mqtt"
    buses = (MqttBus, NatsBus)

    def __init__(self, address: str = "", **given: Any) -> None:  # noqa: ANN401
        super().__init__(address, **given)
        if self._peer.path:
            raise SinkError(
                "`edgex` makes its topic of the names; leave the path away, or write `topic=`"
            )
        if any(c in self.given["topic"] for c in "+#\0{}") or not self.given["topic"]:
            raise SinkError(f"`{self.given['topic']}` is no beginning of a topic")
        is_nats = isinstance(self._bus, NatsBus)
        if self.given["format"] == "nats" and not is_nats:
            raise SinkError('`edgex`: `format="nats"` is for a message bus on NATS')
        self._has_envelope = self.given["format"] == "json" or not is_nats
        self._head, self._dot, self._part = self.given["topic"], "/", level
        if is_nats:
            self._head, self._dot, self._part = self._head.replace("/", "."), ".", token
        names = _APART.join(self.given[key] for key in ("service", "profile", "device", "source"))
        self._template = Template.of(names, None)

    def fits(self, schema: pa.Schema) -> None:
        """There is a time, the names are columns, and EdgeX has all types; raises SinkError."""
        if "time" not in schema.names or not pa.types.is_timestamp(schema.field("time").type):
            raise SinkError("`edgex`: the stream has no `time`, which is the origin of an event")
        self._template.check(schema)
        self._readings = {
            field.name: (_type(field), (field.metadata or {}).get(UNIT, b"").decode())
            for field in schema
            if field.name != "time" and field.name not in self._template.names
        }
        if not self._readings:
            raise SinkError("`edgex`: the stream has no column that could be a reading")

    def messages(self, batch: pa.RecordBatch, first: int, most_bytes: int) -> list[Message]:
        """An event for each row; raises SinkError."""
        found = []
        for values, rows, places in self._template.split(batch):
            names = self._template.fill(values, _name).split(_APART)
            service, profile, device, source = names
            source = source or (
                next(iter(self._readings)) if len(self._readings) == 1 else "flowedge"
            )
            topic = self._dot.join(
                (self._head, *map(self._part, (service, profile, device, source)))
            )
            times = rows.column("time").cast(pa.timestamp("ns")).cast(pa.int64()).to_pylist()
            columns = {name: _cells(rows.column(name)) for name in self._readings}
            for row, place in enumerate(places.tolist()):
                values_ = {name: column[row] for name, column in columns.items()}
                about = {"deviceName": device, "profileName": profile, "sourceName": source}
                payload, headers = self._message(first + place, times[row], about, values_)
                self.check_size(topic, payload, most_bytes)
                found.append(Message(topic, payload, place, headers))
        found.sort(key=lambda message: message.row)
        return found

    def _message(
        self, number: int, origin: int, about: Mapping[str, str], values: Mapping[str, Any]
    ) -> tuple[bytes, dict[str, str] | None]:
        """A request to add an event, in an envelope or under a header."""
        given = {name: value for name, value in values.items() if value is not None} or values
        event = {
            "apiVersion": _VERSION, "id": self._id(number, "event"), **about, "origin": origin,
            "readings": [self._reading(number, origin, about, name, value) for name, value in given.items()],
        }  # fmt: skip
        request = {"apiVersion": _VERSION, "requestId": self._id(number, "request"), "event": event}
        has_bytes = any(isinstance(value, bytes) for value in given.values())
        kind = "application/cbor" if has_bytes else "application/json"
        mark = self._id(number, "message")
        if not self._has_envelope:
            header = {
                "Content-Type": kind,
                "X-Correlation-ID": mark,
                "ApiVersion": _VERSION,
                "RequestId": "",
                "ErrorCode": "0",
            }
            return cbor.packed(request) if has_bytes else _packed(request), header
        payload: Any = base64.b64encode(cbor.packed(request)).decode() if has_bytes else request
        return _packed({
            "apiVersion": _VERSION, "receivedTopic": "", "correlationID": mark, "requestID": "", "errorCode": 0,
            "payload": payload, "contentType": kind,
        }), None  # fmt: skip

    def _reading(
        self,
        number: int,
        origin: int,
        about: Mapping[str, str],
        name: str,
        value: Any,  # noqa: ANN401
    ) -> dict[str, Any]:
        kind, unit = self._readings[name]
        reading = {
            "id": self._id(number, f"reading {name}"), "origin": origin, "deviceName": about["deviceName"], "resourceName": name,
            "profileName": about["profileName"], "valueType": kind, **({"units": unit} if unit else {}),
        }  # fmt: skip
        if value is None:
            return {**reading, "value": None, "binaryValue": None, "objectValue": None}
        if isinstance(value, bytes):
            return {**reading, "binaryValue": value, "mediaType": "application/octet-stream"}
        return {**reading, "value": value}

    def _id(self, number: int, what: str) -> str:
        return str(uuid.uuid5(_NAMESPACE, f"{self.stream} {number} {what}"))


def _packed(message: Mapping[str, Any]) -> bytes:
    return json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode()


def _name(value: str | None) -> str:
    """A value in a name of EdgeX, none of which may be empty."""
    return (value or "missing").replace(_APART, " ")


def _type(field: pa.Field) -> str:
    """The value type of a column; raises SinkError."""
    kind = field.type
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if pa.types.is_timestamp(kind):
        return "Int64"
    is_list = pa.types.is_fixed_size_list(kind) or pa.types.is_list(kind)
    found = _TYPES.get(str(kind.value_type if is_list else kind))
    if found is None or (is_list and found == "Binary"):
        raise SinkError(
            f"`edgex`: the column `{field.name}` is {kind}, for which EdgeX has no value type"
        )
    return f"{found}Array" if is_list else found


def _cells(column: pa.Array) -> list[Any]:
    """The values as EdgeX writes them: texts, but for bytes; None where they are missing."""
    column = plain(column)
    kind = column.type
    if pa.types.is_timestamp(kind):
        column = column.cast(pa.timestamp("ns", kind.tz)).cast(pa.int64())
        kind = column.type
    if pa.types.is_binary(kind):
        cells: list[Any] = column.to_pylist()
        return cells
    if pa.types.is_fixed_size_list(kind) or pa.types.is_list(kind):
        leaf = kind.value_type
        return [None if cell is None else _array(cell, leaf) for cell in column.to_pylist()]
    return [None if cell is None else _text(cell, kind) for cell in column.to_pylist()]


def _array(cell: list[Any], leaf: pa.DataType) -> str:
    if pa.types.is_string(leaf):
        return json.dumps(["" if one is None else one for one in cell], ensure_ascii=False)
    nan = float("nan") if pa.types.is_floating(leaf) else 0
    return f"[{', '.join(_text(nan if one is None else one, leaf) for one in cell)}]"


def _text(value: Any, kind: pa.DataType) -> str:  # noqa: ANN401
    """As Go writes it.

    Examples
    --------
    >>> _text(23.5, pa.float32()), _text(float("inf"), pa.float64()), _text(True, pa.bool_())
    ('2.35e+01', '+Inf', 'true')
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, float):
        return str(value)
    if value != value:  # noqa: PLR0124  # NaN
        return "NaN"
    if value in (float("inf"), float("-inf")):
        return "+Inf" if value > 0 else "-Inf"
    number = np.float32(value) if pa.types.is_float32(kind) else np.float64(value)
    return np.format_float_scientific(number, unique=True, trim="-", exp_digits=2)


__all__ = ["Edgex"]
