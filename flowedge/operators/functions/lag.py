"""`lag(x, n)`: the value n rows before."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from flowedge.operators.contract import (
    MISSING_TIME,
    Context,
    Function,
    Parameter,
    Refused,
    Step,
    operator,
)
from flowedge.operators.rules import number
from flowedge.types.schema import Type

FARTHEST = 1_000_000
"""Rows back; 8 MB for each key are enough."""
REGISTERS = 8
"""Up to so many rows back, moving registers is cheaper than a ring in memory."""


def lag_1(state: tuple[float], x: float) -> tuple[tuple[float], float]:
    """One row back: the state is the answer."""
    return (x,), state[0]


def lag_few(state: Any, x: float) -> Any:  # noqa: ANN401
    """A shift register: as many cells as rows back."""
    return (x, *state[:-1]), state[-1]


def lag_n(state: tuple[int, int], ring: Any, x: float, n: int) -> tuple[tuple[int, int], float]:  # noqa: ANN401
    """A ring of the last n values."""
    place, seen = state
    y = ring[place] if seen >= n else math.nan
    ring[place] = x
    place = place + 1 if place + 1 < n else 0
    return (place, seen + 1 if seen < n else n), y


def lag_whole(state: tuple[int], x: int) -> tuple[tuple[int], int]:
    """One row back, of times, texts and conditions."""
    return (x,), state[0]


def lag_whole_n(state: tuple[int, int], ring: Any, x: int, n: int, missing: int) -> Any:  # noqa: ANN401
    """A ring of the last n whole numbers in two halves, as a float holds only 53 of their 64 bits."""
    place, seen = state
    y = missing
    if seen >= n:
        y = (int(ring[place]) << 32) + int(ring[n + place])
    ring[place] = float(x >> 32)
    ring[n + place] = float(x & 4294967295)
    place = place + 1 if place + 1 < n else 0
    return (place, seen + 1 if seen < n else n), y


@operator("function", "lag")
@dataclass(frozen=True)
class Lag(Function):
    """The value n rows before.

    Parameters
    ----------
    n : integer, rows back, from 1 (the default) to 1,000,000

    Stream
    ------
    in, out : any scalar type [u]; numbers come out as f64, times as times
    state : 8 n bytes per key, 16 n of times, texts and conditions
    missing : the first n rows have nothing before them

    Raises
    ------
    FE408 : `n` is below 1, or above 1,000,000

    Examples
    --------
    >>> flow("derive y = lag(x)", x=[1.0, 2.0, 3.0])
    [nan, 1.0, 2.0]
    """

    inputs: ClassVar[int] = 1
    stateful: ClassVar[bool] = True
    parameters: ClassVar[tuple[Parameter, ...]] = (
        Parameter("n", "integer", 1, "rows back, at least 1"),
    )

    n: int = 1

    def out(self, args: Sequence[Type], context: Context) -> Type:
        """The same type; a number as f64."""
        if not 1 <= self.n <= FARTHEST:
            raise Refused("FE408", f"`lag` by {self.n} rows", at="n", why=f"1 to {FARTHEST:,} rows are kept for it",
                          fix="take at least 1; `lead` looks ahead" if self.n < 1 else f"take at most {FARTHEST}")  # fmt: skip
        if args[0].is_number:
            return number(args[0], "0")
        return replace(args[0], shape=())

    def steps(self, args: Sequence[Type], context: Context) -> tuple[Step, ...]:
        """The state of one key, and its step."""
        kind = args[0]
        if kind.is_number:
            if self.n == 1:
                return (Step(lag_1, (math.nan,)),)
            if self.n <= REGISTERS:
                return (Step(lag_few, (math.nan,) * self.n),)
            return (Step(lag_n, (0, 0), ring=self.n, at_most=(self.n - 1,), constants=(self.n,)),)
        missing = {"string": -1, "binary": -1, "bool": 2}.get(kind.store, MISSING_TIME)
        if self.n == 1:
            return (Step(lag_whole, (missing,)),)
        return (
            Step(
                lag_whole_n,
                (0, 0),
                ring=2 * self.n,
                at_most=(self.n - 1,),
                constants=(self.n, missing),
            ),
        )

    def reference(self, *x: Any, rate_hz: float | None, time_ns: Any) -> Any:  # noqa: ANN401
        """The same over whole columns."""
        return np.concatenate([np.full(self.n, np.nan), x[0]])[: len(x[0])]
