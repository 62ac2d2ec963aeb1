"""Events of EdgeX Foundry, over its message bus on MQTT or NATS."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import pyarrow as pa

from flowedge.lang.errors import SourceError
from flowedge.sources.contract import connector
from flowedge.sources.edgex_envelopes import Event, Reading, events_of
from flowedge.sources.edgex_values import as_text, fitted, value
from flowedge.sources.messages import MessageSource
from flowedge.sources.mqtt import Mqtt
from flowedge.sources.nats import PORTS, Nats, header_map
from flowedge.sources.payloads import PayloadError, Rejected
from flowedge.sources.payloads.columns import array_of
from flowedge.sources.payloads.rows import shown
from flowedge.sources.payloads.values import MisfitError, nearest_of
from flowedge.types.connectors import Option, Signature, united

_STAMP = pa.timestamp("ns", "UTC")
READINGS = pa.schema([
    ("time", _STAMP), ("device", pa.string()), ("profile", pa.string()), ("source", pa.string()), ("resource", pa.string()),
    ("type", pa.string()), ("value", pa.float64()), ("text", pa.string()), ("bytes", pa.binary()), ("units", pa.string()),
    ("tags", pa.string()), ("origin", pa.int64()),
])  # fmt: skip
"""Of a row for each reading; what a source has that declares nothing."""
TOPIC = "edgex/events/device/#"
_EVENT: Mapping[str, Callable[[Event], Any]] = {
    "device": lambda event: event.device,
    "_id": lambda event: event.id,
    "_profile": lambda event: event.profile,
    "_source": lambda event: event.source,
    "_units": lambda event: _json({r.resource: r.units for r in event.readings if r.units}),
    "_tags": lambda event: _json(event.tags),
    "_reading_tags": lambda event: _json({r.resource: r.tags for r in event.readings if r.tags}),
}
"""Raw fields that tell of an event."""


@connector("edgex")
class Edgex(MessageSource):
    """Listen to the message bus of EdgeX 2, 3 and 4: ``edgex("mqtt://127.0.0.1:1883", device="dev-1")``, or ``nats://``.

    Envelopes in JSON or CBOR, base64 or not, requests, bare events and optimised payloads are told apart message by message. Where
    raw fields are declared they are resources, and an event is a row: ``source e (device: key, temp: f32 [degC])``; one
    without any of the resources is none. Raw fields of the event are ``device``, ``_id``, ``_profile``, ``_source``, ``_units``,
    ``_tags`` and ``_reading_tags`` (JSON), and those of the source `mqtt` or `nats`. Where nothing is declared, or fields of `READINGS` alone,
    a reading is a row. The time, ``_origin``, is that of the reading, in whole nanoseconds.

    Options and promises are those of the source `mqtt` or `nats`, as the address says; what is made is an `OverMqtt` or an `OverNats`.
    """

    extra = "mqtt"
    received: ClassVar[str] = "_origin"
    describes_itself: ClassVar[bool] = True
    options = Signature((
        Option("topic", "text", TOPIC, "the filter, where it is not in the address; over NATS dots may stand for `/`"),
        *(o for o in united(Mqtt.options.options, Nats.options.options) if o.name not in ("topic", "subject", "format")),
        Option("device", "text", "", "only events of this one"),
        Option("rows", "text", "auto", "what a row is; `auto` tells it from what is declared", choices=("auto", "events", "readings")),
    ))  # fmt: skip

    def __new__(cls, address: str = "", **_given: Any) -> "Edgex":  # noqa: ANN401
        """Over MQTT or over NATS."""
        return super().__new__(_over(address) if cls is Edgex else cls)

    def __init__(self, address: str = "", **given: Any) -> None:  # noqa: ANN401
        path = address.partition("://")[2].partition("/")[2]
        if path and not given.get("topic"):
            given["topic"] = path
        super().__init__(address, **given)
        known = (Nats if isinstance(self, Nats) else Mqtt).options
        for option in self.options.options:
            is_its = known.option(option.name) or option.name in ("topic", "device", "rows")
            if not is_its and self.given[option.name] != option.default:
                way = "NATS" if isinstance(self, Nats) else "MQTT"
                raise SourceError(f"`edgex` has no `{option.name}` over {way}")

    @classmethod
    def comes_again(cls, options: Mapping[str, Any], address: str = "") -> bool:
        """As of the source that it goes by."""
        return (Nats if _over(address) is OverNats else Mqtt).comes_again(options, address)

    def schema(self) -> pa.Schema | None:
        """The declared fields, else `READINGS`."""
        return self.declared if self.declared is not None else READINGS

    def decoder(self) -> Any:  # noqa: ANN401  # takes the place of that of payloads
        """Makes rows of events; raises SourceError."""
        schema = self.schema()
        assert schema is not None
        beside = {*self.captures, *self.about}
        known = {*beside, *_EVENT, self.received}
        unknown = [f.name for f in schema if f.name.startswith("_") and f.name not in known]
        if unknown:
            told = ", ".join(f"`{name}`" for name in sorted({*self.about, *_EVENT, self.received}))
            raise SourceError(f"`edgex` has no `{unknown[0]}`; of an event it knows {told}")
        rows = self.given["rows"]
        inside = [f.name for f in schema if f.name not in beside and f.name != self.received]
        if rows == "auto":
            rows = "readings" if all(name in READINGS.names for name in inside) else "events"
        if rows == "readings" and not all(name in READINGS.names for name in inside):
            wrong = next(name for name in inside if name not in READINGS.names)
            raise SourceError(
                f"`edgex`: a reading has no `{wrong}`; it has {', '.join(READINGS.names)}"
            )
        self._events = _Events(
            schema, beside, self.given["device"], self.fitting, by_reading=rows == "readings"
        )
        return self._events

    def told(self) -> dict[str, int]:
        """Those of its way, and events that are none of the rows wanted."""
        found = super().told()
        return {**found, "others": self._events.others} if found else found


class OverMqtt(Edgex, Mqtt):
    """By the source `mqtt`."""


class OverNats(Edgex, Nats):
    """By the source `nats`; what else stands in an envelope may be in the header of a message."""

    def wanted_subject(self) -> str:
        """The filter, with dots."""
        topic: str = self.given["topic"]
        return topic.replace("/", ".").replace("+", "*").replace("#", ">")

    def decode(
        self, payloads: Sequence[bytes], headers: Sequence[bytes], extra: Mapping[str, Any]
    ) -> None:
        """Give messages to the decoder; those whose header tells of an error are turned away."""
        wrong = {k for k, header in enumerate(headers) if b"ErrorCode" in header and _code(header)}
        if wrong:
            for k in sorted(wrong):
                told = payloads[k][:80].decode(errors="replace")
                self._events.turn_away(
                    f"its sender tells of error {_code(headers[k])}: {told}", payloads[k]
                )
            left = [k for k in range(len(payloads)) if k not in wrong]
            payloads = [payloads[k] for k in left]
            extra = {name: [_listed(values)[k] for k in left] for name, values in extra.items()}
        super().decode(payloads, headers, extra)


def _over(address: str) -> type[Edgex]:
    return OverNats if address.partition("://")[0] in PORTS else OverMqtt


def _code(header: bytes) -> str:
    """The error that a header tells of; empty: none."""
    found = header_map(header).get("ErrorCode", "0")
    return "" if found in ("", "0") else found


class _Events:
    """Messages to rows; the counterpart of `flowedge.sources.payloads.Decoder`.

    Attributes
    ----------
    rejected : what was turned away
    others : events of other devices, and those without any resource that is declared
    """

    def __init__(
        self,
        schema: pa.Schema,
        beside: set[str],
        device: str,
        fitting: Mapping[str, str],
        *,
        by_reading: bool,
    ) -> None:
        self.schema = schema
        self.rejected: list[Rejected] = []
        self.others = 0
        self._fitting, self._device, self._by_reading = fitting, device, by_reading
        self._altered: dict[str, tuple[int, int]] = {}
        self._columns: list[list[Any]] = [[] for _ in schema]
        self._seen = 0
        apart = {*beside, *_EVENT, Edgex.received}
        self._resources = {f.name: f.type for f in schema if f.name not in apart}

    def add_many(self, payloads: Sequence[bytes], extra: Mapping[str, Sequence[Any]]) -> None:
        """Take messages; nothing that they say raises."""
        beside = {name: _listed(values) for name, values in extra.items()}
        for number, payload in enumerate(payloads):
            about = {name: values[number] for name, values in beside.items()}
            try:
                for event in events_of(payload):
                    self._event(event, about)
            except PayloadError as error:
                self.turn_away(str(error), payload)

    def prepare(self) -> None:
        """Nothing has to be loaded."""

    def take_altered(self) -> dict[str, tuple[int, int]]:
        """By field how many values became missing, and how many the nearest that fits, since the last call."""
        found, self._altered = self._altered, {}
        return found

    def take(self) -> pa.RecordBatch:
        """The rows since the last call."""
        arrays = [array_of(v, f.type) for v, f in zip(self._columns, self.schema, strict=True)]
        self._columns = [[] for _ in self.schema]
        return pa.RecordBatch.from_arrays(arrays, schema=self.schema)

    def turn_away(self, reason: str, what: Any, *, by_policy: bool = False) -> None:  # noqa: ANN401
        """Note what is no row, and why."""
        self._seen += 1
        self.rejected.append(Rejected(self._seen, reason, shown(what), by_policy))

    def _event(self, event: Event, about: dict[str, Any]) -> None:
        if self._device and event.device != self._device:
            self.others += 1
            return
        for reason, what in event.bad:
            self.turn_away(reason, what)
        if self._by_reading:
            for reading in event.readings:
                try:
                    self._add({**about, **_described(reading, event)})
                except MisfitError as error:
                    self.turn_away(f"`{reading.resource}` is not {error}", reading._asdict())
            return
        self._row(event, about)

    def _row(self, event: Event, about: dict[str, Any]) -> None:
        """One row of an event."""
        wanted = [r for r in event.readings if r.resource in self._resources]
        if self._resources and not wanted:
            self.others += 1
            return
        row = {
            **about,
            **{name: tell(event) for name, tell in _EVENT.items() if name in self.schema.names},
        }
        changed: list[tuple[str, bool]] = []
        first = wanted[0] if wanted else event.readings[0] if event.readings else None
        row[Edgex.received] = event.origin_ns if first is None else first.origin_ns
        for reading in wanted:
            name = reading.resource
            if name in row:
                told = f'`{name}` is read twice in an event; say `rows="readings"`'
                self.turn_away(told, reading._asdict())
                return
            try:
                row[name] = fitted(reading, self._resources[name])
            except MisfitError as error:
                policy = self._fitting.get(name)
                if policy not in ("null", "clamp"):
                    told, by_policy = f"`{name}` is not {error}", policy == "reject"
                    self.turn_away(told, reading._asdict(), by_policy=by_policy)
                    return
                kind = self._resources[name]
                row[name] = nearest_of(reading.value, kind) if policy == "clamp" else None
                changed.append((name, row[name] is not None))
        for name, is_near in changed:
            nulled, clamped = self._altered.get(name, (0, 0))
            self._altered[name] = (nulled + (not is_near), clamped + is_near)
        self._add(row)

    def _add(self, row: Mapping[str, Any]) -> None:
        self._seen += 1
        for column, name in zip(self._columns, self.schema.names, strict=True):
            column.append(row.get(name))


def _described(reading: Reading, event: Event) -> dict[str, Any]:
    """A reading as a row of `READINGS`; raises MisfitError."""
    found = value(reading)
    is_number = isinstance(found, int | float)  # truth is 0 or 1
    return {
        "time": reading.origin_ns, Edgex.received: reading.origin_ns, "origin": reading.origin_ns, "device": reading.device,
        "profile": reading.profile, "source": reading.source, "resource": reading.resource, "type": reading.kind,
        "value": float(found) if is_number else None, "text": None if found is None else as_text(reading, found),
        "bytes": found if isinstance(found, bytes) else None, "units": reading.units,
        "tags": _json({**event.tags, **reading.tags}),
    }  # fmt: skip


def _json(found: Mapping[str, Any]) -> str | None:
    if not found:
        return None
    return json.dumps(found, ensure_ascii=False, separators=(",", ":"), default=str)


def _listed(values: Any) -> Sequence[Any]:  # noqa: ANN401
    return values.to_pylist() if isinstance(values, pa.Array) else values


__all__ = ["READINGS", "Edgex", "OverMqtt", "OverNats"]
