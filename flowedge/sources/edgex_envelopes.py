"""Messages of EdgeX 2, 3 and 4, taken out of whatever they are wrapped in: envelopes, base64, requests, JSON or CBOR.

Nothing is configured: each message is told from its own bytes. What is on the wire was read in go-mod-messaging and
go-mod-core-contracts, v2.3 to v4.0.3.
"""

import base64
import binascii
from collections.abc import Iterator
from typing import Any, NamedTuple

from flowedge.sources.payloads import PayloadError
from flowedge.sources.payloads import cbor as cbor_
from flowedge.sources.payloads import json as json_

_BLANK = b" \t\r\n"


class Reading(NamedTuple):
    """One reading, with what optimised payloads leave to its event filled in.

    Attributes
    ----------
    origin_ns : when it was taken [ns since 1970]
    kind : its value type, in small letters
    value : as it came: text, number, truth, bytes, list, map; None: missing
    """

    device: str
    profile: str
    source: str
    resource: str
    origin_ns: int
    kind: str
    value: Any
    units: str | None
    tags: dict[str, Any]


class Event(NamedTuple):
    """One event; `bad` are its readings that are none, with the reason."""

    id: str
    device: str
    profile: str
    source: str
    origin_ns: int | None
    tags: dict[str, Any]
    readings: list[Reading]
    bad: list[tuple[str, Any]]


def events_of(message: bytes) -> Iterator[Event]:
    """The events of a message.

    Raises
    ------
    PayloadError : it is no message of EdgeX with events, or tells of an error
    """
    found = _payload(_unpacked(message))
    for one in found if isinstance(found, list) else [found]:
        if not isinstance(one, dict):
            raise PayloadError("it holds no event")
        event = one.get("event", one)
        if not isinstance(event, dict) or not isinstance(event.get("readings"), list):
            raise PayloadError("it holds no event")
        yield _event(event)


def _unpacked(data: bytes) -> Any:  # noqa: ANN401
    """JSON if it begins so, else CBOR, as EdgeX itself decides."""
    is_text = data.lstrip(_BLANK)[:1] in (b"{", b"[") or data[:3] == b"\xef\xbb\xbf"
    return json_.unpacked(data) if is_text else cbor_.unpacked(data)


def _payload(message: Any) -> Any:  # noqa: ANN401
    """What an envelope holds, or the message itself, which has none."""
    if not isinstance(message, dict) or "event" in message or "readings" in message:
        return message
    keys = {key.lower(): value for key, value in message.items()}  # EdgeX 2 wrote them large
    if "payload" not in keys:
        return message
    payload = keys["payload"]
    code = keys.get("errorcode") or 0
    if code:
        told = payload if isinstance(payload, str) else ""
        raise PayloadError(f"its sender tells of error {code}: {told[:80]}")
    if isinstance(payload, str):
        try:
            payload = base64.b64decode(payload, validate=True)
        except (binascii.Error, ValueError):
            raise PayloadError("its payload is neither an event nor base64") from None
    return _unpacked(payload) if isinstance(payload, bytes) else payload


def _event(event: dict[str, Any]) -> Event:
    device, profile, source = (
        _text(event, key) for key in ("deviceName", "profileName", "sourceName")
    )
    origin = _origin(event.get("origin"))
    tags = event.get("tags")
    made = Event(
        _text(event, "id"), device, profile, source, origin, tags if isinstance(tags, dict) else {}, [], [],
    )  # fmt: skip
    is_only = len(event["readings"]) == 1
    for one in event["readings"]:
        try:
            made.readings.append(_reading(one, made, is_only=is_only))
        except PayloadError as error:
            made.bad.append((str(error), one))
    return made


def _reading(one: Any, event: Event, *, is_only: bool) -> Reading:  # noqa: ANN401
    if not isinstance(one, dict):
        raise PayloadError("a reading is no map")
    resource = _text(one, "resourceName") or (event.source if is_only else "")
    if not resource:
        raise PayloadError("a reading names no resource")
    given = _origin(one.get("origin"))
    origin = event.origin_ns if given is None else given
    if origin is None:
        raise PayloadError(f"`{resource}` has no origin")
    kind = _text(one, "valueType").lower()
    key = {"binary": "binaryValue", "object": "objectValue", "objectarray": "objectValue"}.get(
        kind, "value"
    )
    units, tags = one.get("units"), one.get("tags")
    return Reading(
        _text(one, "deviceName") or event.device, _text(one, "profileName") or event.profile, event.source, resource, origin,
        kind, one.get(key), units if isinstance(units, str) else None, tags if isinstance(tags, dict) else {},
    )  # fmt: skip


def _text(found: dict[str, Any], key: str) -> str:
    value = found.get(key)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise PayloadError(f"`{key}` is no text")
    return value


def _origin(value: Any) -> int | None:  # noqa: ANN401
    """Whole nanoseconds; None where it is left out."""
    if value is None or value == 0:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not -(2**63) <= value < 2**63:
        raise PayloadError("an origin is no whole number of nanoseconds")
    return value


__all__ = ["Event", "Reading", "events_of"]
