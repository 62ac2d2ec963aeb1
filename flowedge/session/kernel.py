"""A node that is a generated kernel: rows of one or two inputs to rows, keys and maps brought up to date."""

from typing import TYPE_CHECKING, Any

import numpy as np

from flowedge.compile import program as p
from flowedge.compile.kernels.columns import take
from flowedge.lang.errors import InternalError
from flowedge.session.batch import (
    Array,
    Batch,
    Slots,
    require_within,
    restored,
)
from flowedge.session.forget import held_in
from flowedge.session.lives import longer
from flowedge.session.meeting import Meeting
from flowedge.session.node import Mask, Node, Shared
from flowedge.session.runner import LEAST_ROOM, Runner
from flowedge.session.snapshot import whole
from flowedge.session.words import address

if TYPE_CHECKING:
    from flowedge.session.tail import Tail

_FEW_ROWS = 64
"""Behind no more rows than these, as they come live, room for as few is offered."""
_BESIDE = 2
"""Rows more than those that come make: one that they complete, and one so that the last leaves room, which a kernel asks for."""
_MOST_ROOM = 65_536
"""Room grows up to this while a kernel goes on filling it: a window of many keys closes at once."""


class KernelNode(Node):
    """Runs a generated kernel over the rows of one or two inputs."""

    spec: p.KernelSpec

    def __init__(self, spec: p.KernelSpec, shared: Shared) -> None:
        super().__init__(spec, shared)
        self.runner = Runner(spec, shared.program.objects)
        nodes = {n.id: n for n in shared.program.nodes}
        self._tables = [nodes[i].table for i in spec.inputs]
        # Rows of the looked-up side stand before those of the side that asks.
        self._meeting = Meeting(range(len(spec.inputs))[::-1]) if len(spec.inputs) > 1 else None
        self._keys = [
            (
                place,
                name,
                shared.key_column(self._tables[place], name)
                if all(f.name != name for f in nodes[spec.inputs[place]].fields)
                else -1,
            )
            for place, name in spec.reads
        ]
        self._passed = [
            (name, shared.key_column(self._tables[0], name))
            if all(f.name != name for f in nodes[spec.inputs[0]].fields)
            else (name, -1)
            for name in spec.passed
        ]
        self.tail: Tail | None = None
        self._names = [f.name for f in spec.fields]
        # The order of keys is kept up to date only for kernels that look at it.
        words = (f"i64(ctx, {p.ORDER})", f"i64(ctx, {p.RANK})")
        self._uses_order = not spec.is_dense and (
            not spec.source or any(word in spec.source for word in words)
        )
        self._asks_for_order = p.ASKS_FOR_ORDER in spec.source
        # Memory is counted by the slots of this table.
        self._state_table = spec.join[2] if spec.join is not None else self._tables[0]
        self._maps = [np.empty(0, np.int32) for _ in spec.inputs]
        self._mapped = [0 for _ in spec.inputs]  # so many slots are in the map
        self._has_gaps = [False for _ in spec.inputs]  # slots of keys that were forgotten
        self._map_words = np.zeros(3, np.int64)
        self._checks_texts = False
        self._right_rank: Slots = np.empty(0, np.int32)

    def take(self, place: int, batch: Batch | None, watermark: int) -> None:
        """Run over the rows, or hold them until the other input has come as far."""
        if batch is not None:
            self.counts.rows_in += batch.n
        if self._meeting is not None:
            self._meet(self._meeting, place, batch, watermark)
        elif self.spec.is_dense:
            self._run_dense(batch, watermark)
        elif batch is not None:
            self.ready()
            columns = self._columns([batch])
            self.runner.rows(batch.n, batch.time, batch.slot, batch.gap, columns, watermark)
            self.run(batch.n)
        elif watermark > self.runner.ctx[p.WATERMARK] or self.watermark == p.NEVER:
            self.ready()
            self.runner.rows(0, None, None, None, self._columns([None]), watermark)
            self.run(0)

    def give(self, batch: Batch | None, watermark: int) -> None:
        """Pass rows on; a text that the memory of a snapshot names must be there."""
        if batch is not None and self._checks_texts:
            for name, count in self.shared.layout(self.spec).ids.items():
                if name in self.spec.writes:
                    require_within(batch.columns[name], count, "a text that is not there", least=-1)
        super().give(batch, watermark)

    @property
    def reads_no_key(self) -> bool:
        """Whether all that it reads and passes on are columns of its input."""
        return all(key < 0 for _, _, key in self._keys) and all(key < 0 for _, key in self._passed)

    # ---- one input

    def take_at(self, rows: int, time: int, watermark: int, slot: int = 0) -> None:
        """Take rows by the addresses of their times and slots (0: there are no keys); those of its columns stand in the context."""
        self.counts.rows_in += rows
        ctx = self.runner.ctx
        ctx[p.ROW], ctx[p.ROWS], ctx[p.TIME], ctx[p.SLOT] = 0, rows, time, slot
        ctx[p.GAP] = ctx[p.FINISH] = 0
        ctx[p.WATERMARK] = watermark
        self.run(rows)

    def went_through(self, rows: int, watermark: int) -> None:
        """Note them; which of its rows a kernel used, `check` works out."""
        self.counts.rows_in += rows
        self.counts.rows_out += rows
        self.watermark = max(self.watermark, watermark)

    def _run_dense(self, batch: Batch | None, watermark: int) -> None:
        if batch is None:
            self.give(None, watermark)
            return
        made: dict[str, Array] = {}
        if self.spec.writes:
            self.ready()
            columns = self._columns([batch])
            self.runner.rows(batch.n, batch.time, batch.slot, batch.gap, columns, watermark)
            made = self.runner.dense(batch.n)
        for name, key in self._passed:
            made[name] = batch.columns[name] if key < 0 else self._key_values(0, key, batch)
        out = {name: made[name] for name in self._names}
        self.give(Batch(batch.n, batch.time, batch.slot, batch.gap, out), watermark)

    def run(self, rows: int) -> None:
        """Run the kernel dry over the rows at hand, passing rows on whenever the room is full."""
        (self.run_from_node_to_node if self.tail is None else self.tail.run)(rows)

    def run_from_node_to_node(self, rows: int) -> None:
        """The same without the tail."""
        spec, runner = self.spec, self.runner
        least = min(LEAST_ROOM if rows > _FEW_ROWS else _FEW_ROWS, runner.least_room)
        room = max(least, int(rows * spec.room) + _BESIDE)
        keyed = spec.table >= 0
        while True:
            out = runner.offer(room, keyed=keyed, gaps=spec.gaps)
            status = runner.call()
            made = runner.ctx[p.OUT]
            if made:
                runner.spare = None
            if status == p.DONE:
                self.give(_used(out, made), runner.ctx[p.OUT_WATERMARK])
                return
            if made == 0 and room >= _MOST_ROOM:
                raise InternalError(
                    f"kernel `{spec.label or spec.name}` stands still",
                    expected="rows",
                    seen="status FULL without rows",
                )
            if made:
                self.give(_used(out, made), self.watermark)
            # Without a row the kernel asks for more room at once than there was: a detector with many candidates.
            room = max(room, min(4 * room, _MOST_ROOM))
            if status != p.FULL:
                raise InternalError(f"kernel `{spec.label}`", expected="a status", seen=str(status))

    def ready(self) -> None:
        """Bring memory, order of keys and maps up to date with the key tables."""
        if self._state_table < 0 and self.spec.join is None:
            return
        if self.spec.join is not None:
            self._map_slots(self.spec.join)
        if self._state_table < 0:
            return
        if self.spec.ends_at >= 0:
            self.runner.ctx[p.LASTS] = address(self.shared.lasts[self.spec.ends_at]())
        table = self.shared.tables[self._state_table]
        count = max(1, table.count)
        if not self._uses_order or not table.count:
            self.runner.use(count, None, None)
        elif self._asks_for_order and not table.is_in_order:
            self.runner.table = table
            self.runner.use_without_order(count)
        else:
            self.runner.use(count, *table.order())

    def _columns(self, batches: list[Batch | None]) -> list[Array]:
        """The arrays that the kernel reads, key columns gathered from their table."""
        out = []
        for place, name, key in self._keys:
            batch = batches[place]
            if batch is None:
                out.append(_NOTHING)
            elif key < 0:
                is_time = name == "time" and name not in batch.columns
                out.append(batch.time if is_time else batch.columns[name])
            else:
                out.append(self._key_values(place, key, batch))
        return out

    def _key_values(self, place: int, key: int, batch: Batch) -> Array:
        """A key of each row, as its column holds it; tables hold all keys as int64."""
        number = self._tables[place]
        values = self.shared.tables[number].values(key)
        field = self.shared.program.tables[number].fields[key]
        assert batch.slot is not None
        old = p.Field(field.name, "i64")
        if (
            len(values) <= batch.n
        ):  # few keys are made what they are in the column sooner than many rows
            return take(restored(values, old, field), batch.slot)
        return restored(take(values, batch.slot), old, field)

    # ---- two inputs

    def _meet(self, meeting: Meeting, place: int, batch: Batch | None, watermark: int) -> None:
        before = meeting.watermark
        meeting.add(place, batch, watermark)
        parts = meeting.take()
        if all(part is None for part in parts):
            if meeting.watermark > before:
                self.ready()
                self.runner.rows(0, None, None, None, self._columns(parts), meeting.watermark)
                self.run(0)
            return
        self.ready()
        some = [part for part in parts if part is not None]
        # The kernel reads a slot for each row where either side has keys, also when only the other came.
        is_keyed = self.spec.table >= 0 or any(self._map_words[:2])
        time, port, row, slot, gap = meeting.interleave(
            parts, has_slots=is_keyed or any(part.slot is not None for part in some), has_gaps=any(part.gap is not None for part in some),
        )  # fmt: skip
        ctx = self.runner.ctx
        ctx[p.PORT], ctx[p.SOURCE_ROW] = address(port), address(row)
        columns = self._columns(parts)
        self.runner.rows(len(time), time, slot, gap, columns, meeting.watermark)
        self.run(len(time))

    def _map_slots(self, join: tuple[int, int, int]) -> None:
        """Bring the maps from each side's slots to those of the join table up to date."""
        tables, target = self.shared.tables, join[2]
        for side, source in enumerate(join[:2]):
            if source in (target, -1):
                self._map_words[side] = 0  # the map is the identity
                continue
            known, count = self._mapped[side], tables[source].count
            if target < 0:  # no key is shared: all rows meet in slot 0
                self._maps[side] = longer(self._maps[side], count, 0)
            elif count > known or self._has_gaps[side]:
                self._maps[side] = known_map = longer(self._maps[side], count, -1)
                self._mapped[side] = count
                first = 0 if self._has_gaps[side] else known
                lacks = tables[source].is_taken[first:] & (known_map[first:count] < 0)
                fresh = first + np.flatnonzero(lacks)
                columns = [
                    tables[source].values(self.shared.key_column(source, f.name))[fresh]
                    for f in self.shared.program.tables[target].fields
                ]
                known_map[fresh] = tables[target].slots(columns)
                self._has_gaps[side] = bool((known_map[first:count] < 0).any())
            self._map_words[side] = address(self._maps[side]) if count else 0
        if self.spec.ranks_right:
            self._right_rank = tables[join[1]].order()[1]
            self._map_words[2] = address(self._right_rank) if len(self._right_rank) else 0
        self.runner.ctx[p.MAPS] = address(self._map_words)
        self.runner.memory.make_room(max(1, *(tables[t].count for t in join if t >= 0), 1))
        self.runner.bind()

    # ---- the ledger and snapshots

    def held(self) -> int:
        """Rows that wait for the other input, and those that the kernel says it holds."""
        waiting = 0 if self._meeting is None else len(self._meeting)
        return waiting + int(self.runner.memory.counters[6])

    def check(self) -> None:
        """Fill in the fates that the kernel counted; the other rows were used."""
        counts, counters = self.counts, self.runner.memory.counters
        counts.filtered, counts.incomplete = int(counters[0]), int(counters[1])
        counts.late, counts.duplicate = int(counters[2]), int(counters[3])
        counts.jitter, counts.gaps = int(counters[4]), int(counters[5])
        if self.spec.is_filter:
            counts.filtered = counts.rows_in - counts.rows_out
        counts.held = self.held()
        counts.used = 0
        counts.used = counts.imbalance()
        if self.spec.is_dense and counts.used != counts.rows_out:
            raise InternalError(
                f"rows unaccounted for at `{self.spec.label or self.spec.name}`",
                expected=f"{counts.used} rows out",
                seen=str(counts.rows_out),
            )

    @property
    def nbytes(self) -> int:
        """Bytes of its memory, its maps and the rows that wait."""
        waiting = 0 if self._meeting is None else self._meeting.nbytes
        return self.runner.memory.nbytes + sum(m.nbytes for m in self._maps) + waiting

    def mark_held(self, table: int, held: Mask, late: Mask) -> None:
        """Slots of rows that wait, and of keys that the kernel may still give rows for."""
        if self._meeting is not None:
            for place, number in enumerate(self._tables):
                if number == table:
                    self._meeting.mark_slots(held, place)
        memory = self.runner.memory
        if self._state_table == table:
            memory.mark_held(held, late)
        elif table in self._tables and self.spec.has_arena:  # rows of a join that wait name slots
            used = memory.arena[: int(memory.arena[0])]
            held |= held_in([used.tobytes()], len(held))

    def forget_slots(self, table: int, gone: Mask) -> None:
        """Their records begin afresh; what the end of the input would have counted is counted now."""
        if self._state_table == table:
            self.runner.memory.forget(gone)
        for side, number in enumerate(self._tables):
            if number == table and self.spec.join is not None and len(self._maps[side]):
                if self.spec.join[2] < 0 or number == self.spec.join[2]:
                    continue
                known = self._maps[side][: len(gone)]
                known[gone[: len(known)]] = -1
                self._has_gaps[side] = True

    def state(self) -> dict[str, Any]:
        """Memory, watermark and the rows that wait."""
        keys = 1
        if self._state_table >= 0:
            keys = self.shared.tables[self._state_table].count
        if self.spec.join is not None:
            keys = self.runner.memory.keys
        out = self.runner.memory.state(min(max(1, keys), self.runner.memory.keys))
        # A kernel that gives a row for each row knows no watermark; what it was called with last depends on cuts.
        out["watermark_in"] = p.NEVER if self.spec.is_dense else self.runner.ctx[p.WATERMARK]
        out["meeting"] = None if self._meeting is None else self._meeting.state()
        return out

    def load(self, state: dict[str, Any]) -> None:
        """Take them over."""
        tables = self.shared.tables
        self.runner.memory.load(
            state, lambda t: tables[t].count if t >= 0 else 1, self._state_table
        )
        self._checks_texts = True
        self.runner.bind()
        self.runner.ctx[p.WATERMARK] = whole(state["watermark_in"])
        if self._meeting is not None:
            nodes = {n.id: n for n in self.shared.program.nodes}
            layouts = [self.shared.layout(nodes[i]) for i in self.spec.inputs]
            self._meeting.load(state["meeting"], layouts)


_NOTHING = np.empty(0, np.int64)


def _used(offered: Batch, rows: int) -> Batch | None:
    """The rows that a kernel wrote. Where they are a part of many, the arrays give the rest of their memory back, where they lie.

    Nobody else has them yet: so there is nothing to copy, and no room without rows is kept alive by who keeps the rows.
    """
    if rows == 0:
        return None
    if 2 * rows > offered.n or offered.n <= LEAST_ROOM:
        return offered.slice(0, rows)
    for values in (offered.time, offered.slot, offered.gap, *offered.columns.values()):
        if values is not None:
            values.resize((rows, *values.shape[1:]), refcheck=False)
    return Batch(rows, offered.time, offered.slot, offered.gap, offered.columns)
