"""A generated kernel at work: its context, its memory, and the arrays that it reads and writes."""

from array import array
from collections.abc import Callable
from functools import partial
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from flowedge.compile import program as p
from flowedge.compile.hands import HANDS
from flowedge.compile.native import load
from flowedge.session.abreast import Abreast
from flowedge.session.batch import (
    DTYPES,
    Array,
    Batch,
    Flags,
    Slots,
    Times,
)
from flowedge.session.memory import Memory
from flowedge.session.shards import Shards
from flowedge.session.words import address

if TYPE_CHECKING:
    from flowedge.session.keys import KeyTable

LEAST_ROOM = 1024
"""Room for so many rows is offered at least, if they are not long."""
_FEWEST_ROOM, _ROOM_BYTES = 16, 1 << 18
"""Of rows that hold long lists so many, or as many as have so many bytes: memory that is not touched is not free either."""


class Runner:
    """A kernel with its context and memory: rows in, rows out."""

    def __init__(
        self, spec: p.KernelSpec, objects: dict[str, bytes], memory: Memory | None = None
    ) -> None:
        self.spec, self._objects = spec, objects
        self.kernel = load(objects[spec.object], spec.entry)
        fields = {f.name: f for f in spec.fields}
        self._outs = [
            (name, fields[name].shape, DTYPES[fields[name].store]) for name in spec.writes
        ]
        wide = 8 + sum(prod(shape) * np.dtype(dtype).itemsize for _, shape, dtype in self._outs)
        self.least_room = max(_FEWEST_ROOM, min(LEAST_ROOM, _ROOM_BYTES // wide))
        self._first_out = p.COLUMNS + len(spec.reads)
        self.ctx = array("q", [0] * (self._first_out + len(spec.writes)))
        self._run = self.kernel.bound(self.ctx.buffer_info()[0])
        self._abreast = (
            Abreast(load(objects[spec.abreast], spec.entry).bound(self.ctx.buffer_info()[0]))
            if spec.abreast
            else None
        )
        self.memory = Memory(spec) if memory is None else memory
        self._scratch = None if memory is None else np.zeros(max(1, spec.scratch), np.int64)
        self._shards = Shards(self) if memory is None and Shards.may_be(spec) else None
        self._kept: list[Any] = []
        self.table: KeyTable | None = None
        """The keys, for a kernel that asks for their order when it needs one."""
        self.spare: Batch | None = None
        """Arrays that were offered, and have not been written to."""
        self.use(1, None, None)

    def use(self, keys: int, order: Slots | None, rank: Slots | None) -> None:
        """Say how many keys there are, and in which order they stand."""
        ctx, memory = self.ctx, self.memory
        if memory.make_room(keys) or not ctx[p.GLOBALS]:
            self.bind()
        ctx[p.KEYS] = keys
        if order is not None and rank is not None:
            self._order, self._rank = order, rank
            ctx[p.ORDER], ctx[p.RANK] = address(order), address(rank)
        elif not ctx[p.ORDER]:
            self.use(keys, np.zeros(1, np.int32), np.zeros(1, np.int32))

    def use_without_order(self, keys: int) -> None:
        """Say how many keys there are; the kernel asks for their order once it needs one."""
        if self.memory.make_room(keys) or not self.ctx[p.GLOBALS]:
            self.bind()
        self.ctx[p.KEYS], self.ctx[p.ORDER] = keys, 0

    def bind(self) -> None:
        """Write the addresses of the memory into the context."""
        ctx, memory = self.ctx, self.memory
        ctx[p.RECORDS], ctx[p.BLOCKS] = address(memory.records), address(memory.blocks)
        ctx[p.TOUCHED] = address(memory.touched)
        ctx[p.GLOBALS] = memory.globals_at if self._scratch is None else address(self._scratch)
        ctx[p.ARENA], ctx[p.ARENA_WORDS] = address(memory.arena), len(memory.arena)
        ctx[p.COUNTERS] = address(memory.counters)

    def rows(
        self,
        n: int,
        time: Times | None,
        slot: Slots | None,
        gap: Flags | None,
        columns: list[Array],
        watermark: int,
    ) -> None:
        """Hand rows in; `columns` stand in the order of `reads`."""
        ctx = self.ctx
        ctx[p.ROW], ctx[p.ROWS] = 0, n
        ctx[p.WATERMARK], ctx[p.FINISH] = watermark, watermark == p.FOREVER
        ctx[p.TIME] = 0 if time is None else address(time)
        ctx[p.SLOT] = 0 if slot is None else address(slot)
        ctx[p.GAP] = 0 if gap is None else address(gap)
        at = p.COLUMNS
        for column in columns:
            ctx[at] = address(column)
            at += 1
        self._kept = [time, slot, gap, columns]

    def dense(self, n: int) -> dict[str, Array]:
        """Run over the rows at hand; the columns written, one value for each row."""
        ctx, at = self.ctx, self._first_out
        out: dict[str, Array] = {}
        for name, shape, dtype in self._outs:
            out[name] = values = np.empty((n, *shape) if shape else n, dtype)
            ctx[at] = address(values)
            at += 1
        ctx[p.OUT], ctx[p.OUT_ROOM] = 0, n
        self._shared(n, out, partial(self._fill, n, out))
        return out

    def pass_through(self, n: int) -> None:
        """Run a dense kernel over so many rows, whose addresses and those of the output stand in the context."""
        self._shared(n, None, partial(self.until, n))

    def _shared(self, n: int, out: dict[str, Array] | None, alone: Callable[[], None]) -> None:
        """Do all rows at hand, on several threads where that pays."""
        shards = self._shards
        if shards is None or HANDS.count < 2:
            alone()
        elif shards.are_worth_it(n, by_key=out is not None):
            shards.run(n, out or {})
        else:
            shards.note(n, HANDS.alone(alone))

    def _fill(self, n: int, out: dict[str, Array]) -> None:
        if self._abreast is not None:
            self._abreast.run(self, out)
        self.until(n)

    def until(self, row: int) -> None:
        """Run a dense kernel over the rows at hand that come before a row."""
        n, self.ctx[p.ROWS] = self.ctx[p.ROWS], row
        while self._run() == p.GROW:
            self._grow()
        self.ctx[p.ROWS] = n

    def some(self, places: Array, made: dict[str, Array], *, abreast: bool) -> None:
        """Run a dense kernel over the rows at some places alone, each of whose values goes to its place in `made`.

        `abreast`: eight keys at a time, where they come in turn.
        """
        when, slot, gap, columns = self._kept
        kept = self.ctx[:]
        of_key = None if gap is None else gap[places]
        some = [column[places] for column in columns]
        self.rows(len(places), when[places], slot[places], of_key, some, self.ctx[p.WATERMARK])
        shards, self._shards = self._shards, None
        eight = self._abreast
        if not abreast:
            self._abreast = None
        for name, values in self.dense(len(places)).items():
            made[name][places] = values
        self._shards, self._abreast = shards, eight
        self.ctx[:] = kept
        self._kept = [when, slot, gap, columns]

    # ---- several at once

    @property
    def slots(self) -> Array:
        """Of the rows at hand."""
        return self._kept[1]

    def beside(self) -> "Runner":
        """Another one over the same memory of keys, for another thread."""
        return Runner(self.spec, self._objects, self.memory)

    def lend(self, runner: "Runner") -> None:
        """Have the rows of another one at hand, which are left as they are, and the places to write to."""
        self.ctx[:] = runner.ctx
        self._kept = runner._kept  # noqa: SLF001  # of our own kind
        self.bind()

    def between(self, first: int, stop: int) -> None:
        """Run a dense kernel without memory over some of the rows at hand."""
        self.ctx[p.ROW] = first
        self.until(stop)

    def call(self) -> int:
        """Run until rows must be taken out or all are used up; returns FULL or DONE."""
        while True:
            status = self._run()
            if status != p.GROW:
                return status
            self._grow()

    def _grow(self) -> None:
        if self.ctx[p.NEED] <= p.NEEDS_ORDER:
            self._order_of(p.NEEDS_ORDER - self.ctx[p.NEED])
            return
        self.memory.grow_arena(self.ctx[p.NEED])
        self.ctx[p.ARENA], self.ctx[p.ARENA_WORDS] = (
            address(self.memory.arena),
            len(self.memory.arena),
        )

    def _order_of(self, touched: int) -> None:
        """Bring so many slots that are touched into the order of their keys; where they are many of all, tell that of all."""
        assert self.table is not None
        count = max(1, self.table.count)
        is_few = p.FEW * touched <= count
        if is_few and not self.table.is_in_order and self.table.sort(self.memory.touched[:touched]):
            self.ctx[p.ORDER] = p.IN_ORDER
        else:
            self.use(count, *self.table.order())

    def offer(self, room: int, *, keyed: bool, gaps: bool) -> Batch:
        """Offer arrays for `room` output rows: those of the last time, where they were left as they were."""
        ctx = self.ctx
        if self.spare is not None and self.spare.n == room:
            ctx[p.OUT] = 0
            return self.spare
        at = self._first_out
        columns: dict[str, Array] = {}
        for name, shape, dtype in self._outs:
            columns[name] = values = np.empty((room, *shape) if shape else room, dtype)
            ctx[at] = address(values)
            at += 1
        time = np.empty(room, np.int64)
        slot = np.empty(room, np.int32) if keyed else None
        gap = np.zeros(room, np.uint8) if gaps else None
        ctx[p.OUT], ctx[p.OUT_ROOM], ctx[p.OUT_TIME] = 0, room, address(time)
        ctx[p.OUT_SLOT] = 0 if slot is None else address(slot)
        ctx[p.OUT_GAP] = 0 if gap is None else address(gap)
        self.spare = Batch(room, time, slot, gap, columns)
        return self.spare
