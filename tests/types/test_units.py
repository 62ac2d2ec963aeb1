"""Units: what texts mean, exactly; points on a scale; the algebra; hostile texts."""

import math
import os
import subprocess
import sys
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from flowedge.types import units
from flowedge.types.spelling import COMMON
from flowedge.types.units import (
    Unit,
    UnknownUnitError,
    affine,
    convert,
    factor,
    over,
    parse,
    power,
    times,
)

SAME = [
    ("µV", "\u03bcV"), ("µV", "uV"), ("°C", "degC"), ("℃", "degC"), ("celsius", "degC"), ("°F", "degF"), ("℉", "degF"), ("%", "percent"),
    ("samples", "sample"), ("row", "sample"), ("rows", "sample"), ("g_n", "gn"), ("Ω", "ohm"), ("\u2126", "ohm"), ("Ohm", "ohm"), ("kΩ", "kohm"),
    ("m²", "m^2"), ("m·s⁻²", "m/s^2"), ("m s^-2", "m/s^2"), ("m**2", "m^2"), ("m/s/s", "m/s^2"), ("J/(kg*K)", "J/kg/K"), ("lux", "lx"),
    ("lx", "lm/m^2"), ("bpm", "1/min"), ("Hz", "1/s"), ("l/min", "L/min"), ("°", "deg"), ("gauss", "1e-4*T"), ("W", "V*A"), ("", "1"),
    ("Hz^0.5", "Hz^(1/2)"), ("MB", "8*Mbit"),
]  # fmt: skip


@pytest.mark.parametrize(("one", "other"), SAME)
def test_spellings_of_one_unit_are_equal(one, other):
    assert parse(one) == parse(other)
    assert hash(parse(one)) == hash(parse(other))


EXACT = [
    ("ms", "s", Fraction(1, 1000)), ("min", "s", 60), ("h", "s", 3600), ("d", "s", 86400), ("week", "d", 7), ("bpm", "Hz", Fraction(1, 60)),
    ("gn", "m/s^2", Fraction("9.80665")), ("mmHg", "Pa", Fraction("133.322387415")), ("kWh", "J", 3_600_000),
    ("L/min", "m^3/s", Fraction(1, 60_000)), ("km/h", "m/s", Fraction(5, 18)), ("GB", "MB", 1000), ("MiB", "B", 2**20),
    ("percent", "1", Fraction(1, 100)), ("ppm", "percent", Fraction(1, 10_000)), ("turn", "deg", 360), ("rpm", "deg/s", 6),
    ("kN", "N", 1000), ("bar", "hPa", 1000), ("inch", "mm", Fraction("25.4")), ("mV^2", "V^2", Fraction(1, 10**6)),
    ("delta_degF", "K/1", Fraction(5, 9)), ("degF/min", "K/min", Fraction(5, 9)),
]  # fmt: skip


@pytest.mark.parametrize(("u", "v", "expected"), EXACT)
def test_factors_are_exact(u, v, expected):
    assert parse(u).same_dimension(parse(v))
    assert factor(parse(u), parse(v)) == expected


DIFFERENT = [
    ("rad/s", "Hz"), ("rpm", "Hz"), ("rpm", "bpm"), ("deg", "percent"), ("mrad", "1"), ("turn", "1"), ("g", "gn"), ("V", "A"), ("B", "1"),
    ("MB/s", "Hz"), ("sample", "1"), ("sample/s", "Hz"), ("dB", "1"), ("dB", "percent"), ("s", "Hz"), ("V", "V^2"), ("lx", "cd"),
]  # fmt: skip


@pytest.mark.parametrize(("u", "v"), DIFFERENT)
def test_different_things_do_not_meet(u, v):
    assert not parse(u).same_dimension(parse(v))


@pytest.mark.parametrize("prefix", ["n", "u", "µ", "m", "k", "M"])
@pytest.mark.parametrize(
    "word", ["V", "A", "s", "Hz", "m", "g", "Pa", "ohm", "rad", "lx", "T", "gn"]
)
def test_a_prefix_keeps_the_dimension(prefix, word):
    sizes = {"n": -9, "u": -6, "µ": -6, "m": -3, "k": 3, "M": 6}
    assert parse(prefix + word).same_dimension(parse(word))
    assert factor(parse(prefix + word), parse(word)) == Fraction(10) ** sizes[prefix]


def test_constants_are_what_their_texts_mean():
    for unit in (units.NUMBER, units.SECOND, units.HERTZ, units.SAMPLE, units.BYTE):
        assert parse(unit.text) == unit


@pytest.mark.parametrize("text", COMMON)
def test_every_common_unit_is_known(text):
    assert str(parse(text)) == text


@pytest.mark.parametrize("value", [17, 0.5, Decimal("0.1"), Fraction(1, 3)])
def test_milliseconds_become_seconds_without_error(value):
    assert convert(value, parse("ms"), units.SECOND) == Fraction(value) / 1000


@given(st.integers(-(10**12), 10**12))
@settings(derandomize=True, deadline=None, max_examples=50)
def test_a_whole_number_of_milliseconds_is_the_nearest_float_of_seconds(n):
    assert float(convert(n, parse("ms"), units.SECOND)) == float(f"{n}e-3")


def test_half_a_turn_is_pi_to_the_last_bit():
    assert float(convert(180, parse("deg"), parse("rad"))) == math.pi


POINTS = [("degC", 0, "K", "273.15"), ("degF", 32, "degC", "0"), ("degF", 212, "degC", "100"), ("degC", -40, "degF", "-40"),
          ("K", 0, "degC", "-273.15"), ("degR", "491.67", "degC", "0"), ("degF", "-459.67", "K", "0")]  # fmt: skip


@pytest.mark.parametrize(("u", "value", "v", "expected"), POINTS)
def test_points_convert_as_points(u, value, v, expected):
    u, v = parse(u), parse(v)
    assert u.is_point
    assert convert(Fraction(value), u, v) == Fraction(expected)
    scale, offset = affine(u, v)
    assert scale * float(value) + offset == pytest.approx(
        float(expected), abs=1e-12 * 500
    )  # two roundings


def test_a_difference_of_points_is_an_amount():
    assert str(parse("degC").difference()) == "K"
    assert not parse("degC").difference().is_point
    assert convert(Fraction(9), parse("degF").difference(), parse("degC").difference()) == 5
    assert parse("degC").difference() == parse("K").difference()
    assert parse("mV").difference() is parse("mV")


@pytest.mark.parametrize("text", ["mV", "percent", "K/min", "degC/min", "delta_degF", "1"])
def test_only_degrees_alone_are_points(text):
    assert not parse(text).is_point


SHOWN = [
    (times, "mV", "mV", "mV^2"), (times, "m/s", "s", "m"), (times, "V", "A", "V*A"), (over, "mV", "s", "mV/s"), (over, "m/s", "s", "m/s^2"),
    (over, "mV", "mV", "1"), (over, "1", "s", "1/s"), (over, "J", "kg*K", "J/(kg*K)"), (over, "s", "m/s", "s^2/m"), (over, "degC", "s", "K/s"),
    (over, "mV", "V", "mV/V"), (times, "1", "1", "1"),
]  # fmt: skip


@pytest.mark.parametrize(("combine", "u", "v", "expected"), SHOWN)
def test_products_are_shown_as_one_would_write_them(combine, u, v, expected):
    assert str(combine(parse(u), parse(v))) == expected


def test_equal_units_cancel_and_their_size_stays():
    assert over(parse("mV"), parse("mV")) == units.NUMBER
    assert over(parse("mV"), parse("V")).factor == Fraction(1, 1000)
    assert over(parse("mV"), parse("V")).is_dimensionless


def test_the_root_of_a_square_is_exact():
    for text in ("mV", "km/h", "mmHg", "ppm", "gn"):
        assert power(power(parse(text), 2), 0.5) == parse(text)
        assert str(power(power(parse(text), 2), 0.5)) == text


def test_powers_are_shown():
    assert str(power(parse("m/s"), 2)) == "m^2/s^2"
    assert str(power(parse("Hz"), -0.5)) == "1/Hz^0.5"
    assert str(power(parse("m"), Fraction(1, 3))) == "m^(1/3)"
    assert power(parse("percent"), 2) == parse("percent^2")
    assert power(parse("mV"), 0) == units.NUMBER


some_units = st.sampled_from(
    [
        parse(x)
        for x in (
            "mV",
            "s",
            "Hz",
            "m/s^2",
            "kg",
            "percent",
            "rpm",
            "J/(kg*K)",
            "L/min",
            "K",
            "uV^2/Hz",
            "1",
        )
    ]
)


@given(some_units, some_units, some_units)
@settings(derandomize=True, deadline=None, max_examples=60)
def test_units_multiply_like_numbers(u, v, w):
    assert times(u, v) == times(v, u)
    assert times(times(u, v), w) == times(u, times(v, w))
    assert over(times(u, v), v) == u.difference()
    assert over(u, v) == times(u, power(v, -1))


@given(some_units, some_units, st.sampled_from([1, 2, -1, 0.5, Fraction(1, 3)]))
@settings(derandomize=True, deadline=None, max_examples=60)
def test_what_is_shown_reads_back(u, v, n):
    for made in (times(u, v), over(u, v), power(u, n)):
        again = parse(str(made))
        assert (again.dimension, again.is_point) == (made.dimension, str(made) == "K")
        assert float(again.factor) == pytest.approx(
            float(made.factor), rel=1e-15
        )  # cube roots are floats


@pytest.mark.parametrize(
    ("text", "near"),
    [
        ("mss", "ms"),
        ("khz", "kHz"),
        ("hz", "Hz"),
        ("Herz", "Hz"),
        ("Celcius", "degC"),
        ("m/ss", "m/s"),
        ("precent", "percent"),
        ("volts_", "Volt"),
    ],
)
def test_a_slip_gets_its_nearest_neighbour(text, near):
    with pytest.raises(UnknownUnitError) as caught:
        parse(text)
    assert caught.value.near is not None
    if text not in {"m/ss", "volts_"}:
        assert caught.value.near == near


HOSTILE = [
    "9**9**9", "9^9^9^9", "m^999999999", "m^-13", "m^1e9", "m^(9^9)", "((((9^12)^12)^12)^12)*m", "1e999999999*m", "1e400*m", "9" * 150 + "*m",
    "(" * 99 + "m" + ")" * 99, "m^" + "(" * 90 + "1" + ")" * 90, "(" * 150, ")", "*".join(["m"] * 90), "m/0", "0*m", "m^(1/0)", "-m", "m+m", "m-s",
    "m//s", "m*", "/s", "m%s", "__import__('os')", "os.system", "m.real", "m;s", "m\x00", "\u0000", "é", "`m`", "{m}", "[m]", "$s",
    "a" * 201, "nan", "inf", "1/nan", "m^nan", "dBm", "Np", "degRe", "99999999999999^12*99999999999998^12*m", "Ym^12*Zm^12", "sqrt(m)",
]  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_a_hostile_text_is_no_unit(text):
    with pytest.raises(UnknownUnitError):
        parse(text)


@given(st.text(st.sampled_from("ms^*/()0129.e-% °V"), max_size=40))
@example("%%%%")
@settings(derandomize=True, deadline=None, max_examples=300)
def test_any_text_is_a_unit_or_a_clear_refusal(text):
    try:
        unit = parse(text)
    except UnknownUnitError:
        pass
    else:
        assert isinstance(unit, Unit)
        assert 0 < float(unit.factor) < math.inf
        assert parse(str(unit)).dimension == unit.dimension


def test_a_power_beyond_measure_is_refused_at_once():
    for unit, n in (
        (parse("mV"), 10**9),
        (parse("mV"), -13),
        (power(parse("mV"), 6), 6),
        (parse("Ym^12"), 2),
    ):
        with pytest.raises(UnknownUnitError):
            power(unit, n)


def test_units_once_made_need_no_pint():
    code = (
        "import sys; from flowedge.types import units as u; u.times(u.SECOND, u.HERTZ); u.power(u.HERTZ, 2);"
        "u.over(u.BYTE, u.SECOND); u.parse('degC').difference(); assert not {'pint', 'difflib', 'lark'} & set(sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], check=False, capture_output=True, text=True, env=os.environ
    )
    assert done.returncode == 0, done.stderr
