"""What is made of a frame: the aggregates behind a window or a cut."""

from collections.abc import Sequence
from dataclasses import replace

from flowedge.graph import nodes as g
from flowedge.graph.checker import Checker, Flow
from flowedge.graph.expressions import Expr, Fold, Read, is_stateful, rebuilt, walk
from flowedge.graph.names import DeclaredTwice, Scope
from flowedge.graph.place import Place
from flowedge.graph.reserved import may_name
from flowedge.graph.stages.ahead import take_leads
from flowedge.graph.stages.frames import START, sample_columns
from flowedge.graph.values import value
from flowedge.lang import tree as t
from flowedge.lang.diagnostics import Rule
from flowedge.types.schema import F64, Column, Frame, Stream

Item = tuple[t.Stage, Scope]
Folded = tuple[
    Flow,
    tuple[tuple[str, Expr], ...],
    tuple[tuple[str, Expr], ...],
    tuple[Column, ...],
    frozenset[str],
]


class AggregateWithoutWindow(Rule):
    """`aggregate` makes one row of each frame, so a window or a split comes before it.

    Wrong::

        source s (time, v: f64) from arrow("in.arrow")
        sink s | aggregate mean(v) as m to console

    Right::

        source s (time, v: f64) from arrow("in.arrow")
        sink s | window 1 s | aggregate mean(v) as m to console
    """

    code = "FE507"


class MemoryInAggregate(Rule):
    """An aggregate's result is made once per window: a function of the past goes before or behind it.

    Wrong::

        source s (time, v: f64) from arrow("in.arrow")
        sink s | window 1 s | aggregate diff(mean(v)) as d to console

    Right::

        source s (time, v: f64) from arrow("in.arrow")
        sink s | window 1 s | aggregate mean(v) as m | derive d = diff(m) to console
    """

    code = "FE221"


class NamelessAggregate(Rule):
    """A single call gets the name ``f_x``; any other expression needs ``as NAME``.

    Wrong::

        source s (time, v: f64) from arrow("in.arrow")
        sink s | window 1 s | aggregate max(v) - min(v) to console

    Right::

        source s (time, v: f64) from arrow("in.arrow")
        sink s | window 1 s | aggregate max(v) - min(v) as spread to console
    """

    code = "FE223"


def aggregate(c: Checker, flow: Flow, stage: t.Aggregate, scope: Scope) -> Flow:
    """`aggregate` on frames whose rows are kept."""
    if flow.type.shape != "frames" or flow.type.frame is None:
        if flow.wild and flow.node < 0:
            flow, _, _, columns, broken = fold(c, flow, stage.bindings, scope, stage)
            return done(flow.to(made_of(flow.type, columns, None), -1), broken)
        c.report(AggregateWithoutWindow.at(stage.span, "`aggregate` without a window", label="which rows belong together?",
                                           fix="put `| window 10 s` or a `| split …` before it"))  # fmt: skip
        flow, _, _, columns, broken = fold(c, flow, stage.bindings, scope, stage)
        return done(flow.to(made_of(flow.type, columns, None), -1), broken)
    samples = sample_columns(flow.type)
    kept = tuple(
        x
        for x in flow.type.columns
        if x.name not in samples and (x.name in ("start", "end") or not flow.type.spans)
    )
    flow, folds, results, columns, broken = fold(
        c, flow, stage.bindings, scope, stage, in_frame=True, taken=[x.name for x in kept]
    )
    carried = tuple(x for x in kept if x.name not in {y.name for y in columns})
    out = replace(flow.type, columns=(*carried, *columns), shape="rows", frame=None)
    made = c.stage(g.FrameAggregate, flow, out, stage, "aggregate", folds=folds, results=results)
    return done(made, broken)


def fold(c: Checker, flow: Flow, bindings: Sequence[t.Binding], scope: Scope, tree: t.Tree, *, in_frame: bool = False,
         taken: Sequence[str] = ("start",), length: int | None = None) -> Folded:  # fmt: skip
    """The aggregates of one stage: (flow before, folds, results, columns, broken names)."""
    folds: dict[Fold, str] = {}
    results: list[tuple[str, Expr]] = []
    columns: list[Column] = []
    broken: set[str] = set()
    seen: dict[str, t.Tree] = {}
    hoisted: list[tuple[str, Expr]] = []

    def hoist(arg: Expr) -> Expr:
        """An argument with memory is computed row by row before the window."""
        if not is_stateful(arg):
            return arg
        for name, expr in hoisted:
            if expr == arg:
                return Read(name, expr.type)
        hoisted.append((c.hidden("arg"), arg))
        return Read(hoisted[-1][0], arg.type)

    def swap(expr: Expr) -> Expr:
        if not isinstance(expr, Fold):
            return rebuilt(expr, swap)
        ready = replace(expr, args=tuple(hoist(a) for a in expr.args))
        return Read(folds.setdefault(ready, f"_fold{len(folds) + 1}"), expr.type)

    for binding in bindings:
        assert binding.expr is not None
        name = binding.name.name if binding.name is not None else natural_name(binding.expr, scope)
        span = binding.name.span if binding.name is not None else binding.expr.span
        if name is None:
            c.report(
                NamelessAggregate.at(
                    span,
                    "an aggregate without a name",
                    fix=f"write `{binding.expr.span.source} as NAME`",
                )
            )
            name = f"_nameless{len(seen)}"
        if name in seen:
            c.report(
                DeclaredTwice.at(
                    span,
                    f"two aggregates are called `{name}`",
                    others=[(seen[name].span, "first here")],
                    fix="rename one with `as`",
                )
            )
            continue
        seen[name] = binding
        here = flow
        if length is not None:
            here = replace(flow, type=replace(flow.type, frame=Frame(length, flow.type.rate_hz)))
        found = value(
            c, binding.expr, Place(here, scope, folds=True, bare=False, in_frame=in_frame)
        )
        if name in taken and name != "time":
            if may_name(c, replace(flow, type=replace(flow.type, spans=True)), name, span):
                what = f"these frames have a column `{name}` already"
                c.report(DeclaredTwice.at(span, what, fix="rename the aggregate with `as`"))
            found = None
        elif not may_name(c, replace(flow, type=replace(flow.type, spans=False)), name, span):
            found = None
        if found is None:
            broken.add(name)
            columns.append(Column(name, F64))
            continue
        if in_frame and any(
            is_stateful(a) for e in walk(found) if isinstance(e, Fold) for a in e.args
        ):
            c.not_yet(binding.expr.span, "memory inside a frame", "derive it before the window")
            broken.add(name)
            columns.append(Column(name, F64))
            continue
        result = swap(found)
        if is_stateful(result):
            c.report(MemoryInAggregate.at(binding.expr.span, "a function of the past around an aggregate", why="a window's result is made once, and remembers no other",
                                          fix="put it into `| derive …` behind the aggregate"))  # fmt: skip
            broken.add(name)
        results.append((name, result))
        columns.append(Column(name, replace(found.type, delay_s=0.0)))
    if hoisted:
        names = [name for name, _ in hoisted]
        flow, exprs = take_leads(c, flow, [e for _, e in hoisted], tree)
        out = flow.type.with_columns(Column(n, e.type) for n, e in hoisted)
        pairs = tuple(zip(names, exprs, strict=True))
        flow = c.stage(g.Derive, flow, out, tree, "derive what is folded", bindings=pairs)
    pairs = tuple((name, f) for f, name in folds.items())
    return flow, pairs, tuple(results), tuple(columns), frozenset(broken)


def natural_name(tree: t.Expr, scope: Scope) -> str | None:
    """``f_x`` for ``f(x)``, ``f`` for ``f()``; None for anything else."""
    if not isinstance(tree, t.Call):
        return None
    if not tree.arguments:
        return tree.name.name
    first = tree.arguments[0].value
    if isinstance(first, t.Name):
        return f"{tree.name.name}_{scope.column_name(t.Ident(name=first.name))}"
    return None


def made_of(type_: Stream, columns: Sequence[Column], rate_hz: float | None) -> Stream:
    """The rows that a window makes: they stand for (start, time]."""
    return replace(
        type_, columns=(START, *columns), shape="rows", rate_hz=rate_hz, frame=None, spans=True
    )


def done(flow: Flow, broken: frozenset[str]) -> Flow:
    """Behind an aggregate: columns that could not be checked are known as such, all others count."""
    return replace(flow, wild=False, broken=broken, rate_at=None)
