"""What stages share: frames as rows, rows put in order, names that may not be replaced."""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import fields, replace

from flowedge.graph import nodes as g
from flowedge.graph.checker import Checker, Flow
from flowedge.graph.expressions import Expr, Lead, Read, parts, reads
from flowedge.graph.names import Scope, unknown_column
from flowedge.lang import tree as t
from flowedge.lang.diagnostics import Rule
from flowedge.lang.span import Span
from flowedge.types.schema import TIME, Column, Stream


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


def ordered(c: Checker, flow: Flow, span: Span) -> Flow:
    """Rows in the order of time over all keys, where a stage needs it."""
    if flow.type.in_order or flow.node < 0:
        return flow
    out = replace(flow.type, in_order=True)
    node = c.put(g.InOrder, (flow,), out, name=flow.name, label="in order", span=span)
    return replace(flow, type=out, node=node)


def with_values(type_: Stream, columns: Iterable[Column], *, whole: bool = True) -> Stream:
    """Columns added or replaced; in frames they belong to the frame unless `whole` is False."""
    columns = tuple(columns)
    out = type_.with_columns(columns)
    if out.frame is None:
        return out
    names = [c.name for c in columns]
    kept = tuple(n for n in out.frame.whole if n not in names)
    return replace(out, frame=replace(out.frame, whole=(*kept, *names) if whole else kept))


def as_irregular(type_: Stream) -> Stream:
    """The same rows without a promise of their rate, which becomes a bound."""
    return replace(type_, shape="rows") if type_.shape == "signal" else type_


def look_up(c: Checker, flow: Flow, ident: t.Ident, scope: Scope) -> Column | None:
    """The column that a name in a list of columns means; None: reported, or silent."""
    name = scope.column_name(ident)
    found = flow.type.column(name)
    if found is None and not flow.wild and name not in flow.broken:
        known = [n for n in flow.type.names() if n != "time"]
        c.report(unknown_column(ident.span, name, flow.name, known))
    return None if name in flow.broken else found


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


def has_lead(expr: Expr) -> bool:
    """Whether an expression looks at rows to come."""
    return isinstance(expr, Lead) or any(has_lead(p) for p in parts(expr))


def take_leads(c: Checker, flow: Flow, exprs: list[Expr], tree: t.Tree) -> tuple[Flow, list[Expr]]:
    """Put an `Ahead` stage before expressions that look at rows to come; they read its columns."""
    if not any(has_lead(e) for e in exprs):
        return flow, exprs
    found: dict[Lead, str] = {}

    def swap(expr: Expr) -> Expr:
        if isinstance(expr, Lead):
            return Read(found.setdefault(expr, c.hidden("lead")), expr.type)
        return rebuilt(expr, swap)

    out_exprs = [swap(e) for e in exprs]
    rate = flow.type.rate_hz if flow.type.shape == "signal" else None
    most = max(e.rows for e in found)
    wait = None if rate is None or flow.type.wait_s is None else flow.type.wait_s + most / rate
    columns = [Column(name, e.type) for e, name in found.items()]
    out = replace(
        flow.type.with_columns(columns),
        wait_s=wait,
        in_order=flow.type.in_order and not flow.type.keys,
    )
    values = tuple((name, e.value, e.rows) for e, name in found.items())
    ahead = c.stage(g.Ahead, flow, out, tree, f"lead {most} rows", values=values)
    return ahead, out_exprs


def rebuilt(expr: Expr, change: Callable[[Expr], Expr]) -> Expr:
    """An expression with each direct part changed."""
    new: dict[str, object] = {}
    for each in fields(expr):
        value = getattr(expr, each.name)
        if isinstance(value, Expr):
            new[each.name] = change(value)
        elif isinstance(value, tuple) and value and all(isinstance(v, Expr) for v in value):
            new[each.name] = tuple(change(v) for v in value)
    return replace(expr, **new) if any(new[n] is not getattr(expr, n) for n in new) else expr  # type: ignore[arg-type]


def without_hidden(type_: Stream) -> Stream:
    """A stream without the columns that only the engine sees."""
    return replace(type_, columns=tuple(x for x in type_.columns if not is_hidden(x.name)))


HIDDEN = re.compile(r"_(branch|time|(fold|lead|arg|later)\d+)")
"""Names of columns that only the engine sees."""


def is_hidden(name: str) -> bool:
    """Columns of the engine: ``_lead1``, ``_branch``."""
    return HIDDEN.fullmatch(name) is not None


def names_in(tree: t.Tree, scope: Scope) -> Iterator[str]:
    """Names that an expression may read, formals followed to what they stand for."""
    for child in t.children(tree) if not isinstance(tree, t.Name) else []:
        yield from names_in(child, scope)
    if isinstance(tree, t.Name):
        bound = scope.formals.get(tree.name)
        if bound is None:
            yield tree.name
        else:
            yield from names_in(bound.tree, bound.scope)


def whole_only(c: Checker, flow: Flow, expr: Expr, span: Span) -> bool:
    """Whether an expression on frames reads no samples; otherwise it is reported."""
    found = sorted(reads(expr) & sample_columns(flow.type))
    if not found:
        return True
    c.report(NoFramesHere.at(span, f"`{found[0]}` has a value for each sample of the frame", why="this stage sees the frame as one row",
                             fix=f"fold it first, for example `| aggregate max({found[0]}) as m`"))  # fmt: skip
    return False
