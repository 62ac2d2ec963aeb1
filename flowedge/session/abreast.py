"""Rows of keys that come in turn, eight keys at a time; what that leaves is done row by row.

See `flowedge.compile.emit.abreast` for when rows can be taken so. Both ways give the same bits, so which one is
taken is a matter of speed alone, and of no snapshot.
"""

from typing import TYPE_CHECKING

import numpy as np

from flowedge.compile import program as p
from flowedge.compile.kernels.rounds import FEWEST, FEWEST_KEYS, MOST_KEYS
from flowedge.session.batch import Array

if TYPE_CHECKING:
    from collections.abc import Callable

    from flowedge.session.runner import Runner

_FEWEST_ROWS = FEWEST * FEWEST_KEYS
_LONGEST_REST = 64
"""Pushes in a row that are not looked at, where those before could not be done."""
_IRREGULAR_ROUNDS = 2
"""So many rounds go row by row where one is not like that before."""
_ROWS_A_TRY, _SCATTERED = 1024, 8
"""Of so many rows one stretch may fail, which costs two calls; where some keys of it are done, and others picked out, it costs more."""


class Abreast:
    """The kernel for eight keys at a time that stands beside one that goes row by row, and has its context.

    Parameters
    ----------
    call : runs it
    """

    def __init__(self, call: "Callable[[], int]") -> None:
        self._call = call
        self._failed = self._rest = 0

    def run(self, runner: "Runner", made: dict[str, Array]) -> None:
        """Do rows from the first on as far as they can be done so; ROW is then the first that is left.

        Parameters
        ----------
        runner : holds rows, as many as the output has room for
        made : the output's columns
        """
        ctx, n = runner.ctx, runner.ctx[p.ROWS]
        if n < _FEWEST_ROWS:
            return
        if self._rest:
            self._rest -= 1
            return
        others = 0
        tries = 1.0 + n / _ROWS_A_TRY
        while tries > 0:
            self._call()
            tries -= _SCATTERED if 0 < ctx[p.OUT] < ctx[p.AROUND] else 1
            others += self._rest_of_rounds(runner, made)
            if n - ctx[p.ROW] < _FEWEST_ROWS:
                break
        failed = 2 * (others + n - ctx[p.ROW]) > n
        self._failed = self._failed + 1 if failed else 0
        self._rest = min(_LONGEST_REST, 2 ** (self._failed - 1) - 1) if failed else 0

    def _rest_of_rounds(self, runner: "Runner", made: dict[str, Array]) -> int:
        """Do row by row what stopped the other way; how many rows that were."""
        ctx, n = runner.ctx, runner.ctx[p.ROWS]
        done, rounds, left, around = ctx[p.ROW], ctx[p.NEED], ctx[p.OUT], ctx[p.AROUND]
        if 0 < left < around:
            places = done + np.arange(rounds)[:, None] * around + np.arange(left)
            runner.some(places.ravel(), made, abreast=False)
            ctx[p.ROW] = done + rounds * around
            return places.size
        if n - done >= _FEWEST_ROWS:
            stop = done + (rounds * around if left else _IRREGULAR_ROUNDS * (around or MOST_KEYS))
            runner.until(min(n, stop))
        return ctx[p.ROW] - done
