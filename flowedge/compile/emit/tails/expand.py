"""`expand`: every row of a signal again, from what `compress` kept of it."""

import math

from flowedge.compile.emit.chain import Chain
from flowedge.compile.emit.kernel import Kernel, Tail
from flowedge.graph.nodes import Expand
from flowedge.types.schema import Column


class ExpandTail(Tail):
    """Between two kept rows: the line that joins them (swing, auto), or the earlier value."""

    out_gaps = True
    follows_chain = False

    def __init__(
        self, kernel: Kernel, node: Expand, columns: tuple[Column, ...], rate_hz: float
    ) -> None:
        self.node, self.columns, self.rate = node, columns, rate_hz
        state = kernel.state
        self.at = state.cell("at", -(2**63))
        self.step = kernel.globals.add("g_step", 1).name
        state.within(1, self.step, 1)
        self.old = [
            [state.cell(f"old_{c.name}", 0.0 if c.type.is_float else 0) for _ in range(c.type.size)]
            for c in columns
        ]

    def close(self, kernel: Kernel) -> None:
        """Nothing waits for the watermark."""

    def row(self, kernel: Kernel, chain: Chain) -> None:
        """The samples between the kept row before and this one, then this one."""
        sheet, state = kernel.sheet, kernel.state
        new = [chain.column(c.name, c.type) for c in self.columns]
        steps, when, part = sheet.fresh("steps"), sheet.fresh("when"), sheet.fresh("part")
        sheet(f"{steps} = 1")
        with sheet.block(f"if {state.get(self.at)} != MISSING"):
            sheet(f"{steps} = max(1, int((t - {state.get(self.at)}) * {self.rate * 1e-9!r} + 0.5))")
        with sheet.block(f"while {self.step} < {steps}"):
            with sheet.block("if m >= room"):
                sheet("LEAVE_FULL")
            sheet(
                f"{part} = {self.step} / {steps}",
                f"{when} = {state.get(self.at)} + int((t - {state.get(self.at)}) * {part} + 0.5)",
            )
            for column, cells, values in zip(self.columns, self.old, new, strict=True):
                if self.node.method in ("swing", "auto") and column.name in self.node.columns:
                    texts = tuple(
                        self._between(kernel, state.get(c), v, part, column)
                        for c, v in zip(cells, values, strict=True)
                    )
                else:
                    texts = tuple(state.get(c) for c in cells)
                kernel.write(column.name, column.type, texts)
            kernel.emit(when, "slot")
            sheet(f"{self.step} += 1")
        with sheet.block("if m >= room"):
            sheet("LEAVE_FULL")
        for column, values in zip(self.columns, new, strict=True):
            kernel.write(column.name, column.type, values)
        kernel.emit("t", "slot")
        sheet(f"{self.step} = 1")
        state.put(self.at, "t")
        for cells, values in zip(self.old, new, strict=True):
            for cell, value in zip(cells, values, strict=True):
                state.put(cell, value)

    @staticmethod
    def _between(kernel: Kernel, old: str, new: str, part: str, column: Column) -> str:
        if column.type.is_float:
            return f"({old} + ({new} - {old}) * {part})"
        return f"{kernel.names.function(_whole_between, 'whole_between')}({old}, {new}, {part})"

    def watermark(self, kernel: Kernel) -> str:
        """Samples wait for the next kept row."""
        return "(FOREVER if finish != 0 else NEVER)"


def _whole_between(old: int, new: int, part: float) -> int:
    """The whole number nearest to the line; the earlier one where one of both is missing."""
    if old == -9223372036854775808 or new == -9223372036854775808:
        return old
    return old + math.floor((float(new) - float(old)) * part + 0.5)
