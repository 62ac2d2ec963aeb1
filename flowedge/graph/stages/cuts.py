"""Frames that rows themselves end: split gap, split on, split while."""

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any

from flowedge.graph import constants as k
from flowedge.graph import nodes as g
from flowedge.graph.checker import Checker, Flow
from flowedge.graph.expressions import Expr, Read, is_stateful
from flowedge.graph.names import Scope
from flowedge.graph.place import Place
from flowedge.graph.stages.aggregates import Item, done, fold, made_of
from flowedge.graph.stages.ahead import take_leads
from flowedge.graph.stages.frames import as_rows
from flowedge.graph.stages.kept import frames_of, is_folded_in_the_end
from flowedge.graph.stages.order import ordered
from flowedge.graph.values import condition, value
from flowedge.lang import tree as t
from flowedge.lang.diagnostics import Rule
from flowedge.types.schema import Column


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
            return done(flow.to(out, -1), broken), 1
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
    return (made, 0) if keeps else (done(made, broken), 1)


def _clocked(c: Checker, flow: Flow, stage: t.SplitGap | t.SplitOn | t.SplitWhile) -> Flow:
    """The rows in order, where time ends a piece: those of one key tell the time to all others."""
    if isinstance(stage, t.SplitGap) or stage.up_to is not None:
        return ordered(c, flow, stage.span)
    return flow
