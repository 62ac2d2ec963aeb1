"""Units as they are written in a pipeline."""

from flowedge.graph.checker import Checker
from flowedge.lang.diagnostics import Rule
from flowedge.lang.span import Span
from flowedge.types import units
from flowedge.types.units import Unit, UnknownUnitError


class UnknownUnit(Rule):
    """A word or bracket that is no unit.

    Wrong::

        source s (time, v: f64 [mV]) from arrow("in.arrow")
        sink s | where v > 5 mVV to console

    Right::

        source s (time, v: f64 [mV]) from arrow("in.arrow")
        sink s | where v > 5 mV to console
    """

    code = "FE305"


def unit(c: Checker, text: str, span: Span | None) -> Unit | None:
    """The unit that a text names; None: reported."""
    try:
        return units.parse(text)
    except UnknownUnitError as error:
        if span is not None:
            fix = (
                f"did you mean `{error.near}`?"
                if error.near
                else error.hint or "take a known one, for example `mV`, `m/s^2` or `degC`"
            )
            c.report(UnknownUnit.at(span, f"unknown unit `{error.text}`", fix=fix))
        return None
