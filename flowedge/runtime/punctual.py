"""Deadlines of sinks: rows that are handed over too late are marked, or left out."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from flowedge.types.arrays import truths
from flowedge.types.schema import LATE

Ages = Callable[[pa.RecordBatch], NDArray[np.int64]]
"""How long ago the first source row came of each row [ns]; empty where that is not known."""
Noted = Callable[[list[int]], None]
Spans = list[int]
"""Numbers of rows, as start and stop of each run of them, flat and in order."""


class Judged(NamedTuple):
    """What is to be handed over of a batch.

    Attributes
    ----------
    rows : those that are, with their mark
    places : of them in the batch; None: all
    missed : which rows of the batch were too late, shape ``(n,)``; None: none
    """

    rows: pa.RecordBatch
    places: NDArray[np.int64] | None
    missed: NDArray[np.bool_] | None

    def upto(self, done: int, count: int) -> int:
        """How many of the `count` rows of the batch have their fate, once the first `done` of these are handed over."""
        if self.places is None:
            return done
        return int(self.places[done]) if done < len(self.places) else count


@dataclass
class Punctual:
    """The deadline of one sink.

    A row is late where it is handed over more than the limit after the first source row came that it is made
    of. Rows have numbers, from 0 in each stream: a run that is done again marks, and leaves out, those that were then.

    Parameters
    ----------
    limit_ns : the deadline
    drops : late rows are left out; else they are marked in a column ``late``
    ages : of rows, by the clock
    acts : the run keeps time; in others no row is late
    again : which rows were late in the run that is done again; None: the clock says
    on_missed : hears which rows were late, once they have their fate
    shed : rows that the peer never got in the run that is done again

    Attributes
    ----------
    late, dropped : rows that were handed over late, and left out, so far
    """

    limit_ns: int
    drops: bool
    ages: Ages
    acts: bool = True
    again: "Numbers | None" = None
    on_missed: Noted | None = None
    shed: "Numbers | None" = None
    late: int = 0
    dropped: int = 0

    def judge(self, batch: pa.RecordBatch, first: int) -> Judged:
        """What is to be handed over now of rows that begin with this number."""
        missed = self._missed(batch, first)
        if missed is not None and not missed.any():
            missed = None
        gone = missed if self.drops else None
        rows = batch if missed is None or self.drops else _marked(batch, missed)
        if self.shed is not None:
            shed = self.shed.within(first, first + batch.num_rows)
            gone = shed if gone is None else gone | shed
        if gone is None or not gone.any():
            return Judged(rows, None, missed)
        places = np.flatnonzero(~gone)
        return Judged(rows.take(pa.array(places)), places, missed)

    def _missed(self, batch: pa.RecordBatch, first: int) -> NDArray[np.bool_] | None:
        if self.again is not None:
            return self.again.within(first, first + batch.num_rows)
        if not self.acts:
            return None
        ages = self.ages(batch)
        return ages > self.limit_ns if len(ages) == batch.num_rows else None

    def settle(self, judged: Judged, first: int, count: int) -> None:
        """The first `count` rows of a batch that was judged have their fate."""
        if judged.missed is None:
            return
        missed = judged.missed[:count]
        n = int(missed.sum())
        if self.drops:
            self.dropped += n
        else:
            self.late += n
        if n and self.on_missed is not None:
            self.on_missed(spans(missed, first))


def spans(mask: NDArray[np.bool_], first: int) -> Spans:
    """The numbers of the rows for which a mask holds, the first row of which has the number `first`.

    Examples
    --------
    >>> spans(np.array([True, True, False, True]), 10)
    [10, 12, 13, 14]
    """
    edges = np.diff(np.concatenate([[False], mask, [False]]).astype(np.int8))
    return [first + int(at) for at in np.flatnonzero(edges)]


def is_spans(found: list[Any]) -> bool:
    """Whether a list is one of `Spans`."""
    if len(found) % 2 or not all(type(n) is int and 0 <= n < 2**63 for n in found):
        return False
    return all(a < b for a, b in itertools.pairwise(found))


@dataclass
class Numbers:
    """Numbers of rows, of which some are asked for in order.

    Examples
    --------
    >>> held = Numbers()
    >>> held.add([2, 4])
    >>> held.within(0, 5).tolist()
    [False, False, True, True, False]
    """

    _starts: list[int] = field(default_factory=list)
    _stops: list[int] = field(default_factory=list)
    _arrays: tuple[NDArray[np.int64], NDArray[np.int64]] | None = None

    def add(self, found: Spans) -> None:
        """Take more of them; a number may come twice."""
        self._starts += found[0::2]
        self._stops += found[1::2]
        self._arrays = None

    def within(self, start: int, stop: int) -> NDArray[np.bool_]:
        """Which of the numbers from `start` up to `stop` are there, shape ``(stop - start,)``."""
        if self._arrays is None:
            order = np.argsort(np.array(self._starts, np.int64), kind="stable")
            stops = np.array(self._stops, np.int64)[order]
            self._arrays = np.array(self._starts, np.int64)[order], np.maximum.accumulate(stops)
        starts, stops = self._arrays
        numbers = np.arange(start, stop)
        at = starts.searchsorted(numbers, "right") - 1
        if not len(starts):
            return np.zeros(len(numbers), np.bool_)
        found: NDArray[np.bool_] = (at >= 0) & (stops[at] > numbers)
        return found


def _marked(batch: pa.RecordBatch, missed: NDArray[np.bool_]) -> pa.RecordBatch:
    """The rows with their mark; one that a stage before has made stays."""
    at = batch.schema.get_field_index(LATE)
    marks = pc.or_kleene(batch.column(at), truths(missed))
    return batch.set_column(at, batch.schema.field(at), marks)


@dataclass
class Acts:
    """What a run does to rows of its sinks because of time, and what was done in the run that is done again.

    Parameters
    ----------
    keeps_time : deadlines are kept
    missed, shed : by sink, the rows that were late, and those that a peer never got; None: nothing is done again
    note : writes down rows, as (what: ``missed`` or ``shed``, sink, numbers); called from the threads of peers, too
    """

    keeps_time: bool = False
    missed: dict[str, Numbers] | None = None
    shed: dict[str, Numbers] | None = None
    note: Callable[[str, str, Spans], None] = lambda *_: None

    def of(self, sink: str, limit_ns: int, ages: Ages, *, drops: bool) -> Punctual | None:
        """The deadline of one sink (-1: it has none); None where nothing is to be done."""
        shed = None if self.shed is None else self.shed.get(sink)
        if limit_ns < 0:
            return (
                None if shed is None else Punctual(0, drops=True, ages=ages, acts=False, shed=shed)
            )
        again = None if self.missed is None else self.missed.get(sink, Numbers())
        return Punctual(
            limit_ns, drops, ages, self.keeps_time, again, partial(self.note, "missed", sink), shed
        )
