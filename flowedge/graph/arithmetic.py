"""Sums, products and powers of values with units, of times and of points on a scale.

Kelvin is both a point and an amount: taken from degrees Celsius, ``0.5 K`` is half a degree.
"""

from dataclasses import replace
from typing import Literal

from flowedge.graph.checker import Checker
from flowedge.graph.expressions import Arithmetic, Const, Expr
from flowedge.graph.quantities import (
    BareNumber,
    Exact,
    PointsOnAScale,
    UnitUnfit,
    Value,
    WrongType,
    align,
    convert,
    delay_of,
    is_free,
    is_number,
    is_strict_point,
    joint_shape,
    number_text,
    plain,
    settle,
    shown,
    unit_of,
)
from flowedge.lang.span import Span
from flowedge.types import units
from flowedge.types.schema import F64, TIME, Type
from flowedge.types.units import Unit


def add(
    c: Checker, op: Literal["+", "-"], a: Value, b: Value, spans: tuple[Span, Span], span: Span
) -> Value | None:
    """Sum or difference, of times and of points on a scale too."""
    ta = None if isinstance(a, Exact) else a.type
    tb = None if isinstance(b, Exact) else b.type
    if (ta and ta.store == "time") or (tb and tb.store == "time"):
        return _time(c, op, a, b, spans)
    u, v = unit_of(a), unit_of(b)
    if u and v and u.same_dimension(v) and (is_strict_point(u) or is_strict_point(v)):
        return _points(c, op, a, b, span)
    both = align(c, a, b, spans, "sum" if op == "+" else "difference")
    shape = None if both is None else joint_shape(c, *both, span)
    if both is None or shape is None:
        return None
    a, b = both
    unit = unit_of(a) if not is_free(a) else unit_of(b)
    if op == "-" and unit is not None:
        unit = unit.difference()
    if isinstance(a, Exact) and isinstance(b, Exact):
        return Exact(
            a.value + b.value if op == "+" else a.value - b.value,
            unit,
            a.is_integer and b.is_integer,
        )
    return combine(op, a, b, unit, shape)


def combine(
    op: Literal["+", "-", "*", "/", "%", "^"],
    a: Value,
    b: Value,
    unit: Unit | None,
    shape: tuple[int, ...],
) -> Expr:
    """The arithmetic itself, once units agree."""
    other = b if isinstance(a, Exact) else a
    like = None if isinstance(other, Exact) else other.type
    x, y = settle(a, like), settle(b, like)
    whole = x.type.is_integer and y.type.is_integer and op not in ("/", "^")
    return Arithmetic(
        op, x, y, Type("i64" if whole else "f64", unit, shape, delay_s=delay_of(a, b))
    )


def _time(
    c: Checker, op: Literal["+", "-"], a: Value, b: Value, spans: tuple[Span, Span]
) -> Value | None:
    """Time - time is a duration; time ± duration is a time."""
    left = not isinstance(a, Exact) and a.type.store == "time"
    right = not isinstance(b, Exact) and b.type.store == "time"
    if left and right:
        if op == "-":
            return Arithmetic(
                "-", settle(a), settle(b), Type("f64", units.SECOND, delay_s=delay_of(a, b))
            )
        c.report(
            WrongType.at(
                spans[1],
                "two times are added",
                why="a time plus a time has no meaning",
                fix="subtract them, or add a duration",
            )
        )
        return None
    other, at = (b, spans[1]) if left else (a, spans[0])
    if not left and op == "-":
        c.report(
            WrongType.at(spans[1], "a time is taken from a duration", fix="write `time - duration`")
        )
        return None
    unit = unit_of(other)
    if not is_free(other) and (unit is None or not unit.same_dimension(units.SECOND)):
        if unit is None and is_number(other):
            c.report(BareNumber.at(at, "a bare number beside a time", label="has no unit", why="seconds and milliseconds would look the same",
                                   fix=f"write `{number_text(other.value)} s`" if isinstance(other, Exact) else "write `x * 1 s`"))  # fmt: skip
        else:
            c.report(
                WrongType.at(
                    at,
                    f"a duration is wanted beside a time, this is {_kind(other)}",
                    fix="give a duration, for example `5 s`",
                )
            )
        return None
    other = settle(convert(other, units.SECOND), F64)
    time = settle(a if left else b)
    pair = (time, other) if left else (other, time)
    return Arithmetic(op, *pair, replace(TIME, delay_s=delay_of(a, b)))


def _kind(value: Value) -> str:
    return f"a number in {shown(value.unit)}" if isinstance(value, Exact) else str(value.type)


def _points(c: Checker, op: Literal["+", "-"], a: Value, b: Value, span: Span) -> Value | None:
    """Points on a scale: point - point is a difference, point ± difference a point."""
    u, v = unit_of(a), unit_of(b)
    assert u is not None
    assert v is not None
    strict = is_strict_point(u), is_strict_point(v)
    shape = joint_shape(c, a, b, span)
    if shape is None:
        return None
    # A kelvin constant beside degrees is an amount; a kelvin column that is taken away is a point.
    b_is_point = strict[1] or (v.is_point and op == "-" and not isinstance(b, Exact))
    a_is_point = strict[0] or (u.is_point and op == "-")
    if a_is_point and b_is_point and op == "-":
        b, unit = convert(b, u), u.difference()
    elif strict[0] and not strict[1]:
        b, unit = convert(b, u, as_amount=True), u
    elif strict[1] and not strict[0] and op == "+":
        a, unit = convert(a, v, as_amount=True), v
    else:
        what = "sum of two points" if op == "+" else "a point taken from a difference"
        c.report(PointsOnAScale.at(span, f"{what} on a scale ({shown(u)} and {shown(v)})", others=[],
                                   why="the zero of the scale is arbitrary", fix="use a difference, for example `x - 0 degC`, or `mean`"))  # fmt: skip
        return None
    if isinstance(a, Exact) and isinstance(b, Exact):
        return Exact(a.value + b.value if op == "+" else a.value - b.value, unit)
    return combine(op, a, b, unit, shape)


def scale(
    c: Checker, op: Literal["*", "/", "%"], a: Value, b: Value, spans: tuple[Span, Span], span: Span
) -> Value | None:
    """Product, quotient, remainder, with the unit that follows."""
    shape = joint_shape(c, a, b, span)
    if shape is None:
        return None
    u, v = unit_of(a), unit_of(b)
    if op == "*" and (is_strict_point(u) or is_strict_point(v)):
        # `t * 1 degC` puts a unit on a bare number.
        told, bare = (b, a) if is_strict_point(v) else (a, b)
        if isinstance(told, Exact) and unit_of(bare) is None:
            unit = unit_of(told)
            if isinstance(bare, Exact):
                return Exact(told.value * bare.value, unit)
            return combine("*", bare, Exact(told.value), unit, shape)
    for unit, at in ((u, spans[0]), (v, spans[1])):
        if is_strict_point(unit):
            c.report(PointsOnAScale.at(at, f"a product of points on a scale ({shown(unit)})", why="the zero of the scale is arbitrary",
                                       fix="use a difference, for example `x - 0 degC`"))  # fmt: skip
            return None
    if op == "%":
        both = align(c, a, b, spans, "remainder")
        if both is None:
            return None
        a, b = both
        unit = unit_of(a)
        if isinstance(a, Exact) and isinstance(b, Exact):
            return (
                None
                if b.value == 0
                else Exact(a.value % b.value, unit, a.is_integer and b.is_integer)
            )
        return combine("%", a, b, unit, shape)
    if u is not None and v is not None:
        unit = units.times(u, v) if op == "*" else units.over(u, v)
    elif v is not None and op == "/":
        unit = units.over(units.NUMBER, v)
    else:
        unit = u.difference() if u else v.difference() if v else None
    if isinstance(a, Exact) and isinstance(b, Exact):
        if op == "/" and b.value == 0:
            return Const(float("nan"), F64)
        value = a.value * b.value if op == "*" else a.value / b.value
        out: Value = Exact(value, unit, a.is_integer and b.is_integer and op == "*")
    else:
        out = combine(op, a, b, unit, shape)
    return plain(out) if u is not None and v is not None else out


def power(c: Checker, a: Value, b: Value, spans: tuple[Span, Span], span: Span) -> Value | None:
    """``a ^ b``; a unit needs a constant exponent."""
    shape = joint_shape(c, a, b, span)
    b = plain(b)
    if shape is None:
        return None
    u = unit_of(a)
    if unit_of(b) is not None:
        c.report(
            UnitUnfit.at(
                spans[1],
                f"an exponent in {shown(unit_of(b))}",
                why="an exponent is a mere number",
                fix="divide by a quantity first",
            )
        )
        return None
    if u is not None and not isinstance(b, Exact):
        c.report(UnitUnfit.at(spans[1], f"a value in {shown(u)} to a power that changes", why="its unit would change from row to row",
                              fix=f"divide by a quantity first, for example `(x / 1 {u}) ^ y`"))  # fmt: skip
        return None
    if is_strict_point(u):
        c.report(PointsOnAScale.at(spans[0], f"a power of points on a scale ({shown(u)})", why="the zero of the scale is arbitrary",
                                   fix="use a difference, for example `x - 0 degC`"))  # fmt: skip
        return None
    try:
        unit = None if u is None or not isinstance(b, Exact) else units.power(u, b.value)
    except units.UnknownUnitError as error:
        c.report(UnitUnfit.at(spans[1], f"a value in {shown(u)} to so high a power", why=f"{error.hint} measures nothing",
                              fix=f"divide by a quantity first, for example `(x / 1 {u}) ^ y`"))  # fmt: skip
        return None
    if isinstance(a, Exact) and isinstance(b, Exact):
        if b.value.denominator == 1 and abs(b.value) <= 64 and (a.value != 0 or b.value >= 0):
            return Exact(a.value ** int(b.value), unit, a.is_integer and b.value >= 0)
        try:
            result = float(a.value) ** float(b.value)
        except (ZeroDivisionError, OverflowError):
            result = float("nan")
        return Const(result if isinstance(result, float) else float("nan"), Type("f64", unit))
    return combine("^", a, b, unit, shape)
