"""Topics with names of columns in braces: which rows go under which topic."""

import re
from collections.abc import Sequence

import pyarrow as pa

from flowedge.lang.errors import SinkError
from flowedge.sinks.template import Template

LONGEST = 65_535
"""Bytes of a topic."""
_LONGEST_LEVEL = 1024
"""Characters of a value in it."""
MISSING, EMPTY, CUT = "%missing", "%empty", "%cut"
"""Stand for a missing value, for an empty text, and at the end of one that is too long; no value has a bare ``%``."""
_UNSAFE = re.compile(
    r"[/+#%\x00-\x1f\x7f-\x9f\ufdd0-\ufdef]|[\ufffe\uffff]|[\U0001fffe\U0001ffff]|^\$"
)
_BRACES = re.compile(r"\{[^{}]*\}")


class Topics:
    """The topic of each row.

    Parameters
    ----------
    text : levels, with names of columns in braces: ``alarms/{device}/{kind}``
    names : which of them are columns; None: all

    Raises
    ------
    SinkError : it is no topic
    """

    def __init__(self, text: str, names: Sequence[str] | None = None) -> None:
        self.template = Template.of(text, names)
        bare = _BRACES.sub("x", text)
        if not text:
            raise SinkError('there is no topic; write `"mqtt://host/alarms/{device}"`')
        if any(c in bare for c in "+#\0"):
            raise SinkError(f"`{text}` is no topic: rows are not sent to `+` or `#`")
        if len(text.encode()) > LONGEST:
            raise SinkError(f"the topic is longer than {LONGEST:,} bytes")

    def split(self, batch: pa.RecordBatch) -> list[tuple[str, pa.RecordBatch, Sequence[int]]]:
        """The rows of each topic in order of first appearance, with their places; raises SinkError."""
        self.template.check(batch.schema)
        if not self.template.names:
            return [(self.template.text, batch, range(batch.num_rows))]
        return [
            (self._filled(values), rows, places.tolist())
            for values, rows, places in self.template.split(batch)
        ]

    def _filled(self, values: Sequence[str | None]) -> str:
        topic = self.template.fill(values, level)
        if len(topic.encode()) > LONGEST:
            raise SinkError(f"the topic of a row is longer than {LONGEST:,} bytes")
        return topic


def level(value: str | None) -> str:
    """A value as a part of one level: what means something in a topic is written ``%2F``.

    That are ``/``, ``+``, ``#``, ``%``, control characters, those that are none, and ``$`` in front; see `MISSING`, `EMPTY` and `CUT`.

    Examples
    --------
    >>> level("a/b+1"), level("$SYS"), level(""), level(None)
    ('a%2Fb%2B1', '%24SYS', '%empty', '%missing')
    """
    if value is None:
        return MISSING
    if not value:
        return EMPTY
    cut = ""
    if len(value) > _LONGEST_LEVEL:
        value, cut = value[:_LONGEST_LEVEL], CUT
    return _UNSAFE.sub(lambda m: "".join(f"%{b:02X}" for b in m[0].encode()), value) + cut


__all__ = ["CUT", "EMPTY", "LONGEST", "MISSING", "Topics", "level"]
