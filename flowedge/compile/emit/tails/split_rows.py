"""`split at EVENTS from A to B` on rows: what lies in [t + A, t + B) around each event."""

from flowedge.compile.emit.chain import Chain
from flowedge.compile.emit.kept import KeptRows
from flowedge.compile.emit.kernel import Kernel, Tail
from flowedge.compile.emit.rolling import ArenaRing
from flowedge.compile.emit.state import TimedRing
from flowedge.compile.emit.tails.timers import Timers
from flowedge.compile.emit.values import Value
from flowedge.graph.nodes import SplitRows
from flowedge.types.schema import TIME, Column


class SplitRowsTail(Tail):
    """A key's rows and events lie in rings; an event is due when time has reached t + B.

    Rows that no event can ask for any more are dropped as others come. Where an event has no rows
    around it, nothing comes out; at the end of input events have the rows that there are.
    """

    follows_chain = False
    ignores_gaps_of_events = True

    def __init__(self, kernel: Kernel, node: SplitRows, events: tuple[Column, ...]) -> None:
        self.node = node
        types = {c.name: c.type for c in events} | {"time": TIME}
        self.taken = [(name, out, types[name]) for name, out in node.event_columns]
        words = 1 + sum(t.size for _, _, t in self.taken)
        self.events = ArenaRing(kernel.values, "events", words=words)
        self.kept = KeptRows(kernel, node)
        self.timers = Timers(kernel)
        state, rows = kernel.state, self.kept.ring
        state.keep(self.events.head, self.events.length, rows.head, rows.length)
        state.timed.append(TimedRing(tuple(self.events.room_for_one())))
        state.timed.append(TimedRing(tuple(rows.room_for_one()), self.kept.ready))

    def close(self, kernel: Kernel) -> None:
        """Every event whose last row can no longer come."""
        sheet, state, events = kernel.sheet, kernel.state, self.events

        def act() -> None:
            due = f"{events.oldest_time()} + {self.node.to_ns}"
            waiting = f"{state.get(events.length)} > 0"
            with sheet.block(f"while {waiting} and {due} == {state.get(self.timers.filed)}"):
                with sheet.block("if m >= room"):
                    sheet("LEAVE_FULL")
                self._emit(kernel)
                sheet(*events.drop_oldest(0))
            with sheet.block(f"if {waiting}"):
                state.put(self.timers.due, due)
            with sheet.block("else"):
                self.timers.clear()

        self.timers.fire(act, ready=self.kept.ready)
        with sheet.block("if i < n and m >= room"):
            sheet("LEAVE_FULL")

    def _emit(self, kernel: Kernel) -> None:
        sheet, state, node, rows = kernel.sheet, kernel.state, self.node, self.kept.ring
        at, event, low, high, q, inside = (
            sheet.fresh(x) for x in ("at", "event", "low", "high", "q", "inside")
        )
        sheet(f"{at} = {self.events.place('0')}", f"{event} = i64(arena, {at})")
        sheet(f"{low} = {event} + {node.from_ns}", f"{high} = {event} + {node.to_ns}")
        sheet(f"{inside} = 0")
        with sheet.block(f"for {q} in range({state.get(rows.length)})"):
            sheet(f"{inside} += 1 if {low} <= i64(arena, {rows.place(q)}) < {high} else 0")
        with sheet.block(f"if {inside} > 0"):
            whole: dict[str, Value] = {"start": (low,), "end": (high,)}
            word = 1
            for _, out, type_ in self.taken:
                kind = "f64" if type_.is_float else "i64"
                texts = [f"{kind}(arena, {at} + {word + j})" for j in range(type_.size)]
                whole[out] = tuple(kernel.values.hold(x, f"v_{out}") for x in texts)
                word += type_.size
            made = {c.name: c.type for c in node.out.columns}
            for name, value in whole.items():
                if name in made:
                    kernel.write(name, made[name], value)
            outer, kernel.values.time = kernel.values.time, event
            self.kept.write(whole, f"{low} <= {{t}} < {high}")
            kernel.values.time = outer
            kernel.emit(event, "slot")

    def row(self, kernel: Kernel, chain: Chain) -> None:
        """Keep the row, or let the event wait."""
        sheet, state, rows, events = kernel.sheet, kernel.state, self.kept.ring, self.events
        with sheet.block("if port == 1"):
            with sheet.block(f"if {state.get(events.length)} == 0"):
                self.timers.set(f"t + {self.node.to_ns}")
            at, word = sheet.fresh("at"), 1
            sheet(f"{at} = {events.place(state.get(events.length))}", f"set_i64(arena, {at}, t)")
            for name, _, type_ in self.taken:
                kind = "f64" if type_.is_float else "i64"
                values = ("t",) if name == "time" else kernel.read(name, type_, port=1)
                for text in values:
                    sheet(f"set_{kind}(arena, {at} + {word}, {text})")
                    word += 1
            state.put(events.length, f"{state.get(events.length)} + 1")
        with sheet.block("else"):
            # The next event to ask is the oldest that waits, or one at this time or later.
            asks = sheet.fresh("asks")
            sheet(f"{asks} = {events.oldest_time()} if {state.get(events.length)} > 0 else t")
            oldest = f"{rows.oldest_time()} < {asks} + {self.node.from_ns}"
            with sheet.block(f"while {state.get(rows.length)} > 0 and {oldest}"):
                sheet(*rows.drop_oldest(0))
            self.kept.push(chain)

    def watermark(self, kernel: Kernel) -> str:
        """A frame has the time of its event, and comes when no row of it can come any more."""
        return f"(watermark if watermark == NEVER or watermark == FOREVER else watermark - {max(self.node.to_ns, 0)})"
