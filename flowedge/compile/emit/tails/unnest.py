"""`unnest a, b [at RATE]`: one row for each element of lists of equal length."""

from flowedge.compile.emit.chain import Chain
from flowedge.compile.emit.frames import SAMPLE_NUMBER, SAMPLE_TIME
from flowedge.compile.emit.kernel import LOADS, Kernel, Tail
from flowedge.graph.nodes import Unnest
from flowedge.types.schema import WIDTH, Column


class UnnestTail(Tail):
    """Element i of each list at time + i / rate; the other columns are repeated."""

    out_gaps = True
    follows_chain = False

    def __init__(self, kernel: Kernel, node: Unnest, columns: tuple[Column, ...]) -> None:
        self.node = node
        self.lists = {c.name: c for c in columns if c.name in node.columns}
        self.length = next(iter(self.lists.values())).type.shape[0]
        self.rows_per_row = float(self.length)

    def close(self, kernel: Kernel) -> None:
        """Nothing waits for the watermark."""

    def row(self, kernel: Kernel, chain: Chain) -> None:
        """Write the elements one by one; `g_part` is the next one, so that a full output can go on."""
        sheet, rate = kernel.sheet, self.node.rate_hz
        part = kernel.globals.add("g_part", 0).name
        kernel.state.within(0, part, 0)
        with sheet.block(f"while {part} < {self.length}"):
            with sheet.block("if m >= room"):
                sheet("LEAVE_FULL")
            self.write(kernel, part)
            shift = f" + int({part} * {1e9 / rate!r} + 0.5)" if rate else ""
            kernel.emit(f"t{shift}", "slot")
            sheet(f"{part} += 1")
        sheet(f"{part} = 0")

    def write(self, kernel: Kernel, nth: str) -> None:
        """Write an element of each list of the row at hand, and the other columns."""
        for column in self.node.out.columns:
            if column.name not in self.lists:
                kernel.copy_column_as(column.name, column.name, column.type)
                continue
            size, load = column.type.size, LOADS[column.type.store]
            source = kernel.address_in(column.name)
            values = tuple(
                f"{load}({source}, (i * {self.length} + {nth}) * {size} + {j})" for j in range(size)
            )
            kernel.write(column.name, column.type, values)


class SamplesTail(UnnestTail):
    """Each sample of frames once, at its own time, with the first frame that holds it.

    Samples are numbered along their key. Where numbers are left out, since a gap lay between frames, or frames were
    dropped, or a hop is longer than a frame, the next sample of a signal shows a gap.
    """

    def __init__(self, kernel: Kernel, node: Unnest, columns: tuple[Column, ...]) -> None:
        super().__init__(kernel, node, columns)
        self.makes_gaps = node.rate_hz is not None
        self.seen = kernel.state.cell("seen", 0)
        """Number of the key's last sample that was given."""
        kernel.state.keep(self.seen)

    def row(self, kernel: Kernel, chain: Chain) -> None:
        """Write the samples that no frame before had; `seen` moves with them, so that a full output can go on."""
        sheet, state = kernel.sheet, kernel.state
        last, oldest, nth, at, some = (
            sheet.fresh(x) for x in ("last", "oldest", "nth", "at", "some")
        )
        times, seen = kernel.address_in(SAMPLE_TIME), state.get(self.seen)
        sheet(
            f"{last} = i64({kernel.address_in(SAMPLE_NUMBER)}, i)",
            f"{oldest} = {last} - {self.length - 1}",
        )
        with sheet.block(f"while {seen} < {last}"):
            with sheet.block("if m >= room"):
                sheet("LEAVE_FULL")
            sheet(
                f"{nth} = max({seen} + 1, {oldest})", f"{at} = i * {self.length} + {nth} - {oldest}",
                f"{some} = min({last} - {nth} + 1, room - m)",
            )  # fmt: skip
            if self.makes_gaps and kernel.gap_due is not None:
                state.put(kernel.gap_due, f"(1 if {nth} > {seen} + 1 else 0)")
            self._stretch(kernel, at, some)
            sheet(f"copy(out_time + 8 * m, {times} + 8 * ({at}), 8 * {some})", f"m += {some}")
            state.put(self.seen, f"{nth} + {some} - 1")

    def _stretch(self, kernel: Kernel, at: str, some: str) -> None:
        """Write so many samples that lie side by side, from `at` on, to the rows from `m` on; all but their times."""
        sheet, q = kernel.sheet, kernel.sheet.fresh("q")
        for column in self.node.out.columns:
            if column.name in self.lists:
                size, out = WIDTH[column.type.store] * column.type.size, kernel.field_out(column.name, column.type)  # fmt: skip
                source = kernel.address_in(column.name)
                sheet(f"copy(out_{out} + m * {size}, {source} + {at} * {size}, {some} * {size})")
        others = [c for c in self.node.out.columns if c.name not in self.lists]
        if others or kernel.keyed:
            with sheet.block(f"for {q} in range(m, m + {some})"):
                for column in others:
                    kernel.copy_column_as(column.name, column.name, column.type, at=q)
                if kernel.keyed:
                    sheet(f"set_i32(out_slot, {q}, slot)")
        if kernel.gap_due is not None:
            with sheet.block(f"for {q} in range(m, m + {some})"):
                sheet(f"set_u8(out_gap, {q}, 0)")
            sheet(f"set_u8(out_gap, m, {kernel.state.get(kernel.gap_due)})")
            kernel.state.put(kernel.gap_due, "0")

    def watermark(self, kernel: Kernel) -> str:
        """The first sample of a frame lies before it; how far, may not be known."""
        return reached_by(self.node)


def reached_by(node: Unnest) -> str:
    """Text of the time before which no sample will come any more."""
    if node.reach_ns is None:
        return "(FOREVER if finish != 0 else NEVER)"
    return f"(watermark if watermark == NEVER or watermark == FOREVER else watermark - {node.reach_ns})"
