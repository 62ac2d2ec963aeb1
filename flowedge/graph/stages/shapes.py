"""Stages that change how rows lie in time: resample, compress, expand."""

from dataclasses import replace
from fractions import Fraction
from typing import Any

from flowedge.graph import constants as k
from flowedge.graph import nodes as g
from flowedge.graph.calls.arguments import WrongArguments, parameters
from flowedge.graph.checker import Checker, Flow, Packed
from flowedge.graph.expressions import Read
from flowedge.graph.names import Scope, UnknownCall
from flowedge.graph.place import Place
from flowedge.graph.quantities import WrongType, unit_of
from flowedge.graph.stages.frames import as_rows
from flowedge.graph.stages.local import fits_a_day
from flowedge.graph.stages.order import as_irregular, ordered
from flowedge.graph.stages.rows import chosen
from flowedge.graph.values import infer
from flowedge.lang import tree as t
from flowedge.lang.diagnostics import Rule, did_you_mean
from flowedge.operators import discover
from flowedge.operators.grids import is_even
from flowedge.types import units
from flowedge.types.schema import Column


class NothingToExpand(Rule):
    """`expand` gives back what the `compress` right before it took away.

    Wrong::

        source s (time, v: f64) at 100 Hz from arrow("in.arrow")
        sink s | expand to console

    Right::

        source s (time, v: f64) at 100 Hz from arrow("in.arrow")
        sink s | compress swing(0.1) | expand to console
    """

    code = "FE225"


METHODS = ("nearest", "hold", "linear", "sinc")
COMPRESSIONS = ("deadband", "constant", "swing", "pla", "quantize", "auto", "decimate", "lttb")
RUNS = ("deadband", "constant", "swing", "quantize", "auto", "decimate")
EXPANDS = ("deadband", "constant", "swing", "quantize", "auto")


def resample(c: Checker, flow: Flow, stage: t.Resample, scope: Scope) -> Flow:
    """Irregular rows, or a signal of another rate, on a regular grid."""
    flow = as_rows(flow)
    place = Place(flow, scope)
    rate = grid(c, stage.grid, place)
    method = "nearest" if stage.method is None else stage.method.name
    up_to = (
        None if stage.up_to is None else k.duration(c, stage.up_to, place, "a bound", positive=True)
    )
    zone = None if stage.zone is None else k.zone(c, stage.zone, place)
    if method not in METHODS:
        assert stage.method is not None
        c.report(
            k.ValueOutOfRange.at(
                stage.method.span,
                f"unknown way to resample `{method}`",
                fix=did_you_mean(method, METHODS),
            )
        )
        method = "nearest"
    if method == "sinc":
        assert stage.method is not None
        c.not_yet(stage.method.span, "`sinc`", "take `linear`")
    if rate is None or (up_to is None and stage.up_to is not None):
        return flow.to(replace(flow.type, shape="signal", rate_hz=1.0), -1)
    period = 1 / rate
    good = method != "sinc" and (zone is None) == (stage.zone is None)
    if stage.zone is not None and not fits_a_day(c, period, stage.grid, stage.zone, "a grid"):
        good = False
    zone = None if zone == "UTC" else zone
    columns = tuple(
        Column(x.name, replace(x.type, store="f64")) if method in ("linear", "sinc") and x.type.is_number else x
        for x in flow.type.columns if x.name != "start"
    )  # fmt: skip
    wait = None
    if flow.type.wait_s is not None:
        wait = flow.type.wait_s + float(period if up_to is None else up_to)
        if method == "hold":
            wait = flow.type.wait_s
        elif up_to is None and flow.type.shape != "signal":
            wait = None
    flow = ordered(c, flow, stage.span)
    out = replace(
        flow.type, columns=columns, shape="signal", rate_hz=float(rate), spans=False, wait_s=wait,
        in_order=method == "hold" or not flow.type.keys,  # others wait for the next row of their key
    )  # fmt: skip
    if not good:
        return replace(flow.to(out, -1), rate_at=stage.grid.span)
    rest: dict[str, Any] = {
        "rate": (rate.numerator, rate.denominator),
        "method": method,
        "up_to_ns": None if up_to is None else k.ns(up_to),
        "zone": zone,
    }
    label = f"resample {float(rate):g} Hz {method}"
    if zone is not None:
        label += f" in {zone}"
        if not is_even(zone, k.ns(period)):
            out = replace(out, shape="rows", rate_hz=None)
    made = c.stage(g.Resample, flow, out, stage, label, **rest)
    return replace(made, rate_at=stage.grid.span if out.rate_hz else None)


def grid(c: Checker, tree: t.Expr, place: Place) -> Fraction | None:
    """A rate in Hz, told as a frequency or as the duration of one sample."""
    found = k.exact(c, tree, place, "a rate or a duration")
    if found is None:
        return None
    if found.unit is not None and found.unit.same_dimension(units.SECOND) and found.value > 0:
        return 1 / units.convert(found.value, found.unit, units.SECOND)
    if found.value <= 0:
        c.report(
            k.ValueOutOfRange.at(
                tree.span,
                "a rate that is not positive",
                fix="give a rate such as `50 Hz`, or a duration such as `15 min`",
            )
        )
        return None
    return k.frequency(c, tree, place, "a rate")


def compress(c: Checker, flow: Flow, stage: t.Compress, scope: Scope) -> Flow:
    """Fewer rows, within a bound."""
    flow = as_rows(flow)
    name = stage.op.name.name
    if name not in COMPRESSIONS:
        c.report(
            UnknownCall.at(
                stage.op.name.span,
                f"unknown compression `{name}`",
                fix=did_you_mean(name, COMPRESSIONS),
            )
        )
        return flow.to(as_irregular(flow.type), -1)
    columns = chosen(c, flow, stage.on, scope, stage)
    out = as_irregular(flow.type)
    if name != "decimate" and (lists := [x for x in columns if x.type.size > 1]):
        columns = [x for x in columns if x not in lists]
        if stage.on is not None or not columns:
            what = f"one number is wanted, `{lists[0].name}` is {lists[0].type}"
            fix = "name columns of numbers, or `unnest` it before"
            c.report(WrongType.at(stage.span, what, fix=fix))
            return flow.to(out, -1)
    if name not in RUNS:
        c.not_yet(stage.op.name.span, f"`compress {name}`", "take `swing` or `deadband`")
        return replace(flow.to(out, -1), packed=Packed(name, (), (), flow.type))
    place = Place(flow, scope)
    if stage.on is None and name != "decimate":
        columns = _that_fit(c, stage.op, place, columns)
    bounds: list[float] = []
    every, is_of_range = 0, False
    if name == "decimate":
        given = _only_argument(c, stage.op)
        found = None if given is None else k.whole(c, given, place, "how many rows become one")
        if given is None or found is None:
            return flow.to(out, -1)
        if found < 1:
            what = f"one row kept of {found}"
            c.report(k.ValueOutOfRange.at(given.span, what, fix="give 1 or more"))
            return flow.to(out, -1)
        every = found
        if flow.type.shape == "signal" and flow.type.rate_hz:
            out = replace(flow.type, rate_hz=flow.type.rate_hz / every)
    else:
        is_of_range = _is_share(c, stage.op, place, columns)
        method = discover()["compress", name]
        for column in columns:
            type_ = replace(column.type, unit=units.NUMBER) if is_of_range else column.type
            first = Read(column.name, type_)
            resolved = parameters(c, method, stage.op, stage.op.arguments, place, first)
            if resolved is None:
                return flow.to(out, -1)
            value = resolved[method.parameters[0].name]
            if value < 0:
                c.report(
                    k.ValueOutOfRange.at(
                        stage.op.span, f"an error bound of {value:g}", fix="give a positive bound"
                    )
                )
                return flow.to(out, -1)
            bounds.append(float(value))
    names = tuple(x.name for x in columns)
    is_at_once = name in g.AT_ONCE
    out = replace(
        out,
        wait_s=flow.type.wait_s if is_at_once else None,
        in_order=flow.type.in_order and (is_at_once or not flow.type.keys),
    )
    made = c.stage(
        g.Compress,
        flow,
        out,
        stage,
        f"compress {name}",
        method=name,
        columns=names,
        bounds=tuple(bounds),
        every=every,
        is_of_range=is_of_range,
    )
    return replace(made, packed=Packed(name, names, tuple(bounds), flow.type))


def _that_fit(c: Checker, op: t.Call, place: Place, columns: list[Column]) -> list[Column]:
    """Of all floats, those that a bound with a unit speaks of; all where it fits none, to say so."""
    if not op.arguments:
        return columns
    c.quiet += 1
    found = infer(c, op.arguments[0].value, place)
    c.quiet -= 1
    told = unit_of(found) if found is not None else None
    if told is None:
        return columns
    fitting = [x for x in columns if x.type.unit is not None and x.type.unit.same_dimension(told)]
    return fitting or columns


def _is_share(c: Checker, op: t.Call, place: Place, columns: list[Column]) -> bool:
    """Whether a bound in percent is a part of the range of the columns, which are in something else."""
    c.quiet += 1
    found = infer(c, op.arguments[0].value, place) if op.arguments else None
    c.quiet -= 1
    told = unit_of(found) if found is not None else None
    return told == units.parse("percent") and all(
        x.type.unit is None or not x.type.unit.same_dimension(told) for x in columns
    )


def _only_argument(c: Checker, op: t.Call) -> t.Value | None:
    if len(op.arguments) == 1:
        return op.arguments[0].value
    c.report(
        WrongArguments.at(
            op.span,
            f"`{op.name.name}` takes one argument, {len(op.arguments)} given",
            fix=f"write for example `{op.name.name}({'4' if op.name.name == 'decimate' else '0.1'})`",
        )
    )
    return None


def expand(c: Checker, flow: Flow, stage: t.Apply) -> Flow:
    """Every row again, at its exact time."""
    packed = flow.packed
    if packed is None:
        c.report(NothingToExpand.at(stage.span, "`expand` without a `compress` before it", why="it needs to know what was taken away",
                                    fix="put it right behind `| compress …`"))  # fmt: skip
        return flow.to(flow.type)
    if packed.method not in EXPANDS:
        if packed.method in RUNS:
            c.not_yet(stage.span, f"`expand` behind `{packed.method}`")
        return flow.to(packed.before, -1)
    if packed.before.shape != "signal":
        c.not_yet(stage.span, "`expand` of irregular rows", "resample them before `compress`")
        return flow.to(packed.before, -1)
    out = replace(packed.before, wait_s=None, in_order=flow.type.in_order)
    return c.stage(
        g.Expand,
        flow,
        out,
        stage,
        "expand",
        method=packed.method,
        columns=packed.columns,
        bounds=packed.bounds,
    )
