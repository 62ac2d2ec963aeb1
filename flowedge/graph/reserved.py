"""Names that no stage may give: the event time, `start`, keys, and columns of the engine's own."""

import re
from dataclasses import replace

from flowedge.graph.checker import Checker, Flow
from flowedge.lang.diagnostics import Rule
from flowedge.lang.span import Span
from flowedge.types.schema import Stream


class ReservedColumn(Rule):
    """`derive` may replace a column, but not the event time, ``start``, or a key.

    Wrong::

        source s (time, device: key, v: f64) from arrow("in.arrow")
        sink s | derive device = "a" to console

    Right::

        source s (time, device: key, v: f64) from arrow("in.arrow")
        sink s | derive name = "a" to console
    """

    code = "FE222"


def may_name(c: Checker, flow: Flow, name: str, span: Span) -> bool:
    """Whether a stage may make a column of this name."""
    kind = ""
    if name == "time":
        kind = "the event time"
    elif name == "start" and flow.type.spans:
        kind = "the start of what a row stands for"
    elif any(key.name == name for key in flow.type.keys):
        kind = "a key"
    elif is_hidden(name):
        kind = "a name of the engine's own"
    if not kind:
        return True
    c.report(ReservedColumn.at(span, f"`{name}` is {kind} and cannot be replaced", why="the order and the grouping of rows rest on it",
                               fix="choose another name" + (", or use `| key`" if kind == "a key" else "")))  # fmt: skip
    return False


def without_hidden(type_: Stream) -> Stream:
    """A stream without the columns that only the engine sees."""
    out = replace(type_, columns=tuple(x for x in type_.columns if not is_hidden(x.name)))
    if out.frame is None:
        return out
    whole = tuple(n for n in out.frame.whole if not is_hidden(n))
    return replace(out, frame=replace(out.frame, whole=whole))


HIDDEN = re.compile(r"_(branch|time|nth|(fold|lead|arg|later)\d+)")
"""Names of columns that only the engine sees."""


def is_hidden(name: str) -> bool:
    """Columns of the engine: ``_lead1``, ``_branch``."""
    return HIDDEN.fullmatch(name) is not None
