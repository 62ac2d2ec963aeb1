"""`coalesce(x, z, …)`: the first value that is not missing."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from flowedge.operators.contract import MISSING_TIME, Context, Function, Refused, Step, operator
from flowedge.operators.rules import same_unit
from flowedge.types.schema import Type


def coalesce_(x: float, z: float) -> float:
    """The first value, or the second where the first is missing."""
    return z if math.isnan(x) else x


def coalesce_whole(x: int, z: int, missing: int) -> int:
    """The same of texts, times and conditions."""
    return z if x == missing else x


@operator("function", "coalesce")
@dataclass(frozen=True)
class Coalesce(Function):
    """The first value that is not missing.

    Stream
    ------
    in : two or more numbers [u], texts, times or conditions
    out : f64 [u], or the type of all
    missing : where all are missing

    Examples
    --------
    >>> flow("derive y = coalesce(x, z)", x=[1.0, nan], z=[2.0, 3.0])
    [1.0, 3.0]
    """

    inputs: ClassVar[int] = 2
    nests: ClassVar[bool] = True

    def out(self, args: Sequence[Type], context: Context) -> Type:
        """Two numbers of one unit, or two of one type."""
        first, second = args
        if first.is_number and second.is_number:
            return same_unit(args)
        if first.store != second.store:
            raise Refused(
                "FE302", f"{first} beside {second}", at="1", fix="give two values of one type"
            )
        labels = (
            None
            if first.labels is None or second.labels is None
            else tuple(sorted({*first.labels, *second.labels}))
        )
        return replace(first, labels=labels)

    def steps(self, args: Sequence[Type], context: Context) -> tuple[Step, ...]:
        """One comparison or call."""
        if args[0].is_number:
            return (Step(coalesce_),)
        missing = {"string": -1, "binary": -1, "bool": 2}.get(args[0].store, MISSING_TIME)
        return (Step(coalesce_whole, constants=(missing,)),)

    def reference(self, *x: Any, rate_hz: float | None, time_ns: Any) -> Any:  # noqa: ANN401
        """The same by NumPy."""
        return np.where(np.isnan(x[0]), x[1], x[0])
