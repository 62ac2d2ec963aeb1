"""Where the rows stand that a session was given: in which file, and which row of it that is."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Stretch:
    """Rows of one file, one after the other.

    Attributes
    ----------
    file : number of the file
    first : number of the first of them among all rows that the session was given, from 0
    row : which row of the file that one is, from 1, if none behind `row` is left out
    left_out : rows of the file from there on that the connector could not read, in order
    """

    file: int
    first: int
    row: int = 1
    left_out: list[int] = field(default_factory=list)

    def row_of(self, number: int) -> int:
        """Which row of the file it is."""
        row = self.row + number - self.first
        for bad in self.left_out:
            if bad > row:
                break
            row += 1
        return row


class Places:
    """Counts rows as their files do: the connector hands out only those that it could read.

    A row may be turned away long after it was read, as one of too many keys is when it has waited for
    its turn; so what is needed for the rows that wait is kept.
    """

    def __init__(self, stretches: Sequence[Stretch] = ()) -> None:
        self._stretches = list(stretches) or [Stretch(0, 0)]

    def begin(self, file: int, first: int) -> None:
        """The next row, by its number among all, is one of this file."""
        if file != self._stretches[-1].file:
            self._stretches.append(Stretch(file, first))

    def leave_out(self, rows: Sequence[int]) -> None:
        """Of the file at hand these rows could not be read."""
        last = self._stretches[-1]
        last.left_out = sorted([*last.left_out, *rows])

    def of(self, number: int) -> tuple[int, int]:
        """The file and the row in it, from 1, of the row with this number among all, from 0."""
        at = bisect_right(self._stretches, number, key=lambda s: s.first) - 1
        found = self._stretches[max(0, at)]
        return found.file, found.row_of(number)

    @property
    def is_plain(self) -> bool:
        """Nothing needs to be forgotten."""
        return len(self._stretches) == 1 and not self._stretches[0].left_out

    def forget(self, before: int) -> None:
        """No row with a lower number is asked for any more."""
        stretches = self._stretches
        while len(stretches) > 1 and stretches[1].first <= before:
            del stretches[0]
        first = stretches[0]
        if before > first.first:
            row = first.row_of(before - 1) + 1
            first.first, first.row = before, row
            first.left_out = [bad for bad in first.left_out if bad >= row]

    def state(self) -> list[list[Any]]:
        """All of it as plain data."""
        return [[s.file, s.first, s.row, s.left_out] for s in self._stretches]

    @classmethod
    def restore(cls, state: Sequence[Sequence[Any]]) -> "Places":
        """Take a checkpoint over."""
        return cls([Stretch(*one) for one in state])
