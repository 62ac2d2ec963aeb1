"""Functions on values: units brought together, the type rule asked, constants computed at once."""

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

from flowedge.graph import quantities as q
from flowedge.graph.calls.arguments import parameters, signature, wrong
from flowedge.graph.calls.known import functions, span_of_inputs
from flowedge.graph.calls.type_rule import type_rule
from flowedge.graph.checker import Checker
from flowedge.graph.expressions import Apply, Const, Expr
from flowedge.graph.place import Place
from flowedge.graph.quantities import Exact, Value
from flowedge.graph.values import infer
from flowedge.lang import tree as t
from flowedge.operators.contract import Context, Function, Refused
from flowedge.types import units
from flowedge.types.schema import F64, Type

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


def function(c: Checker, tree: t.Call, place: Place) -> Value | None:
    """A function that is registered, on values as they are written."""
    cls = functions()[tree.name.name]
    _, most = span_of_inputs(cls)
    positional = [a for a in tree.arguments if a.keyword is None]
    if cls.nests and len(positional) == len(tree.arguments) > most:
        rest_of_it = replace(tree, arguments=tree.arguments[most - 1 :])
        last = t.Argument(keyword=None, value=rest_of_it, span=tree.span)
        tree = replace(tree, arguments=(*tree.arguments[: most - 1], last))
        positional = list(tree.arguments)
    taken = positional[:most]
    values = [infer(c, a.value, place) for a in taken]
    rest = [a for a in tree.arguments if a not in taken]
    if any(v is None for v in values):
        _check_others(c, rest, place)
        return None
    return apply(c, cls, tree, [v for v in values if v is not None], taken, rest, place)


def _check_others(c: Checker, rest: Sequence[t.Argument], place: Place) -> None:
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
        wrong(
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
    type_ = type_rule(c, made, args, context, tree, taken, rest, place)
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
