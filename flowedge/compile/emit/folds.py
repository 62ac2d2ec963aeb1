"""The aggregates of a window, a piece or a frame: accumulators side by side, and their results."""

from collections.abc import Sequence
from dataclasses import dataclass

from flowedge.compile.emit.kernel import Kernel
from flowedge.compile.emit.rolling import constants_of, tuple_of
from flowedge.compile.emit.values import Value
from flowedge.compile.emit.writer import literal
from flowedge.graph.expressions import Expr, Fold
from flowedge.lang.errors import InternalError
from flowedge.types.schema import Column, Type


@dataclass(frozen=True, slots=True)
class Part:
    """One fold of one element: its functions by name, and where its accumulator begins.

    Attributes
    ----------
    name : hidden column that results read
    element : which element of a list column it folds
    at : first word of its accumulator (`zero` long), or of its value in a row kept (`collects`)
    length : elements of a result that is a list, 0 for a scalar
    """

    fold: Fold
    name: str
    element: int
    at: int
    lift: str
    merge: str
    result: str
    finish: str
    zero: tuple[str, ...]
    constants: tuple[str, ...]
    length: int


class Folds:
    """All aggregates of one stage: monoids packed into `words`, collected inputs into `kept` words."""

    def __init__(self, kernel: Kernel, folds: Sequence[tuple[str, Expr]]) -> None:
        self.kernel = kernel
        self.monoids: list[Part] = []
        self.collected: list[Part] = []
        self.words = self.kept = 0
        for name, fold in folds:
            if not isinstance(fold, Fold):
                raise InternalError("an aggregate", expected="a Fold", seen=str(fold))
            width = max((a.type.size for a in fold.args), default=1)
            for element in range(width):
                self._add(name, fold, element)

    def _add(self, name: str, fold: Fold, element: int) -> None:
        agg, names = fold.aggregate, self.kernel.names
        known = {"lift": "", "merge": "", "result": "", "finish": ""}
        if agg.collects:
            known["finish"] = names.function(agg.finish, f"{agg.name}_finish")
        else:
            for what in ("lift", "merge", "result"):
                known[what] = names.function(getattr(agg, what), f"{agg.name}_{what}")
        part = Part(
            fold=fold, name=name, element=element, at=self.kept if agg.collects else self.words,
            zero=tuple(literal(float(z)) for z in agg.zero), constants=tuple(constants_of(fold)),  # type: ignore[arg-type]
            length=fold.type.size if fold.type.shape and not any(a.type.shape for a in fold.args) else 0, **known,
        )  # fmt: skip
        if agg.collects:
            self.collected.append(part)
            self.kept += 1
        else:
            self.monoids.append(part)
            self.words += len(agg.zero)

    # ---- accumulators at an address

    def clear(self, address: str) -> None:
        """Write statements that empty the accumulators at an address."""
        for part in self.monoids:
            for j, z in enumerate(part.zero):
                self.kernel.sheet(f"set_f64({address}, {part.at + j}, {z})")

    def inputs(self, part: Part) -> list[str]:
        """Texts of the inputs of one fold for the row at hand, as floats."""
        out = []
        for arg in part.fold.args:
            value = self.kernel.values.number(arg)
            out.append(value[part.element] if len(value) > 1 else value[0])
        return out

    def add(self, address: str) -> None:
        """Write statements that fold the row at hand into the accumulators at an address."""
        sheet, time = self.kernel.sheet, self.kernel.values.time
        for part in self.monoids:
            k = len(part.zero)
            old = tuple_of([f"f64({address}, {part.at + j})" for j in range(k)])
            new = [sheet.fresh(f"{part.fold.aggregate.name}_a") for _ in range(k)]
            row = f"{part.lift}({', '.join([time, *self.inputs(part), *part.constants])})"
            sheet(f"{tuple_of(new)} = {part.merge}({old}, {row})")
            for j, x in enumerate(new):
                sheet(f"set_f64({address}, {part.at + j}, {x})")

    def start(self) -> list[str]:
        """Local variables with empty accumulators, to merge panes into; returns their names."""
        sheet, out = self.kernel.sheet, []
        for part in self.monoids:
            for z in part.zero:
                out.append(name := sheet.fresh("acc"))
                sheet(f"{name} = {z}")
        return out

    def merge_from(self, local: Sequence[str], address: str) -> None:
        """Write statements that merge the accumulators at an address into local ones (older)."""
        for part in self.monoids:
            k = len(part.zero)
            mine = list(local[part.at : part.at + k])
            theirs = tuple_of([f"f64({address}, {part.at + j})" for j in range(k)])
            self.kernel.sheet(f"{tuple_of(mine)} = {part.merge}({tuple_of(mine)}, {theirs})")

    def results(self, local: Sequence[str]) -> dict[str, Value]:
        """Write the results of the monoids; returns them by hidden name."""
        sheet = self.kernel.sheet
        out: dict[str, Value] = {}
        for part in self.monoids:
            k = len(part.zero)
            state = tuple_of(list(local[part.at : part.at + k]))
            name = sheet.fresh(part.fold.aggregate.name)
            sheet(f"{name} = {part.result}({', '.join([state, *part.constants])})")
            out[part.name] = (*out.get(part.name, ()), self._typed(name, part))
        return out

    def finish(self, part: Part, values: str, count: str, work: str) -> Value:
        """Write the result of a collecting aggregate over the values at an address; `work`: an address.

        A list result comes back as texts that read it from scratch memory; `work` has room for
        twice `count` and the result.
        """
        sheet = self.kernel.sheet
        name = sheet.fresh(part.fold.aggregate.name)
        if part.length == 0:
            arrays = [
                f"array_f64({values}, {count})",
                count,
                f"array_f64({work}, 2 * {count})",
                f"array_f64({work}, 2 * {count})",
            ]
            sheet(f"{name} = {part.finish}({', '.join([*arrays, *part.constants])})")
            return (self._typed(name, part),)
        out = sheet.fresh("list")
        sheet(f"{out} = {work} + 16 * {count}")
        arrays = [
            f"array_f64({values}, {count})",
            count,
            f"array_f64({work}, 2 * {count})",
            f"array_f64({out}, {part.length})",
        ]
        sheet(f"{name} = {part.finish}({', '.join([*arrays, *part.constants])})")
        return tuple(f"f64({out}, {j})" for j in range(part.length))

    def _typed(self, name: str, part: Part) -> str:
        """A fold's float as the type it was declared with: counts and times are whole numbers."""
        type_ = part.fold.type
        if type_.is_float:
            return name
        if type_.store in ("string", "binary"):
            return f"(-1 if {name} != {name} else int({name}))"
        if type_.store == "bool":
            return f"(2 if {name} != {name} else int({name}))"
        return f"to_int({name}, -9.2e18, 9.2e18)"


def write_results(
    kernel: Kernel,
    results: Sequence[tuple[str, Expr]],
    found: dict[str, Value],
    columns: Sequence[Column],
) -> None:
    """Compute the columns of a row made from a window and store them in the output row `m`."""
    values = kernel.values
    outer, pending = dict(values.bound), list(values.pending)
    values.bound.clear()
    values.bound.update(found)
    types: dict[str, Type] = {c.name: c.type for c in columns}
    for name, expr in results:
        kernel.write(name, types[name], values.value(expr))
    values.bound.clear()
    values.bound.update(outer)
    values.pending[:] = pending
