"""Constants: durations, rates, counts, texts that must be known before the run."""

from dataclasses import replace
from fractions import Fraction
from typing import Literal

from flowedge.graph.checker import WILD, Checker, Flow
from flowedge.graph.expressions import Const
from flowedge.graph.names import Scope
from flowedge.graph.place import Place
from flowedge.graph.quantities import BareNumber, Exact, UnitUnfit, WrongType, number_text, shown
from flowedge.graph.values import infer
from flowedge.lang import tree as t
from flowedge.lang.diagnostics import Rule, did_you_mean
from flowedge.lang.span import Span
from flowedge.operators import zones
from flowedge.operators.contract import Extent
from flowedge.types import units
from flowedge.types.units import Unit

SECONDS_MAX = 2**62 // 10**9  # half of what 64 bits of nanoseconds hold, so that sums stay inside
SAMPLES_MAX = 100_000_000


class NotConstant(Rule):
    """A length, a rate or an option must be known before the run; a column is not.

    Wrong::

        source s (time, v: f64, n: i64) from arrow("in.arrow")
        sink s | derive w = lag(v, n) to console

    Right::

        source s (time, v: f64, n: i64) from arrow("in.arrow")
        sink s | derive w = lag(v, 2) to console
    """

    code = "FE310"


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


class ValueOutOfRange(Rule):
    """A constant lies outside what makes sense: a negative duration, a window of no rows.

    Wrong::

        source s (time, v: f64) from arrow("in.arrow")
        sink s | window 0 s | aggregate count() as n to console

    Right::

        source s (time, v: f64) from arrow("in.arrow")
        sink s | window 1 s | aggregate count() as n to console
    """

    code = "FE418"


def place_of(scope: Scope, flow: Flow | None = None) -> Place:
    """A place for an expression that may read no column."""
    return Place(flow or Flow(-1, WILD, ""), scope)


def exact(c: Checker, tree: t.Value, place: Place, what: str) -> Exact | None:
    """A constant number; columns may not stand in it."""
    found = infer(c, tree, place)
    if found is None:
        return None
    if isinstance(found, Exact):
        return found
    if isinstance(found, Const):
        c.report(WrongType.at(tree.span, f"{what} is wanted here", fix="give a number"))
    else:
        c.report(NotConstant.at(tree.span, f"{what} must be known before the run", label="changes from row to row",
                                fix="write a constant or a `param`"))  # fmt: skip
    return None


def in_unit(
    c: Checker, tree: t.Value, place: Place, what: str, target: Unit, example: str
) -> Fraction | None:
    """A constant quantity, told in a unit."""
    found = exact(c, tree, place, what)
    if found is None:
        return None
    if found.unit is None:
        if found.value == 0:
            return Fraction(0)
        c.report(BareNumber.at(tree.span, f"{what} is wanted, this is a bare number", label="has no unit",
                               fix=f"write `{number_text(found.value)} {target}`"))  # fmt: skip
        return None
    if not found.unit.same_dimension(target):
        c.report(
            UnitUnfit.at(
                tree.span,
                f"{what} is wanted, this is in {shown(found.unit)}",
                fix=f"write for example `{example}`",
            )
        )
        return None
    return units.convert(found.value, found.unit, target)


def duration(
    c: Checker,
    tree: t.Value,
    place: Place,
    what: str = "a duration",
    *,
    positive: bool = False,
    signed: bool = False,
) -> Fraction | None:
    """A duration in seconds; at least 0, and above it where `positive`."""
    seconds = in_unit(c, tree, place, what, units.SECOND, "150 ms")
    if seconds is None or _is_endless(c, tree, what, seconds):
        return None
    if signed:
        return seconds
    if seconds < 0 or (positive and seconds == 0):
        c.report(
            ValueOutOfRange.at(
                tree.span,
                f"{what} of {float(seconds):g} s",
                fix="give a positive duration" if positive else "give 0 s or more",
            )
        )
        return None
    return seconds


def frequency(
    c: Checker, tree: t.Value, place: Place, what: str = "a frequency"
) -> Fraction | None:
    """A frequency in hertz."""
    return in_unit(c, tree, place, what, units.HERTZ, "5 Hz")


def extent(c: Checker, tree: t.Value, place: Place, what: str = "a length") -> Extent | None:
    """A length along the stream: a duration, or a number of samples."""
    found = exact(c, tree, place, what)
    if found is None:
        return None
    if found.unit is not None and found.unit.same_dimension(units.SAMPLE):
        count = units.convert(found.value, found.unit, units.SAMPLE)
        if count.denominator != 1 or count < 1:
            c.report(
                ValueOutOfRange.at(
                    tree.span,
                    f"{what} of {float(count):g} samples",
                    fix="give a whole number of samples, at least 1",
                )
            )
            return None
        if count > SAMPLES_MAX:
            c.report(
                ValueOutOfRange.at(
                    tree.span,
                    f"{what} of {float(count):g} samples",
                    why="all of them would stand in memory, for each key",
                    fix=f"take {SAMPLES_MAX:,} samples at most, or thin the stream first",
                )
            )
            return None
        return Extent(samples=int(count))
    if found.unit is None:
        c.report(BareNumber.at(tree.span, f"{what} is wanted, this is a bare number", label="has no unit",
                               fix=f"write `{number_text(found.value)} s` or `{number_text(found.value)} samples`"))  # fmt: skip
        return None
    if not found.unit.same_dimension(units.SECOND):
        c.report(
            UnitUnfit.at(
                tree.span,
                f"{what} is wanted, this is in {shown(found.unit)}",
                fix="write for example `150 ms` or `54 samples`",
            )
        )
        return None
    seconds = units.convert(found.value, found.unit, units.SECOND)
    if seconds <= 0:
        c.report(
            ValueOutOfRange.at(
                tree.span, f"{what} of {float(seconds):g} s", fix="give a positive duration"
            )
        )
        return None
    if _is_endless(c, tree, what, seconds):
        return None
    return Extent(seconds=float(seconds))


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


def _is_endless(c: Checker, tree: t.Value, what: str, seconds: Fraction) -> bool:
    """Whether a duration is longer than event time can tell; says so."""
    if abs(seconds) <= SECONDS_MAX:
        return False
    c.report(
        ValueOutOfRange.at(
            tree.span,
            f"{what} beyond {SECONDS_MAX // 31_556_952} years",
            why="event time counts nanoseconds in 64 bits",
            fix="give a shorter duration",
        )
    )
    return True


def number(c: Checker, tree: t.Value, place: Place, what: str = "a number") -> Fraction | None:
    """A bare number; percent and the like as numbers."""
    found = exact(c, tree, place, what)
    if found is None or found.unit is None:
        return None if found is None else found.value
    if found.unit.is_dimensionless:
        return found.value * found.unit.factor
    if found.unit.same_dimension(units.SAMPLE):
        return found.value
    c.report(
        UnitUnfit.at(
            tree.span,
            f"{what} without a unit is wanted, this is in {shown(found.unit)}",
            fix="leave the unit away",
        )
    )
    return None


def whole(c: Checker, tree: t.Value, place: Place, what: str = "a whole number") -> int | None:
    """A whole number."""
    found = number(c, tree, place, what)
    if found is None:
        return None
    if found.denominator != 1:
        c.report(
            ValueOutOfRange.at(
                tree.span,
                f"{what} must be whole, this is {float(found):g}",
                fix=f"write `{round(found)}`",
            )
        )
        return None
    return int(found)


def text(c: Checker, tree: t.Value, place: Place, what: str = "a text") -> str | None:
    """A text, with its parameters filled in."""
    found = infer(c, tree, place)
    if found is None:
        return None
    if isinstance(found, Const) and isinstance(found.value, str):
        return found.value
    c.report(WrongType.at(tree.span, f"{what} in quotes is wanted", fix='write `"…"`'))
    return None


def flag(c: Checker, tree: t.Value, place: Place, what: str = "`true` or `false`") -> bool | None:
    """True or false."""
    found = infer(c, tree, place)
    if found is None:
        return None
    if isinstance(found, Const) and isinstance(found.value, bool):
        return found.value
    c.report(WrongType.at(tree.span, f"{what} is wanted", fix="write `true` or `false`"))
    return None


Simple = Literal["duration", "frequency", "number", "integer", "flag"]


def simple(
    c: Checker, kind: Simple, tree: t.Value, place: Place, what: str
) -> float | int | bool | None:
    """A constant as operators and connectors take it: durations [s] and frequencies [Hz] as floats."""
    match kind:
        case "integer":
            return whole(c, tree, place, what)
        case "flag":
            return flag(c, tree, place, what)
        case "duration":
            found = duration(c, tree, place, what)
        case "frequency":
            found = frequency(c, tree, place, what)
        case "number":
            found = number(c, tree, place, what)
    return None if found is None else float(found)


def ns(seconds: Fraction) -> int:
    """Nanoseconds, rounded to the nearest."""
    return round(seconds * 10**9)


def zone(c: Checker, tree: t.Value, place: Place) -> str | None:
    """The name of a time zone that exists."""
    found = text(c, tree, replace(place), "a time zone")
    if found is None:
        return None
    if found not in zones.known():
        c.report(
            ValueOutOfRange.at(
                tree.span,
                f'unknown time zone "{found}"',
                fix=did_you_mean(found, zones.known()),
            )
        )
        return None
    c.zones.add(found)
    return found
