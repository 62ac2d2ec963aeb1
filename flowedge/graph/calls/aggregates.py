"""Aggregates: of a window or a frame, and of the past with ``over``."""

from dataclasses import replace

from flowedge.graph import constants as k
from flowedge.graph import quantities as q
from flowedge.graph.calls.arguments import parameters, signature, wrong
from flowedge.graph.calls.known import aggregates, functions, span_of_inputs
from flowedge.graph.calls.type_rule import type_rule
from flowedge.graph.checker import Checker
from flowedge.graph.expressions import Expr, Fold, Rolling
from flowedge.graph.names import UnknownCall
from flowedge.graph.place import Place
from flowedge.graph.quantities import Exact, Value
from flowedge.graph.refusals import NoRate
from flowedge.graph.values import infer
from flowedge.lang import statements as st
from flowedge.lang import tree as t
from flowedge.lang.diagnostics import Rule, did_you_mean
from flowedge.operators.contract import Aggregate, Context, Extent
from flowedge.types.schema import F64, Type


class AggregateOutsideFrame(Rule):
    """An aggregate folds many rows; outside a window it needs ``over``.

    Wrong::

        source s (time, v: f64) from arrow("in.arrow")
        sink s | derive d = v - mean(v) to console

    Right::

        source s (time, v: f64) from arrow("in.arrow")
        sink s | derive d = v - (mean(v) over 5 s) to console
    """

    code = "FE208"


class NestedAggregate(Rule):
    """An aggregate inside another would fold one value.

    Wrong::

        source s (time, v: f64) from arrow("in.arrow")
        sink s | window 1 s | aggregate mean(max(v)) as m to console

    Right::

        source s (time, v: f64) from arrow("in.arrow")
        sink s | window 1 s | aggregate max(v) as m to console
    """

    code = "FE220"


UNDELAYED = frozenset({"last", "first", "count", "distinct", "mode"})
"""Rolling aggregates that point to no instant within their extent."""


def _inputs(
    c: Checker, tree: t.Call, cls: type[Aggregate], place: Place
) -> tuple[list[Value] | None, list[t.Argument], list[t.Argument]]:
    """Values, their arguments, and the parameters of an aggregate."""
    least, most = span_of_inputs(cls)
    positional = [a for a in tree.arguments if a.keyword is None]
    taken = positional[:most]
    values = [infer(c, a.value, place) for a in taken]
    rest = [a for a in tree.arguments if a not in taken]
    if len(taken) < least:
        wrong(
            c,
            tree.span,
            f"`{tree.name.name}` takes {least} value{'s' if least != 1 else ''}",
            signature(cls),
        )
        return None, taken, rest
    good = [v for v in values if v is not None]
    return (good if len(good) == len(values) else None), taken, rest


def _aggregate(
    c: Checker, tree: t.Call, place: Place, length: int | None
) -> tuple[Aggregate, list[Expr], Type] | None:
    """An aggregate with its inputs and its type; `length` is the number of samples it folds, if fixed."""
    name = tree.name.name
    cls = aggregates()[name]
    values, taken, rest = _inputs(c, tree, cls, place)
    given = parameters(c, cls, tree, rest, place, values[0] if values else None)
    if values is None or given is None:
        return None
    if cls.needs_rate and place.rate_hz is None:
        c.report(NoRate.at(tree.span, f"`{name}` needs a signal with a rate", why="it looks at evenly spaced samples",
                           fix="declare the source `at RATE`, or put `| resample RATE` before"))  # fmt: skip
        return None
    args = [q.settle(v, F64 if isinstance(v, Exact) else None) for v in values]
    context = Context(rate_hz=place.rate_hz, in_frame=place.folds, length=length)
    made = cls(**given)
    found = type_rule(c, made, args, context, tree, taken, rest, place)
    if found is None:
        return None
    args, out = found
    shape = next((a.type.shape for a in args if a.type.shape), ())
    return made, args, replace(out, shape=out.shape or shape, delay_s=q.delay_of(*args))


def fold(c: Checker, tree: t.Call, place: Place) -> Value | None:
    """An aggregate without ``over``: of the window or the frame that the expression stands in."""
    name = tree.name.name
    if not place.folds:
        for a in tree.arguments[:1]:
            infer(c, a.value, place)
        if place.flow.wild and place.flow.node < 0:
            return None  # perhaps it was in a frame, before what is reported already
        call_text = tree.span.source
        c.report(AggregateOutsideFrame.at(tree.span, f"aggregate `{name}` outside a window", label="which rows does it fold?",
                                          fix=f"write `{call_text} over 5 s`, or put `| window 5 s | aggregate {call_text}`"))  # fmt: skip
        return None
    if place.inside:
        c.report(NestedAggregate.at(tree.span, f"aggregate `{name}` inside an aggregate", why="the outer one would fold a single value",
                                    fix="leave one of them away, or use two windows"))  # fmt: skip
        return None
    frame = place.flow.type.frame
    found = _aggregate(c, tree, replace(place, inside=True), frame.length if frame else None)
    if found is None:
        return None
    made, args, out = found
    return Fold(made, tuple(args), replace(out, delay_s=0.0), place.rate_hz)


def _centre_s(extent: Extent, rate: float | None) -> float:
    """How far back the middle of what a rolling aggregate sees lies [s].

    Half of (t - D, t]; of n samples half of the way from the first to the last, the group delay of a
    moving average of n taps.
    """
    if extent.seconds is not None:
        return extent.seconds / 2
    return ((extent.samples or 1) - 1) / rate / 2 if rate else 0.0


def rolling(c: Checker, tree: t.Over, place: Place) -> Value | None:
    """``AGG(x) over extent``."""
    name = tree.call.name.name
    extent = k.extent(c, tree.extent, place, "the extent of `over`")
    if name not in aggregates():
        if name in functions() or name in place.scope.module.of(st.Fn):
            c.report(UnknownCall.at(tree.call.name.span, f"`{name}` is a function, not an aggregate", why="`over` gives the rows that an aggregate folds",
                                    fix="leave `over` away, or take an aggregate such as `mean`"))  # fmt: skip
        else:
            c.report(
                UnknownCall.at(
                    tree.call.name.span,
                    f"unknown aggregate `{name}`",
                    fix=did_you_mean(name, aggregates()),
                )
            )
        return None
    rate = place.rate_hz
    count = None if extent is None else extent.count(rate)
    found = _aggregate(c, tree.call, replace(place, folds=False), count)
    if found is None or extent is None:
        return None
    made, args, out = found
    if rate is not None and extent.seconds is not None and extent.seconds * rate < 1 - 1e-9:
        k.shorter_than_a_sample(c, tree.extent.span, "the extent", extent.seconds, place, rate)
        return None
    delay = 0.0 if name in UNDELAYED else _centre_s(extent, rate)
    out = replace(out, delay_s=q.delay_of(*args) + delay)
    return Rolling(
        made,
        tuple(args),
        Extent(samples=count) if count is not None and extent.seconds is None else extent,
        count,
        out,
        rate,
    )
