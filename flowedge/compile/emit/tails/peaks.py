"""`detect peaks`: a stream of events out of a signal."""

from flowedge.compile.emit.chain import Chain
from flowedge.compile.emit.kernel import Kernel, Tail
from flowedge.compile.emit.peaks import peaks_due, peaks_restart, peaks_row, peaks_time
from flowedge.compile.emit.tails.timers import Timers
from flowedge.graph.nodes import Peaks
from flowedge.operators.detect.peaks import HELD, LEAD, ROWS, Adaptive
from flowedge.types.schema import Column

OWN = {"value": 1, "prominence": 2}
"""Columns of the detector itself, and their words in a row."""


class PeaksTail(Tail):
    """Hands each row to `peaks_row` and writes the rows that it finds."""

    out_gaps = True

    def __init__(
        self, kernel: Kernel, node: Peaks, columns: tuple[Column, ...], rate_hz: float | None
    ) -> None:
        self.node = node
        kept = {c.name for c in node.out.columns}
        self.columns = [c for c in columns if c.name in kept and c.name not in OWN]
        op = node.operator
        self.room = op.candidates(rate_hz)
        self.words = LEAD + sum(c.type.size for c in self.columns)
        self.found_at = ROWS + (3 + self.room) * self.words
        state = kernel.state
        begin = state.block
        self.block = state.ring_address(self.found_at + (self.room + 2) * self.words)
        state.block_words["candidates"] = begin + 8 * HELD
        state.within(0, "candidates", self.room)
        self.ready = state.cell("ready", 0)
        self.timers = Timers(kernel)
        adaptive = op.threshold if isinstance(op.threshold, Adaptive) else None
        level = [
            1 if adaptive else 0, repr(0.0 if adaptive else float(op.threshold)), repr(float(adaptive.fraction) if adaptive else 0.0)
        ]  # fmt: skip
        self.learn, self.apart = _ns(adaptive.learn) if adaptive else 0, _ns(op.apart)
        self.time_args = [
            self.words, self.room, *level, self.learn, self.apart, repr(float(op.rise)), _ns(op.recovery), repr(float(op.share)),
            repr(float(op.search_back)),
        ]  # fmt: skip
        self.row_args = [*self.time_args, _ns(op.at_most), _ns(op.follows_s)]

    def _call(self, kernel: Kernel, run: object, args: list[object]) -> str:
        name = kernel.names.function(run, run.__name__)  # type: ignore[arg-type,attr-defined]
        return f"{name}({', '.join(map(str, args))})"

    def close(self, kernel: Kernel) -> None:
        """What time makes certain is judged, and all at the end; a row may find as many peaks as there are candidates."""

        def act() -> None:
            self._judge(kernel, "FOREVER if finish != 0 and i == n else now")
            kernel.state.put(self.timers.due, self._due(kernel))

        self.timers.fire(act, reached="<= now or finish != 0 and i == n", room=self.room + 2)
        with kernel.sheet.block(f"if i < n and m + {self.room + 2} > room"):
            kernel.sheet("LEAVE_FULL")

    def gap(self, kernel: Kernel) -> None:
        """What waits is judged before the gap."""
        with kernel.sheet.block(f"if {kernel.state.get(self.ready)} != 0"):
            # The same type as above: another one would be compiled, and inlined, apart.
            self._judge(kernel, "FOREVER if gap != 0 else now")
            self.timers.clear()

    def _judge(self, kernel: Kernel, until: str) -> None:
        found = kernel.sheet.fresh("found")
        kernel.sheet(
            f"{found} = {self._call(kernel, peaks_time, [self.block, until, *self.time_args])}"
        )
        self._write(kernel, found)

    def _due(self, kernel: Kernel) -> str:
        return self._call(kernel, peaks_due, [self.block, self.words, self.learn, self.apart])

    def row(self, kernel: Kernel, chain: Chain) -> None:
        """Put the row where `peaks_row` looks for it, then write what it found."""
        sheet, state = kernel.sheet, kernel.state
        with sheet.block(f"if {state.get(self.ready)} == 0"):
            sheet(self._call(kernel, peaks_restart, [self.block]))
            state.put(self.ready, "1")
        (x,) = (kernel.values.hold(v, "x") for v in kernel.values.number(self.node.value))
        sheet(f"set_i64({self.block}, {ROWS}, t)", f"set_f64({self.block}, {ROWS + 1}, {x})")
        word = ROWS + LEAD
        for column in self.columns:
            kind = "f64" if column.type.is_float else "i64"
            for text in chain.column(column.name, column.type):
                sheet(f"set_{kind}({self.block}, {word}, {text})")
                word += 1
        found = sheet.fresh("found")
        sheet(f"{found} = {self._call(kernel, peaks_row, [self.block, 't', x, *self.row_args])}")
        with sheet.block(f"if {found} > 0"):
            self._write(kernel, found)
        due = sheet.fresh("due")
        sheet(f"{due} = {self._due(kernel)}")
        with sheet.block(f"if {due} != FOREVER"):
            self.timers.set(due)
        with sheet.block("else"):
            self.timers.clear()

    def _write(self, kernel: Kernel, found: str) -> None:
        sheet = kernel.sheet
        q, at = sheet.fresh("q"), sheet.fresh("at")
        with sheet.block(f"for {q} in range({found})"):
            sheet(f"{at} = {self.found_at} + {q} * {self.words}")
            word = LEAD
            for column in self.columns:
                load = "f64" if column.type.is_float else "i64"
                texts = tuple(
                    f"{load}({self.block}, {at} + {word + j})" for j in range(column.type.size)
                )
                kernel.write(column.name, column.type, texts)
                word += column.type.size
            for column in self.node.out.columns:
                if column.name in OWN:
                    text = f"f64({self.block}, {at} + {OWN[column.name]})"
                    kernel.write(column.name, column.type, (text,))
            kernel.emit(f"i64({self.block}, {at}) - {self.node.delay_ns}", "slot")

    def watermark(self, kernel: Kernel) -> str:
        """An event may lie as far back as the detector looks, and its delay."""
        wait = round(self.node.operator.wait_s * 1e9) + self.node.delay_ns
        return f"(watermark if watermark == NEVER or watermark == FOREVER else watermark - {wait})"


def _ns(seconds: float) -> int:
    return round(seconds * 1e9)
