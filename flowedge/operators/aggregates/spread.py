"""The fold of squared deviations, which `std` and `var` share."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from flowedge.operators.contract import Aggregate, Context, Parameter, Refused
from flowedge.operators.rules import difference, number
from flowedge.types.schema import Type

Squares = tuple[float, float, float]
"""How many values, their mean, and the sum of their squared deviations from it."""


def squares_lift(t: int, x: float, ddof: float) -> Squares:
    """One row; an infinite one leaves NaN, not a spread of zero."""
    return (1.0, x, x - x) if not math.isnan(x) else (0.0, 0.0, 0.0)


def squares_merge(a: Squares, b: Squares) -> Squares:
    """Two neighbouring parts, `a` the older.

    T. F. Chan, G. H. Golub, R. J. LeVeque, The American Statistician 37(3), 1983, 242-247.
    """
    if b[0] == 0.0:
        return a
    if a[0] == 0.0:
        return b
    n = a[0] + b[0]
    d = b[1] - a[1]
    share = b[0] / n  # once: a division takes as long as the rest
    return (n, a[1] + d * share, a[2] + b[2] + d * d * a[0] * share)


@dataclass(frozen=True)
class Spread(Aggregate):
    """An aggregate of squared deviations from the mean; `result` says which."""

    inputs: ClassVar[int | tuple[int, int]] = 1
    moments: ClassVar[int] = 2
    zero: ClassVar[tuple[float, ...]] = (0.0, 0.0, 0.0)
    lift = staticmethod(squares_lift)
    merge = staticmethod(squares_merge)

    parameters: ClassVar[tuple[Parameter, ...]] = (
        Parameter("ddof", "integer", 0, "0: population, 1: sample"),
    )

    ddof: int = 0

    def constants(self, args: Sequence[Type], context: Context) -> tuple[float | int, ...]:
        """Degrees of freedom taken off."""
        return (float(self.ddof),)

    def out(self, args: Sequence[Type], context: Context) -> Type:
        """A difference of numbers."""
        if self.ddof not in (0, 1):
            raise Refused(
                "FE408",
                f"ddof={self.ddof}",
                at="ddof",
                fix="take 0 for the population, 1 for the sample",
            )
        return difference(number(args[0], "0"))
