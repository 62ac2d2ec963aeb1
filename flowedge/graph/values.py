"""Expressions: from the tree as written to values with types and units.

`infer` gives None where a mistake was found and reported; whoever asked stays silent then.
"""

from dataclasses import replace

from flowedge.graph import quantities as q
from flowedge.graph.arithmetic import add, power, scale
from flowedge.graph.checker import Checker
from flowedge.graph.comparisons import compare
from flowedge.graph.expressions import Const, Element, Expr, Logic, Negative, Not, Read, Vector
from flowedge.graph.names import EndlessExpansion, NameClash, Scope, UnknownName
from flowedge.graph.place import DEEPEST, Place
from flowedge.graph.quantities import Exact, Value, WrongType
from flowedge.graph.strings import resolve
from flowedge.graph.units import unit
from flowedge.lang import statements as st
from flowedge.lang import tree as t
from flowedge.lang.diagnostics import Rule, did_you_mean
from flowedge.lang.span import Span
from flowedge.types import units
from flowedge.types.schema import BOOL, F64, I64, TEXT, TIME, Type
from flowedge.types.units import UnknownUnitError


class UnbracketedUnit(Rule):
    """A compound unit stands in brackets, or its slash would be a division.

    Wrong::

        source s (time, v: f64 [m/s]) from arrow("in.arrow")
        sink s | where v > 5 m/s to console

    Right::

        source s (time, v: f64 [m/s]) from arrow("in.arrow")
        sink s | where v > 5 [m/s] to console
    """

    code = "FE306"


class BadIndex(Rule):
    """An index is a whole number from 0, below the length of the list.

    Wrong::

        source s (time, a: f32<3>) from arrow("in.arrow")
        sink s | derive z = a[3] to console

    Right::

        source s (time, a: f32<3>) from arrow("in.arrow")
        sink s | derive z = a[2] to console
    """

    code = "FE312"


class ColumnOutsideAggregate(Rule):
    """A row made from a window holds aggregates; a column has many values there.

    Wrong::

        source s (time, v: f64) from arrow("in.arrow")
        sink s | window 1 s | aggregate v - mean(v) as d to console

    Right::

        source s (time, v: f64) from arrow("in.arrow")
        sink s | window 1 s | aggregate last(v) - mean(v) as d to console
    """

    code = "FE219"


class MixedDelays(Rule):
    """Values that point to different instants are combined: a filter delays what it lets through.

    Wrong::

        source s (time, v: f64) at 100 Hz from arrow("in.arrow")
        sink s | derive d = v - lowpass(v, 1 Hz) to console

    Right::

        source s (time, v: f64) at 100 Hz from arrow("in.arrow")
        sink s | derive d = lowpass(v, 10 Hz) - lowpass(v, 9 Hz) to console
    """

    code = "FE411"
    severity = "warning"


def infer(c: Checker, tree: t.Value, place: Place) -> Value | None:
    """The value of an expression, with type and unit; None: a mistake was reported."""
    match tree:
        case t.Number():
            return _number(c, tree)
        case t.Constant():
            return _constant(tree.word)
        case t.Text():
            text = resolve(c, tree, place.scope)
            return None if text is None else Const(text, TEXT)
        case t.Name():
            return _name(c, tree, place)
        case t.List():
            return _list(c, tree, place)
        case t.Index():
            return _index(c, tree, place)
        case t.Negate():
            return _negate(c, tree, place)
        case t.Binary():
            return _binary(c, tree, place)
        case t.Compare():
            return _compare(c, tree, place)
        case t.IsIn():
            return _is_in(c, tree, place)
        case t.Logic():
            parts = [condition(c, v, place) for v in tree.values]
            if any(p is None for p in parts):
                return None
            return Logic(
                "and" if tree.op == "and" else "or", tuple(p for p in parts if p is not None), BOOL
            )
        case t.Not():
            value = condition(c, tree.value, place)
            return None if value is None else Not(value, BOOL)
        case t.Range():
            c.report(
                WrongType.at(
                    tree.span,
                    "a range stands where a value is wanted",
                    fix="a range is an argument, for example `bandpass(5 Hz .. 15 Hz)`",
                )
            )
            return None
        case _:
            from flowedge.graph.calls import call  # noqa: PLC0415  # calls hold expressions

            return call(c, tree, place)


def value(c: Checker, tree: t.Value, place: Place, like: Type | None = None) -> Expr | None:
    """The same as an expression that can be computed."""
    found = infer(c, tree, place)
    return None if found is None else q.settle(found, like)


def condition(c: Checker, tree: t.Value, place: Place) -> Expr | None:
    """An expression that must be true or false."""
    found = infer(c, tree, place)
    if found is None:
        return None
    if isinstance(found, Exact) or found.type.store != "bool" or found.type.shape:
        kind = "a number" if isinstance(found, Exact) else str(found.type)
        c.report(
            WrongType.at(
                tree.span,
                f"a condition is wanted, this is {kind}",
                fix="compare it, for example `x > 0`",
            )
        )
        return None
    return found


def _number(c: Checker, tree: t.Number) -> Exact | None:
    if tree.unit is None:
        return Exact(tree.value, None, tree.is_integer)
    found = unit(c, tree.unit, tree.unit_span or tree.span)
    return (
        None
        if found is None
        else Exact(tree.value, None if found == units.NUMBER else found, tree.is_integer)
    )


def _constant(word: str) -> Value:
    if word in ("true", "false"):
        return Const(word == "true", BOOL)
    return Const(float(word) if word == "inf" else None, F64)


def _name(c: Checker, tree: t.Name, place: Place) -> Value | None:
    name, flow, scope = tree.name, place.flow, place.scope
    bound = scope.formals.get(name)
    column = _column(name, place)
    param = scope.module.names.get(name)
    param = param if param is not None and isinstance(param.tree, st.Param) else None
    if bound is not None:
        same = isinstance(bound.tree, t.Name) and bound.tree.name == name
        if column is not None and not same:
            c.report(
                NameClash.at(
                    tree.span,
                    f"`{name}` is a formal of the definition and a column",
                    fix="rename the formal",
                )
            )
            return None
        if len(bound.scope.via) > DEEPEST:
            c.report(
                EndlessExpansion.at(
                    tree.span,
                    f"definitions nested more than {DEEPEST} deep",
                    fix="name the parts with `stream`",
                )
            )
            return None
        return infer(c, bound.tree, replace(place, scope=bound.scope))
    if column is not None:
        if param is not None:
            param.used = True
            c.report(NameClash.at(tree.span, f"`{name}` is a column and a parameter", others=[(param.span, "the parameter")],
                                  why="either could be meant", fix="rename the parameter"))  # fmt: skip
            return None
        if not place.bare and not place.inside:
            c.report(ColumnOutsideAggregate.at(tree.span, f"column `{name}` outside an aggregate", why="it has many values in a window",
                                               fix=f"fold it, for example `last({name})`"))  # fmt: skip
            return None
        return column
    if name in flow.broken:
        return None
    if param is not None:
        param.used = True
        return infer(c, c.values[id(param.tree)], replace(place, scope=Scope(param.module)))
    if name == "missing":
        return Const(None, F64)
    if not flow.wild:
        known = {*flow.type.names(), *scope.formals, *scope.module.of(st.Param)}
        other = place.defining.keys() - known
        fix = (
            f"`{name}` is defined here: its previous value is `prev({name}, …)`"
            if name in other
            else did_you_mean(name, known)
        )
        c.report(
            UnknownName.at(
                tree.span,
                f"unknown column `{name}`" + (f" in `{flow.name}`" if flow.name else ""),
                fix=fix,
            )
        )
    return None


def _column(name: str, place: Place) -> Read | None:
    stream = place.flow.type
    if name in place.flow.broken:
        return None
    if name == "time" and stream.has_time and not place.raw:
        return Read("time", TIME)
    found = stream.column(name)
    if found is not None:
        return Read(name, found.type)
    if place.raw and name == "row":
        return Read("row", I64)
    return None


def _list(c: Checker, tree: t.List, place: Place) -> Value | None:
    parts = [infer(c, v, place) for v in tree.values]
    found = [p for p in parts if p is not None]
    if len(found) != len(parts) or not found:
        return None
    first, out = found[0], [found[0]]
    for part, item in zip(found[1:], tree.values[1:], strict=True):
        both = q.align(c, first, part, (tree.values[0].span, item.span), "list")
        if both is None:
            return None
        out.append(both[1])
    settled = [q.settle(v) for v in out]
    store = settled[0].type.store if len({v.type.store for v in settled}) == 1 else "f64"
    if settled[0].type.shape or (store == "f64" and not all(v.type.is_number for v in settled)):
        c.report(
            WrongType.at(
                tree.span, "a list of different kinds of values", fix="give numbers of one unit"
            )
        )
        return None
    return Vector(
        tuple(settled), Type(store, q.unit_of(first), (len(settled),), delay_s=q.delay_of(*settled))
    )


def _index(c: Checker, tree: t.Index, place: Place) -> Value | None:
    from flowedge.graph.constants import whole  # noqa: PLC0415  # constants are expressions too

    held = infer(c, tree.value, place)
    at = whole(c, tree.index, place, "an index")
    if held is None or at is None:
        return None
    if isinstance(held, Exact) or not held.type.shape:
        c.report(
            WrongType.at(
                tree.value.span, "an index on a value that is no list", fix="leave the index away"
            )
        )
        return None
    length, inner = held.type.shape[0], held.type.shape[1:]
    if not 0 <= at < length:
        c.report(BadIndex.at(tree.index.span, f"index {at} into a list of {length}", why="elements are counted from 0",
                             fix=f"write 0 to {length - 1}"))  # fmt: skip
        return None
    item = held.type.element()
    if isinstance(held, Vector) and not inner:
        return held.values[at]
    if not inner:
        return Element(held, at, item)
    type_ = replace(held.type, shape=inner)
    return Vector(tuple(Element(held, at * type_.size + k, item) for k in range(type_.size)), type_)


def _negate(c: Checker, tree: t.Negate, place: Place) -> Value | None:
    found = infer(c, tree.value, place)
    if found is None:
        return None
    if isinstance(found, Exact):
        return replace(found, value=-found.value)
    if isinstance(found, Const) and isinstance(found.value, float):
        return Const(-found.value, found.type)
    if not found.type.is_number:
        c.report(
            WrongType.at(
                tree.value.span,
                f"a number is wanted behind `-`, this is {found.type}",
                fix="give a number",
            )
        )
        return None
    if q.is_strict_point(found.type.unit):
        c.report(q.PointsOnAScale.at(tree.span, f"the negative of a point on a scale ({q.shown(found.type.unit)})",
                                     why="the zero of the scale is arbitrary", fix="use a difference, for example `0 degC - x`"))  # fmt: skip
        return None
    type_ = replace(found.type, store="i64" if found.type.is_integer else "f64", labels=None)
    return Negative(found, type_)


def _binary(c: Checker, tree: t.Binary, place: Place) -> Value | None:
    if _is_compound_unit(tree, place):
        left, right = tree.left, tree.right
        assert isinstance(left, t.Number)
        assert isinstance(right, t.Name)
        c.report(UnbracketedUnit.at(tree.span, f"a compound unit without brackets: `{tree.span.source}`", why=f"this would divide by a column `{right.name}`",
                                    fix=f"write `{q.number_text(left.value)} [{left.unit}{tree.op}{right.name}]`",
                                    edit=f"{q.number_text(left.value)} [{left.unit}{tree.op}{right.name}]"))  # fmt: skip
        return None
    a, b = infer(c, tree.left, place), infer(c, tree.right, place)
    if a is None or b is None:
        return None
    spans = (tree.left.span, tree.right.span)
    for side, at in ((a, spans[0]), (b, spans[1])):
        ok = q.is_number(side) or (
            tree.op in "+-" and not isinstance(side, Exact) and side.type.store == "time"
        )
        if not ok:
            kind = side.type if not isinstance(side, Exact) else "a number"
            c.report(
                WrongType.at(
                    at,
                    f"a number is wanted beside `{tree.op}`, this is {kind}",
                    fix="give a number",
                )
            )
            return None
    _delays(c, a, b, spans, place)
    if tree.op in {"+", "-"}:
        return add(c, "+" if tree.op == "+" else "-", a, b, spans, tree.span)
    if tree.op == "^":
        return power(c, a, b, spans, tree.span)
    return scale(
        c, "*" if tree.op == "*" else "/" if tree.op == "/" else "%", a, b, spans, tree.span
    )


def _is_compound_unit(tree: t.Binary, place: Place) -> bool:
    left, right = tree.left, tree.right
    if tree.op not in "*/" or not isinstance(right, t.Name) or not isinstance(left, t.Number):
        return False
    if left.unit is None or left.is_bracketed or right.name in place.scope.formals:
        return False
    if (
        right.name in place.flow.type.names()
        or right.name in place.scope.module.of(st.Param)
        or place.flow.wild
    ):
        return False
    try:
        units.parse(right.name)
    except UnknownUnitError:
        return False
    return True


def _delays(c: Checker, a: Value, b: Value, spans: tuple[Span, Span], place: Place) -> None:
    """Warn where values that point to different instants meet, by more than a sample."""
    rate = place.rate_hz
    if rate is None or isinstance(a, Exact | Const) or isinstance(b, Exact | Const):
        return
    x, y = a.type.delay_s, b.type.delay_s
    if "time" in (a.type.store, b.type.store) or abs(x - y) * rate <= 1.0 + 1e-9:
        return
    c.report(MixedDelays.at(spans[1], f"values with delays of {x * 1e3:.3g} ms and {y * 1e3:.3g} ms are combined",
                            label=f"points {y * 1e3:.3g} ms back", others=[(spans[0], f"points {x * 1e3:.3g} ms back")],
                            why="a causal filter shows what was, each by its own delay", fix="delay the faster one with `lag`, or filter both alike"))  # fmt: skip


def _compare(c: Checker, tree: t.Compare, place: Place) -> Value | None:
    a, b = infer(c, tree.left, place), infer(c, tree.right, place)
    if a is None or b is None:
        return None
    return compare(c, tree.op, a, b, (tree.left.span, tree.right.span), tree.span)


def _is_in(c: Checker, tree: t.IsIn, place: Place) -> Value | None:
    held = infer(c, tree.value, place)
    tests: list[Expr | None] = []
    for choice in tree.choices.values:
        one = infer(c, choice, place)
        if held is not None and one is not None:
            tests.append(compare(c, "==", held, one, (tree.value.span, choice.span), choice.span))
    good = [x for x in tests if x is not None]
    if held is None or len(good) != len(tree.choices.values):
        return None
    if not good:
        return Const(False, BOOL)
    return good[0] if len(good) == 1 else Logic("or", tuple(good), BOOL)
