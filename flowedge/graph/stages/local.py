"""Windows and grids in a time zone: which steps fit a local day."""

from fractions import Fraction

from flowedge.graph.checker import Checker
from flowedge.lang import tree as t
from flowedge.lang.diagnostics import Rule

DAY = 86_400
STEPS = (
    *(Fraction(1, n) for n in (1000, 500, 200, 100, 50, 20, 10, 5, 4, 2)),
    *(Fraction(n) for n in (1, 2, 3, 4, 5, 6, 10, 12, 15, 20, 30)),
    *(Fraction(60 * n) for n in (1, 2, 3, 4, 5, 6, 10, 12, 15, 20, 30)),
    *(Fraction(3600 * n) for n in (1, 2, 3, 4, 6, 8, 12, 24)),
)
"""Steps [s] that fit a day and that people use, for the fix."""


class StepUnfitForDay(Rule):
    """In a time zone, windows and grid points are counted from local midnight, and every day the same.

    So their step divides a day, or is a whole number of days. Five hours do neither: counted from
    1970, no two days would have them at the same hours, and every change of the clocks would move them.

    Wrong::

        source s (time, v: f64) from arrow("in.arrow")
        sink s | window 5 h in "Europe/Brussels" | aggregate mean(v) as m to console

    Right::

        source s (time, v: f64) from arrow("in.arrow")
        sink s | window 6 h in "Europe/Brussels" | aggregate mean(v) as m to console
    """

    code = "FE510"


def fits_a_day(c: Checker, step: Fraction, tree: t.Tree, zone: t.Tree, what: str) -> bool:
    """Whether a step [s] is a whole number of days, or goes into one; reports it where not.

    Parameters
    ----------
    tree : where the step is written
    zone : where the zone is written
    what : the thing that has the step, for example ``a window``
    """
    whole_ns = (step * 10**9).denominator == 1
    if whole_ns and ((DAY / step).denominator == 1 or (step / DAY).denominator == 1):
        return True
    days = step / DAY
    below = f"{days.numerator // days.denominator} d" if days > 1 else _nearest(step, below=True)
    above = f"{days.numerator // days.denominator + 1} d" if days > 1 else _nearest(step)
    choice = " or ".join(f"`{x}`" for x in (below, above) if x)
    c.report(
        StepUnfitForDay.at(
            tree.span,
            f"{what} of {_text(step)} in a time zone",
            label="does not divide a day",
            others=[(zone.span, "counted from local midnight")],
            why="it would begin at other hours each day, and move again when clocks change",
            fix=f"take {choice}, or leave the zone away for multiples from 1970 in UTC",
        )
    )
    return False


def _nearest(step: Fraction, *, below: bool = False) -> str:
    """The next usual step under or over this one; nothing where there is none."""
    found = [s for s in STEPS if (s < step if below else s > step)]
    return _text(found[-1] if below else found[0]) if found else ""


def _text(step: Fraction) -> str:
    """A duration in the largest unit that shows it whole."""
    for unit, size in (("d", DAY), ("h", 3600), ("min", 60), ("s", 1)):
        if (step / size).denominator == 1:
            return f"{step / size} {unit}"
    return f"{float(step * 1000):g} ms"
