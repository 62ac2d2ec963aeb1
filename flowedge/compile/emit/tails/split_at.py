"""`split at EVENTS from A to B` on a signal: a frame of samples around each event."""

from flowedge.compile.emit.chain import Chain
from flowedge.compile.emit.kernel import Kernel, Tail
from flowedge.compile.emit.rolling import ArenaRing
from flowedge.compile.emit.state import TimedRing
from flowedge.compile.emit.tails.count_frames import frame_type, store_of
from flowedge.compile.emit.tails.timers import Timers
from flowedge.graph.nodes import SplitAt
from flowedge.types.schema import TIME, Column


class SplitAtTail(Tail):
    """Samples go into a ring of each key; events wait until their last sample has come.

    Samples are numbered from the key's first one after a gap. The next sample decides which one is
    nearest to an event; half a period beyond the last sample before a gap, or before the first one
    behind it, lies nothing near. Frames that reach beyond the start, a gap, or the end are incomplete.
    """

    follows_chain = False
    ignores_gaps_of_events = True

    def __init__(
        self,
        kernel: Kernel,
        node: SplitAt,
        samples: tuple[Column, ...],
        events: tuple[Column, ...],
        period_ns: int,
    ) -> None:
        self.node, self.before, self.after, self.period = node, node.before, node.after, period_ns
        types = {c.name: c.type for c in samples}
        self.columns = [Column(n, types[n]) for n in node.columns]
        types_of_events = {c.name: c.type for c in events} | {"time": TIME}
        self.taken = [(name, out, types_of_events[name]) for name, out in node.event_columns]
        state = kernel.state
        self.length = node.after - node.before
        # Two samples may come before the nearest one is known.
        self.size = max(node.after, 1) - min(node.before, 0) + 2
        self.words = 1 + sum(c.type.size for c in self.columns)
        self.ring = state.ring_address(self.size * self.words)
        self.count, self.at = state.cell("count", 0), state.cell("sample_at", -(2**63))
        event_words = 2 + sum(t.size for _, _, t in self.taken)
        self.events = ArenaRing(kernel.values, "events", words=event_words)
        """Time, number of the nearest sample, columns; in order of time."""
        self.known = state.cell("known", 0)
        """Events, the oldest ones, whose nearest sample is known."""
        self.timers = Timers(kernel)
        self.ready = kernel.globals.add("g_ready", -1).name
        """Key whose newest sample or event may have made frames complete."""
        state.keep(self.events.head, self.events.length)
        state.timed.append(TimedRing(tuple(self.events.room_for_one())))
        state.lost.append((self.events.length, 1))
        state.within(0, self.known, self.events.length)
        state.within(-1, self.ready, -1)
        kernel.counts_lost = True

    def close(self, kernel: Kernel) -> None:
        """Write what the row before has completed, and what time decides: no nearer sample will come."""
        sheet, state = kernel.sheet, kernel.state
        with sheet.block(f"if {self.ready} >= 0"):
            sheet(f"slot = {self.ready}")
            if kernel.keyed:
                sheet("RECORD", "BLOCK")
            self._complete(kernel)
            sheet(f"{self.ready} = -1")

        def act() -> None:
            half = f"2 * (i64(arena, {self._event(self.known)}) - {state.get(self.at)}) <= {self.period}"
            with sheet.block(f"while {self._undecided(kernel)} and {half}"):
                self._decide(kernel, f"{state.get(self.count)} - 1")
            self._complete(kernel)
            self.timers.clear()

        self.timers.fire(act)
        with sheet.block("if i < n and m >= room"):
            sheet("LEAVE_FULL")

    def row(self, kernel: Kernel, chain: Chain) -> None:
        """A sample goes into the ring and may complete frames; an event is put to wait."""
        sheet, state = kernel.sheet, kernel.state
        sheet(f"{self.ready} = slot")
        with sheet.block("if port == 1"):
            self._wait(kernel)
        with sheet.block("else"):
            self._nearest(kernel)
            slot = sheet.fresh("at")
            sheet(
                f"{slot} = {state.get(self.count)} % {self.size} * {self.words}",
                f"set_i64({self.ring}, {slot}, t)",
            )
            word = 1
            for column in self.columns:
                kind = "f64" if column.type.is_float else "i64"
                for text in kernel.read(column.name, column.type):
                    sheet(f"set_{kind}({self.ring}, {slot} + {word}, {text})")
                    word += 1
            state.put(self.count, f"{state.get(self.count)} + 1")
            state.put(self.at, "t")

    def gap(self, kernel: Kernel) -> None:
        """Frames that are not complete by now will not be; an event may still be near to the sample that comes."""
        sheet, state = kernel.sheet, kernel.state
        with sheet.block(f"while {state.get(self.known)} > 0"):
            self._drop(kernel)
            sheet("lost += 1")

    def end(self, kernel: Kernel) -> None:
        """At the end of the input nothing will be complete any more."""
        sheet, state = kernel.sheet, kernel.state
        with sheet.block("if finish != 0 and watermark == FOREVER"):
            if kernel.keyed:
                with sheet.block("for slot in range(keys)"):
                    sheet("RECORD")
                    sheet(f"lost += {state.get(self.events.length)}")
            else:
                sheet(f"lost += {state.get(self.events.length)}")

    def _event(self, index: str) -> str:
        """Text of the word at which an event begins; `index` is a cell."""
        return self.events.place(self.events.values.state.get(index))

    def _undecided(self, kernel: Kernel) -> str:
        return f"{kernel.state.get(self.known)} < {kernel.state.get(self.events.length)}"

    def _decide(self, kernel: Kernel, near: str) -> None:
        kernel.sheet(f"set_i64(arena, {self._event(self.known)} + 1, {near})")
        kernel.state.put(self.known, f"{kernel.state.get(self.known)} + 1")

    def _drop(self, kernel: Kernel) -> None:
        kernel.sheet(*self.events.drop_oldest(0))
        kernel.state.put(self.known, f"{kernel.state.get(self.known)} - 1")

    def _wait(self, kernel: Kernel) -> None:
        """Keep an event; one at the time of a sample is next to none nearer, and no other sample can be nearer after a period."""
        sheet, state, events = kernel.sheet, kernel.state, self.events
        at, word = sheet.fresh("at"), 2
        sheet(
            f"{at} = {events.place(state.get(events.length))}",
            f"set_i64(arena, {at}, t)",
            f"set_i64(arena, {at} + 1, 0)",
        )
        for name, _, type_ in self.taken:
            kind = "f64" if type_.is_float else "i64"
            for text in kernel.read(name, type_, port=1) if name != "time" else ("t",):
                sheet(f"set_{kind}(arena, {at} + {word}, {text})")
                word += 1
        state.put(events.length, f"{state.get(events.length)} + 1")
        with sheet.block(f"if {state.get(self.at)} == t"):
            self._decide(kernel, f"{state.get(self.count)} - 1")
        with sheet.block(
            f"elif {state.get(self.at)} != MISSING and 2 * (t - {state.get(self.at)}) <= {self.period}"
        ):
            self.timers.set(f"{state.get(self.at)} + {self.period}")

    def _nearest(self, kernel: Kernel) -> None:
        """The sample at hand decides which one is nearest to the events since the last; of two as near, the earlier."""
        sheet, state = kernel.sheet, kernel.state
        since, count = sheet.fresh("since"), state.get(self.count)
        with sheet.block(f"while {self._undecided(kernel)}"):
            sheet(f"{since} = i64(arena, {self._event(self.known)})")
            with sheet.block(f"if {state.get(self.at)} == MISSING"):
                # Nothing before it is near: an event further away than half a period has no sample.
                self._decide(kernel, f"{count} if 2 * (t - {since}) <= {self.period} else NEVER")
            with sheet.block("else"):
                nearer = f"t - {since} < {since} - {state.get(self.at)}"
                self._decide(kernel, f"{count} if {nearer} else {count} - 1")
        self.timers.clear()

    def _complete(self, kernel: Kernel) -> None:
        """Write every frame whose last sample is there. Events of one key are in order of time."""
        sheet, state, node = kernel.sheet, kernel.state, self.node
        event, near, q, at = (sheet.fresh(s) for s in ("event", "near", "q", "at"))
        with sheet.block(f"while {state.get(self.known)} > 0"):
            sheet(f"{event} = {self.events.place('0')}", f"{near} = i64(arena, {event} + 1)")
            with sheet.block(f"if {near} < {-self.before}"):
                self._drop(kernel)
                sheet("lost += 1", "continue")
            with sheet.block(f"if {near} + {self.after} > {state.get(self.count)}"):
                sheet("break")
            with sheet.block("if m >= room"):
                sheet("LEAVE_FULL")
            outs = [
                (kernel.field_out(c.name, frame_type(c.type, self.length)), c) for c in self.columns
            ]
            with sheet.block(f"for {q} in range({self.length})"):
                sheet(f"{at} = ({near} + {self.before} + {q}) % {self.size} * {self.words}")
                word = 1
                for index, column in outs:
                    load = "f64" if column.type.is_float else "i64"
                    for j in range(column.type.size):
                        size = column.type.size
                        place = (
                            f"(m * {self.length} + {q}) * {size} + {j}"
                            if size > 1
                            else f"m * {self.length} + {q}"
                        )
                        sheet(
                            f"set_{store_of(column.type)}(out_{index}, {place}, {load}({self.ring}, {at} + {word}))"
                        )
                        word += 1
            first = f"i64({self.ring}, ({near} + {self.before}) % {self.size} * {self.words})"
            last = f"i64({self.ring}, ({near} + {self.after - 1}) % {self.size} * {self.words})"
            kernel.write("start", TIME, (first,))
            names = {c.name for c in node.out.columns}
            if "end" in names:
                kernel.write("end", TIME, (last,))
            word = 2
            for _, out, type_ in self.taken:
                load = "f64" if type_.is_float else "i64"
                kernel.write(
                    out,
                    type_,
                    tuple(f"{load}(arena, {event} + {word + j})" for j in range(type_.size)),
                )
                word += type_.size
            kernel.emit(f"i64(arena, {event})", "slot")
            self._drop(kernel)

    def watermark(self, kernel: Kernel) -> str:
        """A frame has the time of its event, and comes when its last sample has come.

        Samples in a row are less than one and a half periods apart; where they are not, nothing is known of when they come.
        """
        if not self.node.is_even:
            return "(FOREVER if finish != 0 else NEVER)"
        wait = (3 * max(self.after, 1) * self.period + 1) // 2
        return f"(watermark if watermark == NEVER or watermark == FOREVER else watermark - {wait})"
