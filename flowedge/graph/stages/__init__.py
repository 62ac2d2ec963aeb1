"""The stages of a pipeline, one after the other: each takes a flow and gives a flow."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from flowedge.graph.calls.arguments import WrongArguments
from flowedge.graph.checker import Checker, Flow
from flowedge.graph.models import Declared
from flowedge.graph.names import Bound, EndlessExpansion, Scope, UnknownCall
from flowedge.graph.place import DEEPEST
from flowedge.graph.stages import (
    aggregates,
    cuts,
    events,
    meeting,
    models,
    rows,
    shapes,
    splits,
    unnest,
    windows,
)
from flowedge.graph.stages.aggregates import Item
from flowedge.graph.stages.order import ordered
from flowedge.lang import statements as st
from flowedge.lang import tree as t
from flowedge.lang.diagnostics import did_you_mean
from flowedge.lang.span import Span

Refs = Callable[[t.Ref, Scope], Flow | None]
Models = Callable[[t.Ident, Scope], Declared | None]
Lives = Callable[[t.Ref, Scope], list[tuple[str, Span]]]

SIMPLE: dict[type[t.Tree], Callable[..., Flow]] = {
    t.Where: rows.where, t.Derive: rows.derive, t.Select: rows.select, t.Rekey: rows.rekey, t.Filter: rows.filter_,
    t.Resample: shapes.resample, t.Unnest: unnest.unnest, t.Compress: shapes.compress, t.Aggregate: aggregates.aggregate,
    t.Detect: events.detect, t.ClassifyRules: events.classify_rules, t.ClassifyScorer: events.classify_scorer,
    t.Spectrum: events.spectrum,
}  # fmt: skip
WORDS = (
    "where", "derive", "select", "key", "filter", "compress", "resample", "window", "unnest", "aggregate", "split", "join",
    "detect", "classify", "expand", "spectrum",
)  # fmt: skip


class World:
    """What stages ask for besides their own text: other streams, models, live sources."""

    def __init__(self, refs: Refs, models: Models, lives: Lives) -> None:
        self.refs, self.models, self.lives = refs, models, lives


def flatten(c: Checker, stages: Sequence[t.Stage], scope: Scope) -> list[Item] | None:
    """The stages with every `def` expanded in place; None: reported."""
    out: list[Item] = []
    good = True
    for stage in stages:
        if not isinstance(stage, t.Apply) or stage.op.name.name == "expand":
            out.append((stage, scope))
            continue
        name = stage.op.name.name
        decl = c.lookup(scope.module, name, st.Def)
        if decl is None or not isinstance(decl.tree, st.Def):
            known = {*WORDS, *scope.module.of(st.Def)}
            c.report(
                UnknownCall.at(
                    stage.op.name.span, f"unknown stage `{name}`", fix=did_you_mean(name, known)
                )
            )
            good = False
            continue
        if name in scope.via or len(scope.via) >= DEEPEST:
            c.report(EndlessExpansion.at(stage.op.name.span, f"`{name}` uses itself" if name in scope.via else "definitions nested too deep",
                                         others=[(decl.span, "defined here")], why="it would never end", fix="split it in two"))  # fmt: skip
            good = False
            continue
        formals = _bind(c, stage.op, decl.tree, Scope(decl.module), scope)
        if formals is None:
            good = False
            continue
        inner = flatten(c, decl.tree.stages, Scope(decl.module, formals, (*scope.via, name)))
        if inner is None:
            good = False
        else:
            out += inner
    return out if good else None


def _bind(
    c: Checker, op: t.Call, made: st.Def, home: Scope, caller: Scope
) -> dict[str, Bound] | None:
    """What each formal stands for."""
    names = [f.name.name for f in made.formals]
    out: dict[str, Bound] = {}
    for a in op.arguments:
        free = [n for n in names if n not in out]
        key = a.keyword.name if a.keyword is not None else free[0] if free else ""
        if key not in free:
            message = (
                f"`{op.name}` has no formal `{key}`"
                if key
                else f"`{op.name}` takes {len(names)} arguments"
            )
            c.report(
                WrongArguments.at(
                    a.span,
                    message,
                    others=[(made.name.span, "defined here")],
                    fix=did_you_mean(key, free),
                )
            )
            return None
        out[key] = Bound(a.value, caller)
    for formal in made.formals:
        if formal.name.name in out:
            continue
        if formal.default is None:
            c.report(WrongArguments.at(op.span, f"`{op.name}` lacks `{formal.name}`", others=[(formal.name.span, "has no default")],
                                       fix=f"write `{op.name}({', '.join(names)})`"))  # fmt: skip
            return None
        out[formal.name.name] = Bound(formal.default, home)
    return out


def run(
    c: Checker, flow: Flow, stages: Sequence[t.Stage], scope: Scope, world: World
) -> dict[str, Flow] | None:
    """A flow through all its stages; branches by name, the whole under ``""``. None: nothing is known."""
    items = flatten(c, stages, scope)
    return None if items is None else through(c, flow, items, world)


def through(
    c: Checker, flow: Flow, items: Sequence[Item], world: World, *, stop: int | None = None
) -> dict[str, Flow] | None:
    """As `run`, through stages that are expanded; with `stop` as far as the stage of this number."""
    at = 0
    while at < (len(items) if stop is None else stop):
        stage, here = items[at]
        at += 1
        after = items[at:]
        if isinstance(stage, t.SplitInto):
            branches = splits.split_into(c, flow, stage, here)
            if after:
                c.report(splits.BranchesEndAStream.at(after[0][0].span, "a stage behind `split into`", others=[(stage.span, "gives several streams")],
                                                      fix="name the stream, and go on from `name.branch`"))  # fmt: skip
                return None
            return branches
        before = flow
        flow, used = one(c, flow, stage, here, after, world)
        if isinstance(stage, t.Window | t.SplitAt) and flow.node >= 0:
            c.framed[flow.node] = (before, stage, here)
        at += used
    return {"": flow}


def one(
    c: Checker, flow: Flow, stage: t.Stage, scope: Scope, after: Sequence[Item], world: World
) -> tuple[Flow, int]:
    """One stage; gives also how many of those after it were taken in."""
    if flow.type.strays and not isinstance(stage, t.Where | t.Derive | t.Select):
        flow = ordered(c, flow, stage.span)
    match stage:
        case t.Window():
            return windows.window(c, flow, stage, scope, after)
        case t.SplitGap() | t.SplitOn() | t.SplitWhile():
            return cuts.cut(c, flow, stage, scope, after)
        case t.SplitAt():
            meant = replace(stage, events=scope.stream_ref(stage.events)[0])
            return splits.split_at(c, flow, meant, scope, world.refs(stage.events, scope), after)
        case t.SplitNext():
            named = replace(stage, events=scope.stream_ref(stage.events)[0])
            return splits.split_next(c, flow, named, scope, world.refs(stage.events, scope), after)
        case t.Join():
            lives = world.lives(stage.stream, scope)
            joined = replace(stage, stream=scope.stream_ref(stage.stream)[0])
            return meeting.join(c, flow, joined, scope, world.refs(stage.stream, scope), lives), 0
        case t.ClassifyModel():
            return models.classify_model(c, flow, stage, scope, world.models), 0
        case t.Apply():
            return shapes.expand(c, flow, stage), 0
        case _:
            return SIMPLE[type(stage)](c, flow, stage, scope), 0
