"""Stages that make events and labels: detect, classify by rules."""

from dataclasses import replace

from flowedge.graph import constants as k
from flowedge.graph import nodes as g
from flowedge.graph.calls.arguments import WrongArguments, parameters
from flowedge.graph.checker import Checker, Flow
from flowedge.graph.expressions import Apply, Expr
from flowedge.graph.names import Scope, UnknownCall
from flowedge.graph.place import Place
from flowedge.graph.quantities import WrongType
from flowedge.graph.refusals import refuse
from flowedge.graph.reserved import without_hidden
from flowedge.graph.stages.ahead import take_leads
from flowedge.graph.stages.frames import as_rows, whole_only, with_values
from flowedge.graph.stages.order import ordered
from flowedge.graph.stages.splits import NeverReached, unreachable
from flowedge.graph.values import condition, value
from flowedge.lang import tree as t
from flowedge.lang.diagnostics import did_you_mean
from flowedge.operators.contract import Refused
from flowedge.operators.detect.peaks import Adaptive, Peaks
from flowedge.operators.functions.held import Held
from flowedge.types.schema import BOOL, F64, TEXT, Column, Stream

DETECTORS = ("peaks", "edges", "changepoints", "anomalies")
DIRECTIONS = ("rise", "fall", "both")


def detect(c: Checker, flow: Flow, stage: t.Detect, scope: Scope) -> Flow:
    """A stream of events."""
    flow = as_rows(flow)
    name = stage.op.name.name
    if name not in DETECTORS:
        c.report(
            UnknownCall.at(
                stage.op.name.span, f"unknown detector `{name}`", fix=did_you_mean(name, DETECTORS)
            )
        )
        return flow.to(flow.type, -1)
    if not stage.op.arguments or stage.op.arguments[0].keyword is not None:
        c.report(
            WrongArguments.at(
                stage.op.span,
                f"`{name}` lacks what it looks at",
                fix=f"write for example `detect {name}({'v > 3' if name == 'edges' else 'power'})`",
            )
        )
        return flow.to(flow.type, -1)
    if name == "edges":
        return _edges(c, flow, stage, scope)
    if name == "peaks":
        return _peaks(c, flow, stage, scope)
    value(c, stage.op.arguments[0].value, Place(flow, scope))
    c.not_yet(stage.op.name.span, f"`detect {name}`")
    columns = [Column("value", F64)] if flow.type.column("value") is None else []
    return flow.to(
        replace(flow.type, columns=(*flow.type.columns, *columns), shape="rows", rate_hz=None), -1
    )


def _edges(c: Checker, flow: Flow, stage: t.Detect, scope: Scope) -> Flow:
    place = Place(flow, scope)
    test = condition(c, stage.op.arguments[0].value, place)
    direction, apart = "both", 0
    good = test is not None
    for a in stage.op.arguments[1:]:
        key = a.keyword.name if a.keyword is not None else ""
        if key == "apart":
            seconds = k.duration(c, a.value, place, "`apart`")
            good = good and seconds is not None
            apart = 0 if seconds is None else k.ns(seconds)
        elif key == "direction":
            word = (
                a.value.name
                if isinstance(a.value, t.Name)
                else k.text(c, a.value, place, "a direction")
            )
            if word is not None and word not in DIRECTIONS:
                c.report(
                    k.ValueOutOfRange.at(
                        a.value.span,
                        f"unknown direction `{word}`",
                        fix=did_you_mean(word, DIRECTIONS),
                    )
                )
            good = good and word in DIRECTIONS
            direction = word or direction
        else:
            c.report(WrongArguments.at(a.span, f"`edges` has no parameter `{key}`" if key else "`edges` takes one condition",
                                       fix=did_you_mean(key, ("apart", "direction"))))  # fmt: skip
            good = False
    edge = Column("edge", replace(TEXT, labels=("rise", "fall")))
    out = events_of(flow, edge)
    if not good or test is None:
        return flow.to(out, -1)
    flow, (test,) = take_leads(c, flow, [test], stage)
    out = without_hidden(events_of(flow, edge))
    made = c.stage(
        g.Edges,
        flow,
        out,
        stage,
        "detect edges",
        condition=test,
        direction=direction,
        apart_ns=apart,
    )
    return replace(made, rate_at=None)


def events_of(flow: Flow, *columns: Column) -> Stream:
    """Rows at instants: the columns of the row where the feature stands, and the detector's own."""
    made = {x.name for x in columns}
    kept = [
        Column(x.name, replace(x.type, delay_s=0.0))
        for x in flow.type.columns
        if x.name not in made and x.name != "start"
    ]
    return replace(flow.type, columns=(*kept, *columns), shape="rows", rate_hz=None, spans=False)


def _peaks(c: Checker, flow: Flow, stage: t.Detect, scope: Scope) -> Flow:
    place = Place(flow, scope)
    looked = stage.op.arguments[0].value
    found = value(c, looked, place)
    if found is not None and (not found.type.is_number or found.type.shape):
        c.report(
            WrongType.at(
                looked.span,
                f"a number is wanted, this is {found.type}",
                fix="look at a column of numbers",
            )
        )
        found = None
    given = None
    if found is not None:
        given = parameters(c, Peaks, stage.op, stage.op.arguments[1:], place, found)
    unit = None if found is None else found.type.unit
    rise = None if unit is None else unit.difference()
    out = events_of(
        flow,
        Column("value", replace(F64, unit=unit)),
        Column("prominence", replace(F64, unit=rise)),
    )
    out = replace(out, in_order=flow.type.in_order and not flow.type.keys)
    if found is None or given is None:
        return flow.to(out, -1)
    made = Peaks(**given, rate_hz=flow.type.rate_hz)
    if not any(a.keyword is not None and a.keyword.name == "at_most" for a in stage.op.arguments):
        learns = made.threshold.learn if isinstance(made.threshold, Adaptive) else 0.0
        made = replace(made, at_most=max(made.at_most, learns, made.apart))
    try:
        made.check()
    except Refused as refused:
        places: dict[str, t.Tree] = {
            a.keyword.name: a for a in stage.op.arguments if a.keyword is not None
        }
        refuse(c, refused, stage.op, places, flow, "peaks")
        return flow.to(out, -1)
    flow, (found,) = take_leads(c, flow, [found], stage)
    flow = ordered(c, flow, stage.span)  # rows of one key tell the time to all others
    wait_s = None if flow.type.wait_s is None else flow.type.wait_s + made.wait_s
    out = replace(out, wait_s=wait_s)
    delay = round(found.type.delay_s * 1e9)
    done = c.stage(
        g.Peaks, flow, out, stage, "detect peaks", value=found, operator=made, delay_ns=delay
    )
    return replace(done, rate_at=None)


def classify_rules(c: Checker, flow: Flow, stage: t.ClassifyRules, scope: Scope) -> Flow:
    """The column ``label``: the first rule that holds."""
    place = Place(flow, scope)
    rules: list[tuple[str, Expr]] = []
    tests: list[Expr] = []
    otherwise: str | None = None
    ended: t.Rule | None = None
    good = True
    for rule in stage.rules:
        word = k.text(c, rule.label, place, "a label")
        if ended is not None:
            c.report(NeverReached.at(rule.label.span, f'rule "{rule.label.value}" can never be reached', others=[(ended.span, "takes all rows")],
                                     fix="put `otherwise` last"))  # fmt: skip
        if rule.condition is None:
            otherwise, ended = word, rule
            continue
        test = condition(c, rule.condition, place)
        hold = (
            None if rule.hold is None else k.duration(c, rule.hold, place, "how long it must hold")
        )
        if test is None or word is None or (hold is None and rule.hold is not None):
            good = False
            continue
        if not whole_only(c, flow, test, rule.condition.span):
            good = False
            continue
        if hold is not None and hold > 0:
            test = Apply(Held(float(hold)), (test,), BOOL, place.rate_hz)
        unreachable(c, test, tests, rule.condition.span, f'rule "{word}"')
        tests.append(test)
        rules.append((word, test))
    if stage.deadline is not None:
        c.not_yet(stage.deadline.span, "a deadline on rules", "put the deadline on the sink")
    texts = tuple(
        dict.fromkeys([*(x for x, _ in rules), *([otherwise] if otherwise is not None else [])])
    )
    label = Column("label", replace(TEXT, labels=texts if good else None))
    out = with_values(flow.type, [label])
    if not good:
        return flow.to(out, -1)
    flow, ready = take_leads(c, flow, [test for _, test in rules], stage)
    rules = [(word, test) for (word, _), test in zip(rules, ready, strict=True)]
    out = without_hidden(with_values(flow.type, [label]))
    return c.stage(
        g.Rules, flow, out, stage, "classify rules", rules=tuple(rules), otherwise=otherwise
    )


def classify_scorer(c: Checker, flow: Flow, stage: t.ClassifyScorer, scope: Scope) -> Flow:
    """`classify anomaly(…)`: part of the language, run by a later version."""
    flow = as_rows(flow)
    name = stage.op.name.name
    if name != "anomaly":
        c.report(
            UnknownCall.at(
                stage.op.name.span,
                f"unknown classifier `{name}`",
                fix=did_you_mean(name, ("anomaly", "rules", "with")),
            )
        )
    else:
        c.not_yet(stage.op.name.span, "`classify anomaly`", "take `classify rules`")
    for a in stage.op.arguments[:1]:
        value(c, a.value, Place(flow, scope))
    columns = [Column("label", replace(TEXT, labels=None)), Column("score", F64)]
    return flow.to(with_values(flow.type, columns), -1)


def spectrum(c: Checker, flow: Flow, stage: t.Spectrum, scope: Scope) -> Flow:
    """`spectrum …`: part of the language, run by a later version."""
    del scope
    c.not_yet(
        stage.op.name.span,
        f"`spectrum {stage.op.name.name}`",
        "take spectral aggregates such as `band` behind a window",
    )
    return replace(flow.to(flow.type, -1), wild=True)
