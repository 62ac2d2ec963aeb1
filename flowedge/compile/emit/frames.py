"""Kernels over frames: `derive` per element, `aggregate` over each frame."""

from collections.abc import Sequence
from contextlib import nullcontext

from flowedge.compile.emit.folds import Folds, Part, write_results
from flowedge.compile.emit.kernel import LOADS, Kernel
from flowedge.compile.emit.rolling import tuple_of
from flowedge.compile.emit.values import Value
from flowedge.graph.expressions import Expr, Fold, walk
from flowedge.types.schema import TIME, Column, Stream, Type

SAMPLE_TIME = "_time"
"""Hidden column of a frame: when each sample was taken, for those that ask."""
SAMPLE_NUMBER = "_nth"
"""Hidden column of a frame: the number of its last sample, counted along the key from 1; a gap counts as one."""
ABREAST = 4
"""Stretches of a frame that are folded side by side."""
SHORTEST = 8
"""Samples of a stretch, at least."""


class FrameRows:
    """Reads samples of the frame at hand: sample `q` of row `i`."""

    def __init__(self, kernel: Kernel, length: int | str, per_sample: Sequence[str]) -> None:
        self.kernel, self.length = kernel, length
        self.per_sample = set(per_sample)
        self.sample = "q"
        self.derived: dict[str, int] = {}
        kernel.values.read = self.read

    def read(self, name: str, type_: Type) -> Value:
        """A column of the sample, or of the whole row where it is not part of the samples."""
        kernel = self.kernel
        if name not in self.per_sample:
            return kernel.read(name, type_)
        address = f"out_{self.derived[name]}" if name in self.derived else kernel.address_in(name)
        out = []
        for j in range(type_.size):
            place = f"i * {self.length} + {self.sample}"
            place = place if type_.size == 1 else f"({place}) * {type_.size} + {j}"
            variable = kernel.sheet.fresh(f"v_{name}")
            kernel.sheet(f"{variable} = {LOADS[type_.store]}({address}, {place})")
            out.append(variable)
        return tuple(out)

    def time(self, part: Part) -> str:
        """When the sample at hand was taken: as kept, or counted back from the frame's last one."""
        if not part.fold.aggregate.needs_time:
            return "t"
        if SAMPLE_TIME in self.per_sample:
            return self.read(SAMPLE_TIME, TIME)[0]
        if part.fold.rate_hz is None:
            return "t"
        return f"t - int(({self.length} - 1 - {self.sample}) * {1e9 / part.fold.rate_hz!r} + 0.5)"

    def work(self, parts: Folds) -> str:
        """Address of memory for each collected value, twice the samples more, and a list result."""
        length = int(self.length)
        longest = max(p.length for p in parts.collected)
        return self.kernel.state.scratch(length * (len(parts.collected) + 2) + longest)

    def fold(self, folds: Sequence[tuple[str, Expr]]) -> dict[str, Value]:
        """Fold the samples of the frame; returns the results by hidden name."""
        kernel, sheet, values = self.kernel, self.kernel.sheet, self.kernel.values
        found: dict[str, Value] = {}
        parts = Folds(kernel, folds)
        local = parts.start()
        counts = []
        if parts.collected:
            work = self.work(parts)
            for _ in parts.collected:
                counts.append(name := sheet.fresh("count"))
                sheet(f"{name} = 0")
        if parts.monoids:
            self._merge(parts, local)
        self.sample = q = sheet.fresh("q")
        with sheet.block(f"for {q} in range({self.length})") if parts.collected else nullcontext():
            values.bound.clear()
            for part, count in zip(parts.collected, counts, strict=True):
                (x,) = (values.hold(v) for v in parts.inputs(part)[:1])
                keep = "True" if part.fold.aggregate.needs_rate else f"{x} == {x}"
                with sheet.block(f"if {keep}"):
                    sheet(
                        f"set_f64({work}, {part.at} * {self.length} + {count}, {x})",
                        f"{count} += 1",
                    )
        values.bound.clear()
        found.update(parts.results(local))
        for part, count in zip(parts.collected, counts, strict=True):
            base = f"{work} + {8 * part.at} * {self.length}"
            behind = f"{work} + {8 * len(parts.collected)} * {self.length}"
            value = parts.finish(part, base, count, behind)
            held = tuple(values.hold(v, part.fold.aggregate.name) for v in value)
            found[part.name] = (*found.get(part.name, ()), *held)
        return found

    def _merge(self, parts: Folds, local: Sequence[str]) -> None:
        """Fold the samples into accumulators: stretches side by side, as a merge waits for the one before it."""
        sheet, values = self.kernel.sheet, self.kernel.values
        length = self.length if isinstance(self.length, int) else 0
        abreast = ABREAST if length >= ABREAST * SHORTEST else 1
        each = f"{length // abreast}" if length else str(self.length)
        lanes = [list(local), *(parts.start() for _ in range(abreast - 1))]
        q = sheet.fresh("q")

        def fold(lane: Sequence[str]) -> None:
            values.bound.clear()
            for part in parts.monoids:
                mine = tuple_of(lane[part.at : part.at + len(part.zero)])
                row = f"{part.lift}({', '.join([self.time(part), *parts.inputs(part), *part.constants])})"
                sheet(f"{mine} = {part.merge}({mine}, {row})")

        with sheet.block(f"for {q} in range({each})"):
            for j, lane in enumerate(lanes):
                self.sample = f"({q} + {j * int(each)})" if j else q
                fold(lane)
        if length % abreast:
            with sheet.block(f"for {q} in range({length - length % abreast}, {length})"):
                self.sample = q
                fold(lanes[-1])
        for lane in lanes[1:]:
            for part in parts.monoids:
                at = slice(part.at, part.at + len(part.zero))
                sheet(
                    f"{tuple_of(lanes[0][at])} = {part.merge}({tuple_of(lanes[0][at])}, {tuple_of(lane[at])})"
                )
        values.bound.clear()


def derive_frames(
    kernel: Kernel, stream: Stream, bindings: Sequence[tuple[str, Expr]], columns: Sequence[Column]
) -> None:
    """Write the body for one frame: each binding per sample, aggregates inside over the frame."""
    length = stream.frame.length if stream.frame and stream.frame.length else 0
    whole = stream.frame.whole if stream.frame else ()
    per_sample = ({c.name for c in columns} | {c.name for c in stream.columns}) - set(whole)
    rows = FrameRows(kernel, length, sorted(per_sample))
    types = {c.name: c.type for c in columns}
    sheet, values = kernel.sheet, kernel.values
    for name, expr in bindings:
        folds = list(dict.fromkeys(e for e in walk(expr) if isinstance(e, Fold)))
        found = rows.fold([(f"fold_{k}", f) for k, f in enumerate(folds)]) if folds else {}
        values.folds = {f: found[f"fold_{k}"] for k, f in enumerate(folds)}
        type_ = types[name]
        out = kernel.field_out(
            name, Type(type_.store, type_.unit, (length, *type_.shape), type_.labels)
        )
        rows.sample = q = sheet.fresh("q")
        with sheet.block(f"for {q} in range({length})"):
            values.bound.clear()
            for j, text in enumerate(values.named(expr, name)):
                place = f"m * {length} + {q}"
                place = place if type_.size == 1 else f"({place}) * {type_.size} + {j}"
                sheet(f"set_{LOADS[type_.store]}(out_{out}, {place}, {text})")
        values.bound.clear()
        rows.derived[name] = out
    values.folds = {}


def aggregate_frames(
    kernel: Kernel, stream: Stream, folds: Sequence[tuple[str, Expr]], results: Sequence[tuple[str, Expr]],
    columns: Sequence[Column],
) -> None:  # fmt: skip
    """Write the body for one frame: one row of aggregates."""
    length = stream.frame.length if stream.frame and stream.frame.length else 0
    whole = stream.frame.whole if stream.frame else ()
    rows = FrameRows(kernel, length, [c.name for c in stream.columns if c.name not in whole])
    found = rows.fold(folds)
    write_results(kernel, results, found, columns)
