"""Topics of MQTT and subjects of NATS with names of columns in braces: which rows go under which."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

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
_UNSAFE_TOKEN = re.compile(r"[.*>%\s\x00-\x1f\x7f-\x9f]|^\$")
_LONGEST_SUBJECT = 2048
_LONGEST_TOKEN = 256
_BRACES = re.compile(r"\{[^{}]*\}")


@dataclass(frozen=True, slots=True)
class Naming:
    """How a kind of broker calls where messages go.

    Attributes
    ----------
    what, example : for messages
    wrong : what a name may not have, beside its columns
    wildcards : of listeners, for messages
    longest : bytes of a name
    part : makes a value a part of it
    """

    what: str
    example: str
    wrong: re.Pattern[str]
    wildcards: str
    longest: int
    part: Callable[[str | None], str]


class Topics:
    """The topic of each row.

    Parameters
    ----------
    text : levels, with names of columns in braces: ``alarms/{device}/{kind}``
    names : which of them are columns; None: all
    naming : `MQTT` or `NATS`

    Raises
    ------
    SinkError : it is no topic
    """

    def __init__(
        self, text: str, names: Sequence[str] | None = None, naming: Naming | None = None
    ) -> None:
        self.template = Template.of(text, names)
        self._naming = naming = naming or MQTT
        if not text:
            raise SinkError(f'there is no {naming.what}; write `"{naming.example}"`')
        if naming.wrong.search(_BRACES.sub("x", text)):
            raise SinkError(
                f"`{text}` is no {naming.what}: rows are not sent to {naming.wildcards}"
            )
        if len(text.encode()) > naming.longest:
            raise SinkError(f"the {naming.what} is longer than {naming.longest:,} bytes")

    @property
    def pattern(self) -> str:
        """What matches all subjects of NATS that rows may go to."""
        return ".".join(
            "*" if _BRACES.search(token) else token for token in self.template.text.split(".")
        )

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
        naming = self._naming
        topic = self.template.fill(values, naming.part)
        if len(topic.encode()) > naming.longest:
            raise SinkError(f"the {naming.what} of a row is longer than {naming.longest:,} bytes")
        return topic


def level(value: str | None) -> str:
    """A value as a part of one level: what means something in a topic is written ``%2F``.

    That are ``/``, ``+``, ``#``, ``%``, control characters, those that are none, and ``$`` in front; see `MISSING`, `EMPTY` and `CUT`.

    Examples
    --------
    >>> level("a/b+1"), level("$SYS"), level(""), level(None)
    ('a%2Fb%2B1', '%24SYS', '%empty', '%missing')
    """
    return _part(value, _UNSAFE, _LONGEST_LEVEL)


def token(value: str | None) -> str:
    """A value as a part of one token of a subject of NATS, in the same way.

    What means something there are ``.``, ``*``, ``>``, ``%``, white space, control characters, and ``$`` in front.

    Examples
    --------
    >>> token("a.b>1"), token("$SYS"), token(""), token(None)
    ('a%2Eb%3E1', '%24SYS', '%empty', '%missing')
    """
    return _part(value, _UNSAFE_TOKEN, _LONGEST_TOKEN)


def _part(value: str | None, unsafe: re.Pattern[str], longest: int) -> str:
    if value is None:
        return MISSING
    if not value:
        return EMPTY
    cut = ""
    if len(value) > longest:
        value, cut = value[:longest], CUT
    return unsafe.sub(lambda m: "".join(f"%{b:02X}" for b in m[0].encode()), value) + cut


MQTT = Naming(
    "topic", "mqtt://host/alarms/{device}", re.compile(r"[+#\0]"), "`+` or `#`", LONGEST, level
)
NATS = Naming(
    "subject", "nats://host/alarms.{device}", re.compile(r"[*>\s\x00-\x1f]|^\.|\.\.|\.$"),
    "`*`, `>`, or a token that is empty or has white space", _LONGEST_SUBJECT, token,
)  # fmt: skip

__all__ = [
    "CUT",
    "EMPTY",
    "LONGEST",
    "MISSING",
    "MQTT",
    "NATS",
    "Naming",
    "Topics",
    "level",
    "token",
]
