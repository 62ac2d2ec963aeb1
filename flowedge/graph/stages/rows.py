"""Stages that look at one row: where, derive, select, key, filter."""

from collections.abc import Sequence
from dataclasses import replace

from flowedge.graph import nodes as g
from flowedge.graph import quantities as q
from flowedge.graph.calls.functions import apply
from flowedge.graph.calls.known import PLANNED_FILTERS, functions
from flowedge.graph.checker import Checker, Flow
from flowedge.graph.expressions import Expr, Fold, Previous, Read, is_stateful, reads, walk
from flowedge.graph.names import DeclaredTwice, Scope, UnknownCall, names_in, unknown_column
from flowedge.graph.place import Place
from flowedge.graph.quantities import WrongType
from flowedge.graph.reserved import may_name, without_hidden
from flowedge.graph.stages.ahead import has_lead, take_leads
from flowedge.graph.stages.frames import as_rows, sample_columns, whole_only, with_values
from flowedge.graph.stages.order import as_irregular, ordered
from flowedge.graph.values import condition, value
from flowedge.lang import tree as t
from flowedge.lang.diagnostics import Rule, did_you_mean
from flowedge.types.schema import Column, Stream, Type


class FloatKey(Rule):
    """A float is no key: two values that look equal may differ in the last bit.

    Wrong::

        source s (time, speed: f64, v: f64) from arrow("in.arrow")
        sink s | key speed to console

    Right::

        source s (time, gear: i32, v: f64) from arrow("in.arrow")
        sink s | key gear to console
    """

    code = "FE506"


class KeysMixedPerKey(Rule):
    """With ``late … per key`` each key has its own watermark, so keys cannot be mixed behind it.

    Wrong::

        source s (time, device: key, v: f64) from arrow("in.arrow") late 2 s per key
        sink s | key none | window 1 s | aggregate mean(v) as m to console

    Right::

        source s (time, device: key, v: f64) from arrow("in.arrow") late 2 s
        sink s | key none | window 1 s | aggregate mean(v) as m to console
    """

    code = "FE413"


def where(c: Checker, flow: Flow, stage: t.Where, scope: Scope) -> Flow:
    """Keep the rows for which a condition holds."""
    found = condition(c, stage.condition, Place(flow, scope))
    if found is None or not whole_only(c, flow, found, stage.condition.span):
        return flow.to(flow.type)
    flow, (found,) = take_leads(c, flow, [found], stage)
    keys = {k.name for k in flow.type.keys}
    out = flow.type if reads(found) <= keys and not is_stateful(found) else as_irregular(flow.type)
    return c.stage(g.Where, flow, without_hidden(out), stage, "where", condition=found)


def derive(c: Checker, flow: Flow, stage: t.Derive, scope: Scope) -> Flow:
    """Add or replace columns, from left to right."""
    todo: list[tuple[str, Expr]] = []
    samples: bool | None = None
    first, start = flow, flow

    def flush() -> None:
        nonlocal start, todo
        if todo:
            kind = g.FrameDerive if samples else g.Derive
            names = ", ".join(n for n, _ in todo)
            start = c.stage(
                kind,
                start,
                without_hidden(flow.type),
                stage,
                f"derive {names}",
                bindings=tuple(todo),
            )
            todo = []

    types = {scope.column_name(b.name): None for b in stage.bindings if b.name is not None}
    defining: dict[str, Type | None] = {
        n: first_type.type if (first_type := first.type.column(n)) else None for n in types
    }
    for binding in stage.bindings:
        assert binding.name is not None
        assert binding.expr is not None
        name = scope.column_name(binding.name)
        on_samples = bool(set(names_in(binding.expr, scope)) & sample_columns(flow.type))
        place = Place(flow, scope, defining=defining, folds=on_samples, in_frame=on_samples)
        found = value(c, binding.expr, place)
        if not may_name(c, flow, name, binding.name.span) or found is None:
            flow = flow.breaks(name)
            continue
        if on_samples and (
            is_stateful(found)
            or any(isinstance(e, Fold) and any(is_stateful(a) for a in e.args) for e in walk(found))
        ):
            c.not_yet(binding.expr.span, "memory inside a frame", "derive it before the window")
            flow = flow.breaks(name)
            continue
        _same_as_before(c, found, name, binding)
        if samples is not None and samples != on_samples:
            flush()
        samples = on_samples
        if has_lead(found):
            flush()
            start, (found,) = take_leads(c, start, [found], stage)
        todo.append((name, found))
        flow = replace(flow, type=with_values(flow.type, [Column(name, found.type)], whole=not on_samples),
                       broken=flow.broken - {name})  # fmt: skip
        if start.type.wait_s != flow.type.wait_s or start.type.in_order != flow.type.in_order:
            flow = replace(
                flow,
                type=replace(flow.type, wait_s=start.type.wait_s, in_order=start.type.in_order),
            )
    flush()
    return replace(flow.to(without_hidden(flow.type)), node=start.node)


def _same_as_before(c: Checker, found: Expr, name: str, binding: t.Binding) -> None:
    """What a column was and what it becomes have one unit."""
    assert binding.expr is not None
    for e in walk(found):
        if isinstance(e, Previous) and e.name == name and not q.is_free(e):
            u, v = e.type.unit, found.type.unit
            same = u == v or (
                u is not None and v is not None and u.same_dimension(v) and u.factor == v.factor
            )
            alike = e.type.is_number == found.type.is_number and e.type.shape == found.type.shape
            if not same or not alike:
                c.report(q.UnitsDiffer.at(binding.expr.span, f"`{name}` was {e.type} and becomes {found.type}",
                                          why="`prev` gives what it was after the row before", fix="give `prev` a first value in the unit of the result" if e.type.shape == found.type.shape else
                                          "give `prev` a first value of that many elements, for example `0 * x` of a list `x`"))  # fmt: skip
                return


def select(c: Checker, flow: Flow, stage: t.Select, scope: Scope) -> Flow:
    """Exactly these columns, all from the row before."""
    bindings: list[tuple[str, Expr]] = []
    broken: set[str] = set()
    always = {"time", *(k.name for k in flow.type.keys)}
    seen: dict[str, t.Ident] = {}
    if flow.type.spans and flow.type.column("start") is not None:
        start = flow.type.column("start")
        assert start is not None
        bindings.append(("start", Read("start", start.type)))
        always.add("start")
    for binding in stage.bindings:
        assert binding.name is not None
        name = scope.column_name(binding.name)
        if name in seen:
            c.report(
                DeclaredTwice.at(
                    binding.name.span,
                    f"column `{name}` is selected twice",
                    others=[(seen[name].span, "first here")],
                    fix="rename one",
                )
            )
            continue
        seen[name] = binding.name
        if binding.expr is None:
            if name in always:
                continue
            column = look_up(c, flow, binding.name, scope)
            if column is None:
                broken.add(name)
            else:
                bindings.append((name, Read(name, column.type)))
            continue
        found = value(c, binding.expr, Place(flow, scope))
        if (
            not may_name(c, flow, name, binding.name.span)
            or found is None
            or not whole_only(c, flow, found, binding.expr.span)
        ):
            broken.add(name)
            continue
        bindings.append((name, found))
    flow, exprs = take_leads(c, flow, [e for _, e in bindings], stage)
    bindings = [(n, e) for (n, _), e in zip(bindings, exprs, strict=True)]
    columns = tuple(Column(n, e.type) for n, e in bindings)
    out = replace(flow.type, columns=columns)
    if out.frame is not None:
        samples = sample_columns(flow.type)
        whole = tuple(n for n, e in bindings if not (isinstance(e, Read) and e.name in samples))
        out = replace(out, frame=replace(out.frame, whole=whole))
        if len(whole) == len(columns):
            out = replace(out, shape="rows", frame=None, rate_hz=None)
    selected = c.stage(g.Select, flow, out, stage, "select", bindings=tuple(bindings))
    return replace(selected, wild=False, broken=frozenset(broken))


def rekey(c: Checker, flow: Flow, stage: t.Rekey, scope: Scope) -> Flow:
    """Give the rows to other keys."""
    flow = as_rows(flow)
    names = (
        []
        if len(stage.names) == 1
        and stage.names[0].name == "none"
        and flow.type.column("none") is None
        else list(stage.names)
    )
    keys: list[Column] = []
    for ident in names:
        column = look_up(c, flow, ident, scope)
        if column is None:
            continue
        if column.type.is_float or column.type.shape:
            kind = "a float" if column.type.is_float else "a list"
            c.report(FloatKey.at(ident.span, f"`{column.name}` is {kind} and no key", why="equal keys must be equal to the last bit",
                                 fix="round it to a whole number, or take a text"))  # fmt: skip
            continue
        if column.name in (x.name for x in keys):
            c.report(
                DeclaredTwice.at(
                    ident.span, f"key `{column.name}` is given twice", fix="leave one away"
                )
            )
            continue
        keys.append(Column(column.name, replace(column.type, labels=None, delay_s=0.0)))
    if len(keys) != len(names):
        return replace(flow.to(flow.type, -1), wild=True)
    old, new = {x.name for x in flow.type.keys}, {x.name for x in keys}
    if flow.per_key is not None and not old <= new:
        c.report(KeysMixedPerKey.at(stage.span, "keys are mixed behind `late … per key`", others=[(flow.per_key, "each key has its own watermark")],
                                    why="no time is known before which all keys are done", fix="write `late D` without `per key`"))  # fmt: skip
    if not old <= new:
        flow = ordered(c, flow, stage.span)
    values = [x for x in (*flow.type.keys, *flow.type.columns) if x.name not in new]
    out = replace(flow.type, keys=tuple(keys), columns=tuple(values))
    if not old <= new:
        out = as_irregular(out)
    label = "key " + (", ".join(x.name for x in keys) or "none")
    return c.stage(g.Rekey, flow, out, stage, label, keys=tuple(x.name for x in keys))


def filter_(c: Checker, flow: Flow, stage: t.Filter, scope: Scope) -> Flow:
    """A filter written over columns: all floats where none are named."""
    name = stage.op.name.name
    columns = chosen(c, flow, stage.on, scope, stage)
    if name not in functions():
        if name in PLANNED_FILTERS:
            c.not_yet(stage.op.name.span, f"filter `{name}`")
        else:
            known = [n for n, cls in functions().items() if str(cls.kind) == "filter"]
            c.report(
                UnknownCall.at(
                    stage.op.name.span,
                    f"unknown filter `{name}`",
                    fix=did_you_mean(name, [*known, *PLANNED_FILTERS]),
                )
            )
        return flow.to(flow.type)
    if flow.type.shape == "frames":
        c.not_yet(stage.span, "a filter inside a frame", "filter before the window")
        return flow.to(flow.type)
    place = Place(flow, scope)
    bindings: list[tuple[str, Expr]] = []
    for column in columns:
        read = Read(column.name, column.type)
        found = apply(c, functions()[name], stage.op, [read], [stage.op], stage.op.arguments, place)
        if found is None:
            flow = flow.breaks(*(x.name for x in columns))
            break
        bindings.append((column.name, q.settle(found)))
    if len(bindings) != len(columns) or not bindings:
        return flow.to(flow.type)
    out = flow.type.with_columns(Column(n, e.type) for n, e in bindings)
    return c.stage(g.Derive, flow, out, stage, f"filter {name}", bindings=tuple(bindings))


def look_up(c: Checker, flow: Flow, ident: t.Ident, scope: Scope) -> Column | None:
    """The column that a name in a list of columns means; None: reported, or silent."""
    name = scope.column_name(ident)
    found = flow.type.column(name)
    if found is None and not flow.wild and name not in flow.broken:
        known = [n for n in flow.type.names() if n != "time"]
        c.report(unknown_column(ident.span, name, flow.name, known))
    return None if name in flow.broken else found


def chosen(
    c: Checker, flow: Flow, on: Sequence[t.Ident] | None, scope: Scope, stage: t.Tree
) -> list[Column]:
    """The columns that a stage works on: those named, or all floats."""
    if on is None:
        columns = [x for x in flow.type.columns if x.type.is_float]
        if not columns and not flow.wild and not flow.broken:
            c.report(
                WrongType.at(
                    stage.span,
                    f"`{flow.name}` has no column of floats to work on",
                    fix="name columns with `on`",
                )
            )
        return columns
    out = []
    for ident in on:
        column = look_up(c, flow, ident, scope)
        if column is None:
            continue
        if not column.type.is_number:
            c.report(
                WrongType.at(
                    ident.span,
                    f"a number is wanted, `{column.name}` is {column.type}",
                    fix="name columns of numbers",
                )
            )
            continue
        out.append(column)
    return out


def only(type_: Stream, names: Sequence[str]) -> Stream:
    """A stream with these columns only."""
    return replace(type_, columns=tuple(x for x in type_.columns if x.name in names))
