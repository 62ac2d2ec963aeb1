"""Frames: which columns have a value for each sample, and frames seen as rows."""

from collections.abc import Iterable
from dataclasses import replace

from flowedge.graph.checker import Checker, Flow
from flowedge.graph.expressions import Expr, reads
from flowedge.lang.diagnostics import Rule
from flowedge.lang.span import Span
from flowedge.types.schema import TIME, Column, Stream


class NoFramesHere(Rule):
    """A condition or a stage looks at rows; a frame holds many samples.

    Wrong::

        source s (time, v: f64) at 100 Hz from arrow("in.arrow")
        sink s | window 10 samples | derive w = v | where v > 3 | aggregate max(w) as m to console

    Right::

        source s (time, v: f64) at 100 Hz from arrow("in.arrow")
        sink s | window 10 samples | derive w = v | aggregate max(w) as m | where m > 3 to console
    """

    code = "FE509"


START = Column("start", TIME)


def sample_columns(type_: Stream) -> frozenset[str]:
    """Columns of a frame that have a value for each sample."""
    if type_.shape != "frames" or type_.frame is None:
        return frozenset()
    return frozenset(c.name for c in type_.columns) - frozenset(type_.frame.whole)


def as_rows(flow: Flow) -> Flow:
    """A stream of frames as rows with lists in them."""
    if flow.type.shape != "frames":
        return flow
    return replace(
        flow,
        type=replace(flow.type, columns=flow.type.stored(), shape="rows", frame=None, rate_hz=None),
    )


LONGEST = 64
"""So many numbers of a list are remembered one by one."""


def has_long_lists(c: Checker, flow: Flow, span: Span, stage: str) -> bool:
    """Whether a stage that remembers rows would have to remember long lists; it is reported."""
    for column in flow.type.columns:
        if column.type.size > LONGEST:
            c.not_yet(
                span,
                f"`{stage}` that keeps `{column.name}`, a list of {column.type.size} values,",
                "`select` the columns that are wanted before",
            )
            return True
    return False


def with_values(type_: Stream, columns: Iterable[Column], *, whole: bool = True) -> Stream:
    """Columns added or replaced; in frames they belong to the frame unless `whole` is False."""
    columns = tuple(columns)
    out = type_.with_columns(columns)
    if out.frame is None:
        return out
    names = [c.name for c in columns]
    kept = tuple(n for n in out.frame.whole if n not in names)
    return replace(out, frame=replace(out.frame, whole=(*kept, *names) if whole else kept))


def whole_only(c: Checker, flow: Flow, expr: Expr, span: Span) -> bool:
    """Whether an expression on frames reads no samples; otherwise it is reported."""
    found = sorted(reads(expr) & sample_columns(flow.type))
    if not found:
        return True
    c.report(NoFramesHere.at(span, f"`{found[0]}` has a value for each sample of the frame", why="this stage sees the frame as one row",
                             fix=f"fold it first, for example `| aggregate max({found[0]}) as m`"))  # fmt: skip
    return False
