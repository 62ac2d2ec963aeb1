"""`window N samples` and what is asked of each frame, in one kernel: frames that lie whole in a push are not copied."""

from collections.abc import Sequence
from functools import partial

from flowedge.compile.emit.chain import Chain
from flowedge.compile.emit.frames import (
    SAMPLE_NUMBER,
    SAMPLE_TIME,
    FrameRows,
    aggregate_frames,
    derive_frames,
)
from flowedge.compile.emit.kernel import Kernel, Tail
from flowedge.compile.emit.tails.count_frames import frame_type
from flowedge.compile.emit.tails.unnest import reached_by
from flowedge.graph.nodes import CountFrames, FrameAggregate, FrameDerive, Unnest
from flowedge.types.schema import I64, TIME, WIDTH, Column, Stream, Type

Over = FrameAggregate | FrameDerive | Unnest
MOST_ROWS = 65_536
"""So many rows are the most that a kernel is sure to be offered room for."""


class RowsInPlace(FrameRows):
    """Reads samples of the frame at hand where a variable says that each of its columns begins."""

    def __init__(
        self, kernel: Kernel, length: int, per_sample: Sequence[str], whole: dict[str, str], *, as_rows: bool
    ) -> None:  # fmt: skip
        super().__init__(kernel, length, per_sample)
        self.whole, self._as_rows = whole, as_rows
        """Variables of what there is once for a frame; whether each sample goes to a row of its own, not to a list."""

    def read(self, name: str, type_: Type) -> tuple[str, ...]:
        """A column of the sample, or of the frame."""
        return super().read(name, type_) if name in self.per_sample else (self.whole[name],)

    def first_of(self, name: str) -> tuple[str, str]:
        """The variable of the column, which begins with the frame; what was derived lies where it goes."""
        if name in self.derived:
            return f"out_{self.derived[name]}", "m" if self._as_rows else f"m * {self.length}"
        return begin_of(name), "0"

    def out_of(self, name: str, type_: Type) -> tuple[int, str]:
        """A list for each frame, or rows from `m` on."""
        if self._as_rows:
            return self.kernel.field_out(name, type_), "m"
        return super().out_of(name, type_)


def begin_of(name: str) -> str:
    """The variable with the address at which a column of the frame at hand begins."""
    letters = "".join(c if c.isascii() and c.isalnum() else f"_{ord(c)}_" for c in name)
    return f"begin_{letters}"


class FramesInPlaceTail(Tail):
    """Frames side by side of a stream without keys, and what comes of each one.

    A frame that lies whole in what was pushed is read there. Of others the rows are kept, column by column as they came,
    until the frame is full. A gap empties it. Rows that no full frame held are incomplete.

    Where `unnest` follows, each sample is a row at once: side by side, frames hold each one once.
    """

    out_gaps = True

    def __init__(
        self, kernel: Kernel, node: CountFrames, over: Sequence[Over], stream: Stream
    ) -> None:
        first, last = over[0], over[-1]
        assert not isinstance(first, Unnest)
        self.node, self.over = node, first
        self.unnest = last if isinstance(last, Unnest) else None
        self.makes_gaps = self.unnest is not None and self.unnest.rate_hz is not None
        types = {c.name: c for c in (*stream.stored(), Column(SAMPLE_TIME, TIME))}
        self.columns = tuple(types[name] for name in node.columns)
        # The rows of a push, and those of a frame that was begun before.
        self.rows_per_row = 1.0 / node.size if self.unnest is None else 1.0 + node.size / MOST_ROWS
        state = kernel.state
        self.kept = {
            c.name: state.ring_address(-(-node.size * _width(c) // 8)) for c in self.columns
        }
        self.filled, self.start = state.cell("filled", 0), state.cell("start", 0)
        counts = self.unnest is None and self._gives(SAMPLE_NUMBER)
        self.nth = state.cell("nth", 0) if counts else ""
        if self.nth:
            state.keep(self.nth)
            state.never_negative({self.nth: 1})
        state.within(0, self.filled, node.size - 1)
        state.lost.append((self.filled, 1))
        kernel.counts_lost = True

    def _gives(self, name: str) -> bool:
        return any(c.name == name for c in self.over.out.columns)

    def close(self, kernel: Kernel) -> None:
        """Nothing waits for the watermark; a row needs room for one frame."""
        with kernel.sheet.block("if i < n and m >= room"):
            kernel.sheet("LEAVE_FULL")

    def gap(self, kernel: Kernel) -> None:
        """What is in the window comes to nothing."""
        kernel.sheet(f"lost += {self.filled}")
        if self.nth:
            kernel.state.put(self.nth, f"{self.nth} + 1")

    def end(self, kernel: Kernel) -> None:
        """At the end of the input, too."""
        with kernel.sheet.block("if finish != 0 and watermark == FOREVER"):
            kernel.sheet(f"lost += {self.filled}")

    def row(self, kernel: Kernel, chain: Chain) -> None:
        """Take as many rows from `i` on as the frame lacks; where that fills it, work on it."""
        sheet, size = kernel.sheet, self.node.size
        some, k = sheet.fresh("some"), sheet.fresh("k")
        sheet(f"{some} = min({size} - {self.filled}, n - i)")
        if kernel.gaps:
            with sheet.block("if gaps != 0"):
                sheet(f"{k} = 1")
                with sheet.block(f"while {k} < {some} and u8(gaps, i + {k}) == 0"):
                    sheet(f"{k} += 1")
                sheet(f"{some} = {k}")
        if self.unnest is not None:
            with sheet.block(f"if {self.filled} + {some} == {size} and m + {size} > room"):
                sheet("LEAVE_FULL")
        with sheet.block(f"if {self.filled} == 0"):
            sheet(f"{self.start} = t")
        for column in self.columns:
            sheet(
                f"{begin_of(column.name)} = {self._source(kernel, column)} + i * {_width(column)}"
            )
        with sheet.block(f"if {some} < {size}"):
            for column in self.columns:
                begin, kept, width = begin_of(column.name), self.kept[column.name], _width(column)
                sheet(
                    f"copy({kept} + {self.filled} * {width}, {begin}, {some} * {width})",
                    f"{begin} = {kept}",
                )
        sheet(f"{self.filled} += {some}", f"i += {some} - 1")
        if self.nth:
            sheet(f"{self.nth} += {some}")
        with sheet.block(f"if {self.filled} == {size}"):
            sheet("t = i64(time, i)")
            self._work(kernel)
            sheet(f"{self.filled} = 0")

    def _source(self, kernel: Kernel, column: Column) -> str:
        return "time" if column.name == SAMPLE_TIME else kernel.address_in(column.name)

    def _work(self, kernel: Kernel) -> None:
        """Write what comes of a full frame to the output row `m`, or to those from it on."""
        node, over = self.node, self.over
        rows = partial(
            RowsInPlace, whole={"start": self.start, SAMPLE_NUMBER: self.nth}, as_rows=self.unnest is not None,
        )  # fmt: skip
        if isinstance(over, FrameAggregate):
            aggregate_frames(kernel, node.out, over.folds, over.results, over.out.columns, rows)
        else:
            derive_frames(kernel, node.out, over.bindings, over.out.columns, rows)
        if self.unnest is None:
            self._frame(kernel)
        else:
            self._samples(kernel, self.unnest)

    def _frame(self, kernel: Kernel) -> None:
        """The columns of the frame that pass, and its times."""
        made, size = {f.name for f in kernel.writes}, self.node.size
        for column in self.columns:
            if self._gives(column.name) and column.name not in made:
                out = kernel.field_out(column.name, frame_type(column.type, size))
                nbytes = size * _width(column)
                kernel.sheet(f"copy(out_{out} + m * {nbytes}, {begin_of(column.name)}, {nbytes})")
        if self.over.out.spans and "start" not in made:
            kernel.write("start", TIME, (self.start,))
        if self.nth:
            kernel.write(SAMPLE_NUMBER, I64, (self.nth,))
        kernel.emit("t", "slot")

    def _samples(self, kernel: Kernel, unnest: Unnest) -> None:
        """The columns that pass, row by row; the first row shows the gap before the frame."""
        sheet, size, q = kernel.sheet, self.node.size, kernel.sheet.fresh("q")
        made = {f.name for f in kernel.writes}
        for column in self.columns:
            if column.name in unnest.columns and column.name not in made:
                out, width = kernel.field_out(column.name, column.type), _width(column)
                sheet(f"copy(out_{out} + m * {width}, {begin_of(column.name)}, {size * width})")
        sheet(f"copy(out_time + 8 * m, {begin_of(SAMPLE_TIME)}, {8 * size})")
        if kernel.gap_due is not None:
            with sheet.block(f"for {q} in range(m, m + {size})"):
                sheet(f"set_u8(out_gap, {q}, 0)")
            sheet(f"set_u8(out_gap, m, {kernel.gap_due})", f"{kernel.gap_due} = 0")
        if any(c.name == "start" for c in unnest.out.columns):
            with sheet.block(f"for {q} in range(m, m + {size})"):
                kernel.write("start", TIME, (self.start,), at=q)
        sheet(f"m += {size}")

    def watermark(self, kernel: Kernel) -> str:
        """The first sample of a frame lies before the time of its last one; how far, may not be known."""
        return "watermark" if self.unnest is None else reached_by(self.unnest)


def _width(column: Column) -> int:
    """Bytes of a row."""
    return WIDTH[column.type.store] * column.type.size


__all__ = ["FramesInPlaceTail"]
