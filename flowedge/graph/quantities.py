"""Numbers with units: exact constants, conversion, and what two values have in common.

Constants stay fractions until they meet a value of the row, so 150 ms is the float nearest 0.15.
Kelvin is both a point and an amount: beside degrees Celsius, ``- 0.5 K`` takes half a degree away,
while ``> 300 K`` compares temperatures.
"""

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Literal

from flowedge.graph.checker import Checker
from flowedge.graph.expressions import Arithmetic, Cast, Const, Expr, Negative
from flowedge.lang.diagnostics import Rule
from flowedge.lang.tree import Span
from flowedge.types import units
from flowedge.types.schema import F64, I64, TIME, Type
from flowedge.types.units import Unit


class UnitsDiffer(Rule):
    """Two values of different dimension are added, compared or chosen between.

    Wrong::

        source s (time, u: f64 [V], i: f64 [A]) from arrow("in.arrow")
        sink s | derive p = u + i to console

    Right::

        source s (time, u: f64 [V], i: f64 [A]) from arrow("in.arrow")
        sink s | derive p = u * i to console
    """

    code = "FE301"


class WrongType(Rule):
    """A text stands where a number is wanted, a number where a condition is, and the like.

    Wrong::

        source s (time, name: string) from arrow("in.arrow")
        sink s | derive n = name + 1 to console

    Right::

        source s (time, name: string, n: i64) from arrow("in.arrow")
        sink s | derive m = n + 1 to console
    """

    code = "FE302"


class UnitUnfit(Rule):
    """A function, a parameter or an exponent does not take a value in this unit.

    Wrong::

        source s (time, v: f64 [mV]) from arrow("in.arrow")
        sink s | derive w = exp(v) to console

    Right::

        source s (time, v: f64 [mV]) from arrow("in.arrow")
        sink s | derive w = exp(v / 1 mV) to console
    """

    code = "FE303"


class BareNumber(Rule):
    """A number without a unit meets a value with one; only 0 means the same in every unit.

    Wrong::

        source s (time, t: f64 [degC]) from arrow("in.arrow")
        sink s | where t > 80 to console

    Right::

        source s (time, t: f64 [degC]) from arrow("in.arrow")
        sink s | where t > 80 degC to console
    """

    code = "FE304"


class PointsOnAScale(Rule):
    """Temperatures in degrees are points on a scale: sums and products of them have no meaning.

    Wrong::

        source s (time, a: f64 [degC], b: f64 [degC]) from arrow("in.arrow")
        sink s | derive c = a + b to console

    Right::

        source s (time, a: f64 [degC], b: f64 [degC]) from arrow("in.arrow")
        sink s | derive c = a - b to console
    """

    code = "FE307"


class LengthsDiffer(Rule):
    """Two lists of different length are combined element by element.

    Wrong::

        source s (time, a: f32<3>, b: f32<2>) from arrow("in.arrow")
        sink s | derive c = a + b to console

    Right::

        source s (time, a: f32<3>, b: f32<3>) from arrow("in.arrow")
        sink s | derive c = a + b to console
    """

    code = "FE311"


@dataclass(frozen=True, slots=True)
class Exact:
    """A constant number, exact; without a unit it is a bare number."""

    value: Fraction
    unit: Unit | None = None
    is_integer: bool = False


Value = Expr | Exact
Pair = tuple[Value, Value]


def unit_of(value: Value) -> Unit | None:
    """The unit of a value."""
    return value.unit if isinstance(value, Exact) else value.type.unit


def shown(unit: Unit | None) -> str:
    """A unit in a message."""
    return "no unit" if unit is None else f"`{unit}`"


def number_text(value: Fraction) -> str:
    """An exact number in a message."""
    return str(value.numerator) if value.denominator == 1 else f"{float(value):g}"


def is_strict_point(unit: Unit | None) -> bool:
    """Degrees Celsius and Fahrenheit: points that are never amounts."""
    return unit is not None and unit.is_point and unit.shift != 0


def is_free(value: Value) -> bool:
    """`missing`, `nan`, `inf`: constants that take any unit."""
    if not isinstance(value, Const):
        return False
    return value.value is None or (
        isinstance(value.value, float)
        and abs(value.value) == float("inf")
        and value.type.unit is None
    )


def settle(value: Value, like: Type | None = None) -> Expr:
    """An expression for a value; an exact integer beside integers stays one."""
    if not isinstance(value, Exact):
        if like is not None and is_free(value) and isinstance(value, Const):
            return Const(value.value, replace(like, shape=(), labels=None, delay_s=0.0))
        return value
    if (
        value.is_integer
        and value.value.denominator == 1
        and value.unit is None
        and (like is None or like.is_integer)
    ):
        return Const(int(value.value), I64)
    return Const(float(value.value), Type("f64", value.unit))


def convert(value: Value, target: Unit, *, as_amount: bool = False) -> Value:
    """A value told in another unit of its dimension."""
    unit = unit_of(value)
    if unit is None or unit == target:
        return value
    if as_amount:
        unit = unit.difference()
    if isinstance(value, Exact):
        goal = target.difference() if as_amount else target
        return Exact(units.convert(value.value, unit, goal), target)
    type_ = Type("f64", target, value.type.shape, delay_s=value.type.delay_s)
    if unit.is_point and target.is_point and not as_amount:
        scale, offset = units.affine(unit, target)
    else:
        scale, offset = float(units.factor(unit, target)), 0.0
    out: Expr = value
    if scale != 1.0:
        out = Arithmetic("*", out, Const(scale, F64), type_)
    if offset != 0.0:
        out = Arithmetic("+", out, Const(offset, F64), type_)
    return retyped(out, type_)


def retyped(value: Expr, type_: Type) -> Expr:
    """The same value with another unit or delay; nothing is computed."""
    if value.type == type_:
        return value
    if value.type.store == type_.store and not value.type.is_float:
        return replace(value, type=type_)
    if isinstance(value, Arithmetic | Negative):
        return replace(value, type=type_)
    return Cast(value, type_)


def plain(value: Value) -> Value:
    """A dimensionless value as a mere number."""
    unit = unit_of(value)
    if unit is None or not unit.is_dimensionless:
        return value
    if isinstance(value, Exact):
        return Exact(value.value * unit.factor, None, value.is_integer and unit.factor == 1)
    type_ = replace(value.type, unit=None)
    if unit.factor == 1:
        return retyped(value, type_)
    return Arithmetic("*", value, Const(float(unit.factor), F64), replace(type_, store="f64"))


def gravity_hint(u: Unit, v: Unit) -> str:
    """The gram is often meant for the acceleration."""
    if "g" in (u.text, v.text) and {u.dimension, v.dimension} & {units.parse("gn").dimension}:
        return "`g` is the gram; standard gravity is written `gn`"
    return ""


def align(
    c: Checker, a: Value, b: Value, spans: tuple[Span, Span], what: str, *, compares: bool = False
) -> Pair | None:
    """Two values in one unit, constants converted rather than values of the row; None: reported."""
    u, v = unit_of(a), unit_of(b)
    if is_free(a) or is_free(b) or u == v:
        return a, b
    if u is None or v is None:
        return _bare(c, a, b, spans, what)
    if not u.same_dimension(v):
        fix = gravity_hint(u, v)
        c.report(UnitsDiffer.at(spans[1], f"{what}: {shown(u)} and {shown(v)} do not go together",
                                label=f"this is in {shown(v)}", others=[(spans[0], f"this is in {shown(u)}")],
                                why="they measure different things", fix=fix or "compare like with like, or divide by a quantity"))  # fmt: skip
        return None
    if is_strict_point(u) != is_strict_point(v) and not (u.is_point and v.is_point):
        point, amount = (u, v) if is_strict_point(u) else (v, u)
        c.report(UnitsDiffer.at(spans[1], f"{what}: a point on a scale ({shown(point)}) and a difference ({shown(amount)})",
                                label=f"this is in {shown(v)}", others=[(spans[0], f"this is in {shown(u)}")],
                                why="a difference has no place on the scale", fix=f"write the quantity in {point}"))  # fmt: skip
        return None
    amount_only = compares and not (u.is_point and v.is_point)
    if isinstance(a, Exact) and not isinstance(b, Exact):
        return convert(a, v, as_amount=amount_only), b
    return a, convert(b, u, as_amount=amount_only)


def _bare(c: Checker, a: Value, b: Value, spans: tuple[Span, Span], what: str) -> Pair | None:
    """One side has a unit, the other none."""
    left = unit_of(a) is not None
    told, bare = (a, b) if left else (b, a)
    unit, at = unit_of(told), spans[1] if left else spans[0]
    assert unit is not None
    if isinstance(bare, Exact) and bare.value == 0 and not is_strict_point(unit):
        bare = Exact(Fraction(0), unit)
    elif unit.is_dimensionless and not isinstance(bare, Exact):
        told = plain(told)
    else:
        wanted = f"{number_text(bare.value)} {unit}" if isinstance(bare, Exact) else f"x * 1 {unit}"
        if "/" in unit.text or "*" in unit.text or "^" in unit.text:
            wanted = wanted.replace(f" {unit}", f" [{unit}]")
        kind = "a bare number" if isinstance(bare, Exact) else "a value without a unit"
        c.report(BareNumber.at(at, f"{what}: {kind} beside a value in {shown(unit)}", label="has no unit",
                               others=[(spans[0] if left else spans[1], f"this is in {shown(unit)}")],
                               why="the result would depend on the choice of the unit", fix=f"write `{wanted}`"))  # fmt: skip
        return None
    return (told, bare) if left else (bare, told)


def joint_shape(c: Checker, a: Value, b: Value, span: Span) -> tuple[int, ...] | None:
    """The shape of two values taken element by element; None: reported."""
    x = () if isinstance(a, Exact) else a.type.shape
    y = () if isinstance(b, Exact) else b.type.shape
    if x and y and x != y:
        c.report(LengthsDiffer.at(span, f"lists of {_shape(x)} and {_shape(y)} values", why="lists are combined element by element",
                                  fix="take one element with `[i]`, or make them equally long"))  # fmt: skip
        return None
    return x or y


def _shape(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


def delay_of(*values: Value) -> float:
    """The largest delay among values [s]."""
    return max((v.type.delay_s for v in values if not isinstance(v, Exact)), default=0.0)


def is_number(value: Value) -> bool:
    """Whether arithmetic is defined on it."""
    return isinstance(value, Exact) or value.type.is_number


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
        return _points(c, op, a, b, spans, span)
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


def _points(
    c: Checker, op: Literal["+", "-"], a: Value, b: Value, spans: tuple[Span, Span], span: Span
) -> Value | None:
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
