"""Calls in expressions: functions, aggregates, ``over``, and the forms that the language itself knows."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from functools import lru_cache
from typing import Any

from flowedge.graph import constants as k
from flowedge.graph import quantities as q
from flowedge.graph.checker import Checker
from flowedge.graph.expressions import (
    Apply,
    Cast,
    Choose,
    Const,
    Expr,
    Fold,
    IsMissing,
    Lead,
    Previous,
    Read,
    Rolling,
    is_stateful,
)
from flowedge.graph.names import Bound, EndlessExpansion, Scope, UnknownCall
from flowedge.graph.quantities import Exact, Value, WrongType
from flowedge.graph.refusals import NoRate, refuse
from flowedge.graph.values import DEEPEST, Place, condition, infer
from flowedge.lang import tree as t
from flowedge.lang.diagnostics import Rule, did_you_mean
from flowedge.lang.tree import Span
from flowedge.operators import discover
from flowedge.operators.contract import (
    REQUIRED,
    Aggregate,
    Context,
    Extent,
    Function,
    Operator,
    Parameter,
    Refused,
)
from flowedge.types import units
from flowedge.types.schema import BOOL, F64, I64, TEXT, Type


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


class WrongArguments(Rule):
    """A call has too many arguments, too few, or one that it does not know.

    Wrong::

        source s (time, v: f64) at 100 Hz from arrow("in.arrow")
        sink s | filter lowpass(5 Hz, ordre=4) to console

    Right::

        source s (time, v: f64) at 100 Hz from arrow("in.arrow")
        sink s | filter lowpass(5 Hz, order=4) to console
    """

    code = "FE212"


class ShorterThanASample(Rule):
    """A window, a hop or an extent spans at least one sample of the signal.

    Wrong::

        source s (time, v: f64) at 100 Hz from arrow("in.arrow")
        sink s | window 1 ms | aggregate mean(v) as m to console

    Right::

        source s (time, v: f64) at 100 Hz from arrow("in.arrow")
        sink s | window 100 ms | aggregate mean(v) as m to console
    """

    code = "FE417"


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


PLAIN = frozenset(
    {
        "exp",
        "log",
        "log2",
        "log10",
        "tanh",
        "asin",
        "acos",
        "atan",
        "sin",
        "cos",
        "tan",
        "sinh",
        "cosh",
    }
)
PLANNED: dict[str, Type | None] = {
    "clock": Type("f64", units.SECOND), "weekday": I64, "date": TEXT, "parse": None, "bits": I64,
    **{f"{s}{w}{e}": I64 for s in "ui" for w in (16, 32, 64) for e in ("be", "le")}, "u8": I64, "i8": I64,
    **{f"f{w}{e}": F64 for w in (32, 64) for e in ("be", "le")},
    "resize": None, "transpose": None, "lowpass": F64, "highpass": F64, "bandpass": F64, "bandstop": F64, "notch": F64,
    "ema": F64, "fir": F64, "savgol": F64, "kalman": F64, "despike": F64, "detrend": F64, "sinh": F64, "cosh": F64,
}  # fmt: skip
"""Functions of the language, with the type they give: what is not registered cannot run yet."""
PLANNED_AGGREGATES: dict[str, Type | None] = {
    "band": F64, "psd": None, "mel": None, "peak_frequency": Type("f64", units.HERTZ), "centroid": Type("f64", units.HERTZ),
}  # fmt: skip
UNDELAYED = frozenset({"last", "first", "count", "distinct", "mode"})


@lru_cache(maxsize=1)
def functions() -> dict[str, type[Function]]:
    """Functions by name, filters among them."""
    return {
        n: cls
        for (kind, n), cls in discover().items()
        if kind == "function" and issubclass(cls, Function)
    }


@lru_cache(maxsize=1)
def aggregates() -> dict[str, type[Aggregate]]:
    """Aggregates by name."""
    return {
        n: cls
        for (kind, n), cls in discover().items()
        if kind == "aggregate" and issubclass(cls, Aggregate)
    }


def span_of_inputs(cls: type[Function] | type[Aggregate]) -> tuple[int, int]:
    """How many leading arguments are values, at least and at most."""
    return cls.inputs if isinstance(cls.inputs, tuple) else (cls.inputs, cls.inputs)


def is_aggregate(c: Checker, tree: t.Call, place: Place) -> bool:
    """Whether a call means the aggregate of its name, rather than a function."""
    name = tree.name.name
    if name in place.scope.module.of(t.Fn):
        return False
    if name not in aggregates():
        return name in PLANNED_AGGREGATES and name not in functions()
    if name not in functions():
        return True
    given = sum(1 for a in tree.arguments if a.keyword is None)
    least, most = span_of_inputs(aggregates()[name])
    return least <= given <= most + len(aggregates()[name].parameters)


def call(c: Checker, tree: t.Call, place: Place) -> Value | None:
    """The value of ``name(…)``."""
    name = tree.name.name
    fn = c.lookup(place.scope.module, name, t.Fn)
    if fn is not None and isinstance(fn.tree, t.Fn):
        return _expand(c, tree, fn.tree, Scope(fn.module), place)
    if name in FORMS:
        return FORMS[name](c, tree, place)
    if is_aggregate(c, tree, place):
        return _fold(c, tree, place)
    if name in functions():
        return _function(c, tree, place)
    args = [infer(c, a.value, place) for a in tree.arguments if not isinstance(a.value, t.Range)]
    if name in PLANNED:
        c.not_yet(tree.name.span, f"`{name}`")
        type_ = PLANNED[name]
        if type_ is None or any(a is None for a in args):
            return None
        first = args[0] if args and not isinstance(args[0], Exact) else None
        kept = type_ if first is None or type_ is not F64 else replace(F64, unit=first.type.unit)
        return Read(c.hidden("later"), kept)
    known = {*functions(), *aggregates(), *FORMS, *place.scope.module.of(t.Fn)}
    c.report(
        UnknownCall.at(tree.name.span, f"unknown function `{name}`", fix=did_you_mean(name, known))
    )
    return None


def _expand(c: Checker, tree: t.Call, fn: t.Fn, home: Scope, place: Place) -> Value | None:
    """A user's function, its body read where the call stands."""
    name = fn.name.name
    if name in place.scope.via or len(place.scope.via) >= DEEPEST:
        why = "it would never end" if name in place.scope.via else ""
        c.report(EndlessExpansion.at(tree.name.span, f"`{name}` uses itself" if why else "definitions nested too deep", others=[(fn.name.span, "defined here")],
                                     why=why, fix="write its past with `prev`, or split it"))  # fmt: skip
        return None
    formals: dict[str, Bound] = {}
    names = [f.name for f in fn.formals]
    free = list(names)
    for argument in tree.arguments:
        key = argument.keyword.name if argument.keyword is not None else free[0] if free else None
        if key is None or key not in free:
            _wrong(c, argument.span, f"`{name}` takes {len(names)} arguments: {', '.join(f'`{n}`' for n in names)}",
                   did_you_mean(key, free) if key else "leave it away")  # fmt: skip
            return None
        free.remove(key)
        formals[key] = Bound(argument.value, place.scope)
    if free:
        _wrong(c, tree.span, f"`{name}` lacks `{free[0]}`", f"write `{name}({', '.join(names)})`")
        return None
    return infer(
        c, fn.body, replace(place, scope=Scope(home.module, formals, (*place.scope.via, name)))
    )


def _wrong(c: Checker, span: Span, message: str, fix: str = "") -> None:
    c.report(WrongArguments.at(span, message, fix=fix))


# ---- functions


def _function(c: Checker, tree: t.Call, place: Place) -> Value | None:
    cls = functions()[tree.name.name]
    _, most = span_of_inputs(cls)
    positional = [a for a in tree.arguments if a.keyword is None]
    taken = positional[:most]
    values = [infer(c, a.value, place) for a in taken]
    rest = [a for a in tree.arguments if a not in taken]
    if any(v is None for v in values):
        _check_silently(c, cls, rest, place)
        return None
    return apply(c, cls, tree, [v for v in values if v is not None], taken, rest, place)


def _check_silently(
    c: Checker, cls: type[Operator], rest: Sequence[t.Argument], place: Place
) -> None:
    """Other mistakes among the arguments are reported, though the call itself is broken."""
    for a in rest:
        if not isinstance(a.value, t.Range | t.Call):
            infer(c, a.value, place)


def apply(c: Checker, cls: type[Function], tree: t.Call, values: Sequence[Value], taken: Sequence[t.Tree],
          rest: Sequence[t.Argument], place: Place) -> Value | None:  # fmt: skip
    """A function on values that are known; `rest` are its parameters."""
    name = tree.name.name
    least, _ = span_of_inputs(cls)
    if len(values) < least:
        _wrong(
            c,
            tree.span,
            f"`{name}` takes {least} value{'s' if least != 1 else ''}, {len(values)} given",
            signature(cls),
        )
        return None
    ready = _together(c, cls, values, taken, tree)
    given = parameters(c, cls, tree, rest, place, ready[0] if ready else None)
    if ready is None or given is None:
        return None
    args = [q.settle(v, F64 if isinstance(v, Exact) else None) for v in ready]
    context = Context(rate_hz=place.rate_hz, in_frame=place.in_frame,
                      length=place.flow.type.frame.length if place.in_frame and place.flow.type.frame else None)  # fmt: skip
    made = cls(**given)
    type_ = _verdict(c, made, args, context, tree, taken, rest, place)
    if type_ is None:
        return None
    args, out = type_
    try:
        delay = made.delay_s(context) if cls.stateful else 0.0
    except Refused:
        delay = 0.0
    shape = next((a.type.shape for a in args if a.type.shape), ())
    out = replace(out, delay_s=q.delay_of(*args) + delay, shape=out.shape or shape)
    folded = _constant(made, args, out, context) if not cls.stateful else None
    return folded if folded is not None else Apply(made, tuple(args), out, place.rate_hz)


def _constant(made: Function, args: Sequence[Expr], out: Type, context: Context) -> Value | None:
    """A stateless function of constants, computed now."""
    values = [a.value for a in args if isinstance(a, Const) and isinstance(a.value, int | float)]
    if len(values) != len(args) or not args or not out.is_float:
        return None
    steps = made.steps([a.type for a in args], context)
    if len(steps) != 1 or steps[0].start or steps[0].needs_time:
        return None
    try:
        found = float(steps[0].run(*(float(v) for v in values), *steps[0].constants))
        return Exact(Fraction(found), out.unit)
    except (ValueError, OverflowError, ZeroDivisionError):
        return Const(float("nan"), out)


def _together(
    c: Checker, cls: type[Function], values: Sequence[Value], taken: Sequence[t.Tree], tree: t.Call
) -> list[Value] | None:
    """The values of a call in one unit; angles in radians, mere numbers without percent."""
    out = list(values)
    if cls.name in PLAIN:
        out = [q.plain(v) for v in out]
        rad = units.parse("rad")
        for n, v in enumerate(out):
            u = q.unit_of(v)
            if u is not None and u.same_dimension(rad):
                out[n] = q.convert(v, rad)
    numeric = [n for n, v in enumerate(out) if q.is_number(v)]
    first = next(
        (n for n in numeric if not isinstance(out[n], Exact)), numeric[0] if numeric else None
    )
    if first is None or len(out) < 2:
        return out
    for n in numeric:
        if n != first:
            both = q.align(
                c,
                out[first],
                out[n],
                (taken[first].span, taken[n].span),
                f"`{tree.name.name}`",
                compares=True,
            )
            if both is None:
                return None
            out[first], out[n] = both
    return out


def _verdict(c: Checker, made: Function | Aggregate, args: list[Expr], context: Context, tree: t.Call,
             taken: Sequence[t.Tree], rest: Sequence[t.Argument], place: Place) -> tuple[list[Expr], Type] | None:  # fmt: skip
    """What the type rule says; conditions pass as numbers where numbers are wanted."""
    try:
        return args, made.out([a.type for a in args], context)
    except Refused as refused:
        verdict = refused
    if verdict.code == "FE302" and any(a.type.store == "bool" for a in args):
        cast = [Cast(a, F64) if a.type.store == "bool" else a for a in args]
        try:
            return cast, made.out([a.type for a in cast], context)
        except Refused:
            pass
    places: dict[str, t.Tree] = {str(n): a for n, a in enumerate(taken)}
    places |= _named(type(made), rest)
    refuse(c, verdict, tree, places, place.flow, tree.name.name)
    return None


def _named(cls: type[Operator], rest: Sequence[t.Argument]) -> dict[str, t.Tree]:
    """Arguments by the parameter that they are for."""
    free = [p.name for p in cls.parameters]
    out: dict[str, t.Tree] = {}
    for a in rest:
        if a.keyword is not None:
            out[a.keyword.name] = a
        elif free:
            out[next((n for n in free if n not in out), free[-1])] = a
    return out


def signature(cls: type[Operator]) -> str:
    """A call as it is written, for advice."""
    values: list[str] = []
    if issubclass(cls, Function | Aggregate):
        values = ["x", "y", "z"][: span_of_inputs(cls)[1]]
    more = [p.name if p.default is REQUIRED else f"{p.name}=…" for p in cls.parameters]
    return f"it is written `{cls.name}({', '.join([*values, *more])})`"


# ---- parameters


def parameters(c: Checker, cls: type[Operator], tree: t.Call, rest: Sequence[t.Argument], place: Place,
               first: Value | None) -> dict[str, Any] | None:  # fmt: skip
    """The constant arguments of a call, resolved as `Parameter.kind` says; None: reported."""
    by_name = {p.name: p for p in cls.parameters}
    given: dict[str, t.Value] = {}
    good = True
    for argument in rest:
        if argument.keyword is not None:
            name = argument.keyword.name
            if name not in by_name:
                _wrong(
                    c,
                    argument.keyword.span,
                    f"`{tree.name.name}` has no parameter `{name}`",
                    did_you_mean(name, by_name) or signature(cls),
                )
                good = False
                continue
        else:
            free = [n for n in by_name if n not in given]
            if not free:
                _wrong(
                    c, argument.span, f"`{tree.name.name}` takes no more arguments", signature(cls)
                )
                good = False
                continue
            name = free[0]
        if name in given:
            _wrong(c, argument.span, f"`{name}` is given twice", "leave one away")
            good = False
        given[name] = argument.value
    out: dict[str, Any] = {}
    for p in cls.parameters:
        if p.name not in given:
            if p.default is REQUIRED:
                _wrong(
                    c, tree.span, f"`{tree.name.name}` lacks `{p.name}`: {p.doc}", signature(cls)
                )
                good = False
            else:
                out[p.name] = p.default
            continue
        found = parameter(c, p, given[p.name], place, first)
        good = good and found is not None
        out[p.name] = found
    return out if good else None


def parameter(
    c: Checker, p: Parameter, tree: t.Value, place: Place, first: Value | None
) -> Any:  # as many kinds  # noqa: ANN401
    """One constant argument; None: reported."""
    what = f"`{p.name}`"
    match p.kind:
        case "duration":
            seconds = k.duration(c, tree, place, what)
            return None if seconds is None else float(seconds)
        case "frequency":
            hertz = k.frequency(c, tree, place, what)
            return None if hertz is None else float(hertz)
        case "extent":
            return k.extent(c, tree, place, what)
        case "band":
            return _band(c, tree, place, what)
        case "same" | "difference" | "threshold":
            if p.kind == "threshold" and isinstance(tree, t.Call):
                return _adaptive(c, tree, place, first)
            return like_input(c, tree, place, what, first, amount=p.kind == "difference")
        case "number":
            value = k.number(c, tree, place, what)
            return None if value is None else float(value)
        case "integer":
            return k.whole(c, tree, place, what)
        case "text":
            if isinstance(tree, t.Name) and tree.name not in place.scope.formals:
                return tree.name
            return k.text(c, tree, place, what)
        case "flag":
            return k.flag(c, tree, place, what)
        case "zone":
            return k.zone(c, tree, place)
        case "numbers":
            return _numbers(c, tree, place, what)


def _numbers(c: Checker, tree: t.Value, place: Place, what: str) -> tuple[float, ...] | None:
    if isinstance(tree, t.Name):
        tree, place = unfold(c, tree, place)
    if not isinstance(tree, t.List):
        c.report(
            WrongType.at(tree.span, f"{what} is a list of numbers", fix="write `[0.25, 0.5, 0.25]`")
        )
        return None
    found = [k.number(c, v, place, what) for v in tree.values]
    return (
        None if any(v is None for v in found) else tuple(float(v) for v in found if v is not None)
    )


def unfold(c: Checker, tree: t.Value, place: Place) -> tuple[t.Value, Place]:
    """What a name stands for, where that is a piece of text: a range, a list, a call."""
    for _ in range(DEEPEST):
        if not isinstance(tree, t.Name):
            break
        bound = place.scope.formals.get(tree.name)
        if bound is not None:
            tree, place = bound.tree, replace(place, scope=bound.scope)
            continue
        param = c.lookup(place.scope.module, tree.name, t.Param)
        if param is None:
            break
        tree, place = c.values[id(param.tree)], replace(place, scope=Scope(param.module))
    return tree, place


def _band(c: Checker, tree: t.Value, place: Place, what: str) -> tuple[float, float] | None:
    tree, place = unfold(c, tree, place)
    if not isinstance(tree, t.Range):
        c.report(
            WrongType.at(
                tree.span, f"{what} is a range of frequencies", fix="write `5 Hz .. 15 Hz`"
            )
        )
        return None
    if any(isinstance(x, t.Call) and x.name.name in aggregates() for x in _inside(tree)):
        c.not_yet(
            tree.span, f"{what} with edges that follow the data", "give the edges as constants"
        )
        return None
    low, high = (
        k.frequency(c, tree.low, place, "a frequency"),
        k.frequency(c, tree.high, place, "a frequency"),
    )
    return None if low is None or high is None else (float(low), float(high))


def _inside(tree: t.Tree) -> Iterator[t.Tree]:
    """A tree and all that is inside it."""
    yield tree
    for child in t.children(tree):
        yield from _inside(child)


def like_input(
    c: Checker, tree: t.Value, place: Place, what: str, first: Value | None, *, amount: bool
) -> float | None:
    """A constant in the unit of the value that it is compared with, or of its differences."""
    found = k.exact(c, tree, place, what)
    if found is None or first is None:
        return None
    target = q.unit_of(first)
    if target is None:
        if found.unit is not None and not found.unit.is_dimensionless:
            c.report(
                q.UnitUnfit.at(
                    tree.span,
                    f"{what} in {q.shown(found.unit)} beside a value without a unit",
                    fix="leave the unit away",
                )
            )
            return None
        plain = q.plain(found)
        return float(plain.value) if isinstance(plain, Exact) else None
    if amount and found.unit is not None and found.unit.same_dimension(target):
        return float(units.convert(found.value, found.unit.difference(), target.difference()))
    probe = first if not isinstance(first, Exact) else Exact(Fraction(1), target)
    both = q.align(c, probe, found, (tree.span, tree.span), what, compares=True)
    if both is None:
        return None
    value = both[1]
    if isinstance(value, Exact):
        return float(units.convert(value.value, value.unit, target) if value.unit else value.value)
    return None


def _adaptive(c: Checker, tree: t.Call, place: Place, first: Value | None) -> Any:  # noqa: ANN401
    """A threshold that follows the signal: an operator of the kind "threshold"."""
    every: dict[tuple[str, str], type[Operator]] = dict(discover())
    known = {n: cls for (kind, n), cls in every.items() if str(kind) == "threshold"}
    cls = known.get(tree.name.name)
    if cls is None:
        if tree.name.name == "adaptive":
            c.not_yet(tree.span, "`adaptive`")
        else:
            c.report(
                UnknownCall.at(
                    tree.name.span,
                    f"unknown threshold `{tree.name.name}`",
                    fix=did_you_mean(tree.name.name, {*known, "adaptive"}),
                )
            )
        return None
    given = parameters(c, cls, tree, tree.arguments, place, first)
    return None if given is None else cls(**given)


# ---- aggregates


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
        _wrong(
            c,
            tree.span,
            f"`{tree.name.name}` takes {least} value{'s' if least != 1 else ''}",
            signature(cls),
        )
        return None, taken, rest
    good = [v for v in values if v is not None]
    return (good if len(good) == len(values) else None), taken, rest


def _aggregate(c: Checker, tree: t.Call, place: Place) -> tuple[Aggregate, list[Expr], Type] | None:
    """An aggregate with its inputs and its type."""
    name = tree.name.name
    if name not in aggregates():
        for a in tree.arguments[:1]:
            infer(c, a.value, place)
        c.quiet += 1
        for a in tree.arguments[1:]:
            for part in (a.value.low, a.value.high) if isinstance(a.value, t.Range) else (a.value,):
                infer(c, part, replace(place, inside=False, folds=True))
        c.quiet -= 1
        c.not_yet(tree.name.span, f"`{name}`")
        return None
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
    frame = place.flow.type.frame
    context = Context(
        rate_hz=place.rate_hz, in_frame=place.folds, length=frame.length if frame else None
    )
    made = cls(**given)
    found = _verdict(c, made, args, context, tree, taken, rest, place)
    if found is None:
        return None
    args, out = found
    shape = next((a.type.shape for a in args if a.type.shape), ())
    return (
        made,
        args,
        replace(
            out,
            shape=out.shape or (shape if not cls.collects or not out.shape else out.shape),
            delay_s=q.delay_of(*args),
        ),
    )


def _fold(c: Checker, tree: t.Call, place: Place) -> Value | None:
    name = tree.name.name
    if not place.folds:
        for a in tree.arguments[:1]:
            infer(c, a.value, place)
        call_text = tree.span.source
        c.report(AggregateOutsideFrame.at(tree.span, f"aggregate `{name}` outside a window", label="which rows does it fold?",
                                          fix=f"write `{call_text} over 5 s`, or put `| window 5 s | aggregate {call_text}`"))  # fmt: skip
        return None
    if place.inside:
        c.report(NestedAggregate.at(tree.span, f"aggregate `{name}` inside an aggregate", why="the outer one would fold a single value",
                                    fix="leave one of them away, or use two windows"))  # fmt: skip
        return None
    found = _aggregate(c, tree, replace(place, inside=True))
    if found is None:
        return None
    made, args, out = found
    return Fold(made, tuple(args), replace(out, delay_s=0.0), place.rate_hz)


def rolling(c: Checker, tree: t.Over, place: Place) -> Value | None:
    """``AGG(x) over extent``."""
    name = tree.call.name.name
    extent = k.extent(c, tree.extent, place, "the extent of `over`")
    if name not in aggregates() and name not in PLANNED_AGGREGATES:
        known = {*aggregates(), *PLANNED_AGGREGATES}
        if name in functions() or name in place.scope.module.of(t.Fn):
            c.report(UnknownCall.at(tree.call.name.span, f"`{name}` is a function, not an aggregate", why="`over` gives the rows that an aggregate folds",
                                    fix="leave `over` away, or take an aggregate such as `mean`"))  # fmt: skip
        else:
            c.report(
                UnknownCall.at(
                    tree.call.name.span,
                    f"unknown aggregate `{name}`",
                    fix=did_you_mean(name, known),
                )
            )
        return None
    found = _aggregate(c, tree.call, replace(place, folds=False))
    if found is None or extent is None:
        return None
    made, args, out = found
    rate = place.rate_hz
    count = extent.samples
    if count is None and rate is not None and extent.seconds is not None:
        count = round(extent.seconds * rate)
        if extent.seconds * rate < 1 - 1e-9:
            shorter_than_a_sample(c, tree.extent.span, "the extent", extent.seconds, place, rate)
            return None
    seconds = (
        extent.seconds
        if extent.seconds is not None
        else (extent.samples or 0) / rate
        if rate
        else 0.0
    )
    delay = 0.0 if name in UNDELAYED else seconds / 2
    out = replace(out, delay_s=q.delay_of(*args) + delay)
    return Rolling(
        made,
        tuple(args),
        Extent(samples=count) if count is not None and extent.seconds is None else extent,
        count,
        out,
        rate,
    )


def shorter_than_a_sample(
    c: Checker, span: Span, what: str, seconds: float, place: Place, rate: float
) -> None:
    """Report an extent that no sample fits into."""
    others = (
        [(place.flow.rate_at, f"`{place.flow.name}` is sampled at {rate:g} Hz")]
        if place.flow.rate_at
        else []
    )
    c.report(ShorterThanASample.at(span, f"{what} of {seconds * 1e3:.4g} ms is shorter than one sample", label=f"a sample lasts {1e3 / rate:.4g} ms",
                                   others=others, fix=f"make it at least {1e3 / rate:.4g} ms"))  # fmt: skip


# ---- forms of the language itself


def _arguments(
    c: Checker, tree: t.Call, names: tuple[str, ...], least: int
) -> Mapping[str, t.Value] | None:
    """Arguments by name; None: reported."""
    out: dict[str, t.Value] = {}
    for a in tree.arguments:
        free = [n for n in names if n not in out]
        key = a.keyword.name if a.keyword is not None else free[0] if free else ""
        if key not in free:
            _wrong(
                c,
                a.span,
                f"`{tree.name.name}` takes {', '.join(names)}",
                f"it is written `{tree.name.name}({', '.join(names)})`",
            )
            return None
        out[key] = a.value
    if len(out) < least:
        _wrong(
            c,
            tree.span,
            f"`{tree.name.name}` lacks `{names[len(out)]}`",
            f"it is written `{tree.name.name}({', '.join(names)})`",
        )
        return None
    return out


def _if(c: Checker, tree: t.Call, place: Place) -> Value | None:
    args = _arguments(c, tree, ("condition", "then", "otherwise"), 3)
    if args is None:
        return None
    test = condition(c, args["condition"], place)
    a, b = infer(c, args["then"], place), infer(c, args["otherwise"], place)
    if test is None or a is None or b is None:
        return None
    return choose(c, test, a, b, (args["then"].span, args["otherwise"].span), tree.span)


def choose(
    c: Checker, test: Expr, a: Value, b: Value, spans: tuple[Span, Span], span: Span
) -> Expr | None:
    """``if(test, a, b)`` once all are known."""
    kinds = [None if q.is_free(v) else _kind(v) for v in (a, b)]
    if None not in kinds and kinds[0] != kinds[1]:
        c.report(
            WrongType.at(
                spans[1],
                "the two sides of `if` are of different kinds",
                others=[(spans[0], "the other side")],
                fix="give both the same kind",
            )
        )
        return None
    both = (
        q.align(c, a, b, spans, "`if`", compares=True)
        if kinds[0] == kinds[1] == "number"
        else (a, b)
    )
    if both is None:
        return None
    shape = q.joint_shape(c, *both, span)
    if shape is None:
        return None
    x, y = both
    like_x = y.type if not isinstance(y, Exact) else None
    like_y = x.type if not isinstance(x, Exact) else None
    then, other = q.settle(x, like_x), q.settle(y, like_y)
    first = other if q.is_free(x) else then
    if first.type.is_number:
        whole = then.type.is_integer and other.type.is_integer
        type_ = Type("i64" if whole else "f64", q.unit_of(first), shape)
    else:
        labels = {
            v.value for v in (then, other) if isinstance(v, Const) and isinstance(v.value, str)
        }
        known = labels | set(then.type.labels or ()) | set(other.type.labels or ())
        told = all(isinstance(v, Const) or v.type.labels for v in (then, other))
        type_ = replace(
            first.type,
            labels=tuple(sorted(known))
            if told and known and first.type.store == "string"
            else None,
        )
    return Choose(test, then, other, replace(type_, delay_s=q.delay_of(then, other)))


def _kind(value: Value) -> str:
    return (
        "number"
        if q.is_number(value)
        else value.type.store
        if not isinstance(value, Exact)
        else "number"
    )


def _missing(c: Checker, tree: t.Call, place: Place) -> Value | None:
    args = _arguments(c, tree, ("x",), 1)
    found = None if args is None else infer(c, args["x"], place)
    if found is None:
        return None
    return Const(False, BOOL) if isinstance(found, Exact) else IsMissing(found, BOOL)


def _prev(c: Checker, tree: t.Call, place: Place) -> Value | None:
    args = _arguments(c, tree, ("x", "initial"), 1)
    if args is None:
        return None
    ref, _ = unfold(c, args["x"], place) if isinstance(args["x"], t.Name) else (args["x"], place)
    if not isinstance(ref, t.Name):
        c.report(WrongType.at(args["x"].span, "`prev` takes the name of a column", why="it is what the column was after the row before",
                              fix="name the value with `derive` first"))  # fmt: skip
        return None
    name = place.scope.column_name(t.Ident(name=ref.name, span=ref.span))
    initial = infer(c, args["initial"], place) if "initial" in args else Const(None, F64)
    if initial is None:
        return None
    if name in place.defining:
        first = place.defining[name] or (F64 if q.is_free(initial) else q.settle(initial).type)
        type_ = replace(
            first, store="f64" if first.is_number else first.store, labels=None, delay_s=0.0
        )
    else:
        column = infer(c, ref, place)
        if column is None or isinstance(column, Exact):
            return None
        type_ = column.type
    if not q.is_free(initial):
        like = Read(name, type_)
        if _kind(like) != _kind(initial):
            c.report(
                WrongType.at(
                    args["initial"].span,
                    f"the first value of `{name}` is of another kind",
                    fix=f"give a value of type {type_}",
                )
            )
            return None
        both = (
            q.align(c, like, initial, (ref.span, args["initial"].span), "`prev`", compares=True)
            if type_.is_number
            else (like, initial)
        )
        if both is None:
            return None
        initial = both[1]
    settled = q.settle(initial, type_)
    if isinstance(settled, Const) and settled.value is None:
        settled = Const(None, type_)
    return Previous(name, settled, type_)


def _lead(c: Checker, tree: t.Call, place: Place) -> Value | None:
    args = _arguments(c, tree, ("x", "n"), 1)
    if args is None:
        return None
    found = infer(c, args["x"], place)
    rows = k.whole(c, args["n"], place, "`n`") if "n" in args else 1
    if found is None or rows is None:
        return None
    if rows < 1:
        c.report(
            k.ValueOutOfRange.at(
                args["n"].span, f"`lead` by {rows} rows", fix="give 1 or more; `lag` looks back"
            )
        )
        return None
    held = q.settle(found)
    if is_stateful(held):
        c.not_yet(tree.span, "`lead` of a value with memory", "name the value with `derive` first")
        return None
    type_ = replace(held.type, store="f64") if held.type.is_number else held.type
    return Lead(held, rows, type_)


FORMS: dict[str, Callable[[Checker, t.Call, Place], Value | None]] = {
    "if": _if, "missing": _missing, "prev": _prev, "lead": _lead,
}  # fmt: skip
