"""Rows that are kept whole until their window or piece closes, and the stages that run over them then.

A key's rows lie in a ring of the arena: their time and their columns. When a frame closes, its rows
are copied behind the arena, one record each with room for what is derived, and its stages work there.
"""

from collections.abc import Mapping

from flowedge.compile.emit.chain import Chain
from flowedge.compile.emit.folds import Folds, Part, write_results
from flowedge.compile.emit.frames import FrameRows
from flowedge.compile.emit.kernel import Kernel
from flowedge.compile.emit.rolling import ArenaRing
from flowedge.compile.emit.values import Value
from flowedge.graph import nodes as g
from flowedge.graph.expressions import Fold, reads, walk
from flowedge.types.schema import Column, Type

Keeper = g.TimeWindow | g.Cut | g.SplitRows | g.SplitNext


class KeptRows:
    """The rows of a key's open frames, as words in a ring.

    Parameters
    ----------
    node : the window or cut; its `kept` are the stage that makes the frames, and those inside
    """

    def __init__(self, kernel: Kernel, node: Keeper) -> None:
        self.kernel, self.node = kernel, node
        maker, *self.inside = node.kept
        exprs = [e for n in (*self.inside, node) for e in g.expressions_of(n)]
        wanted = frozenset().union(*(reads(e) for e in exprs)) if exprs else frozenset()
        whole = maker.out.frame.whole if maker.out.frame is not None else ()
        self.columns = tuple(
            c for c in (*maker.out.columns, *maker.out.keys) if c.name in wanted and c.name not in whole
        )  # fmt: skip
        self.words = 1 + sum(c.type.size for c in self.columns)
        made = [
            column
            for n in self.inside
            if isinstance(n, g.FrameDerive)
            for column in _made_by(n)
        ]  # fmt: skip
        self.width = self.words + sum(c.type.size for c in made)
        self.ring = ArenaRing(kernel.values, "rows", words=self.words)
        folds = [e for x in exprs for e in walk(x) if isinstance(e, Fold)]
        collected = sum(
            max((a.type.size for a in f.args), default=1) for f in folds if f.aggregate.collects
        )
        longest = max((f.type.size for f in folds), default=1)
        self.ready = tuple(self.ring.room_to_work(self.width + collected + 3, longest))

    def push(self, chain: Chain) -> None:
        """Write the statements that keep the row at hand."""
        sheet, ring, state = self.kernel.sheet, self.ring, self.kernel.state
        values = [(c, chain.column(c.name, c.type)) for c in self.columns]
        at, word = sheet.fresh("at"), 1
        sheet(f"{at} = {ring.place(state.get(ring.length))}", f"set_i64(arena, {at}, t)")
        for column, texts in values:
            for text in texts:
                sheet(f"set_{_kind(column.type)}(arena, {at} + {word}, {text})")
                word += 1
        state.put(ring.length, f"{state.get(ring.length)} + 1")

    def write(self, whole: Mapping[str, Value], inside: str = "") -> None:
        """Write the statements that run a frame's stages and store its row.

        Parameters
        ----------
        whole : columns of the frame itself, for example ``start``
        inside : condition on the time ``{t}`` of a row to be in the frame; all rows of the ring by default
        """
        kernel, node = self.kernel, self.node
        sheet, ring, state, values = kernel.sheet, self.ring, kernel.state, kernel.values
        base, count, q, at = (sheet.fresh(x) for x in ("base", "count", "q", "at"))
        sheet(f"{base} = arena + 8 * i64(arena, 0)", f"{count} = 0")
        with sheet.block(f"for {q} in range({state.get(ring.length)})"):
            sheet(f"{at} = {ring.place(q)}")
            with sheet.block(f"if {inside.format(t=f'i64(arena, {at})') or 'True'}"):
                record = f"{base} + {8 * self.width} * {count}"
                sheet(f"copy({record}, arena + 8 * ({at}), {8 * self.words})", f"{count} += 1")
        outer, read = dict(values.bound), values.read
        rows = RecordRows(kernel, base, count, self.width, whole)
        for column in self.columns:
            rows.place(column)
        for stage in self.inside:
            rows.run(stage)
        found = rows.fold(node.folds)
        write_results(kernel, node.results, found, node.out.columns)
        for column in node.out.columns:
            # What was derived of the frame as a whole goes along, if it is asked for.
            if column.name in rows.whole and column.name not in whole:
                kernel.write(column.name, column.type, rows.whole[column.name])
        values.folds, values.read = {}, read
        values.bound.clear()
        values.bound.update(outer)


class RecordRows(FrameRows):
    """Reads the rows of a frame from records: row `q` begins at word ``q * width``, with its time."""

    def __init__(
        self, kernel: Kernel, base: str, count: str, width: int, whole: Mapping[str, Value]
    ) -> None:
        super().__init__(kernel, count, ())
        self.base, self.width, self.next = base, width, 1
        self.at: dict[str, int] = {}
        self.whole = dict(whole)

    def place(self, column: Column) -> int:
        """The word of a column in each record; a column made anew gets a place of its own."""
        self.at[column.name], self.next = self.next, self.next + column.type.size
        return self.at[column.name]

    def read(self, name: str, type_: Type) -> Value:
        """A column of the row `self.sample`, or of the whole frame."""
        if name in self.whole:
            return self.whole[name]
        kind, out = _kind(type_), []
        for j in range(type_.size):
            variable = self.kernel.sheet.fresh(f"v_{name}")
            word = f"{self.sample} * {self.width} + {self.at[name] + j}"
            self.kernel.sheet(f"{variable} = {kind}({self.base}, {word})")
            out.append(variable)
        return tuple(out)

    def time(self, part: Part) -> str:
        """When the row at hand was taken."""
        return f"i64({self.base}, {self.sample} * {self.width})"

    def work(self, parts: Folds) -> str:
        """Where values are collected: behind the records."""
        name = self.kernel.sheet.fresh("work")
        self.kernel.sheet(f"{name} = {self.base} + {8 * self.width} * {self.length}")
        return name

    def run(self, stage: g.Node) -> None:
        """Write one stage: each binding for every row, or once where it reads no row."""
        values, sheet = self.kernel.values, self.kernel.sheet
        if isinstance(stage, g.Derive):
            for name, expr in stage.bindings:
                self.sample = "0"
                values.bound.clear()
                self.whole[name] = values.named(expr, name)
            values.bound.clear()
            return
        assert isinstance(stage, g.FrameDerive)
        for column, (_, expr) in zip(_made_by(stage), stage.bindings, strict=True):
            folds = list(dict.fromkeys(e for e in walk(expr) if isinstance(e, Fold)))
            found = self.fold([(f"fold_{k}", f) for k, f in enumerate(folds)]) if folds else {}
            values.folds = {f: found[f"fold_{k}"] for k, f in enumerate(folds)}
            self.sample = q = sheet.fresh("q")
            with sheet.block(f"for {q} in range({self.length})"):
                values.bound.clear()
                texts = values.named(expr, column.name)
                self.whole.pop(column.name, None)
                word = self.place(column)
                for j, text in enumerate(texts):
                    sheet(
                        f"set_{_kind(column.type)}({self.base}, {q} * {self.width} + {word + j}, {text})"
                    )
            values.bound.clear()


def _made_by(stage: g.FrameDerive) -> list[Column]:
    """What each binding of a `derive` makes; one that is replaced by a later one has its own type."""
    return [Column(name, expr.type) for name, expr in stage.bindings]


def _kind(type_: Type) -> str:
    """How a value is kept in a word of 8 bytes."""
    return "f64" if type_.is_float else "i64"


def kept_of(kernel: Kernel, node: Keeper) -> KeptRows | None:
    """What keeps a node's rows; None where its aggregates take them one by one."""
    return KeptRows(kernel, node) if node.kept else None
