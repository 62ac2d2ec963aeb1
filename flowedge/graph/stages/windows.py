"""Frames and what is made of them: window, aggregate, split gap, split on, split while."""

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any

from flowedge.graph import constants as k
from flowedge.graph import nodes as g
from flowedge.graph.checker import Checker, Flow
from flowedge.graph.expressions import Expr, Fold, Read, is_stateful, rebuilt, walk
from flowedge.graph.names import DeclaredTwice, Scope
from flowedge.graph.place import Place
from flowedge.graph.reserved import may_name
from flowedge.graph.stages.ahead import take_leads
from flowedge.graph.stages.frames import START, as_rows, sample_columns
from flowedge.graph.stages.kept import frames_of, is_folded_in_the_end
from flowedge.graph.stages.local import fits_a_day
from flowedge.graph.stages.model_inputs import TimeWindowForModel
from flowedge.graph.stages.order import ordered
from flowedge.graph.values import condition, value
from flowedge.lang import tree as t
from flowedge.lang.diagnostics import Rule
from flowedge.types import units
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


class UnboundedFrame(Rule):
    """A frame that keeps its rows needs a bound on its length, or memory has none.

    Wrong::

        source s (time, v: f64) from arrow("in.arrow")
        sink s | split gap 5 s to console

    Right::

        source s (time, v: f64) from arrow("in.arrow")
        sink s | split gap 5 s | aggregate count() as n to console
    """

    code = "FE502"


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


def window(
    c: Checker, flow: Flow, stage: t.Window, scope: Scope, after: Sequence[Item]
) -> tuple[Flow, int]:
    """`window` with the aggregate behind it; gives also how many of `after` it took in."""
    flow = as_rows(flow)
    place = Place(flow, scope)
    size = k.extent(c, stage.size, place, "a window")
    hop = size if stage.every is None else k.extent(c, stage.every, place, "a hop")
    zone = None if stage.zone is None else k.zone(c, stage.zone, place)
    following = after[0][0] if after else None
    if size is None or hop is None or (zone is None and stage.zone is not None):
        return _after_broken(c, flow, after)
    if (size.samples is None) != (hop.samples is None) and stage.every is not None:
        c.report(
            k.ValueOutOfRange.at(
                stage.every.span,
                "a window by time that moves by samples, or the other way round",
                fix="give both as durations, or both as samples",
            )
        )
        return _after_broken(c, flow, after)
    if size.samples is not None and hop.samples is not None:
        if zone is not None and stage.zone is not None:
            c.report(
                k.ValueOutOfRange.at(
                    stage.zone.span,
                    "a time zone for a window of samples",
                    why="samples know no calendar",
                    fix="leave it away",
                )
            )
        return _by_count(c, flow, stage, (size.samples, hop.samples), after)
    if stage.zone is not None:
        hop_tree, what = (stage.size, "a window") if stage.every is None else (stage.every, "a hop")
        if not fits_a_day(c, _exactly(c, hop_tree, place), hop_tree, stage.zone, what):
            return _after_broken(c, flow, after)
    rate = flow.type.rate_hz if flow.type.shape == "signal" else None
    for seconds, tree, what in (
        (size.seconds, stage.size, "a window"),
        (hop.seconds, stage.every, "a hop"),
    ):
        if rate and seconds is not None and tree is not None and seconds * rate < 1 - 1e-9:
            k.shorter_than_a_sample(c, tree.span, what, seconds, place, rate)
            return _after_broken(c, flow, after)
    size_ns, hop_ns = (
        k.ns(_exactly(c, tree, place)) for tree in (stage.size, stage.every or stage.size)
    )
    label = f"window {_short(size_ns)}"
    label += f" every {_short(hop_ns)}" if hop_ns != size_ns else ""
    label += "" if zone is None else f" in {zone}"
    if isinstance(following, t.Aggregate):
        flow, folds, results, columns, broken = fold(
            c, flow, following.bindings, after[0][1], following
        )
        flow = ordered(c, flow, stage.span)  # a `lead` in an aggregate waits for rows of its key
        out = made_of(flow.type, columns, 1e9 / hop_ns)
        made = c.stage(
            g.TimeWindow,
            flow,
            out,
            stage,
            label,
            size_ns=size_ns,
            hop_ns=hop_ns,
            zone=None if zone == "UTC" else zone,
            folds=folds,
            results=results,
        )
        return _done(made, broken), 1
    if is_folded_in_the_end(after):
        flow = ordered(c, flow, stage.span)
        return c.stage(
            g.TimeWindow, flow, frames_of(flow.type, 1e9 / hop_ns), stage, label,
            size_ns=size_ns, hop_ns=hop_ns, zone=None if zone == "UTC" else zone, folds=(), results=(),
        ), 0  # fmt: skip
    kept = f"`window {stage.size.span.source}`"
    if isinstance(following, t.ClassifyModel):
        hint = (
            f" ({round(size.seconds * rate)} samples at {rate:g} Hz)"
            if rate and size.seconds
            else ""
        )
        c.report(TimeWindowForModel.at(stage.size.span, "a time window in front of a model", label="a varying number of samples",
                                       others=[(following.model.span, "takes frames of one length")], why="a gap or a lost row would change the length",
                                       fix=f"write `window N samples`{hint}, or `split at`"))  # fmt: skip
        return replace(flow.to(flow.type, -1), wild=True), 0
    c.not_yet(
        stage.span,
        f"{kept} whose rows are kept",
        "put `| aggregate …` behind it, or take `window N samples`",
    )
    return replace(flow.to(flow.type, -1), wild=True), _skip(after)


def _exactly(c: Checker, tree: t.Value, place: Place) -> Fraction:
    found = k.exact(c, tree, place, "a length")
    assert found is not None
    return units.convert(found.value, found.unit or units.SECOND, units.SECOND)


def _short(ns: int) -> str:
    for unit, size in (
        ("d", 86400 * 10**9),
        ("h", 3600 * 10**9),
        ("min", 60 * 10**9),
        ("s", 10**9),
        ("ms", 10**6),
        ("us", 10**3),
    ):
        if ns % size == 0 or (ns > size and ns * 1000 % size == 0):
            return f"{ns / size:g} {unit}"
    return f"{ns} ns"


def _skip(after: Sequence[Item]) -> int:
    """Where frames could not be made, the aggregate right behind is taken in too."""
    return 1 if after and isinstance(after[0][0], t.Aggregate) else 0


def _after_broken(c: Checker, flow: Flow, after: Sequence[Item]) -> tuple[Flow, int]:
    """Check the aggregate all the same, then go on with what it would give."""
    if after and isinstance(after[0][0], t.Aggregate):
        flow, _, _, columns, broken = fold(c, flow, after[0][0].bindings, after[0][1], after[0][0])
        return _done(flow.to(made_of(flow.type, columns, None), -1), broken), 1
    return replace(flow.to(flow.type, -1), wild=True), 0


def _done(flow: Flow, broken: frozenset[str]) -> Flow:
    return replace(flow, wild=False, broken=broken, rate_at=None)


def _by_count(
    c: Checker, flow: Flow, stage: t.Window, lengths: tuple[int, int], after: Sequence[Item]
) -> tuple[Flow, int]:
    size, hop = lengths
    type_ = flow.type
    rate = type_.rate_hz if type_.shape == "signal" else None
    label = f"window {size} samples" + (f" every {hop} samples" if hop != size else "")
    if after and isinstance(after[0][0], t.Aggregate):
        following = after[0][0]
        flow, folds, results, columns, broken = fold(
            c, flow, following.bindings, after[0][1], following, length=size
        )
        out = made_of(flow.type, columns, rate / hop if rate else None)
        made = c.stage(
            g.CountWindow, flow, out, stage, label, size=size, hop=hop, folds=folds, results=results
        )
        return _done(made, broken), 1
    samples = tuple(x for x in type_.columns if x.name != "start")
    frame = Frame(size, rate, whole=("start",))
    out = replace(
        type_,
        columns=(START, *samples),
        shape="frames",
        frame=frame,
        spans=True,
        rate_hz=rate / hop if rate else None,
    )
    made = c.stage(
        g.CountFrames,
        flow,
        out,
        stage,
        label,
        size=size,
        hop=hop,
        columns=tuple(x.name for x in samples),
    )
    return made, 0


def made_of(type_: Stream, columns: Sequence[Column], rate_hz: float | None) -> Stream:
    """The rows that a window makes: they stand for (start, time]."""
    return replace(
        type_, columns=(START, *columns), shape="rows", rate_hz=rate_hz, frame=None, spans=True
    )


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


def aggregate(c: Checker, flow: Flow, stage: t.Aggregate, scope: Scope) -> Flow:
    """`aggregate` on frames whose rows are kept."""
    if flow.type.shape != "frames" or flow.type.frame is None:
        if flow.wild and flow.node < 0:
            flow, _, _, columns, broken = fold(c, flow, stage.bindings, scope, stage)
            return _done(flow.to(made_of(flow.type, columns, None), -1), broken)
        c.report(AggregateWithoutWindow.at(stage.span, "`aggregate` without a window", label="which rows belong together?",
                                           fix="put `| window 10 s` or a `| split …` before it"))  # fmt: skip
        flow, _, _, columns, broken = fold(c, flow, stage.bindings, scope, stage)
        return _done(flow.to(made_of(flow.type, columns, None), -1), broken)
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
    return _done(made, broken)


def _clocked(c: Checker, flow: Flow, stage: t.SplitGap | t.SplitOn | t.SplitWhile) -> Flow:
    """The rows in order, where time ends a piece: those of one key tell the time to all others."""
    if isinstance(stage, t.SplitGap) or stage.up_to is not None:
        return ordered(c, flow, stage.span)
    return flow


def cut(
    c: Checker,
    flow: Flow,
    stage: t.SplitGap | t.SplitOn | t.SplitWhile,
    scope: Scope,
    after: Sequence[Item],
) -> tuple[Flow, int]:
    """`split gap`, `split on`, `split while`, with the aggregate behind them."""
    flow = as_rows(flow)
    place = Place(flow, scope)
    gap: Fraction | None = None
    test: Expr | None = None
    up_to: Fraction | None = None
    good = True
    if isinstance(stage, t.SplitGap):
        gap = k.duration(c, stage.gap, place, "a gap", positive=True)
        good = gap is not None
        how = "gap"
    else:
        how = "on" if isinstance(stage, t.SplitOn) else "while"
        test = (
            value(c, stage.condition, place)
            if how == "on"
            else condition(c, stage.condition, place)
        )
        good = test is not None
    if stage.up_to is not None:
        up_to = k.duration(c, stage.up_to, place, "a bound", positive=True)
        good = good and up_to is not None
    following = after[0][0] if after else None
    keeps = is_folded_in_the_end(after)
    if (keeps and up_to is None) or not (keeps or isinstance(following, t.Aggregate)):
        if up_to is None:
            c.report(UnboundedFrame.at(stage.span, "a frame without a bound whose rows are kept", label="may grow for ever",
                                       why="memory is known before the run", fix="put `| aggregate …` behind it, or a bound: `up to 10 min`"))  # fmt: skip
        else:
            c.not_yet(
                stage.span, f"`split {how}` whose rows are kept", "put `| aggregate …` behind it"
            )
        return replace(flow.to(flow.type, -1), wild=True), 0
    if test is not None:
        name = c.hidden("arg")
        if is_stateful(test):
            flow, (test,) = take_leads(c, flow, [test], stage)
            flow = c.stage(
                g.Derive,
                flow,
                flow.type.with_columns([Column(name, test.type)]),
                stage,
                "derive where to cut",
                bindings=((name, test),),
            )
            test = Read(name, test.type)
    in_order = not flow.type.keys and flow.type.in_order
    folds: tuple[tuple[str, Expr], ...] = ()
    results, broken = folds, frozenset[str]()
    if isinstance(following, t.Aggregate):
        flow, folds, results, columns, broken = fold(
            c, flow, following.bindings, after[0][1], following
        )
        flow = _clocked(c, flow, stage)
        out = replace(made_of(flow.type, columns, None), in_order=in_order)
        if not good:
            return _done(flow.to(out, -1), broken), 1
    else:
        flow = _clocked(c, flow, stage)
        out = replace(frames_of(flow.type, None), in_order=in_order)
        if not good:
            return flow.to(out, -1), 0
    gap_ns = None if gap is None else k.ns(gap)
    rest: dict[str, Any] = {
        "how": how,
        "gap_ns": gap_ns,
        "condition": test,
        "up_to_ns": None if up_to is None else k.ns(up_to),
    }
    made = c.stage(
        g.Cut,
        flow,
        replace(out, wait_s=None),
        stage,
        f"split {how}",
        folds=folds,
        results=results,
        **rest,
    )
    return (made, 0) if keeps else (_done(made, broken), 1)
