"""`window D every S | aggregate …`: windows of event time, closed by the watermark, in key order.

A window of P hops is P panes; each key holds its P newest panes in a ring of accumulators, and what
must be seen whole (a median) in a ring of rows. A window closes when the watermark is at or past its
end; all its keys leave then, in the order of their values. Panes and ends are counted by the clock
of the grid (`GridClock`), which in a zone is local time; rows and the watermark by event time.
"""

from math import gcd

from flowedge.compile import program as p
from flowedge.compile.emit.chain import Chain
from flowedge.compile.emit.folds import Folds, write_results
from flowedge.compile.emit.kept import kept_of
from flowedge.compile.emit.kernel import Kernel, Tail
from flowedge.compile.emit.rolling import ArenaRing
from flowedge.compile.emit.slots import in_key_order
from flowedge.compile.emit.state import TimedRing
from flowedge.compile.emit.tails.local import GridClock
from flowedge.compile.emit.values import Value
from flowedge.graph.nodes import TimeWindow
from flowedge.types.schema import TIME


class TimeWindowTail(Tail):
    """The running part of a `TimeWindow`.

    Parameters
    ----------
    node : the window with its folds and results
    spans : rows stand for (start, time], so windows take (kS, kS + D]
    """

    def __init__(self, kernel: Kernel, node: TimeWindow, *, spans: bool) -> None:
        self.kernel, self.node, self.spans = kernel, node, spans
        self.pane = gcd(node.size_ns, node.hop_ns)
        self.panes = node.size_ns // self.pane
        self.kept = kept_of(kernel, node)
        self.folds = Folds(kernel, () if self.kept else node.folds)
        self.clock = GridClock(kernel, node.zone, node.size_ns, node.hop_ns)
        kernel.uses_touched = True
        g, state = kernel.globals, kernel.state
        self.end_at = g.add("g_end", -(2**63)).name
        # The instant of that end; in UTC the clock reads instants.
        self.closes = g.add("g_closes", -(2**63)).name if self.clock.is_local else self.end_at
        self.cursor = g.add("g_cursor", -1).name
        self.open = g.add("g_open", 0).name
        self.now = g.add("g_pane", 0).name
        self.until = g.add("g_until", -(2**63)).name if self.clock.is_local else ""
        self.newest = state.cell("newest", -(2**63))
        self.is_open = state.cell("is_open", 0)
        state.keep(self.newest, self.is_open)
        state.busy.append(self.is_open)
        state.within(0, self.is_open, 1)
        state.totals.append((self.is_open, self.open))
        state.within(-1, self.cursor, -1)
        # Windows that end are counted one by one: an end far from the rows would take for ever.
        reach = node.size_ns + node.hop_ns + self.pane + self.clock.apart_ns
        near = [(self.newest, self.pane, self.is_open)]
        near += [(self.now, self.pane, self.open)] if self._keeps_pane else []
        near += [(self.closes, 1, self.open)] if self.clock.is_local else []
        for word, factor, when in near:
            state.never_negative({word: factor, self.end_at: -1}, reach, when=when)
            state.never_negative({word: -factor, self.end_at: 1}, reach, when=when)
        self.accumulators = [
            state.cell("acc", float(z), in_memory=True)
            for part in self.folds.monoids
            for z in part.fold.aggregate.zero
        ]
        extra = self.folds.words * (self.panes - 1)
        self.more = [state.cell("pane", 0.0, in_memory=True) for _ in range(extra)]
        state.keep(*self.accumulators, *self.more)
        self.ring = None if self.kept is None else self.kept.ring
        self.ready: tuple[str, ...] = () if self.kept is None else self.kept.ready
        if self.folds.collected:
            longest = max(p.length for p in self.folds.collected)
            self.ring = ArenaRing(kernel.values, "rows", words=1 + self.folds.kept)
            self.ready = tuple(self.ring.room_to_work(4, longest))
        if self.ring is not None:
            state.keep(self.ring.head, self.ring.length)
            state.timed.append(TimedRing(tuple(self.ring.room_for_one())))

    @property
    def _keeps_pane(self) -> bool:
        """Whether the pane of a row is looked up once for many rows."""
        return self.clock.is_local or self.node.hop_ns == self.node.size_ns

    def _pane_address(self, pane: str) -> str:
        """Address of a key's accumulators of a pane."""
        first = self.kernel.state.address(self.accumulators[0]) if self.accumulators else "r"
        if self.panes == 1:
            return first
        return f"{first} + ({pane}) % {self.panes} * {8 * self.folds.words}"

    def _pane_of(self, time: str) -> str:
        """The number of the pane that a time falls into; (a, b] where rows are spans."""
        reading = self.clock.reading(f"({time} - 1)" if self.spans else time)
        return f"{reading} // {self.pane}"

    def _next_end(self, kernel: Kernel) -> str:
        """The end after the one at hand: of ends that clocks skip together, the first one stands."""
        hop, size = self.node.hop_ns, self.node.size_ns
        if not self.clock.is_local:
            return f"{self.end_at} + {hop}"
        after = kernel.names.function(next_end, "next_end")
        return f"{after}({self.clock.reading(self.closes)}, {hop}, {size})"

    def _start(self) -> str:
        """When the window at hand began."""
        return self.clock.instant(f"{self.end_at} - {self.node.size_ns}")

    def close(self, kernel: Kernel) -> None:
        """Emit every window whose end `now` has reached, key by key, then move on by a hop."""
        sheet = kernel.sheet
        reached = "<" if self.spans else "<="
        with sheet.block(f"while {self.open} > 0 and {self.closes} {reached} now"):
            sheet(f"last = {self.end_at} // {self.pane} - 1", f"oldest = last - {self.panes - 1}")
            with sheet.block(f"if {self.cursor} < 0"):
                if kernel.keyed:
                    self._in_key_order(kernel)
                sheet(f"{self.cursor} = 0")
            with sheet.block(f"while {self.cursor} < {self.open}"):
                sheet(f"slot = i32(touched, {self.cursor})" if kernel.keyed else "slot = 0")
                sheet("RECORD") if kernel.keyed else None
                with sheet.block(f"if {kernel.state.get(self.newest)} >= oldest"):
                    with sheet.block("if m >= room"):
                        sheet("LEAVE_FULL")
                    sheet(*self.ready)
                    self._emit(kernel)
                sheet(f"{self.cursor} += 1")
            sheet(f"next_end_at = {self._next_end(kernel)}")
            self._retire(kernel)
            self._end_at("next_end_at")

    def _in_key_order(self, kernel: Kernel) -> None:
        """Let the open slots stand in the order of their keys; who called is asked where keys have come since."""
        sheet, flag = kernel.sheet, self._flag_offset()
        sort = kernel.names.function(in_key_order, "in_key_order")
        with sheet.block(f"if order > {p.IN_ORDER}"):
            sheet(
                f"{self.open} = {sort}(touched, {self.open}, order, rank, keys, records, RECORD_SIZE, {flag})"
            )
        with sheet.block(f"elif order == {p.IN_ORDER}"):
            sheet("order = 0", f"set_i64(ctx, {p.ORDER}, 0)")
        with sheet.block("else"):
            sheet(f"{p.ASKS_FOR_ORDER}{self.open}", "LEAVE_GROW")

    def _end_at(self, reading: str) -> None:
        """Let the next window to close end at a reading."""
        self.kernel.sheet(f"{self.end_at} = {reading}")
        if self.clock.is_local:
            self.kernel.sheet(f"{self.closes} = {self.clock.instant(self.end_at)}")

    def _flag_offset(self) -> str:
        return self.kernel.state.address(self.is_open).removeprefix("r + ")

    def _emit(self, kernel: Kernel) -> None:
        sheet, state, folds, node = kernel.sheet, kernel.state, self.folds, self.node
        local = folds.start()
        if self.panes == 1:
            folds.merge_from(local, self._pane_address("0"))
        elif folds.words:
            first, pane = sheet.fresh("first"), sheet.fresh("pane")
            # Panes older than the ring reaches back from the newest one hold later panes by now.
            sheet(f"{first} = max(oldest, {state.get(self.newest)} - {self.panes - 1})")
            with sheet.block(
                f"for {pane} in range({first}, min(last, {state.get(self.newest)}) + 1)"
            ):
                folds.merge_from(local, self._pane_address(pane))
        found = folds.results(local)
        found.update(self._collected(kernel))
        kernel.write("start", TIME, (self._start(),))
        kernel.values.time, outer = self.closes, kernel.values.time
        if self.kept is not None:
            self.kept.write({"start": (self._start(),)}, self._inside())
        else:
            write_results(kernel, node.results, found, node.out.columns)
        kernel.values.time = outer
        kernel.emit(self.closes, "slot")

    def _inside(self) -> str:
        """Condition on the time ``{t}`` of a row to be in the window at hand."""
        low, high = self._start(), self.closes
        if self.clock.is_local:
            self.kernel.sheet(f"start_at = {low}")
            low = "start_at"
        return f"{low} < {{t}} <= {high}" if self.spans else f"{low} <= {{t}} < {high}"

    def _collected(self, kernel: Kernel) -> dict[str, Value]:
        """Copy each collected input of the window to scratch behind the arena, and finish it."""
        sheet, ring, state = kernel.sheet, self.ring, kernel.state
        out: dict[str, Value] = {}
        if ring is None or not self.folds.collected:
            return out
        inside = self._inside()
        for part in self.folds.collected:
            q, t, x, count, base = (sheet.fresh(s) for s in ("q", "tq", "x", "count", "base"))
            sheet(f"{base} = arena + 8 * i64(arena, 0)", f"{count} = 0")
            with sheet.block(f"for {q} in range({state.get(ring.length)})"):
                sheet(
                    f"{t} = i64(arena, {ring.place(q)})",
                    f"{x} = f64(arena, {ring.place(q)} + {1 + part.at})",
                )
                test = inside.format(t=t)
                missing = "" if part.fold.aggregate.needs_rate else f" and {x} == {x}"
                with sheet.block(f"if {test}{missing}"):
                    sheet(f"set_f64({base}, {count}, {x})", f"{count} += 1")
            value = self.folds.finish(part, base, count, f"{base} + 8 * {count}")
            held = tuple(kernel.values.hold(v, part.fold.aggregate.name) for v in value)
            out[part.name] = (*out.get(part.name, ()), *held)
        return out

    def _retire(self, kernel: Kernel) -> None:
        """Forget keys that no open window holds any more; the others stay in the list, in order."""
        sheet, state, node = kernel.sheet, kernel.state, self.node
        sheet(
            f"next_oldest = (next_end_at - {node.size_ns}) // {self.pane}",
            "kept = 0",
        )
        if self.ring is not None:
            sheet(f"next_start = {self.clock.instant(f'next_end_at - {node.size_ns}')}")
        with sheet.block(f"for q in range({self.open})"):
            sheet("slot = i32(touched, q)" if kernel.keyed else "slot = 0")
            sheet("RECORD") if kernel.keyed else None
            if self.ring is not None:
                left = "<=" if self.spans else "<"
                with sheet.block(
                    f"while {state.get(self.ring.length)} > 0 and {self.ring.oldest_time()} {left} next_start"
                ):
                    sheet(*self.ring.drop_oldest(0))
            with sheet.block(f"if {state.get(self.newest)} >= next_oldest"):
                if kernel.keyed:
                    sheet("set_i32(touched, kept, slot)")
                sheet("kept += 1")
            with sheet.block("else"):
                state.put(self.is_open, "0")
        sheet(f"{self.open} = kept", f"{self.cursor} = -1")

    def row(self, kernel: Kernel, chain: Chain) -> None:
        """Fold the row into its pane."""
        sheet, state, node = kernel.sheet, kernel.state, self.node
        if self.clock.is_local:
            # Rows come in order of time, so that a pane is looked up once.
            with sheet.block(f"if t {'>' if self.spans else '>='} {self.until}"):
                sheet(f"{self.now} = {self._pane_of('t')}")
                sheet(f"{self.until} = {self.clock.instant(f'({self.now} + 1) * {self.pane}')}")
            sheet(f"pane = {self.now}")
        elif self._keeps_pane:
            # While a window is open every row is in it: the next one opens when this one has closed.
            with sheet.block(f"if {self.open} == 0"):
                sheet(f"{self.now} = {self._pane_of('t')}")
            sheet(f"pane = {self.now}")
        else:
            sheet(f"pane = {self._pane_of('t')}")
        # A key without an open window has no pane as new as this one.
        with sheet.block(f"if {state.get(self.newest)} < pane"):
            with sheet.block(f"if {state.get(self.is_open)} == 0"):
                state.put(self.is_open, "1")
                if kernel.keyed:
                    sheet(f"set_i32(touched, {self.open}, slot)")
                with sheet.block(f"if {self.open} == 0"):
                    # The earliest window that the row is in ends at the first hop after its pane, or later.
                    low = f"(pane + 1) * {self.pane} - {node.size_ns}"
                    end = f"-(-({low}) // {node.hop_ns}) * {node.hop_ns} + {node.size_ns}"
                    self._end_at(end)
                    sheet(f"{self.cursor} = -1")
                sheet(f"{self.open} += 1")
            if self.folds.words and self.panes == 1:
                self.folds.clear(self._pane_address("0"))
            elif self.folds.words:
                q = sheet.fresh("q")
                sheet(f"{q} = max({state.get(self.newest)} + 1, pane - {self.panes - 1})")
                with sheet.block(f"while {q} <= pane"):
                    self.folds.clear(self._pane_address(q))
                    sheet(f"{q} += 1")
            state.put(self.newest, "pane")
        if self.folds.words:
            address = sheet.fresh("acc_at")
            sheet(f"{address} = {self._pane_address('pane')}")
            self.folds.add(address)
        if self.kept is not None:
            self.kept.push(chain)
        elif self.ring is not None:
            self.ring.push([self.folds.inputs(part)[0] for part in self.folds.collected])

    def watermark(self, kernel: Kernel) -> str:
        """No window that ends at or before the watermark is still to come."""
        if self.spans:
            return "watermark"
        hop, size = self.node.hop_ns, self.node.size_ns
        after, now = kernel.names.function(next_end, "next_end"), self.clock.reading("watermark")
        return self.clock.instant(f"{after}({now}, {hop}, {size})")


def next_end(watermark: int, hop: int, size: int) -> int:
    """The first window end after a watermark: what comes out later has at least this time."""
    if (
        watermark <= -9223372036854775808 + size + hop
        or watermark >= 9223372036854775807 - size - hop
    ):
        return watermark
    return ((watermark - size) // hop + 1) * hop + size
