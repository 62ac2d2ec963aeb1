"""Frames around events, from event to event, and rows sent to branches."""

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any

from flowedge.graph import constants as k
from flowedge.graph import nodes as g
from flowedge.graph.checker import Checker, Flow
from flowedge.graph.expressions import Const, Expr
from flowedge.graph.names import DeclaredTwice, Scope
from flowedge.graph.place import Place
from flowedge.graph.reserved import without_hidden
from flowedge.graph.stages.aggregates import Item, fold
from flowedge.graph.stages.ahead import take_leads
from flowedge.graph.stages.cuts import UnboundedFrame
from flowedge.graph.stages.frames import START, as_rows, has_long_lists, whole_only, with_values
from flowedge.graph.stages.kept import frames_of, is_folded_in_the_end
from flowedge.graph.stages.meeting import KeysDoNotMatch, matching_keys, named
from flowedge.graph.stages.order import as_irregular, is_even, ordered
from flowedge.graph.values import condition
from flowedge.lang import tree as t
from flowedge.lang.diagnostics import Rule
from flowedge.lang.span import Span
from flowedge.types.schema import I64, TIME, Column, Frame


class NeverReached(Rule):
    """A rule or a branch that no row can reach: one before it takes them all.

    Wrong::

        source s (time, v: f64) from arrow("in.arrow")
        sink s | classify rules { "high" when v > 3 "higher" when v > 3 otherwise "ok" } to console

    Right::

        source s (time, v: f64) from arrow("in.arrow")
        sink s | classify rules { "higher" when v > 9 "high" when v > 3 otherwise "ok" } to console
    """

    code = "FE210"
    severity = "warning"


class BranchesEndAStream(Rule):
    """`split into` gives several streams, so it stands at the end of a named one.

    Wrong::

        source s (time, v: f64) from arrow("in.arrow")
        sink s | split into high when v > 3, low otherwise to console

    Right::

        source s (time, v: f64) from arrow("in.arrow")
        stream parts = s | split into high when v > 3, low otherwise
        sink parts.high to console
        sink parts.low to arrow("low.arrow")
    """

    code = "FE224"


END = Column("end", TIME)


def split_at(
    c: Checker,
    flow: Flow,
    stage: t.SplitAt,
    scope: Scope,
    events: Flow | None,
    after: Sequence[Item],
) -> tuple[Flow, int]:
    """Frames of the same length around events."""
    flow = as_rows(flow)
    place = Place(flow, scope)
    begin = k.duration(c, stage.begin, place, "where a frame begins", signed=True)
    end = k.duration(c, stage.end, place, "where a frame ends", signed=True)
    lost = replace(flow.to(flow.type, -1), wild=True)
    if begin is not None and end is not None and begin >= end:
        c.report(k.ValueOutOfRange.at(stage.end.span, f"a frame from {_s(begin)} to {_s(end)} is empty", others=[(stage.begin.span, "begins here")],
                                      fix="let it end after it begins"))  # fmt: skip
        return lost, 0
    if begin is None or end is None or events is None:
        return lost, 0
    if events.wild:
        return lost, 0
    if not _events_have_keys(c, flow, events, stage.events):
        return lost, 0
    flow, asked = ordered(c, flow, stage.span), ordered(c, as_rows(events), stage.events.span)
    if has_long_lists(c, asked, stage.span, "split at"):
        return lost, 0
    rate = flow.type.rate_hz if flow.type.shape == "signal" else None
    samples = tuple(x for x in flow.type.columns if x.name not in ("start", "end"))
    extra, pairs = _event_columns(flow, asked, named(stage.events))
    wait = _plus(_most(flow, asked), max(end, Fraction(0)))
    from_ns, to_ns = k.ns(begin), k.ns(end)
    whole = (START, END, *extra)
    rest: dict[str, Any] = {
        "name": flow.name, "label": f"split at {stage.events} from {_s(begin)} to {_s(end)}", "span": stage.span,
        "from_ns": from_ns, "to_ns": to_ns, "event_columns": pairs,
    }  # fmt: skip
    if rate is None:
        if not (after and isinstance(after[0][0], t.Aggregate)) and not is_folded_in_the_end(after):
            c.not_yet(
                stage.span,
                "`split at` on irregular rows that leave as they are",
                "put `| aggregate …` behind it, or `| resample …` before",
            )
            return lost, 0
        out = replace(frames_of(flow.type, None, whole), spans=False, wait_s=wait, in_order=False)
        node = c.put(g.SplitRows, (flow, asked), out, **rest)
        return replace(flow.to(out, node), rate_at=None), 0
    before, after_ = round(float(begin) * rate), round(float(end) * rate)
    if after_ <= before:
        k.shorter_than_a_sample(c, stage.end.span, "a frame", float(end - begin), place, rate)
        return lost, 0
    even = is_even(c, flow.node)
    frame = Frame(after_ - before, rate, whole=tuple(x.name for x in whole))
    out = replace(
        flow.type,
        columns=(*whole, *samples),
        shape="frames",
        frame=frame,
        rate_hz=None,
        spans=False,
        wait_s=wait if even else None,
        in_order=False,
    )
    columns = tuple(x.name for x in samples)
    node = c.put(
        g.SplitAt, (flow, asked), out, before=before, after=after_, columns=columns, is_even=even, **rest
    )  # fmt: skip
    return flow.to(out, node), 0


def _events_have_keys(c: Checker, flow: Flow, events: Flow, ref: t.Ref) -> bool:
    """Whether each key of the rows is one of the events; reports where not."""
    shared = matching_keys(c, flow, events, ref.span, str(ref))
    if shared is None:
        return False
    lacking = [x.name for x in flow.type.keys if x.name not in shared]
    if lacking:
        c.report(KeysDoNotMatch.at(ref.span, f"`{lacking[0]}` is a key of `{flow.name}`, and `{ref}` has none of that name",
                                   why="an event cuts the rows of its own key", fix="make the events of rows with the key, or put `| key none` before `split at`"))  # fmt: skip
    return not lacking


def _s(seconds: Fraction) -> str:
    value = float(seconds)
    return f"{value:g} s" if abs(value) >= 1 or value == 0 else f"{value * 1e3:g} ms"


def _most(*flows: Flow) -> float | None:
    waits = [f.type.wait_s for f in flows]
    return (
        None
        if any(w is None for w in waits)
        else max((w for w in waits if w is not None), default=0.0)
    )


def _plus(wait: float | None, more: Fraction) -> float | None:
    return None if wait is None else wait + float(more)


def _event_columns(
    flow: Flow, events: Flow, name: str
) -> tuple[tuple[Column, ...], tuple[tuple[str, str], ...]]:
    """The event's columns as they are called in the frame."""
    taken = {"time", "start", "end", *(x.name for x in (*flow.type.columns, *flow.type.keys))}
    columns, pairs = [], []
    for x in events.type.columns:
        if x.name in ("start", "end"):
            continue
        given = x.name if x.name not in taken else f"{name}_{x.name}"
        columns.append(Column(given, replace(x.type, delay_s=0.0)))
        pairs.append((x.name, given))
    return tuple(columns), tuple(pairs)


def split_next(
    c: Checker,
    flow: Flow,
    stage: t.SplitNext,
    scope: Scope,
    events: Flow | None,
    after: Sequence[Item],
) -> tuple[Flow, int]:
    """From event to event, with the aggregate behind."""
    flow = as_rows(flow)
    up_to = (
        None
        if stage.up_to is None
        else k.duration(c, stage.up_to, Place(flow, scope), "a bound", positive=True)
    )
    lost = replace(flow.to(flow.type, -1), wild=True)
    following = after[0][0] if after else None
    keeps = is_folded_in_the_end(after)
    if not isinstance(following, t.Aggregate) and (stage.up_to is None or not keeps):
        if stage.up_to is None:
            c.report(UnboundedFrame.at(stage.span, "a frame without a bound whose rows are kept", label="may grow for ever",
                                       why="memory is known before the run", fix="put `| aggregate …` behind it, or a bound: `up to 2 s`"))  # fmt: skip
        else:
            c.not_yet(
                stage.span,
                "`split at … to next` whose rows are kept",
                "put `| aggregate …` behind it",
            )
        return lost, 0
    taken_in = 0 if keeps else 1
    if events is None or events.wild:
        if isinstance(following, t.Aggregate):
            fold(c, flow, following.bindings, after[0][1], following)
        return lost, taken_in
    if not _events_have_keys(c, flow, events, stage.events):
        return lost, taken_in
    flow, asked = ordered(c, flow, stage.span), ordered(c, as_rows(events), stage.events.span)
    if has_long_lists(c, asked, stage.span, "split at"):
        return lost, taken_in
    wait = None if up_to is None else _plus(_most(flow, asked), up_to)
    rest: dict[str, Any] = {
        "name": flow.name, "label": f"split at {stage.events} to next", "span": stage.span,
        "up_to_ns": None if up_to is None else k.ns(up_to),
    }  # fmt: skip
    if not isinstance(following, t.Aggregate):
        extra, pairs = _event_columns(flow, asked, named(stage.events))
        out = frames_of(flow.type, None, (START, END, *extra))
        out = replace(out, spans=False, wait_s=wait, in_order=False)
        node = c.put(g.SplitNext, (flow, asked), out, event_columns=pairs, folds=(), results=(), **rest)  # fmt: skip
        return replace(flow.to(out, node), rate_at=None), 0
    source, folds, results, columns, broken = fold(
        c, flow, following.bindings, after[0][1], following, taken=("start", "end")
    )
    source = ordered(c, source, stage.span)  # a `lead` in an aggregate waits for rows of its key
    made = {x.name for x in columns}
    extra, pairs = _event_columns(
        replace(flow, type=replace(flow.type, columns=tuple(columns))), asked, named(stage.events)
    )
    extra = tuple(x for x in extra if x.name not in made)
    out = replace(flow.type, columns=(START, END, *extra, *columns), shape="rows", rate_hz=None, spans=False,
                  wait_s=wait, in_order=False)  # fmt: skip
    node = c.put(g.SplitNext, (source, asked), out, event_columns=pairs, folds=folds, results=results, **rest)  # fmt: skip
    return replace(flow.to(out, node), wild=False, broken=broken, rate_at=None), 1


def split_into(c: Checker, flow: Flow, stage: t.SplitInto, scope: Scope) -> dict[str, Flow]:
    """Branches: each row goes to the first whose condition holds."""
    seen: dict[str, t.Branch] = {}
    tests: list[Expr] = []
    names: list[str] = []
    rest: str | None = None
    for branch in stage.branches:
        name = branch.name.name
        if name in seen:
            c.report(
                DeclaredTwice.at(
                    branch.name.span,
                    f"two branches are called `{name}`",
                    others=[(seen[name].name.span, "first here")],
                    fix="rename one",
                )
            )
        seen[name] = branch
        if rest is not None:
            c.report(NeverReached.at(branch.name.span, f"branch `{name}` can never be reached", others=[(seen[rest].span, "takes all rows")],
                                     fix="put `otherwise` last"))  # fmt: skip
        if branch.condition is None:
            rest = name
            continue
        found = condition(c, branch.condition, Place(flow, scope))
        if found is None or not whole_only(c, flow, found, branch.condition.span):
            names.append(name)
            tests.append(Const(False, I64))
            continue
        unreachable(c, found, tests, branch.condition.span, f"branch `{name}`")
        names.append(name)
        tests.append(found)
    hidden = Column("_branch", I64)
    result: dict[str, Flow] = {"": flow}
    ahead, tests = take_leads(c, flow, tests, stage)
    flow = replace(flow, type=without_hidden(ahead.type))
    out = with_values(flow.type, [hidden])
    inner = c.stage(g.Branch, ahead, out, stage, "split into", conditions=tuple(tests))
    for number, name in enumerate([*names, *([rest] if rest is not None else [])]):
        routed = as_irregular(flow.type)
        result[name] = c.stage(g.Route, inner, routed, seen[name], f"branch {name}", branch=number)
        result[name] = replace(result[name], name=f"{flow.name}.{name}", broken=flow.broken)
    return result


def unreachable(c: Checker, found: Expr, before: Sequence[Expr], span: Span, what: str) -> None:
    """Warn where a condition never holds, or where an earlier one takes all that it would."""
    if isinstance(found, Const) and found.value is False:
        c.report(
            NeverReached.at(
                span,
                f"{what} can never be reached",
                label="never holds",
                fix="leave it away, or change the condition",
            )
        )
    elif found in before or any(isinstance(e, Const) and e.value is True for e in before):
        c.report(
            NeverReached.at(
                span,
                f"{what} can never be reached",
                label="an earlier one takes these rows",
                fix="put the narrower condition first",
            )
        )


__all__ = [
    "BranchesEndAStream",
    "KeysDoNotMatch",
    "NeverReached",
    "split_at",
    "split_into",
    "split_next",
    "unreachable",
]
