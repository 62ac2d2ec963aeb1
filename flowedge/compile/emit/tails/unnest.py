"""`unnest a, b [at RATE]`: one row for each element of lists of equal length."""

from flowedge.compile.emit.chain import Chain
from flowedge.compile.emit.kernel import LOADS, Kernel, Tail
from flowedge.graph.nodes import Unnest
from flowedge.types.schema import Column


class UnnestTail(Tail):
    """Element i of each list at time + i / rate; the other columns are repeated."""

    out_gaps = True
    follows_chain = False

    def __init__(self, kernel: Kernel, node: Unnest, columns: tuple[Column, ...]) -> None:
        self.node = node
        self.lists = {c.name: c for c in columns if c.name in node.columns}
        self.length = next(iter(self.lists.values())).type.shape[0]
        self.rows_per_row = float(self.length)  # type: ignore[misc]  # one instance, one length
        self.part = kernel.globals.add("g_part", 0).name
        kernel.state.within(0, self.part, 0)

    def close(self, kernel: Kernel) -> None:
        """Nothing waits for the watermark."""

    def row(self, kernel: Kernel, chain: Chain) -> None:
        """Write the elements one by one; `g_part` is the next one, so that a full output can go on."""
        sheet = kernel.sheet
        with sheet.block(f"while {self.part} < {self.length}"):
            with sheet.block("if m >= room"):
                sheet("LEAVE_FULL")
            for column in self.node.out.columns:
                if column.name not in self.lists:
                    kernel.copy_column_as(column.name, column.name, column.type)
                    continue
                size, load = column.type.size, LOADS[column.type.store]
                source = kernel.address_in(column.name)
                values = tuple(
                    f"{load}({source}, (i * {self.length} + {self.part}) * {size} + {j})"
                    for j in range(size)
                )
                kernel.write(column.name, column.type, values)
            rate = self.node.rate_hz
            shift = f" + int({self.part} * {1e9 / rate!r} + 0.5)" if rate else ""
            kernel.emit(f"t{shift}", "slot")
            sheet(f"{self.part} += 1")
        sheet(f"{self.part} = 0")
