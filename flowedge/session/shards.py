"""The rows of one kernel shared among threads: by their keys, or as they come where nothing is remembered.

A kernel that gives a row for each row writes each to its place, and looks at no memory but that of the row's key.
So parts with different keys know nothing of each other, and the rows are the same whoever does them. Parts are
picked out, done, and put to their places, which costs some ns a row: only what takes longer is shared.
"""

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from flowedge.compile import program as p
from flowedge.compile.hands import HANDS, cuts
from flowedge.session.batch import Array

if TYPE_CHECKING:
    from flowedge.session.runner import Runner

_HEAVY_NS = 12.0
"""What a row must take for its key to be looked at."""
_WORTH_NS = 400_000.0
"""What a push must take; to wake a thread costs a tenth of it."""


class Shards:
    """Decides whether rows are shared, by what those before took, and shares them.

    Parameters
    ----------
    runner : whose kernel it is
    """

    def __init__(self, runner: "Runner") -> None:
        self._runner = runner
        self._is_stateless = not runner.spec.record and not runner.spec.block
        self._others: list[Runner] = []
        self._row_ns = 0.0

    @staticmethod
    def may_be(spec: p.KernelSpec) -> bool:
        """Whether the rows of a kernel can be shared."""
        return (
            spec.is_dense and len(spec.inputs) == 1 and not spec.has_arena and not spec.has_touched and not spec.globals_init
            and (spec.table >= 0 or not (spec.record or spec.block))
        )  # fmt: skip

    def note(self, rows: int, seconds: float) -> None:
        """Tell what rows took that were not shared."""
        self._row_ns = seconds * 1e9 / max(1, rows)

    def are_worth_it(self, rows: int, *, by_key: bool) -> bool:
        """Whether so many rows are to be shared; `by_key`: they may be picked out."""
        if HANDS.count < 2 or rows * self._row_ns < _WORTH_NS:
            return False
        return self._is_stateless or (by_key and self._row_ns >= _HEAVY_NS)

    def run(self, rows: int, made: dict[str, Array]) -> None:
        """Do all rows at hand; each value goes to its place in `made`, whose addresses stand in the context."""
        runner = self._runner
        while len(self._others) < HANDS.count - 1:
            self._others.append(runner.beside())
        runners = [runner, *self._others[: HANDS.count - 1]]
        for other in runners[1:]:
            other.lend(runner)
        if self._is_stateless:
            stretches = cuts(rows, len(runners))
            parts = [
                partial(one.between, *cut) for one, cut in zip(runners, stretches, strict=False)
            ]
        else:
            slot = runner.slots
            parts = [
                partial(_keys, one, slot, number, len(runners), made)
                for number, one in enumerate(runners)
            ]
        HANDS.share(parts)


def _keys(runner: "Runner", slot: Array, number: int, of: int, made: dict[str, Array]) -> None:
    """Do the rows of every `of`-th slot."""
    places = np.flatnonzero(slot % of == number)
    if len(places):
        runner.some(places, made, abreast=True)
