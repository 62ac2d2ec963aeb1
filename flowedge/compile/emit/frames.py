"""Kernels over frames: `derive` per element, `aggregate` over each frame."""

from collections.abc import Callable, Sequence
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
        about = [p for p in parts.monoids if p.fold.aggregate.moments and self._is_long]
        others = [p for p in parts.monoids if p not in about]
        lanes = [list(local), *(parts.start() for _ in range(self._abreast - 1))] if others else []

        def fold(lane: int) -> None:
            for part in others:
                mine = tuple_of(lanes[lane][part.at : part.at + len(part.zero)])
                row = f"{part.lift}({', '.join([self.time(part), *parts.inputs(part), *part.constants])})"
                sheet(f"{mine} = {part.merge}({mine}, {row})")

        if others:
            self._over_samples(fold)
        for lane in lanes[1:]:
            for part in others:
                at = slice(part.at, part.at + len(part.zero))
                sheet(
                    f"{tuple_of(lanes[0][at])} = {part.merge}({tuple_of(lanes[0][at])}, {tuple_of(lane[at])})"
                )
        of_same: dict[tuple[Expr, int], list[Part]] = {}
        for part in about:
            of_same.setdefault((part.fold.args[0], part.element), []).append(part)
        for alike in of_same.values():
            self._moments(parts, alike, local)
        values.bound.clear()

    @property
    def _is_long(self) -> bool:
        return isinstance(self.length, int) and self.length >= ABREAST * SHORTEST

    @property
    def _abreast(self) -> int:
        return ABREAST if self._is_long else 1

    def _over_samples(self, fold: Callable[[int], None]) -> None:
        """Write loops over the samples; `fold` writes what happens to one in a stretch, the stretches side by side."""
        sheet, values = self.kernel.sheet, self.kernel.values
        q = sheet.fresh("q")
        length = self.length if isinstance(self.length, int) else 0
        each = length // self._abreast
        with sheet.block(f"for {q} in range({each or self.length})"):
            for lane in range(self._abreast):
                self.sample = f"({q} + {lane * each})" if lane else q
                values.bound.clear()
                fold(lane)
        if length % self._abreast:
            with sheet.block(f"for {q} in range({length - length % self._abreast}, {length})"):
                self.sample = q
                values.bound.clear()
                fold(self._abreast - 1)

    def _moments(self, parts: Folds, alike: Sequence[Part], local: Sequence[str]) -> None:
        """Central moments of one input in two passes: the mean, then powers of what lies apart from it.

        No sample waits for a division, as it would where parts are merged one by one. The mean is that of the
        distances from the first value, so that equal values have none, and what rounding left of it is taken off [1]_.

        .. [1] T. F. Chan, G. H. Golub, R. J. LeVeque, Algorithms for computing the sample variance, The American
           Statistician 37(3), 1983, 242-247, equation 1.7.
        """
        kernel, sheet, values = self.kernel, self.kernel.sheet, self.kernel.values
        apart = kernel.names.function(_apart, "apart")
        most = max(part.fold.aggregate.moments for part in alike)

        def sums(stem: str) -> list[str]:
            names = [sheet.fresh(stem) for _ in range(self._abreast)]
            for name in names:
                sheet(f"{name} = 0.0")
            return names

        def value() -> str:
            return values.hold(parts.inputs(alike[0])[0])

        first, q, count, centre = (sheet.fresh(stem) for stem in ("first", "q", "count", "centre"))
        sheet(f"{first} = nan")
        with sheet.block(f"for {q} in range({self.length})"):
            self.sample = q
            values.bound.clear()
            x = value()
            with sheet.block(f"if {x} == {x}"):
                sheet(f"{first} = {x}", "break")
        counts, totals = sums("count"), sums("total")

        def add(lane: int) -> None:
            x = value()
            sheet(
                f"{counts[lane]} += 1.0 if {x} == {x} else 0.0",
                f"{totals[lane]} += {apart}({x}, {first})",
            )

        self._over_samples(add)
        sheet(
            f"{count} = {' + '.join(counts)}",
            f"{centre} = {first} + ({' + '.join(totals)}) / max({count}, 1.0)",
        )
        powers = [sums(f"power_{k}") for k in range(1, most + 1)]

        def raise_(lane: int) -> None:
            x, d = value(), sheet.fresh("d")
            sheet(f"{d} = {apart}({x}, {centre})", f"{powers[0][lane]} += {d}")
            power = d
            for names in powers[1:]:
                sheet(f"{(now := sheet.fresh('power'))} = {power} * {d}", f"{names[lane]} += {now}")
                power = now

        self._over_samples(raise_)
        given = [" + ".join(names) for names in powers] + ["0.0"] * (4 - most)
        made = [sheet.fresh("moment") for _ in range(5)]
        from_powers = kernel.names.function(_moments_of, "moments_of")
        sheet(f"{tuple_of(made)} = {from_powers}({count}, {centre}, {', '.join(given)})")
        for part in alike:
            for name, moment in zip(local[part.at : part.at + len(part.zero)], made, strict=False):
                sheet(f"{name} = {moment}")


def _apart(x: float, centre: float) -> float:
    """How far a value lies from another one; a missing one adds nothing."""
    return x - centre if x == x else 0.0  # noqa: PLR0124


def _moments_of(
    count: float, centre: float, p1: float, p2: float, p3: float, p4: float
) -> tuple[float, float, float, float, float]:
    """Count, mean and central moments, times the count, out of powers of the distances from what is nearly the mean."""
    if count == 0.0:
        return (0.0, 0.0, 0.0, 0.0, 0.0)
    e = p1 / count
    m2 = max(p2 - e * p1, 0.0) if p2 == p2 else p2  # noqa: PLR0124
    m3 = p3 - 3.0 * e * p2 + 2.0 * e * e * p1
    m4 = p4 - 4.0 * e * p3 + 6.0 * e * e * p2 - 3.0 * e * e * e * p1
    return (count, centre + e, m2, m3, m4)


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
