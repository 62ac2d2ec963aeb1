"""Arguments of a call: the constants that an operator's parameters ask for."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any

from flowedge.graph import constants as k
from flowedge.graph import quantities as q
from flowedge.graph.calls.known import aggregates, span_of_inputs
from flowedge.graph.checker import Checker
from flowedge.graph.names import Scope, UnknownCall
from flowedge.graph.place import DEEPEST, Place
from flowedge.graph.quantities import Exact, Value, WrongType
from flowedge.lang import statements as st
from flowedge.lang import tree as t
from flowedge.lang.diagnostics import Rule, did_you_mean
from flowedge.lang.span import Span
from flowedge.operators import discover
from flowedge.operators.contract import REQUIRED, Aggregate, Function, Operator, Parameter
from flowedge.types import units


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


def wrong(c: Checker, span: Span, message: str, fix: str = "") -> None:
    """Report arguments that a call does not take."""
    c.report(WrongArguments.at(span, message, fix=fix))


def signature(cls: type[Operator]) -> str:
    """A call as it is written, for advice."""
    values: list[str] = []
    if issubclass(cls, Function | Aggregate):
        values = ["x", "y", "z"][: span_of_inputs(cls)[1]]
    more = [p.name if p.default is REQUIRED else f"{p.name}=…" for p in cls.parameters]
    return f"it is written `{cls.name}({', '.join([*values, *more])})`"


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
                wrong(
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
                wrong(
                    c, argument.span, f"`{tree.name.name}` takes no more arguments", signature(cls)
                )
                good = False
                continue
            name = free[0]
        if name in given:
            wrong(c, argument.span, f"`{name}` is given twice", "leave one away")
            good = False
        given[name] = argument.value
    out: dict[str, Any] = {}
    for p in cls.parameters:
        if p.name not in given:
            if p.default is REQUIRED:
                wrong(c, tree.span, f"`{tree.name.name}` lacks `{p.name}`: {p.doc}", signature(cls))
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
        case "extent":
            return k.extent(c, tree, place, what)
        case "band":
            return _band(c, tree, place, what)
        case "same" | "difference" | "threshold":
            if p.kind == "threshold" and isinstance(tree, t.Call):
                return _adaptive(c, tree, place, first)
            return like_input(c, tree, place, what, first, amount=p.kind == "difference")
        case "text":
            if isinstance(tree, t.Name) and tree.name not in place.scope.formals:
                return tree.name
            return k.text(c, tree, place, what)
        case "zone":
            return k.zone(c, tree, place)
        case "numbers":
            return _numbers(c, tree, place, what)
        case _:
            return k.simple(c, p.kind, tree, place, what)


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
        param = c.lookup(place.scope.module, tree.name, st.Param)
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
        what = f"unknown threshold `{tree.name.name}`"
        c.report(UnknownCall.at(tree.name.span, what, fix=did_you_mean(tree.name.name, known)))
        return None
    given = parameters(c, cls, tree, tree.arguments, place, first)
    return None if given is None else cls(**given)
