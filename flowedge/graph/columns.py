"""Declared columns: ``name: f32<3> [mV]``."""

from flowedge.graph.checker import Checker
from flowedge.graph.units import unit
from flowedge.lang import statements as st
from flowedge.lang.diagnostics import Rule, did_you_mean
from flowedge.types.schema import STORES, TEXT, Store, Type

MOST_ELEMENTS = 2**24
"""A row holds no list longer than this."""


class UnknownType(Rule):
    """A column's type is one of the known words.

    Wrong::

        source s (time, v: float) from arrow("in.arrow")
        sink s to console

    Right::

        source s (time, v: f64) from arrow("in.arrow")
        sink s to console
    """

    code = "FE314"


OTHER_WORDS = {
    "float": "f64", "double": "f64", "float64": "f64", "float32": "f32", "int": "i64", "int64": "i64", "int32": "i32", "str": "string",
    "text": "string", "boolean": "bool", "bytes": "binary", "timestamp": "time", "uint8": "u8", "uint16": "u16", "uint32": "u32",
}  # fmt: skip


def column_type(c: Checker, column: st.Column) -> Type | None:
    """The type of a declared column; None: reported."""
    told = column.type
    if told is None:
        c.report(
            UnknownType.at(
                column.name.span,
                f"column `{column.name}` has no type",
                fix=f"write for example `{column.name}: f64`",
            )
        )
        return None
    if told.name is None:
        return TEXT if told.is_key else None
    store = _store(told.name.name)
    if store is None:
        near = OTHER_WORDS.get(told.name.name.lower())
        fix = f"did you mean `{near}`?" if near else did_you_mean(told.name.name, STORES)
        c.report(UnknownType.at(told.name.span, f"unknown type `{told.name}`", fix=fix))
        return None
    size = 1
    for length in told.shape:
        size *= length
    if told.shape and (size < 1 or size > MOST_ELEMENTS or store in ("string", "binary", "time")):
        c.report(
            UnknownType.at(
                told.span,
                f"a list of {size} values of type {store}",
                fix="lists hold 1 to 16,777,216 numbers",
            )
        )
        return None
    found = None
    if told.unit is not None:
        found = unit(c, told.unit, told.unit_span)
        if found is None:
            return None
        if store in ("string", "binary", "bool", "time"):
            c.report(
                UnknownType.at(
                    told.unit_span or told.span,
                    f"a unit on a column of type {store}",
                    fix="units belong to numbers",
                )
            )
            return None
    return Type(store, found if found is None or found.text != "1" else None, told.shape)


def _store(word: str) -> Store | None:
    return next((s for s in STORES if s == word), None)
