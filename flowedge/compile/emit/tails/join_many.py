"""`join S` where S has keys that the left side lacks: a row for each of them that is near enough."""

from flowedge.compile.emit.chain import Chain
from flowedge.compile.emit.kernel import Kernel, Tail
from flowedge.compile.emit.rolling import ArenaRing
from flowedge.compile.emit.state import TimedRing
from flowedge.compile.emit.tails.join import missing
from flowedge.compile.emit.values import Value
from flowedge.graph.nodes import Join
from flowedge.types.schema import TIME, Column


class JoinManyTail(Tail):
    """The newest row of each key of the right side, in the order of the keys, in a list of the arena.

    A record belongs to a key of the join; its list has an entry for each right key that fits: (time, slot,
    columns). A left row is answered once for each entry that is near enough, or once with nothing.
    """

    follows_chain = False

    def __init__(
        self, kernel: Kernel, node: Join, left: tuple[Column, ...], right: tuple[Column, ...]
    ) -> None:
        self.node, self.left = node, left
        types = {c.name: c.type for c in right} | {"time": TIME}
        self.taken = [(name, out, types[name]) for name, out in node.names]
        words = 2 + sum(t.size for _, _, t in self.taken)
        self.entries = ArenaRing(kernel.values, "entries", words=words)
        self.cursor = kernel.globals.add("g_entry", 0).name
        self.found = kernel.globals.add("g_found", 0).name
        state = kernel.state
        state.keep(self.entries.head, self.entries.length)
        state.timed.append(TimedRing(tuple(self.entries.room_for_one())))
        kernel.ranks_right = True
        state.within(0, self.cursor, 0)
        self.entries.holds_slots(1, side=1)

    def close(self, kernel: Kernel) -> None:
        """A left row needs room for one row at least; it goes on where it stood when there is more."""
        with kernel.sheet.block("if i < n and m >= room"):
            kernel.sheet("LEAVE_FULL")

    def row(self, kernel: Kernel, chain: Chain) -> None:
        """A right row takes the place of its key's last one; a left row is answered."""
        with kernel.sheet.block("if port == 1"):
            self._keep(kernel)
        with kernel.sheet.block("else"):
            self._answer(kernel)

    def _keep(self, kernel: Kernel) -> None:
        sheet, state, ring = kernel.sheet, kernel.state, self.entries
        mine, rank, low, high, middle, q, j = (
            sheet.fresh(x) for x in ("mine", "rank_of", "low", "high", "middle", "q", "j")
        )
        length = state.get(ring.length)
        sheet(f"{mine} = i32(slots, i)", f"{rank} = i32(right_rank, {mine})")
        sheet(f"{low} = 0", f"{high} = {length}")
        with sheet.block(f"while {low} < {high}"):
            sheet(f"{middle} = ({low} + {high}) // 2")
            there = f"i32(right_rank, i64(arena, {ring.place(middle)} + 1))"
            with sheet.block(f"if {there} < {rank}"):
                sheet(f"{low} = {middle} + 1")
            with sheet.block("else"):
                sheet(f"{high} = {middle}")
        with sheet.block(f"if {low} == {length} or i64(arena, {ring.place(low)} + 1) != {mine}"):
            # New keys come between the others; what is between keys never changes.
            with sheet.block(f"for {q} in range({length}, {low}, -1)"):
                one_before = ring.place(f"({q} - 1)")
                with sheet.block(f"for {j} in range({ring.words})"):
                    sheet(f"set_i64(arena, {ring.place(q)} + {j}, i64(arena, {one_before} + {j}))")
            state.put(ring.length, f"{length} + 1")
        at, word = sheet.fresh("at"), 2
        sheet(f"{at} = {ring.place(low)}")
        sheet(f"set_i64(arena, {at}, t)", f"set_i64(arena, {at} + 1, {mine})")
        for name, _, type_ in self.taken:
            kind = "f64" if type_.is_float else "i64"
            values = ("t",) if name == "time" else kernel.read(name, type_, port=1)
            for text in values:
                sheet(f"set_{kind}(arena, {at} + {word}, {text})")
                word += 1

    def _answer(self, kernel: Kernel) -> None:
        sheet, state, ring, node = kernel.sheet, kernel.state, self.entries, self.node
        at = sheet.fresh("at")
        with sheet.block(f"while {self.cursor} < {state.get(ring.length)}"):
            sheet(f"{at} = {ring.place(self.cursor)}")
            near = "True" if node.within_ns is None else f"t - i64(arena, {at}) <= {node.within_ns}"
            with sheet.block(f"if {near}"):
                with sheet.block("if m >= room"):
                    sheet("LEAVE_FULL")
                word, values = 2, []
                for _, _, type_ in self.taken:
                    kind = "f64" if type_.is_float else "i64"
                    texts = [f"{kind}(arena, {at} + {word + j})" for j in range(type_.size)]
                    values.append(tuple(texts))
                    word += type_.size
                self._write(kernel, values)
                sheet(f"{self.found} = 1")
            sheet(f"{self.cursor} += 1")
        with sheet.block(f"if {self.found} == 0"):
            with sheet.block("if m >= room"):
                sheet("LEAVE_FULL")
            self._write(kernel, [(missing(t),) * t.size for _, _, t in self.taken])
        sheet(f"{self.cursor} = 0", f"{self.found} = 0")

    def _write(self, kernel: Kernel, values: list[Value]) -> None:
        for column in self.left:
            kernel.copy_column_as(column.name, column.name, column.type)
        for (_, out, type_), texts in zip(self.taken, values, strict=True):
            kernel.write(out, type_, texts)
        kernel.emit("t", "left_slot")
