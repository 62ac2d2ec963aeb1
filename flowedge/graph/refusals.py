"""From the verdict of an operator's type rule to a diagnostic: the codes that operators give."""

from collections.abc import Mapping

from flowedge.graph.checker import Checker, Flow
from flowedge.graph.quantities import UnitUnfit
from flowedge.lang import tree as t
from flowedge.lang.diagnostics import Rule
from flowedge.operators.contract import Refused


class NoRate(Rule):
    """A filter or a spectrum needs a signal: its coefficients depend on the sample rate.

    Wrong::

        source s (time, v: f64) from arrow("in.arrow")
        sink s | filter lowpass(5 Hz) to console

    Right::

        source s (time, v: f64) at 100 Hz from arrow("in.arrow")
        sink s | filter lowpass(5 Hz) to console
    """

    code = "FE402"


class AboveNyquist(Rule):
    """A cut-off reaches half the sample rate, above which a sampled signal has nothing.

    Wrong::

        source s (time, v: f64) at 100 Hz from arrow("in.arrow")
        sink s | filter bandpass(5 Hz .. 60 Hz) to console

    Right::

        source s (time, v: f64) at 100 Hz from arrow("in.arrow")
        sink s | filter bandpass(5 Hz .. 40 Hz) to console
    """

    code = "FE403"


class BadCutOff(Rule):
    """A cut-off lies above 0 Hz.

    Wrong::

        source s (time, v: f64) at 100 Hz from arrow("in.arrow")
        sink s | filter lowpass(0 Hz) to console

    Right::

        source s (time, v: f64) at 100 Hz from arrow("in.arrow")
        sink s | filter lowpass(5 Hz) to console
    """

    code = "FE404"


class BadTimeConstant(Rule):
    """A time constant is at least one sample long.

    Wrong::

        source s (time, v: f64) at 100 Hz from arrow("in.arrow")
        sink s | filter ema(1 ms) to console

    Right::

        source s (time, v: f64) at 100 Hz from arrow("in.arrow")
        sink s | filter ema(50 ms) to console
    """

    code = "FE405"


class BadOrder(Rule):
    """A filter's order is a whole number from 1 to 10.

    Wrong::

        source s (time, v: f64) at 100 Hz from arrow("in.arrow")
        sink s | filter lowpass(5 Hz, order=40) to console

    Right::

        source s (time, v: f64) at 100 Hz from arrow("in.arrow")
        sink s | filter lowpass(5 Hz, order=4) to console
    """

    code = "FE406"


class EmptyBand(Rule):
    """The lower edge of a band lies below its upper one.

    Wrong::

        source s (time, v: f64) at 100 Hz from arrow("in.arrow")
        sink s | filter bandpass(15 Hz .. 5 Hz) to console

    Right::

        source s (time, v: f64) at 100 Hz from arrow("in.arrow")
        sink s | filter bandpass(5 Hz .. 15 Hz) to console
    """

    code = "FE407"


class BadSetting(Rule):
    """A parameter of a filter or a detector lies outside its range.

    Wrong::

        source s (time, v: f64) at 100 Hz from arrow("in.arrow")
        sink s | filter notch(20 Hz, q=0) to console

    Right::

        source s (time, v: f64) at 100 Hz from arrow("in.arrow")
        sink s | filter notch(20 Hz, q=30) to console
    """

    code = "FE408"


class BadLength(Rule):
    """A filter looks at a bounded number of samples, at least one.

    Wrong::

        source s (time, v: f64) at 100 Hz from arrow("in.arrow")
        sink s | filter median(100000 samples) to console

    Right::

        source s (time, v: f64) at 100 Hz from arrow("in.arrow")
        sink s | filter median(5 samples) to console
    """

    code = "FE501"


def refuse(
    c: Checker, refused: Refused, tree: t.Tree, places: Mapping[str, t.Tree], flow: Flow, named: str
) -> None:
    """Report what a type rule refused, at the argument that it names."""
    rule = Rule.known.get(refused.code, UnitUnfit)
    at: t.Tree = places.get(refused.at or "", tree)
    if isinstance(at, t.Argument):
        at = at.value
    label = ""
    if isinstance(at, t.Range):
        at = at.high if refused.code == "FE403" else at.low if refused.code == "FE404" else at
    others = []
    rate = flow.type.rate_hz
    if flow.rate_at is not None and rate is not None and refused.code in ("FE403", "FE405"):
        others.append((flow.rate_at, f"`{flow.name}` is sampled at {rate:g} Hz"))
        label = (
            f"must stay below {rate / 2:g} Hz"
            if refused.code == "FE403"
            else f"a sample lasts {1e3 / rate:.4g} ms"
        )
    why, fix = refused.why, refused.fix
    if refused.code == "FE402" and flow.type.shape == "rows" and rate is not None:
        why = "a condition has taken samples out, so they no longer follow each other evenly"
        fix = "filter before `where`, or put `| resample RATE` behind it"
    message = (
        refused.message
        if named in refused.message or refused.code == "FE403"
        else f"`{named}`: {refused.message}"
    )
    c.report(rule.at(at.span, message, label=label, others=others, why=why, fix=fix))
