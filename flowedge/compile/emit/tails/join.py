"""`join S within D [nearest|linear]`, `join S latest`: each left row takes a right row by key and time."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack

from flowedge.compile.emit.chain import Chain
from flowedge.compile.emit.kernel import Kernel, Tail
from flowedge.compile.emit.rolling import ArenaRing
from flowedge.compile.emit.state import TimedRing
from flowedge.compile.emit.tails.timers import Timers
from flowedge.graph.nodes import Join, Node
from flowedge.types.schema import TIME, Column, Type

MISSING = {"string": "-1", "binary": "-1", "bool": "2"}


def answers_at_once(node: Join) -> bool:
    """Whether each left row is answered when it comes."""
    return node.method == "before" and not node.has_more_keys


class JoinTail(Tail):
    """Right rows are remembered, left rows answered; rows come in the order (time, right before left).

    A record belongs to a key of the join. For ``nearest`` and ``linear`` left rows wait, in a ring of
    the arena, for the next right row or for the watermark D later.
    """

    out_gaps = True
    follows_chain = False

    def __init__(
        self, kernel: Kernel, node: Join, left: tuple[Column, ...], right: tuple[Column, ...]
    ) -> None:
        self.node = node
        self.left = left
        self.behind: Sequence[Node] = ()
        """Stages that each answered row goes through at once."""
        types = {c.name: c.type for c in right} | {"time": TIME}
        self.taken = [(name, out, types[name]) for name, out in node.names]
        state = kernel.state
        self.at = state.cell("right_at", -(2**63))
        self.cells = [
            [state.cell(f"right_{n}", _start(t)) for _ in range(t.size)] for n, _, t in self.taken
        ]
        state.keep(self.at, *(x for cells in self.cells for x in cells))
        self.waiting: ArenaRing | None = None
        if node.method != "before":
            words = 2 + sum(c.type.size for c in left)
            self.waiting = ArenaRing(kernel.values, "left", words=words)
            state.keep(self.waiting.head, self.waiting.length)
            state.timed.append(TimedRing(make_room=tuple(self.waiting.room_for_one())))
            self.waiting.holds_slots(1, side=0)
            self.timers = Timers(kernel)

    def close(self, kernel: Kernel) -> None:
        """Left rows that have waited long enough take what there is."""
        if self.waiting is not None:
            ring, state, within = self.waiting, kernel.state, self.node.within_ns or 0

            def act() -> None:
                with kernel.sheet.block(f"if {state.get(ring.length)} > 0"):
                    self._answer(kernel, later=None)
                with kernel.sheet.block(f"if {state.get(ring.length)} > 0"):
                    state.put(self.timers.due, f"i64(arena, {ring.place('0')}) + {within}")
                with kernel.sheet.block("else"):
                    self.timers.clear()

            self.timers.fire(act, reached="< now")
        with kernel.sheet.block("if i < n and m >= room"):
            kernel.sheet("LEAVE_FULL")

    def row(self, kernel: Kernel, chain: Chain) -> None:
        """A right row is kept, a left row answered or put to wait."""
        sheet, state = kernel.sheet, kernel.state
        with sheet.block("if port == 1"):
            new = [
                ("t",) if name == "time" else kernel.read(name, type_, port=1)
                for name, _, type_ in self.taken
            ]
            if self.waiting is not None:
                with sheet.block(f"while {state.get(self.waiting.length)} > 0"):
                    with sheet.block("if m >= room"):
                        sheet("LEAVE_FULL")
                    self._answer(kernel, later=new)
            state.put(self.at, "t")
            for cells, values in zip(self.cells, new, strict=True):
                for cell, value in zip(cells, values, strict=True):
                    state.put(cell, value)
        with sheet.block("else"):
            if self.waiting is None:
                self._answer_now(kernel, chain)
            else:
                words = ["real(left_slot)"]
                for column in self.left:
                    texts = kernel.read(column.name, column.type)
                    words += [x if column.type.is_float else f"real({x})" for x in texts]
                self.waiting.push(words)
                self.timers.set(
                    f"i64(arena, {self.waiting.place('0')}) + {self.node.within_ns or 0}"
                )

    def _answer_now(self, kernel: Kernel, chain: Chain) -> None:
        sheet, state, node = kernel.sheet, kernel.state, self.node
        fresh = f"{state.get(self.at)} != MISSING"
        if node.within_ns is not None:
            fresh += f" and t - {state.get(self.at)} <= {node.within_ns}"
        held = sheet.fresh("fresh")
        sheet(f"{held} = {fresh}")
        taken = {
            out: tuple(f"({state.get(c)} if {held} else {missing(type_)})" for c in cells)
            for (_, out, type_), cells in zip(self.taken, self.cells, strict=True)
        }
        if self.behind:
            self._go_on(kernel, chain, taken)
            return
        for column in self.left:
            kernel.copy_column_as(column.name, column.name, column.type)
        for _, out, type_ in self.taken:
            kernel.write(out, type_, taken[out])
        kernel.emit("t", "left_slot")

    def _go_on(self, kernel: Kernel, chain: Chain, taken: Mapping[str, tuple[str, ...]]) -> None:
        """The answered row passes through the stages behind, and is written where it leaves them."""
        values = kernel.values
        for name, texts in taken.items():
            chain.alias.pop(name, None)
            values.bound[name] = tuple(values.hold(text, f"v_{name}") for text in texts)
        with ExitStack() as end:
            chain.run(self.behind, end)
            chain.write(self.behind[-1].out.stored(), dense=False)
            kernel.emit("t", "left_slot")
        values.bound.clear()

    def _answer(self, kernel: Kernel, later: list[tuple[str, ...]] | None) -> None:
        """Answer the left row that has waited longest, from the right rows before and after it."""
        sheet, state, node, ring = kernel.sheet, kernel.state, self.node, self.waiting
        if ring is None:
            return
        within = node.within_ns or 0
        at, when, before, after = (
            sheet.fresh(s) for s in ("at", "when", "near_before", "near_after")
        )
        sheet(f"{at} = {ring.place('0')}", f"{when} = i64(arena, {at})")
        sheet(
            f"{before} = {state.get(self.at)} != MISSING and {when} - {state.get(self.at)} <= {within}"
        )
        sheet(f"{after} = " + ("False" if later is None else f"t - {when} <= {within}"))
        word = 2
        for column in self.left:
            load = "f64" if column.type.is_float else "i64"
            texts = []
            for _ in range(column.type.size):
                texts.append(f"{load}(arena, {at} + {word})")
                word += 1
            kernel.write(column.name, column.type, tuple(texts))
        closer = sheet.fresh("after_closer")
        sheet(
            f"{closer} = "
            + (
                "False"
                if later is None
                else f"{after} and (not {before} or t - {when} < {when} - {state.get(self.at)})"
            )
        )
        for k, ((_, out, type_), cells) in enumerate(zip(self.taken, self.cells, strict=True)):
            texts = []
            for j, cell in enumerate(cells):
                old = state.get(cell)
                new = missing(type_) if later is None else later[k][j]
                if node.method == "linear" and type_.is_float:
                    if later is None:
                        texts.append(
                            f"({old} if {before} and {state.get(self.at)} == {when} else nan)"
                        )
                        continue
                    share = f"(({when} - {state.get(self.at)}) / (t - {state.get(self.at)}))"
                    both = f"({old} + ({new} - {old}) * {share} if t > {state.get(self.at)} else {new})"
                    texts.append(
                        f"({both} if {before} and {after} else ({new} if {after} and t == {when} else nan))"
                    )
                else:
                    texts.append(
                        f"({new} if {closer} else ({old} if {before} else {missing(type_)}))"
                    )
            kernel.write(out, type_, tuple(texts))
        kernel.emit(when, f"i64(arena, {at} + 1)")
        for line in ring.drop_oldest(0):
            sheet(line)

    def watermark(self, kernel: Kernel) -> str:
        """Left rows may wait for D."""
        if self.waiting is None:
            return "watermark"
        return f"(watermark if watermark == NEVER or watermark == FOREVER else watermark - {self.node.within_ns or 0})"


def missing(type_: Type) -> str:
    """The text of a missing value of a type."""
    return "nan" if type_.is_float else MISSING.get(type_.store, "MISSING")


def _start(type_: Type) -> float | int:
    if type_.is_float:
        return float("nan")
    return {"string": -1, "binary": -1, "bool": 2}.get(type_.store, -(2**63))
