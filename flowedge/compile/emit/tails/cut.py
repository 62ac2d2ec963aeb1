"""`split gap D`, `split on E`, `split while E`: pieces of each key's rows, with their aggregates."""

from collections.abc import Mapping

from flowedge.compile.emit.chain import Chain
from flowedge.compile.emit.folds import Folds, write_results
from flowedge.compile.emit.kept import kept_of
from flowedge.compile.emit.kernel import Kernel, Tail
from flowedge.compile.emit.rolling import ArenaRing
from flowedge.compile.emit.state import TimedRing
from flowedge.compile.emit.tails.timers import Timers
from flowedge.compile.emit.values import Value
from flowedge.graph.nodes import Cut, SplitNext
from flowedge.types.schema import TIME


class Piece:
    """The open piece of a key: when it began, its last row, its accumulators and collected values.

    Missing samples do not end it: what cuts is what the user said.
    """

    def __init__(self, kernel: Kernel, node: Cut | SplitNext) -> None:
        state = kernel.state
        self.kernel, self.node = kernel, node
        self.kept = kept_of(kernel, node)
        self.folds = Folds(kernel, () if self.kept else node.folds)
        self.is_open = state.cell("is_open", 0)
        self.first, self.last = state.cell("first", -(2**63)), state.cell("last_row", -(2**63))
        self.acc = [
            state.cell("acc", float(z))
            for part in self.folds.monoids
            for z in part.fold.aggregate.zero
        ]
        state.keep(self.is_open, self.first, self.last, *self.acc)
        self.ring = None if self.kept is None else self.kept.ring
        self.ready: tuple[str, ...] = () if self.kept is None else self.kept.ready
        if self.folds.collected:
            self.ring = ArenaRing(kernel.values, "rows", words=1 + self.folds.kept)
            longest = max(p.length for p in self.folds.collected)
            self.ready = tuple(self.ring.room_to_work(4, longest))
        if self.ring is not None:
            state.keep(self.ring.head, self.ring.length)
            state.timed.append(TimedRing(tuple(self.ring.room_for_one()), self.ready))

    @property
    def address(self) -> str:
        """Address of the accumulators."""
        return self.kernel.state.address(self.acc[0]) if self.acc else "r"

    def begin(self, time: str) -> None:
        """Write statements that open an empty piece."""
        state = self.kernel.state
        state.put(self.is_open, "1")
        state.put(self.first, time)
        for cell, part in zip(
            self.acc, [z for p in self.folds.monoids for z in p.zero], strict=True
        ):
            state.put(cell, part)
        if self.ring is not None:
            state.put(self.ring.head, "0")
            state.put(self.ring.length, "0")

    def add(self, chain: Chain) -> None:
        """Write statements that take the row at hand into the piece."""
        kernel, state = self.kernel, self.kernel.state
        state.put(self.last, "t")
        if kernel.keyed:
            self.folds.add(self.address)
        else:
            self._add_registers()
        if self.kept is not None:
            self.kept.push(chain)
        elif self.ring is not None:
            self.ring.push([self.folds.inputs(part)[0] for part in self.folds.collected])

    def _add_registers(self) -> None:
        kernel, at = self.kernel, 0
        for part in self.folds.monoids:
            k = len(part.zero)
            mine = "(" + ", ".join(self.acc[at : at + k]) + ",)"
            row = f"{part.lift}({', '.join([kernel.values.time, *self.folds.inputs(part), *part.constants])})"
            kernel.sheet(f"{mine} = {part.merge}({mine}, {row})")
            at += k

    def write(self, whole: Mapping[str, Value]) -> None:
        """Write the columns of the piece's row; `whole` are those of the piece itself."""
        if self.kept is not None:
            self.kept.write(whole)
        else:
            write_results(self.kernel, self.node.results, self._results(), self.node.out.columns)

    def _results(self) -> dict[str, Value]:
        """Write the results of the piece; returns them by hidden name."""
        kernel, state, sheet = self.kernel, self.kernel.state, self.kernel.sheet
        local = [kernel.values.hold(state.get(c), "acc") for c in self.acc]
        found = self.folds.results(local)
        ring = self.ring
        if ring is not None:
            for part in self.folds.collected:
                q, x, count, base = (sheet.fresh(s) for s in ("q", "x", "count", "base"))
                sheet(f"{base} = arena + 8 * i64(arena, 0)", f"{count} = 0")
                with sheet.block(f"for {q} in range({state.get(ring.length)})"):
                    sheet(f"{x} = f64(arena, {ring.place(q)} + {1 + part.at})")
                    with sheet.block(
                        "if True" if part.fold.aggregate.needs_rate else f"if {x} == {x}"
                    ):
                        sheet(f"set_f64({base}, {count}, {x})", f"{count} += 1")
                value = self.folds.finish(part, base, count, f"{base} + 8 * {count}")
                held = tuple(kernel.values.hold(v, part.fold.aggregate.name) for v in value)
                found[part.name] = (*found.get(part.name, ()), *held)
        return found


class CutTail(Tail):
    """Closes a key's piece at a silence, at a change, where a condition ends, or at its bound; the rest with its key.

    Rows carry ``time`` = the last row of the piece and ``start`` = its first.
    """

    def __init__(self, kernel: Kernel, node: Cut) -> None:
        self.node = node
        self.piece = Piece(kernel, node)
        self.timers = Timers(kernel)
        if node.how == "on" and node.condition is not None:
            start: float | int = float("nan") if node.condition.type.is_float else -(2**63)
            self.value = kernel.state.cell("value", start)
            kernel.state.keep(self.value)

    def _emit(self, kernel: Kernel) -> None:
        state = kernel.state
        kernel.write("start", TIME, (state.get(self.piece.first),))
        outer, kernel.values.time = kernel.values.time, state.get(self.piece.last)
        self.piece.write({"start": (state.get(self.piece.first),)})
        kernel.values.time = outer
        kernel.emit(state.get(self.piece.last), "slot")
        state.put(self.piece.is_open, "0")

    def close(self, kernel: Kernel) -> None:
        """Pieces whose silence or bound is reached by now; the others when their key ends."""

        def act() -> None:
            self._emit(kernel)
            self.timers.clear()

        if self.node.how == "gap" or self.node.up_to_ns is not None:
            self.timers.fire(act, ready=self.piece.ready)
        else:
            self.timers.fire_end(act, ready=self.piece.ready)
        with kernel.sheet.block("if i < n and m >= room"):
            kernel.sheet("LEAVE_FULL")

    def row(self, kernel: Kernel, chain: Chain) -> None:
        """Close what the row ends, open what it begins, take it in."""
        sheet, state, node, piece = kernel.sheet, kernel.state, self.node, self.piece
        is_open = f"{state.get(piece.is_open)} == 1"
        if node.how == "while" and node.condition is not None:
            held = kernel.values.hold(kernel.values.condition(node.condition), "inside")
            with sheet.block(f"if {held}"):
                self._take(kernel, chain)
            with sheet.block(f"elif {is_open}"):
                self._emit(kernel)
                self.timers.clear()
            return
        if node.how == "on" and node.condition is not None:
            (value,) = kernel.values.named(node.condition, "value_now")
            old = state.get(self.value)
            differs = f"{value} != {old}"
            if node.condition.type.is_float:
                differs = f"({differs} and not ({value} != {value} and {old} != {old}))"
            with sheet.block(f"if {is_open} and {differs}"):
                self._emit(kernel)
            state.put(self.value, value)
        self._take(kernel, chain)

    def _take(self, kernel: Kernel, chain: Chain) -> None:
        sheet, state, piece = kernel.sheet, kernel.state, self.piece
        with sheet.block(f"if {state.get(piece.is_open)} == 0"):
            piece.begin("t")
        piece.add(chain)
        gap, up_to = self.node.gap_ns, self.node.up_to_ns
        if self.node.how == "gap":
            self.timers.set(
                f"t + {gap}"
                if up_to is None
                else f"min(t + {gap}, {state.get(piece.first)} + {up_to})"
            )
        elif up_to is not None:
            self.timers.set(f"{state.get(piece.first)} + {up_to}")
        else:
            self.timers.set_end()

    def watermark(self, kernel: Kernel) -> str:
        """What is open may still come out with an older time."""
        if self.node.how == "gap" and self.node.gap_ns is not None:
            return f"(watermark if watermark == NEVER or watermark == FOREVER else watermark - {self.node.gap_ns})"
        if self.node.up_to_ns is not None:
            return f"(watermark if watermark == NEVER or watermark == FOREVER else watermark - {self.node.up_to_ns})"
        return "(FOREVER if finish != 0 else NEVER)"
