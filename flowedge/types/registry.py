"""What one word of a unit means, by pint's tables; only reading a unit's text comes here, and what was looked up is kept.

pint takes angle, information and level for mere numbers, so that rad/s would pass for Hz and a byte
for 8. Its tables are therefore read with those lines changed, and every prefix, multiple and
compound follows: a turn is an angle, Mbit/s and MB/s are one kind of thing.
"""

import hashlib
from fractions import Fraction
from functools import cache
from importlib.resources import files
from typing import Any

import msgpack

from flowedge.cache import default_cache

CHANGED = {
    "radian": "radian = [angle] = rad",
    "steradian": "steradian = [] = sr",  # else a lux would hold an angle squared
    "bit": "bit = [information]",
    "decibel": "decibel = [level] = dB",  # a level meets only levels; it is no logarithm to undo
    "gauss": "gauss = 1e-4 * tesla = G",  # pint's is of the CGS system and meets no tesla
}
"""Lines of pint's tables, by what they define, and what stands there instead."""

ADDED = (
    "sample = [sample_count]",
    "gn = 9.80665 * meter / second ** 2",  # ISO 80000-3; `g` is the gram
    "bpm = 1 / minute",
    "ppb = 1e-9",
)
"""Units that pint does not have, or spells otherwise."""

Meaning = tuple[Fraction, tuple[tuple[str, Fraction], ...]]
"""SI base units in one, and the base dimensions with their powers, by name."""


def _lines() -> list[str]:
    tables = files("pint")
    lines: list[str] = []
    for line in tables.joinpath("default_en.txt").read_text("utf-8").splitlines():
        if line.startswith("@import "):
            lines += tables.joinpath(line.split()[1]).read_text("utf-8").splitlines()
        else:
            lines.append(CHANGED.get(line.split("=")[0].strip(), line))
    return [*lines, *ADDED]


@cache
def _registry() -> Any:  # noqa: ANN401  # pint's registries are made at run time
    import pint  # noqa: PLC0415  # a quarter of a second that a warm start does without

    return pint.UnitRegistry(_lines(), non_int_type=Fraction, cache_folder=None)


@cache
def look_up(word: str) -> Meaning | None:
    """What a word of letters and digits means, exactly; None: pint does not know it.

    Words whose zero is not the zero of their base unit (degrees Réaumur, dBm) are unknown too: they
    cannot stand in a product.

    Parameters
    ----------
    word : one identifier, such as ``mV`` or ``kilometer``; nothing in it is evaluated
    """
    store, key = default_cache(), hashlib.sha256(f"{_tables()} {word}".encode()).hexdigest()
    kept = store.get("units", key)
    if kept is not None:
        size, powers = msgpack.unpackb(kept)
        return Fraction(size), tuple((name, Fraction(power)) for name, power in powers)
    found = _looked_up(word)
    if found is not None:
        told = str(found[0]), [(name, str(power)) for name, power in found[1]]
        store.put("units", key, msgpack.packb(told))
    return found


@cache
def _tables() -> str:
    """What decides about the meaning of all words."""
    from importlib.metadata import version  # noqa: PLC0415

    return f"pint {version('pint')} {sorted(CHANGED.items())} {ADDED}"


def _looked_up(word: str) -> Meaning | None:
    """What pint says."""
    registry = _registry()
    try:
        unit = registry.parse_units(word)
        zero, one = (registry.Quantity(Fraction(n), unit).to_base_units() for n in (0, 1))
    except Exception:  # noqa: BLE001  # pint raises a dozen kinds, and all mean: no such unit
        return None
    if zero.magnitude != 0 or one.magnitude <= 0:
        return None
    dimension = ((name.strip("[]"), Fraction(n)) for name, n in one.dimensionality.items() if n)
    return Fraction(one.magnitude), tuple(sorted(dimension))
