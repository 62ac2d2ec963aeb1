"""Type rules that several operators share."""

from collections.abc import Sequence
from dataclasses import replace

from flowedge.operators.contract import Context, Extent, Refused
from flowedge.types import units
from flowedge.types.schema import BOOL, Type


def number(type_: Type, at: str) -> Type:
    """The float that a number becomes when it is computed with; refuses text, time and conditions."""
    if not type_.is_number:
        raise Refused(
            "FE302", f"a number is wanted, this is {type_}", at=at, fix="give a column of numbers"
        )
    return replace(type_, store="f64", labels=None)


def condition(type_: Type, at: str) -> Type:
    """A bool; refuses everything else."""
    if type_.store != "bool" or type_.shape:
        raise Refused(
            "FE302",
            f"a condition is wanted, this is {type_}",
            at=at,
            fix="compare it, for example `x > 0`",
        )
    return BOOL


def same_unit(args: Sequence[Type]) -> Type:
    """The common type of values that the checker has already brought to one unit."""
    first = number(args[0], "0")
    for k, other in enumerate(args[1:], start=1):
        number(other, str(k))
    return first


def plain(type_: Type, at: str) -> Type:
    """A number without a unit; refuses one with a dimension."""
    out = number(type_, at)
    if out.unit is not None and not out.unit.is_dimensionless:
        raise Refused("FE303", f"a plain number is wanted, this is in {out.unit}", at=at,
                      why="its value would depend on the choice of the unit", fix=f"divide by a quantity, for example `x / 1 {out.unit}`")  # fmt: skip
    return replace(out, unit=None)


def difference(type_: Type) -> Type:
    """The type of differences: points on a scale become amounts."""
    return replace(type_, unit=None if type_.unit is None else type_.unit.difference(), labels=None)


def amount(type_: Type, at: str, what: str) -> Type:
    """A number that is no point on a scale, for sums and products."""
    out = number(type_, at)
    if out.unit is not None and out.unit.is_point and out.unit.text != "K":
        raise Refused("FE307", f"{what} of points on a scale ({out.unit}) has no meaning", at=at,
                      why="the zero of the scale is arbitrary", fix="use a difference, for example `x - 0 degC`, or `mean`")  # fmt: skip
    return replace(out, unit=None if out.unit is None else out.unit.difference())


def per_second(type_: Type) -> Type:
    """The unit of rates."""
    unit = type_.unit or units.NUMBER
    return replace(type_, unit=units.over(unit, units.SECOND), labels=None)


def root(type_: Type) -> Type:
    """The unit of square roots."""
    return type_ if type_.unit is None else replace(type_, unit=units.power(type_.unit, 0.5))


def angle(type_: Type, at: str) -> Type:
    """An angle in radians, or a plain number; the result has no unit."""
    out = number(type_, at)
    if out.unit is not None and out.unit.dimension not in ((), (("angle", 1.0),)):
        raise Refused(
            "FE303",
            f"an angle is wanted, this is in {out.unit}",
            at=at,
            fix="give radians or degrees",
        )
    return replace(out, unit=None)


def radians(type_: Type) -> Type:
    """The type of angles."""
    return replace(type_, unit=units.parse("rad"))


def square(type_: Type) -> Type:
    """The unit of squares."""
    return type_ if type_.unit is None else replace(type_, unit=units.power(type_.unit, 2))


def require_samples(context: Context) -> float:
    """The rate [Hz] of evenly spaced samples; refuses rows."""
    if context.rate_hz is None:
        raise Refused("FE402", "a spectrum needs a signal with a rate", why="it looks at evenly spaced samples",
                      fix="declare the source `at RATE`, or put `| resample RATE` before")  # fmt: skip
    return context.rate_hz


def require_no_time(type_: Type, what: str, fix: str) -> None:
    """Refuses times where values are folded as floats; `what` cannot be done to them."""
    if type_.store == "time":
        raise Refused(
            "FE302",
            f"times cannot be {what}",
            at="0",
            why="they are folded as floats, which lose nanoseconds",
            fix=fix,
        )


def as_it_is(type_: Type) -> Type:
    """The type of a value that was picked, not computed: numbers as floats, all else unchanged."""
    return number(type_, "0") if type_.is_number else type_


def require_rising(band: tuple[float, float]) -> None:
    """Refuses bands whose lower edge [Hz] is not below the upper one."""
    low, high = band
    if low >= high:
        raise Refused("FE407", f"the band {low:g} Hz .. {high:g} Hz is empty", at="band", why="its lower edge is not below its upper one",
                      fix=f"write {high:g} Hz .. {low:g} Hz")  # fmt: skip


def require_band(band: tuple[float, float], rate_hz: float) -> None:
    """Refuses bands that a spectrum up to half the rate does not have."""
    low, high = band
    if low < 0:
        raise Refused(
            "FE404", f"a frequency of {low:g} Hz", at="band", fix="start at 0 Hz or above"
        )
    require_rising(band)
    if high > rate_hz / 2:
        raise Refused("FE403", f"the band {low:g} Hz .. {high:g} Hz reaches beyond the Nyquist frequency {rate_hz / 2:g} Hz", at="band",
                      why="a sampled signal shows a tone above half its rate as one below it (aliasing)", fix=f"end at {rate_hz / 2:g} Hz, or sample faster")  # fmt: skip


def require_count(length: Extent, context: Context) -> int:
    """The samples that a length spans; refuses a duration where nothing says how many."""
    count = length.count(context.rate_hz)
    if count is None:
        raise Refused(
            "FE402",
            "a duration on a stream without a rate",
            at="length",
            fix="give a number of samples",
        )
    return count


def require_scalar(type_: Type) -> None:
    """Refuses lists, where the result is a list itself."""
    if type_.shape:
        raise Refused(
            "FE302",
            f"a single number is wanted, this is {type_}",
            at="0",
            fix="take one element, for example `x[0]`",
        )


def instant(type_: Type, at: str) -> Type:
    """A time; refuses everything else."""
    if type_.store != "time" or type_.shape:
        raise Refused(
            "FE302",
            f"a time is wanted, this is {type_}",
            at=at,
            fix="give `time`, or a column of timestamps",
        )
    return type_
