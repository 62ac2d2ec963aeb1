"""How units are spelled: the many ways that people write one, and the nearest to a slip."""

import re
import unicodedata

SPELLINGS = {
    "°C": "degC", "℃": "degC", "celsius": "degC", "Celsius": "degC", "°F": "degF", "℉": "degF", "fahrenheit": "degF",
    "Fahrenheit": "degF", "°R": "degR", "kelvin": "K", "%": "percent", "samples": "sample", "row": "sample", "rows": "sample",
    "g_n": "gn", "g_0": "gn", "gravity": "gn", "°": "deg", "degree": "deg", "degrees": "deg", "radian": "rad", "radians": "rad",
    "lux": "lx", "Ω": "ohm", "l": "L", "minute": "min", "minutes": "min", "hour": "h", "hours": "h", "day": "d", "days": "d",
    "seconds": "s", "second": "s", "sec": "s", "weeks": "week", "Volt": "V",
}  # fmt: skip
"""Other ways to write a unit, each with the one that is shown."""

COMMON = [
    "s", "ms", "us", "ns", "min", "h", "d", "week", "Hz", "kHz", "MHz", "GHz", "V", "mV", "uV", "kV", "A", "mA", "uA", "W", "mW", "kW", "MW", "J", "kJ", "Wh", "kWh", "ohm", "kohm", "Mohm", "F", "uF", "nF", "H", "mH", "T", "mT", "uT", "m", "mm", "cm", "km", "um", "nm", "in", "ft", "m/s", "km/h", "mm/s", "m/s^2", "gn", "g", "kg", "mg", "lb", "N", "kN", "Pa", "hPa", "kPa", "MPa", "bar", "mbar", "psi", "mmHg", "K", "degC", "degF", "percent", "ppm", "ppb", "rpm", "rad", "deg", "rad/s", "deg/s", "bpm", "dB", "lx", "lm", "cd", "L", "mL", "m^3", "L/min", "mol", "sample", "B", "kB", "MB", "GB", "bit",
]  # fmt: skip
"""What a slip is compared with."""

_RAISED = {**dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹", "0123456789", strict=True)), "⁺": "", "⁻": "-"}
_SIGNS = {
    "\u03bc": "\u00b5",
    "\u2212": "-",
    "\u00b7": "*",
    "\u22c5": "*",
    "\u00d7": "*",
    "**": "^",
}.items()
"""Micro, minus and multiplication in their other forms."""
_POWER = re.compile(f"[{''.join(_RAISED)}]+")
_OHM = re.compile(r"(?:Ohm|OHM|Ω)s?$|(?<=[a-zA-Z])ohms$|^ohms$")


def normal(text: str) -> str:
    r"""One way to write a unit: NFKC, one micro sign, plain digits, minus and multiplication signs.

    Examples
    --------
    >>> normal("m * s⁻²"), normal("µV") == normal("\u03bcV")
    ('m * s^-2', True)
    """
    text = _POWER.sub(lambda found: "^" + "".join(_RAISED[c] for c in found.group()), text)
    text = unicodedata.normalize("NFKC", text.replace("℃", "degC").replace("℉", "degF"))
    for other, plain in _SIGNS:
        text = text.replace(other, plain)
    return text.strip()


def one_word(word: str) -> str:
    """The way in which a word of a unit is shown: ``percent`` for ``%``, ``kohm`` for ``kΩ``."""
    return SPELLINGS.get(word) or _OHM.sub("ohm", word)


def nearest(text: str) -> str | None:
    """The common unit most like a slip: the same but for upper and lower case, else by letters.

    Examples
    --------
    >>> nearest("mss"), nearest("khz"), nearest("Celcius")
    ('ms', 'kHz', 'degC')
    """
    import difflib  # noqa: PLC0415  # only a mistake comes here

    known = [*COMMON, *SPELLINGS]
    low = [unit for unit in known if unit.lower() == text.lower()]
    found = low or difflib.get_close_matches(text, known, n=1, cutoff=0.5)
    return one_word(found[0]) if found else None


def seconds(value: float) -> str:
    """A duration in the unit that reads best."""
    for unit, size in (("d", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if value >= size and value % size == 0:
            return f"{value / size:g} {unit}"
    if value == 0 or value >= 1:
        return f"{value:.4g} s"
    return f"{value * 1e3:.4g} ms" if value >= 1e-3 else f"{value * 1e6:.4g} us"
