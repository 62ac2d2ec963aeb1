"""Numbers with units: exact constants, conversion, and what two values have in common.

Constants stay fractions until they meet a value of the row, so 150 ms is the float nearest 0.15.
Kelvin is both a point and an amount: compared with degrees Celsius, ``300 K`` is a temperature.
"""

from dataclasses import dataclass, replace
from fractions import Fraction

from flowedge.graph.checker import Checker
from flowedge.graph.expressions import Arithmetic, Cast, Const, Expr, Negative
from flowedge.lang.diagnostics import Rule
from flowedge.lang.span import Span
from flowedge.types import units
from flowedge.types.schema import F64, I64, Type
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
