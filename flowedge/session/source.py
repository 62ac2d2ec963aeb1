"""Where rows enter: from the record batches of a connector to rows in order, as the language says."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flowedge.compile.program import FOREVER, NEVER, Field, PartSpec, SourceSpec
from flowedge.lang.errors import RunError, SourceError
from flowedge.session.arrow import Reader
from flowedge.session.batch import DTYPES, Array, Batch, Times, concat, layout, missing
from flowedge.session.batch import MISSING as ABSENT
from flowedge.session.devices import Device, newest_of
from flowedge.session.held import by_time
from flowedge.session.known import Known
from flowedge.session.lives import Life
from flowedge.session.meeting import turns
from flowedge.session.node import Mask, Node, Shared
from flowedge.session.partition import KeyedPartition, Partition
from flowedge.session.runner import Runner
from flowedge.session.settle import LEAP_NS, PARTITION, ROW, Settle
from flowedge.session.snapshot import whole
from flowedge.session.times import (
    LATEST,
    MISSING,
    Counted,
    from_numbers,
    from_text,
    missing_time,
    word_at,
)
from flowedge.session.valid import Validity

ROWS = 65_536
"""A push is cut into blocks of so many rows, so that what lies between the nodes stays in the cache."""

_FEW = 64
"""So few rows of a push cost little memory where one of them is kept."""
_NO_TIMES = np.zeros(ROWS, np.int64)
"""For kernels that run before there are times."""
_MOST_NOTED = 100_000
"""A shell that never asks for rejected rows finds no more than about so many."""
_ROW_NUMBER = "row"
_READ_AS_KEYS = (np.int64, np.int32)
Judged = tuple[NDArray[np.bool_], list[tuple[int, str]]]
"""Which rows of a block are good, and (number, reason) of the others."""
_NO_TIME = NEVER + 1


class SourceNode(Node):
    """Reads, orders and settles the rows of one source.

    Attributes
    ----------
    columns : (column, raw field, field) of the rows
    late_part, silent_part : nodes of ``S.late`` and ``S.silent``, where the plan has them
    rejected : (partition, row, reason) of rows turned away since the shell last took them
    known : keys that need no look-up, where few rows take the short way; None: they do not
    watch : hears of devices and their newest times where rows of theirs are in time; None: nobody asks
    span : oldest and newest event time [ns] of the rows in time since the shell last looked; None: there were none
    """

    spec: SourceSpec

    def __init__(self, spec: SourceSpec, shared: Shared) -> None:
        super().__init__(spec, shared)
        self.late_part: PartNode | None = None
        self.silent_part: PartNode | None = None
        self.rejected: list[tuple[str, int, str]] = []
        self.partitions: dict[str, Partition] = {}
        self.has_ended = False
        self._prepare = (
            None if spec.prepare is None else Runner(spec.prepare, shared.program.objects)
        )
        made = set() if spec.prepare is None else set(spec.prepare.writes)
        reads = set() if spec.prepare is None else {name for _, name in spec.prepare.reads}
        raw = {f.name: f for f in spec.raw}
        wanted = reads | {n for _, n in (*spec.columns, *spec.keys) if n not in made}
        time_is_text = spec.time in raw and raw[spec.time].store in ("string", "binary")
        if spec.time and spec.time not in made:
            wanted.add(spec.time)
        as_ids = reads | {n for _, n in (*spec.columns, *spec.keys)}
        texts = frozenset({spec.time} if time_is_text and spec.time not in as_ids else ())
        self._reader = Reader(
            spec.name, [f for f in spec.raw if f.name in wanted], shared.pool, texts,
            frozenset(name for name, _, _ in spec.fitting), self._narrow(reads),
        )  # fmt: skip
        self._time_field = self._field_of_time(raw)
        self._texts = texts
        self._counts_time = not spec.time and not spec.always
        if self._counts_time and spec.rate_hz is None:
            raise RunError(f"`{spec.name}` has neither a time nor a rate; add `time …` or `at …`")
        self._counted = (
            Counted(spec.start_ns, spec.rate_hz) if self._counts_time and spec.rate_hz else None
        )
        fields = {f.name: f for f in spec.fields}
        self.columns = [
            (name, source, fields[name]) for name, source in spec.columns if name in fields
        ]
        self._keys = [(f"\0key{i}", source, field) for i, (field, source) in enumerate(spec.keys)]
        names = tuple(name for name, _, _ in self._keys)
        self.validity = (
            Validity(spec, {c: (f.name, f.store) for c, _, f in self._keys}) if spec.valid else None
        )
        self._key_texts = {
            name: field.store in ("string", "binary") for name, _, field in self._keys
        }
        self.settle = Settle(spec, shared, names, self.counts, is_counted=self._counts_time)
        if spec.wants_ends:
            shared.lasts[spec.id] = self.settle.last_times
        self._passed_on = NEVER
        self._newest = NEVER
        self.span: tuple[int, int] | None = None
        self.watch: Callable[[Sequence[Device], Times], None] | None = None
        self.known: Known | None = None
        self._unread: Any = None

    def _narrow(self, reads: set[str]) -> frozenset[str]:
        """Columns that are keys and nothing else, of i32: the table of keys takes them as they are."""
        spec = self.spec
        if spec.valid or spec.fitting or spec.late_per_key:
            return frozenset()
        others = reads | {name for _, name in spec.columns} | {spec.time}
        return frozenset(
            name for f, name in spec.keys if f.store == "i32" and name not in others
        ) & {f.name for f in spec.raw if f.store == "i32"}

    def _field_of_time(self, raw: dict[str, Field]) -> Field | None:
        spec = self.spec
        if not spec.time:
            return None
        if spec.prepare is not None:
            for field in spec.prepare.fields:
                if field.name == spec.time and field.name in spec.prepare.writes:
                    return field
        return raw[spec.time]

    # ---- what the session calls

    def push(self, rows: Any, partition: str, received_ns: int | None) -> None:  # noqa: ANN401
        """Take rows of one partition, in the order in which they arrived."""
        if self.has_ended:
            raise SourceError(f"`{self.spec.name}` has ended; no more rows can come")
        part = self.partition(partition)
        for start in range(0, rows.num_rows, ROWS):
            block = rows if rows.num_rows <= ROWS else rows.slice(start, ROWS)
            self._block(block, partition, part, received_ns)

    def mark(self, time: int, partition: str) -> None:
        """No row of this partition before `time` will come; one that has ended is forgotten."""
        self.partition(partition).mark(time)
        self._advance(None)
        if time == FOREVER:
            self._forget_ended()

    def end(self, partition: str | None) -> None:
        """No row at all will come, of one partition or of any.

        Once all have ended, others may still begin: the watermark stays where the newest row has brought it.
        """
        if partition is not None:
            self.mark(FOREVER, partition)
            return
        if self.has_ended:
            return
        self.has_ended = True
        if not self.partitions:
            self.partition("")
        for part in self.partitions.values():
            part.mark(FOREVER)
        self._advance(None)
        self.settle.finish()
        if self.late_part is not None:
            self.late_part.give(None, FOREVER)

    def partition(self, name: str) -> Partition:
        """The partition of this name; a new one begins at what has been passed on already."""
        found = self.partitions.get(name)
        if found is None:
            found = self.partitions[name] = self._new_partition()
        return found

    def _forget_ended(self) -> None:
        """Let go of partitions of which no row waits: connections come and go without end."""
        if self.has_ended or self.settle.notes_refused:  # which notes partitions by their place
            return
        over = [n for n, part in self.partitions.items() if part.has_ended and not part.waiting]
        for name in over:
            del self.partitions[name]

    @property
    def newest(self) -> int:
        """The newest time of any row so far [ns]."""
        return max(self._newest, *(part.newest for part in self.partitions.values()), NEVER)

    # ---- the short way, for `flowedge.session.express`

    @property
    def may_be_direct(self) -> bool:
        """Whether rows that are the next ones need nothing done to them."""
        spec, field = self.spec, self._time_field
        has_plain_time = self._counted is not None or (
            spec.prepare is None and field is not None and field.store == "time"
        )
        return (
            self.validity is None and has_plain_time and self._prepare is None and spec.late_ns == 0
            and (self._counted is None or spec.table < 0)
            and not spec.sort_first and not spec.always and not spec.late_per_key
            and self.late_part is None and self.silent_part is None and self.settle.may_be_direct
        )  # fmt: skip

    def is_direct(self, name: str) -> bool:
        """Whether rows of a partition would be passed on at once, and nobody looks at them."""
        parts = self.partitions
        if self.has_ended or self.watch is not None or len(parts) > 1:
            return False
        part = parts.get(name)
        return not parts if part is None else not part.waiting and not part.has_ended

    def next_rows(
        self, name: str, time: int, rows: int, received_ns: int | None, slots: Array | None
    ) -> int | None:
        """Take note of rows of a partition that `is_direct`: by the address of their times, when they came, and slots of their keys.

        Times that are counted from a rate are written to that address.

        Returns
        -------
        int or None
            the newest time; None, and nothing is noted, where they are not just the next ones
        """
        part = self.partition(name)
        counted = self._counted
        if counted is not None:
            first, newest = counted.fill(time, part.rows, rows)
        else:
            first = word_at(time)
            newest = first if rows == 1 else word_at(time + 8 * (rows - 1))
        if first < part.watermark or first <= _NO_TIME or newest > LATEST:
            return None
        if part.newest != NEVER and first - part.newest > LEAP_NS:
            return None
        ahead = self.spec.ahead_ns
        if ahead >= 0 and received_ns is not None and newest > received_ns + ahead:
            return None
        if not self.settle.are_next(first, newest, rows, time, slots):
            return None
        part.rows += rows
        part.newest = self._passed_on = self._newest = newest
        self.span = (first if self.span is None else min(first, self.span[0])), newest
        self.went_through(rows, newest)
        return newest

    def went_past(self, rows: Any) -> None:  # noqa: ANN401
        """Take note of rows that went through: the last one is looked at where the next gap is filled with it."""
        if self.settle.remembers:
            self._unread = rows.slice(rows.num_rows - 1)
            if rows.num_rows > _FEW:  # all of them would be kept along with it
                self._read_last()

    def _read_last(self) -> None:
        """Look at the last row that took the short way."""
        rows, self._unread = self._unread, None
        if rows is not None:
            raw = self._reader.read(rows)
            self.settle.went_past({c: raw[s] for c, s, _ in self.columns})

    def slots_of(self, rows: Any) -> tuple[Array, list[Life]]:  # noqa: ANN401
        """The slots of the keys of rows that went through, int32, shape ``(rows,)``, and the lives that they are in."""
        raw = self._reader.read(rows)
        return self.settle.slots_of_keys([_widened(raw[s], field) for _, s, field in self._keys])

    def _new_partition(self) -> Partition:
        spec = self.spec
        if spec.late_per_key and self._key_texts:
            return KeyedPartition(spec.late_ns, self._passed_on, self._key_texts, self.shared.seed)
        first = spec.sort_first or spec.always
        return Partition(spec.late_ns, self._passed_on, sort_first=first)

    # ---- one block

    def _block(self, block: Any, name: str, part: Partition, received_ns: int | None) -> None:  # noqa: ANN401
        n = block.num_rows
        first = part.rows
        self._read_last()
        raw = self._reader.read(block)
        self.counts.rows_in += n
        part.rows += n
        texts = {t: raw[t] for t in self._texts}
        if self._prepare is not None:
            raw.update(self._prepared(self._without_misfits(raw), n, first))
        known = bad = None
        if self._counted is not None:
            time, is_ordered = self._counted.times(first, n), True
        else:
            time = self._times(raw, texts, n)
            known = self.settle.steps(time)
            is_ordered = known[0] >= 0
            if n and int(time[-1] if is_ordered else time.max()) > LATEST:
                time, is_ordered = np.where(time > LATEST, MISSING, time), False
            if is_ordered and n and int(time[0]) > _NO_TIME:
                self._note_leaps(known[1], int(time[0]), part.newest)
            if self._may_be_bad(time, is_ordered):
                bad = self._bad(time, texts, first, received_ns)
        columns = {c: raw[s] for c, s, _ in self.columns}
        for c, s, field in self._keys:
            values = raw[s]
            columns[c] = values if values.dtype in _READ_AS_KEYS else _widened(values, field)
        if self.settle.notes_refused:
            columns[ROW] = np.arange(first, first + n)
            columns[PARTITION] = np.full(n, list(self.partitions).index(name))
        if self.validity is not None:
            bad = self._judged(self.validity, columns, block, first, bad)
        batch = Batch(n, time, None, None, columns)
        if bad is not None:
            if len(self.rejected) < _MOST_NOTED:
                self.rejected += [(name, row, reason) for row, reason in bad[1]]
            self.counts.rejected += n - int(bad[0].sum())
            batch = batch.keep(bad[0])
            is_ordered = False
            if not batch.n:
                return
        late = part.late(batch, is_ordered)
        if late is not None:
            self._give_late(batch.keep(late))
            batch = batch.keep(~late)
            is_ordered = False
            if not batch.n:
                return
        self._note_span(batch.time, is_ordered)
        if self.watch is not None:
            self.watch(*newest_of(batch.columns, self._key_texts, batch.time, self.shared.pool))
        alone = len(self.partitions) == 1 and type(part) is Partition and not part.waiting
        if alone and is_ordered and part.watermark >= int(batch.time[-1]):
            self.settle.known = known
            self._advance(batch)
            self.settle.known = None
        else:
            for c, _, _ in self._keys:  # rows that wait beside others are all alike
                batch.columns[c] = batch.columns[c].astype(np.int64, copy=False)
            part.add(batch)
            self._advance(None)

    def _note_span(self, time: Times, is_ordered: bool) -> None:
        """Note of which times rows have come."""
        ends = (time[0], time[-1]) if is_ordered else (time.min(), time.max())
        low, high = map(int, ends)
        if self.span is not None:
            low, high = min(low, self.span[0]), max(high, self.span[1])
        self.span = low, high

    def _without_misfits(self, raw: dict[str, Any]) -> dict[str, Any]:
        """What expressions read: a value that does not fit is missing there."""
        if not self._reader.misfits:
            return raw
        out = dict(raw)
        stores = {f.name: f.store for f in self.spec.raw}
        for name, found in self._reader.misfits.items():
            out[name] = np.where(
                found > 0, DTYPES[stores[name]].type(ABSENT[stores[name]]), raw[name]
            )
        return out

    def _judged(
        self, validity: Validity, columns: dict[str, Any], block: Any, first: int, bad: Judged | None  # noqa: ANN401
    ) -> Judged | None:  # fmt: skip
        """Apply the policies; the good rows among all, and the reasons of the others."""
        before = {name: (c.nulled, c.clamped) for name, c in validity.counts.items()}
        refused, notes = validity.apply(
            columns, self._reader.misfits, block.num_rows,
            lambda name, row: self._reader.told(block, name, row), noted=self._noted,
        )  # fmt: skip
        for name, counts in validity.counts.items():
            self.counts.nulled += counts.nulled - before[name][0]
            self.counts.clamped += counts.clamped - before[name][1]
        if refused is None:
            return bad
        told = [(first + row, reason) for row, reason in notes]
        if bad is None:
            return ~refused, told
        known = {row for row, _ in bad[1]}
        return bad[0] & ~refused, sorted([*bad[1], *(x for x in told if x[0] not in known)])

    @property
    def _noted(self) -> int:
        """Of how many rows of a block the reason is kept: of all where they go into a file."""
        return ROWS if self.spec.on_error == "quarantine" else 1000

    def _note_leaps(self, widest: int, first: int, newest: int) -> None:
        """Count blocks in which, or before which, time leaps: a clock that was set, or a wrong format."""
        if self.spec.always:
            return
        if widest > LEAP_NS or (newest != NEVER and first - newest > LEAP_NS):
            self.counts.leaps += 1

    def _prepared(self, raw: dict[str, Any], n: int, first: int) -> dict[str, Any]:
        """The columns that are expressions over the raw fields."""
        assert self._prepare is not None
        assert self.spec.prepare is not None
        columns = []
        for _, name in self.spec.prepare.reads:
            if name in raw:
                columns.append(raw[name])
            elif name == _ROW_NUMBER:
                columns.append(np.arange(first, first + n, dtype=np.int64))
            else:
                raise SourceError(f"`{self.spec.name}`: the rows have no column `{name}`")
        self._prepare.rows(n, _NO_TIMES[:n], None, None, columns, NEVER)
        return self._prepare.dense(n)

    def _times(self, raw: dict[str, Any], texts: dict[str, Any], n: int) -> Times:
        """Event time of each row; missing where there is none."""
        spec, field = self.spec, self._time_field
        if spec.always or field is None:
            return np.full(n, _NO_TIME, np.int64)
        if field.store in ("string", "binary"):
            layout, zone = spec.time_parse or ("iso", "UTC")
            column = texts.get(field.name)
            if column is None:
                column = self.shared.pool.arrow(raw[field.name])
            return from_text(column, layout, zone)[0]
        values = raw[field.name]
        if field.store == "time":
            return values
        is_float = field.store in ("f64", "f32")
        return from_numbers(values, spec.time_scale_ns, is_float=is_float)

    def _may_be_bad(self, time: Times, is_ordered: bool) -> bool:
        """Whether some row may lack a time, or lie too far ahead."""
        if self.spec.always:
            return False
        return self.spec.ahead_ns >= 0 or int(time[0] if is_ordered else time.min()) == MISSING

    def _bad(
        self, time: Times, texts: dict[str, Any], first: int, received_ns: int | None
    ) -> Judged | None:
        """Rows without a time, and rows too far ahead of their receipt: (good ones, reasons)."""
        spec = self.spec
        good = None
        notes: list[tuple[int, str]] = []
        if time.min() == MISSING:
            good = time != MISSING
            places = np.flatnonzero(~good)
            column = texts.get(spec.time)
            skips = spec.on_error != "stop" or (self.validity and self.validity.rejects_time)
            if self.validity and self.validity.rejects_time:
                self.validity.counts["time"].rejected += len(places)
            for place in places[: self._noted].tolist():
                text = None if column is None else column[place].as_py()
                error = missing_time(spec.name, spec.time, first + place + 1, text)
                if not skips:
                    raise error
                notes.append((first + place, "no time" if text is None else f"`{text}` is no time"))
        if spec.ahead_ns >= 0 and received_ns is not None:
            limit = received_ns + spec.ahead_ns
            ahead = time > limit
            if ahead.any():
                good = ~ahead if good is None else good & ~ahead
                notes += [
                    (first + q, "too far ahead of its receipt")
                    for q in np.flatnonzero(ahead)[: self._noted].tolist()
                ]
        return None if good is None else (good, notes)

    # ---- towards the nodes

    def _advance(self, ready: Batch | None) -> None:
        """Let go what the watermarks allow, in the order (time, partition, sequence)."""
        parts = self.partitions
        all_over = not self.has_ended and self._may_go_on
        if len(parts) == 1 and not all_over:
            (part,) = parts.values()
            batch = ready if ready is not None else part.release(FOREVER)
            watermark = part.watermark
        else:
            ordered = [part for _, part in sorted(parts.items(), key=lambda i: i[0].encode())]
            watermark = self._reached if all_over else min(part.watermark for part in ordered)
            limits = (
                [watermark - 1] * len(ordered)
                if all_over
                else turns([p.watermark for p in ordered])
            )
            out = []
            for part, limit in zip(ordered, limits, strict=True):
                free = part.release(limit)
                if free is not None:
                    out.append(free)
            batch = None
            if out:
                keyed = isinstance(part, KeyedPartition)
                batch = concat(out) if keyed else by_time(concat(out))
        self._passed_on = max(self._passed_on, watermark)
        if batch is None:
            self._settled(None, watermark)
            return
        self._newest = max(self._newest, int(batch.time[-1]))
        for start in range(0, batch.n, ROWS):
            stop = min(start + ROWS, batch.n)
            # Between the blocks of a large release the watermark is that of the rows passed on.
            here = watermark if stop == batch.n else min(watermark, self._between(batch, stop))
            self._settled(batch.slice(start, stop), here)

    @property
    def _may_go_on(self) -> bool:
        """Whether all partitions have ended, and the order of their rows is not that of the whole."""
        if self.spec.sort_first or self.spec.always:
            return False
        return all(part.has_ended for part in self.partitions.values())

    @property
    def _reached(self) -> int:
        """The watermark of a source whose partitions have all ended."""
        newest = max((p.newest for p in self.partitions.values()), default=NEVER)
        return (
            self._passed_on if newest == NEVER else max(self._passed_on, newest - self.spec.late_ns)
        )

    def _between(self, batch: Batch, stop: int) -> int:
        """The watermark after the rows before `stop`, while the next ones are about to come."""
        if self.spec.late_per_key:
            return NEVER
        return int(batch.time[stop - 1])

    def _settled(self, batch: Batch | None, watermark: int) -> None:
        settle = self.settle
        out, beyond = settle.take(batch, watermark)
        if settle.refused:
            names, room = list(self.partitions), max(0, _MOST_NOTED - len(self.rejected))
            self.rejected += [(names[q], row, why) for q, row, why in settle.refused[:room]]
            settle.refused = []
        self.give(out, beyond)
        if settle.silence is not None and self.silent_part is not None:
            heard = (
                watermark
                if watermark in (FOREVER, NEVER)
                else max(NEVER, watermark - settle.lag_ns)
            )
            found = settle.silence.until(heard, settle.last_times(), self._newest)
            self.silent_part.silent(found, heard)

    def _give_late(self, batch: Batch) -> None:
        self.counts.late += batch.n
        if self.late_part is None:
            return
        rows = self.settle.slots_of(batch)
        names = [f.name for f in self.late_part.spec.fields]
        columns = {}
        for field in self.late_part.spec.fields:
            found = rows.columns.get(field.name)
            columns[field.name] = missing(field, rows.n) if found is None else found
        columns = {name: columns[name] for name in names}
        self.late_part.counts.rows_in += rows.n
        self.late_part.counts.used += rows.n
        self.late_part.give(Batch(rows.n, rows.time, rows.slot, None, columns), NEVER)

    def held(self) -> int:
        """Rows in the reorder buffers, and those that wait for what may replace or precede them."""
        return sum(p.waiting for p in self.partitions.values()) + self.settle.held()

    @property
    def waits_from(self) -> int | None:
        """Number of the first row of partition "" that may still be rejected, as one of too many keys."""
        part = self.partitions.get("")
        return part.least(ROW) if part is not None and self.settle.notes_refused else None

    @property
    def passed_on(self) -> int:
        """No row before this time [ns] will be passed on."""
        return self._passed_on

    @property
    def nbytes(self) -> int:
        """Bytes of the reorder buffers and of what is known of each key."""
        return sum(part.nbytes for part in self.partitions.values()) + self.settle.nbytes

    def mark_held(self, table: int, held: Mask, late: Mask) -> None:
        """Slots of rows that have one already, and of silences to come."""
        if table == self.spec.table:
            self.settle.mark_held(held)

    def forget_slots(self, table: int, gone: Mask) -> None:
        """Begin afresh for these slots."""
        if table == self.spec.table:
            self.settle.forget_slots(gone)
            if self.known is not None:
                self.known.forget()

    def state(self) -> dict[str, Any]:
        """Partitions and what is known of each key."""
        self._read_last()
        return {
            "partitions": {name: p.state() for name, p in self.partitions.items()},
            "has_ended": self.has_ended,
            "passed_on": self._passed_on,
            "newest": self._newest,
            "settle": self.settle.state(),
            **({} if self.validity is None else {"valid": self.validity.state()}),
        }

    def load(self, state: dict[str, Any]) -> None:
        """Take a snapshot over."""
        expected = layout(self._waiting_fields(), None, self.shared.pool.count)
        self.partitions = {}
        for name, value in state["partitions"].items():
            part = self.partitions[name.encode().decode()] = self._new_partition()
            part.load(value, expected)
        self.has_ended = state["has_ended"] is True
        self._passed_on, self._newest = whole(state["passed_on"]), whole(state["newest"])
        self.settle.load(state["settle"])
        if self.validity is not None:
            self.validity.load(state.get("valid", {}))

    def _waiting_fields(self) -> list[Field]:
        """The columns of rows that wait to be in order: those of the rows, and their keys."""
        fields = [field for _, _, field in self.columns]
        fields += [replace(f, name=c, store=_key_store(f), shape=()) for c, _, f in self._keys]
        if self.settle.notes_refused:
            fields += [Field(ROW, "i64"), Field(PARTITION, "i64")]
        return fields


class PartNode(Node):
    """A side stream of a source: its late rows, or the keys that fell silent and came back."""

    spec: PartSpec

    def take(self, place: int, batch: Batch | None, watermark: int) -> None:
        """The source's own rows do not come this way."""

    def silent(self, events: NDArray[np.int64], watermark: int) -> None:
        """Pass events on, in the order (time, key value, sequence): a fall before a return."""
        if not len(events):
            self.give(None, watermark)
            return
        slot: NDArray[np.int32] | None = None
        time = events[:, 0]
        order = np.lexsort((1 - events[:, 2], time))
        if self.spec.table >= 0:
            _, rank = self.shared.tables[self.spec.table].order()
            order = np.lexsort((1 - events[:, 2], rank[events[:, 1]], time))
            slot = events[order, 1].astype(np.int32)
        n = len(order)
        columns = {}
        for field in self.spec.fields:
            if field.name == "silent":
                columns[field.name] = events[order, 2].astype(DTYPES[field.store])
            else:
                columns[field.name] = missing(field, n)
        self.counts.rows_in += n
        self.counts.used += n
        self.give(Batch(n, time[order], slot, None, columns), watermark)


def _key_store(field: Field) -> str:
    """How a key column lies in a batch: as text, or as int64."""
    return field.store if field.store in ("string", "binary") else "i64"


def _widened(values: Any, field: Field) -> Any:  # noqa: ANN401
    """A key column as int64."""
    if field.store == "bool":
        return np.where(values == 2, MISSING, values.astype(np.int64))
    return values.astype(np.int64)
