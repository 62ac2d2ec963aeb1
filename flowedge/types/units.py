"""Units: plain data, exact by rationals, with points on a temperature scale and angle as a dimension.

A `Unit` once made needs no pint: only reading a text that was not read before asks it for the words,
so that a warm start never loads it.
"""

import re
from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache
from math import isqrt
from typing import TYPE_CHECKING

from flowedge.types.spelling import nearest, normal, one_word

if TYPE_CHECKING:
    from decimal import Decimal

POINTS = {
    "K": (Fraction(1), Fraction(0)),
    "degC": (Fraction(1), Fraction(27315, 100)),
    "degF": (Fraction(5, 9), Fraction(45967, 180)),
    "degR": (Fraction(5, 9), Fraction(0)),
}
"""Units that alone are points on a scale: kelvin in one of it, kelvin at its zero."""

LONGEST_TEXT = 200
DEEPEST = 20
LARGEST_POWER = 12
"""Limits on what a stranger's text may ask for; a wider one was not seen in 58 pipelines."""

LARGEST_RESULT = 1000
"""Of squares and roots, which the checker takes of its own accord."""

Dimension = tuple[tuple[str, float], ...]
Words = dict[str, Fraction]


class UnknownUnitError(ValueError):
    """A text that is no unit; `near` is the most similar one that is, `hint` a sentence."""

    def __init__(self, text: str, near: str | None, hint: str = "") -> None:
        self.text, self.near, self.hint = text, near, hint
        super().__init__(f"unknown unit `{text}`")


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit; two that mean the same are equal, however they are written (``bpm``, ``1/min``).

    Attributes
    ----------
    text : how it is shown, for example ``m/s^2``; ``1`` for none
    scale : SI base units in one of it, as (numerator, denominator)
    dimension : base dimensions with their powers, sorted
    offset : of a point on a scale, in base units (273.15 K for ``degC``), as a fraction
    is_point : a point on a scale, not an amount
    """

    text: str = field(compare=False)
    scale: tuple[int, int]
    dimension: Dimension
    offset: tuple[int, int] = (0, 1)
    is_point: bool = False

    def __str__(self) -> str:
        """How it is shown."""
        return self.text

    @property
    def factor(self) -> Fraction:
        """SI base units in one of it."""
        return Fraction(*self.scale)

    @property
    def shift(self) -> Fraction:
        """The base value of its zero."""
        return Fraction(*self.offset)

    @property
    def is_dimensionless(self) -> bool:
        """Whether it is a mere number, such as percent."""
        return not self.dimension

    def difference(self) -> "Unit":
        """The unit of differences between points: kelvin for degC, and itself for amounts."""
        if not self.is_point:
            return self
        text = "K" if self.text in {"degC", "K"} else f"delta_{self.text}"
        return Unit(text, self.scale, self.dimension)

    def same_dimension(self, other: "Unit") -> bool:
        """Whether amounts in one can be told in the other."""
        return self.dimension == other.dimension


@lru_cache(maxsize=4096)
def parse(text: str) -> Unit:
    """The unit that a text names.

    Words of pint's and ours (``sample``, ``gn``, ``bpm``) with ``* / ^`` and parentheses; a word
    alone may be a point on a scale. Nothing is evaluated: the text is read token by token.

    Parameters
    ----------
    text : such as ``mV``, ``m/s^2``, ``1/min``, ``percent``, ``°C``; at most 200 characters, powers
        up to 12

    Raises
    ------
    UnknownUnitError
        no such unit, with the nearest one

    Examples
    --------
    >>> str(parse("m s⁻²")), str(parse("kΩ")), parse("bpm") == parse("1/min")
    ('m/s^2', 'kohm', True)
    """
    if len(text) > LONGEST_TEXT:
        raise UnknownUnitError(f"{text[:40]}…", None, "a unit has at most 200 characters")
    name = normal(text)
    if one_word(name) in POINTS:
        scale, shift = POINTS[one_word(name)]
        return Unit(
            one_word(name), _pair(scale), (("temperature", 1.0),), _pair(shift), is_point=True
        )
    words = _Reader(name).read() if name else {}
    scale, powers = Fraction(1), dict[str, Fraction]()
    for word, n in words.items():
        one, dimension = _meaning(word)
        scale *= _raised(one, n)
        for base, m in dimension:
            powers[base] = powers.get(base, Fraction(0)) + m * n
    if not _is_told_by_floats(scale):
        raise UnknownUnitError(name[:40], None, "no number could hold a value in it")
    return Unit(_written(words), _pair(scale), _sorted(powers))


def times(u: Unit, v: Unit) -> Unit:
    """The unit of products."""
    return _combined(u, v, 1)


def over(u: Unit, v: Unit) -> Unit:
    """The unit of quotients; equal units cancel.

    Examples
    --------
    >>> str(over(parse("m/s"), SECOND)), str(over(SECOND, SECOND)), str(over(NUMBER, parse("m/s")))
    ('m/s^2', '1', 's/m')
    """
    return _combined(u, v, -1)


def power(u: Unit, n: float | Fraction) -> Unit:
    """The unit of a power; the root of a square is exact.

    Raises
    ------
    UnknownUnitError
        a unit would stand to a power above 12 (squares and square roots: 1,000), or no float could
        hold its size

    Examples
    --------
    >>> str(power(parse("mV"), 2)), power(power(parse("mV"), 2), 0.5) == parse("mV")
    ('mV^2', True)
    """
    u = u.difference()
    n = Fraction(n).limit_denominator(1000)
    most = LARGEST_RESULT if abs(n) <= 2 else LARGEST_POWER
    words = {word: m * n for word, m in _words(u.text).items()}
    too_large = abs(n) > most or any(abs(m) > most for m in words.values())
    if too_large or not _is_told_by_floats(u.factor, n):
        raise UnknownUnitError(u.text, None, f"a unit to a power above {most}")
    powers = {name: Fraction(m).limit_denominator(1000) * n for name, m in u.dimension}
    return Unit(_written(words), _pair(_raised(u.factor, n)), _sorted(powers))


def factor(u: Unit, v: Unit) -> Fraction:
    """What an amount in `u` is multiplied by to be told in `v`, exactly; dimensions must agree."""
    return u.factor / v.factor


def affine(u: Unit, v: Unit) -> tuple[float, float]:
    """(scale, offset) that turn a point in `u` into a point in `v`: ``scale * x + offset``."""
    return float(u.factor / v.factor), float((u.shift - v.shift) / v.factor)


def convert(value: "Fraction | Decimal | float", u: Unit, v: Unit) -> Fraction:
    """A value told in another unit, exactly; points as points, amounts as amounts.

    Examples
    --------
    >>> float(convert(17, parse("ms"), SECOND)), float(convert(212, parse("degF"), parse("degC")))
    (0.017, 100.0)
    """
    value = Fraction(value)
    if u.is_point and v.is_point:
        return (value * u.factor + u.shift - v.shift) / v.factor
    return value * u.factor / v.factor


_TOKEN = re.compile(r"\s*(?:(\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)|([^\W\d]\w*|°\w?|%)|(.))", re.DOTALL)
_NUMBER = re.compile(r"\d{1,15}(?:\.\d{1,15})?(?:[eE][+-]?\d{1,2})?")


class _Reader:
    """A unit's text, token by token, into words and their powers."""

    def __init__(self, text: str, most: int = LARGEST_POWER) -> None:
        self.text, self.most, self.depth = text, most, 0
        self.tokens = [found.group(1, 2, 3) for found in _TOKEN.finditer(text.strip())][::-1]

    def read(self) -> Words:
        out = self.product()
        if self.tokens:
            raise self.fault()
        if any(abs(n) > self.most for n in out.values()):
            raise self.fault(f"a power goes up to {self.most}")
        return out

    def fault(self, hint: str = "write units with `*`, `/` and `^`") -> UnknownUnitError:
        return UnknownUnitError(self.text, nearest(self.text), hint)

    def takes(self, *signs: str) -> str | None:
        if self.tokens and self.tokens[-1][2] in signs:
            return self.tokens.pop()[2]
        return None

    def product(self) -> Words:
        out = self.raised()
        while self.tokens and self.tokens[-1][2] != ")":
            sign = -1 if self.takes("/") else 1
            if sign > 0 and not self.takes("*") and self.tokens[-1][1] in {None, "%"}:
                raise self.fault()  # only before a word may the sign be left out: `m s^-2`
            for word, n in self.raised().items():
                out[word] = out.get(word, Fraction(0)) + sign * n
        return out

    def raised(self) -> Words:
        base = self.atom()
        if not self.takes("^"):
            return base
        n = self.exponent()
        if abs(n) > self.most or any(abs(m * n) > self.most for m in base.values()):
            raise self.fault(f"a power goes up to {self.most}")
        return {word: m * n for word, m in base.items()}

    def atom(self) -> Words:
        if self.takes("("):
            self.depth += 1
            if self.depth > DEEPEST:
                raise self.fault("too many parentheses")
            out = self.product()
            if not self.takes(")"):
                raise self.fault()
            self.depth -= 1
            return out
        if not self.tokens or self.tokens[-1][2]:
            raise self.fault()
        number, word, _ = self.tokens.pop()
        if not number:
            return {one_word(word): Fraction(1)}
        if not _NUMBER.fullmatch(number) or not Fraction(number):
            raise self.fault("a number in a unit is positive, with up to 15 digits")
        return {number: Fraction(1)}

    def exponent(self) -> Fraction:
        if self.takes("("):
            self.depth += 1
            if self.depth > DEEPEST:
                raise self.fault("too many parentheses")
            out = self.exponent()
            if self.takes("/"):
                below = self.exponent()
                if not below:
                    raise self.fault()
                out /= below
            if not self.takes(")"):
                raise self.fault()
            self.depth -= 1
            return out
        sign = -1 if self.takes("-") else 1
        if not self.tokens or not self.tokens[-1][0] or len(self.tokens[-1][0]) > 8:
            raise self.fault(f"a power is a number up to {self.most}")
        return sign * Fraction(self.tokens.pop()[0]).limit_denominator(1000)


def _meaning(word: str) -> tuple[Fraction, tuple[tuple[str, Fraction], ...]]:
    """SI base units in one, and the dimension, of a word or a number."""
    if word[0].isdigit():
        return Fraction(word), ()
    if word in POINTS:
        return POINTS[word][0], (("temperature", Fraction(1)),)
    from flowedge.types.registry import look_up  # noqa: PLC0415  # pint is for the cold path

    found = look_up(word) if len(word) <= 60 else None
    if found is None:
        raise UnknownUnitError(word[:40], nearest(word))
    return found


@lru_cache(maxsize=4096)
def _cached_words(text: str) -> tuple[tuple[str, Fraction], ...]:
    return tuple(_Reader(text, LARGEST_RESULT).read().items())


def _words(text: str) -> Words:
    """The words of a text that is shown, with their powers."""
    try:
        return dict(_cached_words(text))
    except UnknownUnitError:  # a product of very many: kept as one word
        return {f"({text})": Fraction(1)}


def _combined(u: Unit, v: Unit, sign: int) -> Unit:
    u, v = u.difference(), v.difference()
    powers = {name: Fraction(n).limit_denominator(1000) for name, n in u.dimension}
    for name, m in v.dimension:
        powers[name] = powers.get(name, Fraction(0)) + sign * Fraction(m).limit_denominator(1000)
    words = _words(u.text)
    for word, n in _words(v.text).items():
        words[word] = words.get(word, Fraction(0)) + sign * n
    scale = u.factor * v.factor if sign > 0 else u.factor / v.factor
    dimension = _sorted(powers)
    return (
        NUMBER if not dimension and scale == 1 else Unit(_written(words), _pair(scale), dimension)
    )


def _written(words: Words) -> str:
    """Words and powers as they are shown: ``kg*m/s^2``, ``J/(K*kg)``, ``1/min``."""
    above = [_with_power(word, n) for word, n in words.items() if n > 0 and word != "1"]
    below = [_with_power(word, -n) for word, n in words.items() if n < 0 and word != "1"]
    top = "*".join(above) or "1"
    if not below:
        return top
    return f"{top}/{below[0]}" if len(below) == 1 else f"{top}/({'*'.join(below)})"


def _with_power(word: str, n: Fraction) -> str:
    if n == 1:
        return word
    short = f"{float(n):g}"
    return f"{word}^{short}" if Fraction(short) == n else f"{word}^({n})"


def _is_told_by_floats(scale: Fraction, n: Fraction = Fraction(1)) -> bool:
    """Whether ``scale ** n`` is neither too large nor too small for a float."""
    bits = scale.numerator.bit_length() - scale.denominator.bit_length()
    return abs(bits * n) < 1000


def _raised(base: Fraction, n: Fraction) -> Fraction:
    """``base ** n``; exact for whole powers and for roots of squares, else to a float's precision."""
    if n.denominator == 1:
        return base ** int(n)
    if n.denominator == 2:
        top, bottom = isqrt(base.numerator), isqrt(base.denominator)
        if top * top == base.numerator and bottom * bottom == base.denominator:
            return Fraction(top, bottom) ** n.numerator
    return Fraction(float(base) ** float(n))


def _sorted(powers: dict[str, Fraction]) -> Dimension:
    return tuple(sorted((name, float(n)) for name, n in powers.items() if n))


def _pair(value: Fraction) -> tuple[int, int]:
    return value.numerator, value.denominator


NUMBER = Unit("1", (1, 1), ())
SECOND = Unit("s", (1, 1), (("time", 1.0),))
HERTZ = Unit("Hz", (1, 1), (("time", -1.0),))
SAMPLE = Unit("sample", (1, 1), (("sample_count", 1.0),))
BYTE = Unit("B", (8, 1), (("information", 1.0),))
