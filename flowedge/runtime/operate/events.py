"""What happens in a run, a line each: events with names and fields that stay, as JSON or as text, on standard error.

Python's own `logging` carries them: levels, handlers and whoever else listens to the logger ``flowedge`` are as everywhere.
"""

import contextlib
import datetime as dt
import json
import logging
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TextIO

LOGGER = logging.getLogger("flowedge")
LEVELS = ("debug", "info", "warning", "error")


@dataclass(frozen=True, slots=True)
class Kind:
    """What an event is: its level, and the fields that it always has."""

    level: int
    fields: tuple[str, ...]
    about: str


EVENTS: dict[str, Kind] = {
    "start": Kind(logging.INFO, ("version", "pipeline", "checkpoint"), "the run begins; `checkpoint` is its directory, or empty"),
    "resumed": Kind(logging.INFO, ("epoch",), "it goes on from a checkpoint"),
    "ready": Kind(logging.INFO, ("after_s",), "models are warm and all sources are begun"),
    "metrics": Kind(logging.INFO, ("url",), "where metrics, health and status are served"),
    "checkpoint": Kind(logging.INFO, ("epoch", "took_s", "made"), "the newest checkpoint, a line a second at most; `made` since the last line"),
    "source_lost": Kind(logging.WARNING, ("source", "why"), "the peer of a live source cannot be reached"),
    "source_back": Kind(logging.INFO, ("source", "after_s"), "it can again"),
    "peer_away": Kind(logging.WARNING, ("sink", "why", "waiting"), "the peer of a sink cannot be reached; rows that wait for it"),
    "peer_back": Kind(logging.INFO, ("sink", "after_s", "outages"), "it can again; outages so far"),
    "breaker_open": Kind(logging.WARNING, ("stage", "model"), "a model that failed again and again is left alone"),
    "breaker_closed": Kind(logging.INFO, ("stage", "model"), "it is asked again"),
    "shedding": Kind(logging.WARNING, ("rows",), "rows are left out, for the run cannot keep up; a line a minute at most"),
    "memory": Kind(logging.WARNING, ("held", "limit"), "more than nine tenths of --max-memory are held"),
    "reload": Kind(logging.INFO, (), "SIGHUP came: the pipeline is checked and compiled while the run goes on"),
    "reloaded": Kind(logging.INFO, ("pipeline", "changed", "kept"), "what the run goes on with, and the sources whose connections stayed"),
    "reload_refused": Kind(logging.ERROR, ("why",), "the run goes on as it was"),
    "note": Kind(logging.INFO, ("text",), "what the summary tells besides: a model that was swapped, state that was given up"),
    "warning": Kind(logging.WARNING, ("text",), "what `check` warns of"),
    "stopping": Kind(logging.INFO, (), "the run was asked to stop"),
    "stop": Kind(logging.INFO, ("rows_in", "rows_out", "wall_s", "why"), "the run has ended as it should; `why` it ended before its sources, or empty"),
    "failed": Kind(logging.ERROR, ("why", "exit_code"), "the run could not go on, or could not begin"),
}  # fmt: skip
"""All events by name; `docs/operations.md` lists them."""


def say(event: str, **fields: Any) -> None:  # noqa: ANN401
    """Tell that something has happened."""
    kind = EVENTS[event]
    assert set(fields) == set(kind.fields), f"{event} has the fields {kind.fields}"
    if LOGGER.isEnabledFor(kind.level):
        LOGGER.log(kind.level, event, extra={"fields": fields})


class _Line(logging.Formatter):
    """One line for one event."""

    def __init__(self, name: str, *, as_json: bool, has_priority: bool) -> None:
        super().__init__()
        self._name, self._as_json, self._has_priority = name, as_json, has_priority

    def format(self, record: logging.LogRecord) -> str:
        fields: Mapping[str, Any] = getattr(record, "fields", {})
        when = dt.datetime.fromtimestamp(record.created, dt.UTC).isoformat(timespec="milliseconds")
        when = when.replace("+00:00", "Z")
        level, event = record.levelname.lower(), record.getMessage()
        if self._as_json:
            about = {"time": when, "level": level, "event": event, "flow": self._name}
            text = json.dumps({**about, "pid": record.process, **fields}, ensure_ascii=False, default=str)  # fmt: skip
        else:
            words = (f"{name}={_shown(value)}" for name, value in fields.items())
            text = " ".join([when, f"{level:7}", event, *words])
        return f"<{_PRIORITY[level]}>{text}" if self._has_priority else text


_PRIORITY = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}
"""Of the journal, see sd-daemon(3)."""


def _shown(value: Any) -> str:  # noqa: ANN401
    """A value in a line of text, quoted where it would not be told from what is beside it."""
    if isinstance(value, float):
        return f"{value:.6g}"
    text = str(value)
    plain = text and text.isprintable() and not set(text) & set(' "=')
    return text if plain else json.dumps(text, ensure_ascii=False)


class _Handler(logging.StreamHandler[TextIO]):
    """Writes to standard error; that nobody reads it any more changes nothing."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  # logging's name
        """Leave it."""


@contextlib.contextmanager
def logged(kind: str, level: str, name: str) -> Iterator[None]:
    """Let events appear on standard error while the block runs.

    Parameters
    ----------
    kind : ``json`` or ``text``
    level : the least that is shown
    name : of the pipeline, for each line of JSON
    """
    handler = _Handler(sys.stderr)
    handler.setFormatter(_Line(name, as_json=kind == "json", has_priority=_is_journal()))
    before = LOGGER.level, LOGGER.propagate
    LOGGER.setLevel(level.upper())
    LOGGER.propagate = False
    LOGGER.addHandler(handler)
    try:
        yield
    finally:
        LOGGER.removeHandler(handler)
        LOGGER.level, LOGGER.propagate = before


def _is_journal() -> bool:
    """Whether standard error is a stream to systemd's journal."""
    told = os.environ.get("JOURNAL_STREAM", "")
    with contextlib.suppress(OSError, ValueError):
        device, inode = map(int, told.split(":"))
        found = os.fstat(sys.stderr.fileno())
        return (found.st_dev, found.st_ino) == (device, inode)
    return False
