"""Addresses of HTTP with names of columns in braces: which rows go under which."""

from collections.abc import Sequence
from urllib.parse import quote

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from flowedge.sinks.template import Template
from flowedge.sinks.topics import CUT, EMPTY, MISSING

_LONGEST = 1024
"""Characters of a value."""
_PLAIN = "%/?:@!$&'()*+,;=-._~"
"""Stands for itself in an address."""


class Urls:
    """The address of each row.

    Parameters
    ----------
    text : ``https://host/path/{device}``
    names : which names in braces are columns; None: all

    Raises
    ------
    SinkError : a name is no column, or none that makes an address
    """

    def __init__(self, text: str, names: Sequence[str] | None = None) -> None:
        self.template = Template.of(text, names)

    def split(
        self, batch: pa.RecordBatch
    ) -> list[tuple[str, pa.RecordBatch, npt.NDArray[np.int64]]]:
        """The rows of each address in order of first appearance, with their places; raises SinkError."""
        if not self.template.names:
            whole = quote(self.template.text, safe=_PLAIN)
            return [(whole, batch, np.arange(batch.num_rows))]
        return [
            (quote(self.template.fill(values, part), safe=_PLAIN), rows, places)
            for values, rows, places in self.template.split(batch)
        ]


def part(value: str | None) -> str:
    """A value as one segment of a path, or as one value of a query: whoever undoes the quoting has it back as it was.

    What would be no segment, or another one, has a word of its own that begins with ``%``, and so has a value that begins so: see
    `flowedge.sinks.topics.level`. One of more than 1024 characters is cut.

    Examples
    --------
    >>> part("a/b c"), part(".."), part(""), part(None), part("%missing")
    ('a%2Fb%20c', '%25dots%2E%2E', '%25empty', '%25missing', '%2525missing')
    """
    if value is None:
        value = MISSING
    elif not value:
        value = EMPTY
    elif value in (".", ".."):
        return f"%25dots{value.replace('.', '%2E')}"
    elif value.startswith("%"):
        value = f"%25{value[1:]}"
    if len(value) > _LONGEST:
        value = value[:_LONGEST] + CUT
    return quote(value, safe="")


__all__ = ["Urls", "part"]
