"""Rows on their way from a run to a peer that may be away: in memory, and beyond that on the disk."""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import pyarrow as pa

from flowedge.lang.errors import CheckpointError
from flowedge.runtime.rowlog import Mark, RowLog
from flowedge.runtime.threads import MOST_BYTES, SYSTEM, Workers
from flowedge.types.arrays import size_of

_SMALL_ROWS, _MOST_SMALL = 64, 64
"""Rows of a batch that takes more memory than they do, and so many such batches that become one."""
_JOINED_BYTES = 16 << 20
"""So many bytes at most are joined for one delivery."""


@dataclass
class Waiting:
    """The rows of one stream from when they are made until the peer has them; numbered from 0.

    The run puts rows in and another thread takes them out, with numbers of its own choosing: what was taken and is not
    `safe` can be taken again. Batches that come while there is room stay in memory, others are in the log only.

    With `repeats`, what was taken once and is not safe is taken again in the same pieces. With `holds_back` this outlives a kill: a piece
    ends after so many rows, or at a *cut*, where the rows of a checkpoint end, and checkpoints speak of the cuts. A cut that no piece has
    reached yet moves on with the next checkpoint; while that is made, nothing is given out, since nobody knows yet which of the two will hold.

    Parameters
    ----------
    log : where rows lie on the disk; None: all stay in memory
    keeps_all : all rows go to the log, for checkpoints speak of it; else only those that memory has no room for
    holds_back : rows are given out only once `release` says so
    repeats : pieces stay what they were, see above
    most_bytes : of the rows that may wait before the run should
    memory_bytes : of them in memory

    Attributes
    ----------
    changed : what threads wait for; held while anything here changes
    rows : the number of the next row that is put in
    safe : the number of the first row that the peer is not known to have
    waiting_bytes : of the rows between the two
    cuts : behind `safe`, in order
    """

    log: RowLog | None = None
    keeps_all: bool = False
    holds_back: bool = False
    repeats: bool = False
    most_bytes: int = MOST_BYTES
    memory_bytes: int = MOST_BYTES
    workers: Workers = SYSTEM
    rows: int = 0
    safe: int = 0
    waiting_bytes: int = 0
    memory_used: int = 0
    cuts: list[int] = field(default_factory=list)
    _taken: int = 0
    _gone: tuple[int, int] = (0, 0)
    _released: int = 0
    _given: int = 0
    _fixed: int = 0
    _is_moving: bool = False
    _small: int = 0
    """The newest batches in memory that are small, and were not joined."""
    _memory: deque[tuple[int, pa.RecordBatch]] = field(default_factory=deque)
    _sizes: deque[tuple[int, int]] = field(default_factory=deque)
    _reading: Iterator[tuple[int, pa.RecordBatch]] | None = None
    _left: tuple[int, pa.RecordBatch] | None = None

    def __post_init__(self) -> None:
        """Nothing waits."""
        self.changed = self.workers.condition()

    @property
    def count(self) -> int:
        """How many rows wait."""
        start, stop = self._gone
        return max(0, self.rows - self.safe - (stop - start if self.safe < start else 0))

    @property
    def is_full(self) -> bool:
        """Whether the run should not make more rows now."""
        return self.waiting_bytes >= self.most_bytes

    @property
    def is_held(self) -> bool:
        """Whether there are rows that wait for a checkpoint, and no others."""
        return self.holds_back and self.safe >= self._released < self.rows

    @property
    def nbytes(self) -> int:
        """Bytes of memory held."""
        return self.memory_used + (0 if self.log is None else self.log.nbytes)

    # ---- the side of the run

    def go_on(self, safe: int, cuts: Sequence[int] = ()) -> None:
        """Begin with what the log holds: rows before `safe` are there, the others wait, with these cuts between them."""
        assert self.log is not None
        self.rows = self._released = self.log.rows
        self.safe = min(safe, self.rows)
        self.cuts = [cut for cut in cuts if self.safe < cut < self.rows]
        if self.rows > self.safe:
            self.cuts.append(self.rows)
        self._fixed = self.rows  # the life before may have given out all of it
        size = self.log.size_bytes if self.count else 0
        self.waiting_bytes = size
        self._sizes.append((self.rows, size))

    def put(self, batch: pa.RecordBatch, *, quietly: bool = False) -> None:
        """Take rows; `quietly`: nobody is told. Raises SinkError: the disk does not take them."""
        with self.changed:
            first, size = self.rows, size_of(batch)
            self.rows += batch.num_rows
            has_room = self.memory_used + size <= self.memory_bytes or not self._memory
            if self.log is not None and (self.keeps_all or not has_room):
                self.log.skip_to(first)
                self.log.append(batch)
            if self.rows <= self.safe:
                return  # the peer has them from a life before
            if self.log is None or has_room:
                self._memory.append((first, batch))
                self.memory_used += size
                self._join_small(batch)
            self._sizes.append((self.rows, size))
            self.waiting_bytes += size
            if not quietly:
                self.changed.notify_all()

    def _join_small(self, newest: pa.RecordBatch) -> None:
        """Make one batch of the newest ones in memory where these are many and small: each takes kilobytes beside its rows."""
        self._small = self._small + 1 if newest.num_rows <= _SMALL_ROWS else 0
        if self._small < _MOST_SMALL:
            return
        self._small = 0
        parts = [self._memory.pop() for _ in range(min(_MOST_SMALL, len(self._memory)))][::-1]
        if all(_end(a) == b[0] for a, b in pairwise(parts)):
            whole = joined([batch for _, batch in parts])
            self.memory_used += size_of(whole) - sum(size_of(batch) for _, batch in parts)
            parts = [(parts[0][0], whole)]
        self._memory.extend(parts)

    def shed(self, most_bytes: int) -> tuple[int, int]:
        """Let go of the oldest rows that are not on their way, until so few wait: the numbers of the first, and behind the last.

        Rows in the log stay there, for checkpoints speak of them, and are not given out.
        """
        with self.changed:
            start = max(self._taken, self.safe, self._gone[1] if self.safe < self._gone[0] else 0)
            stop, left = start, deque[tuple[int, int]]()
            for end, size in self._sizes:
                if end > start and self.waiting_bytes > most_bytes:
                    stop = end
                    self.waiting_bytes -= size
                else:
                    left.append((end, size))
            self._sizes = left
            if stop == start:
                return start, start
            if start == self.safe:
                first = self.safe
                self.safe = stop
            else:
                first = self._gone[0] if self._gone[1] == start else start
                self._gone = (first, stop)
            kept = [x for x in self._memory if not first <= x[0] <= _end(x) <= stop]
            self._memory = deque(kept)
            self.memory_used = sum(size_of(batch) for _, batch in kept)
            self.changed.notify_all()
            return start, stop

    def mark(self) -> Mark:
        """Make all rows so far last, and tell where the log ends; raises SinkError."""
        with self.changed:
            if self.log is None:
                return {"segment": 0, "bytes": 0, "rows": self.rows}
            self._cut()
            return self.log.mark()

    def release(self, upto: int) -> None:
        """Rows before this one are in a checkpoint that is on the disk."""
        with self.changed:
            self._released = max(self._released, upto)
            self._is_moving = False
            self.changed.notify_all()

    def forget(self, before: int) -> None:
        """No checkpoint needs rows before this one; raises SinkError."""
        with self.changed:
            if self.log is not None:
                self.log.forget(before)

    def clear(self) -> None:
        """Nobody takes any more."""
        with self.changed:
            self._memory.clear()
            self._reading = self._left = None
            self.memory_used = 0
            if self.log is not None:
                self.log.close()

    def _cut(self) -> None:
        """Let a piece end here, from the checkpoint on that is being made."""
        if not (self.repeats and self.holds_back):
            return
        self.cuts = [cut for cut in self.cuts if cut > self.safe]
        last = self.cuts[-1] if self.cuts else self.safe
        if last == self.rows:
            return
        if self.cuts and max(self._given, self._fixed) < last:
            self.cuts.pop()
            self._is_moving = True
        self.cuts.append(self.rows)

    # ---- the side of the peer

    def has(self, number: int) -> bool:
        """Whether `take` would give something."""
        return self.ready(number) > 0

    def ready(self, number: int) -> int:
        """How many rows there are from a number on, of which `take` would give some."""
        return 0 if self._is_moving else self._limit - self._from(number)

    @property
    def _limit(self) -> int:
        return self._released if self.holds_back else self.rows

    def _from(self, number: int) -> int:
        """Where one goes on who is at a number, behind rows that were shed."""
        number = max(number, self.safe)
        return self._gone[1] if self._gone[0] <= number < self._gone[1] else number

    def _before_gone(self, number: int) -> int:
        """Behind the last row that one may have who is at a number."""
        return min(self._limit, self._gone[0]) if number < self._gone[0] else self._limit

    def _end_of(self, number: int, most_rows: int) -> int:
        """Where the piece ends that begins with a row."""
        end = min(self._before_gone(number), number + most_rows)
        if not self.repeats:
            return end
        if number < self._given:
            return self._given
        return min([end, *(cut for cut in self.cuts if cut > number)])

    def take(self, number: int, most_rows: int) -> tuple[int, pa.RecordBatch] | None:
        """Rows from a number on, joined, with the number of the first; None: there are none now.

        The first may be a later one only where rows that were never synced were lost with the power.

        Raises
        ------
        CheckpointError : "DATA LOSS": the log is damaged
        SinkError : the log cannot be read or written
        """
        with self.changed:
            number = self._from(number)
            if not self.has(number):
                return None
            end = self._end_of(number, most_rows)
            pieces, upto = self._look_in_memory(number, end)
            reach = _end(pieces[-1]) if pieces else min(upto, end)
            if self.repeats:
                self._given = reach = end
            self._taken = max(self._taken, reach)
        pieces = pieces or self._in_log(number, upto, end - number)
        while self.repeats and pieces and (at := _end(pieces[-1])) < end:
            with self.changed:
                more, upto = self._look_in_memory(at, end)
            more = more or self._in_log(at, upto, end - at)
            if not more:
                break
            pieces += more
        if not pieces:
            return None
        return pieces[0][0], joined([batch for _, batch in pieces])

    def _look_in_memory(
        self, number: int, end: int
    ) -> tuple[list[tuple[int, pa.RecordBatch]], int]:
        """Rows between two numbers that are in memory; and up to where the log is to be read where there are none; raises SinkError."""
        while self._memory and _end(self._memory[0]) <= self.safe:
            self.memory_used -= size_of(self._memory.popleft()[1])
        pieces = self._in_memory(number, end, end - number)
        if not pieces and self.log is not None:
            self.log.flush()
        limit = self._before_gone(number)
        later = (first for first, _ in self._memory if first > number)
        return pieces, min(limit, next(later, limit))

    def is_safe(self, upto: int, *, quietly: bool = False) -> None:
        """The peer has all rows before this one; `quietly`: nobody is told. Raises SinkError."""
        with self.changed:
            self.safe = max(self.safe, upto)
            self.safe = self._from(self.safe)
            while self._sizes and self._sizes[0][0] <= self.safe:
                self.waiting_bytes -= self._sizes.popleft()[1]
            while self._memory and _end(self._memory[0]) <= self.safe:
                self.memory_used -= size_of(self._memory.popleft()[1])
            if self.log is not None and not self.keeps_all:
                if self.safe >= self.log.rows:
                    self.log.clear()
                else:
                    self.log.forget(self.safe)
            if not quietly:
                self.changed.notify_all()

    def _in_memory(self, number: int, limit: int, most: int) -> list[tuple[int, pa.RecordBatch]]:
        out: list[tuple[int, pa.RecordBatch]] = []
        size = 0
        for first, batch in self._memory:
            if first > number:
                break
            piece = _cut(first, batch, number, min(limit, number + most))
            if piece is not None:
                out.append(piece)
                size += size_of(piece[1])
                number, most = _end(piece), most - piece[1].num_rows
            if most <= 0 or number >= limit or size >= _JOINED_BYTES:
                break
        return out

    def _in_log(self, number: int, upto: int, most: int) -> list[tuple[int, pa.RecordBatch]]:
        out: list[tuple[int, pa.RecordBatch]] = []
        size = 0
        while most > 0 and number < upto and size < _JOINED_BYTES:
            if self._left is None or not self._left[0] <= number < _end(self._left):
                self._left = self._read_on(number, upto)
            if self._left is None or (out and self._left[0] > number):
                break
            number = max(number, self._left[0])
            piece = _cut(*self._left, number, min(upto, number + most))
            if piece is None:
                break
            out.append(piece)
            size += size_of(piece[1])
            number, most = _end(piece), most - piece[1].num_rows
        return out

    def _read_on(self, number: int, upto: int) -> tuple[int, pa.RecordBatch] | None:
        """What the log has next: behind what was read last, if that is where we are, else looked up."""
        assert self.log is not None
        if self._reading is not None and self._left is not None and _end(self._left) == number:
            found = next(self._reading, None)
            if found is not None:
                return found
        self._reading = self.log.read(number, upto)
        found = next(self._reading, None)
        if found is None and not self.keeps_all:
            raise CheckpointError(f"rows are missing from `{self.log.folder}`; was it cleaned?")
        return found


def joined(batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    """One batch of several with one schema; dictionaries that differ become one.

    Examples
    --------
    >>> one = pa.record_batch({"v": [1]})
    >>> joined([one, one]).num_rows
    2
    """
    if len(batches) == 1:
        return batches[0]
    table = pa.Table.from_batches(batches).unify_dictionaries().combine_chunks()
    return table.to_batches()[0]


def _end(one: tuple[int, pa.RecordBatch]) -> int:
    return one[0] + one[1].num_rows


def _cut(
    first: int, batch: pa.RecordBatch, start: int, stop: int
) -> tuple[int, pa.RecordBatch] | None:
    """The part of a batch between two numbers; None: there is none."""
    skip = max(0, start - first)
    keep = min(batch.num_rows, stop - first) - skip
    return (first + skip, batch.slice(skip, keep)) if keep > 0 else None
