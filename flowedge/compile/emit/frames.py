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
LANES = 64
"""Samples of a frame that are added side by side, if it has so many: of fewer lanes the compiler makes single additions."""


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
        address, first = self.first_of(name)
        out = []
        for j in range(type_.size):
            place = f"{first} + {self.sample}"
            place = place if type_.size == 1 else f"({place}) * {type_.size} + {j}"
            variable = kernel.sheet.fresh(f"v_{name}")
            kernel.sheet(f"{variable} = {LOADS[type_.store]}({address}, {place})")
            out.append(variable)
        return tuple(out)

    def first_of(self, name: str) -> tuple[str, str]:
        """Where the samples of a column lie: an address, and the number there of the first one of the frame."""
        known = name in self.derived
        address = f"out_{self.derived[name]}" if known else self.kernel.address_in(name)
        return address, f"i * {self.length}"

    def out_of(self, name: str, type_: Type) -> tuple[int, str]:
        """Where what is derived of each sample goes: the number of an output column, and there of the first one."""
        length = int(self.length)
        kind = Type(type_.store, type_.unit, (length, *type_.shape), type_.labels)
        return self.kernel.field_out(name, kind), f"m * {length}"

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
        added = [p for p in parts.monoids if p.fold.aggregate.adds and self._is_wide]
        others = [p for p in parts.monoids if p not in about and p not in added]
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
        self._add(parts, added, local)
        values.bound.clear()

    def _add(self, parts: Folds, added: Sequence[Part], local: Sequence[str]) -> None:
        """Folds that only add, each number by itself."""
        sheet = self.kernel.sheet

        def terms() -> list[str]:
            out = []
            for part in added:
                out += (mine := [sheet.fresh("term") for _ in part.zero])
                given = [self.time(part), *parts.inputs(part), *part.constants]
                sheet(f"{tuple_of(mine)} = {part.lift}({', '.join(given)})")
            return out

        names = [x for part in added for x in local[part.at : part.at + len(part.zero)]]
        if names:
            for name, total in zip(names, self._sums(len(names), terms), strict=True):
                sheet(f"{name} = {total}")

    def _sums(self, count: int, terms: Callable[[], Sequence[str]]) -> list[str]:
        """Write sums over the samples, as many at a time as `terms` names for one; returns texts of them."""
        sheet = self.kernel.sheet
        if self._is_wide:
            return self._wide_sums(count, terms)
        names = [[sheet.fresh("total") for _ in range(self._abreast)] for _ in range(count)]
        for name in (x for of_one in names for x in of_one):
            sheet(f"{name} = 0.0")

        def add(lane: int) -> None:
            for of_one, term in zip(names, terms(), strict=True):
                sheet(f"{of_one[lane]} += {term}")

        self._over_samples(add)
        return [" + ".join(of_one) for of_one in names]

    def _wide_sums(self, count: int, terms: Callable[[], Sequence[str]]) -> list[str]:
        """The same in lanes, which lie in memory: sample q goes to lane q modulo `LANES`, and lanes are added by halves.

        Each lane has an order of its own, so the compiler may fill a vector with them; sums in registers it must not reorder.
        """
        sheet, length = self.kernel.sheet, int(self.length)
        lanes = self.kernel.state.scratch(count * LANES)
        block, lane, near, total = (sheet.fresh(x) for x in ("block", "lane", "near", "sum_of"))
        places = [f"{lane} + {k * LANES}" for k in range(count)]

        def add() -> None:
            self.kernel.values.bound.clear()
            for at, term in zip(places, terms(), strict=True):
                sheet(f"set_f64({lanes}, {at}, f64({lanes}, {at}) + {term})")

        with sheet.block(f"for {lane} in range({count * LANES})"):
            sheet(f"set_f64({lanes}, {lane}, 0.0)")
        blocks = sheet.block(f"for {block} in range({length // LANES})")
        with blocks, sheet.block(f"for {lane} in range({LANES})"):
            self.sample = f"({block} * {LANES} + {lane})"
            add()
        if length % LANES:
            with sheet.block(f"for {lane} in range({length % LANES})"):
                self.sample = f"({length - length % LANES} + {lane})"
                add()
        sheet(f"{near} = {LANES // 2}")
        with sheet.block(f"while {near} > 0"):
            with sheet.block(f"for {lane} in range({near})"):
                for at in places:
                    sheet(f"set_f64({lanes}, {at}, f64({lanes}, {at}) + f64({lanes}, {at} + {near}))")  # fmt: skip
            sheet(f"{near} //= 2")
        names = [f"{total}_{k}" for k in range(count)]
        for k, name in enumerate(names):
            sheet(f"{name} = f64({lanes}, {k * LANES})")
        return names

    @property
    def _is_long(self) -> bool:
        return isinstance(self.length, int) and self.length >= ABREAST * SHORTEST

    @property
    def _is_wide(self) -> bool:
        return isinstance(self.length, int) and self.length >= LANES

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

        def first_pass() -> list[str]:
            x = value()
            return [f"(1.0 if {x} == {x} else 0.0)", f"{apart}({x}, {first})"]

        number, distance = self._sums(2, first_pass)
        sheet(f"{count} = {number}", f"{centre} = {first} + ({distance}) / max({count}, 1.0)")

        def second_pass() -> list[str]:
            d = sheet.fresh("d")
            sheet(f"{d} = {apart}({value()}, {centre})")
            return [" * ".join([d] * k) for k in range(1, most + 1)]

        given = self._sums(most, second_pass) + ["0.0"] * (4 - most)
        made = [sheet.fresh("moment") for _ in range(5)]
        from_powers = kernel.names.function(_moments_of, "moments_of")
        sheet(f"{tuple_of(made)} = {from_powers}({count}, {centre}, {', '.join(given)})")
        for part in alike:
            for name, moment in zip(local[part.at : part.at + len(part.zero)], made, strict=False):
                sheet(f"{name} = {moment}")


RowsOf = Callable[[Kernel, int, Sequence[str]], FrameRows]
"""Makes what reads the samples of a frame: of a kernel, samples in a frame, and columns that each has."""


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
    kernel: Kernel, stream: Stream, bindings: Sequence[tuple[str, Expr]], columns: Sequence[Column],
    rows_of: RowsOf | None = None,
) -> None:  # fmt: skip
    """Write the body for one frame: each binding per sample, aggregates inside over the frame."""
    length = stream.frame.length if stream.frame and stream.frame.length else 0
    whole = stream.frame.whole if stream.frame else ()
    per_sample = ({c.name for c in columns} | {c.name for c in stream.columns}) - set(whole)
    rows = (rows_of or FrameRows)(kernel, length, sorted(per_sample))
    types = {c.name: c.type for c in columns}
    sheet, values = kernel.sheet, kernel.values
    for name, expr in bindings:
        folds = list(dict.fromkeys(e for e in walk(expr) if isinstance(e, Fold)))
        found = rows.fold([(f"fold_{k}", f) for k, f in enumerate(folds)]) if folds else {}
        values.folds = {f: found[f"fold_{k}"] for k, f in enumerate(folds)}
        type_ = types[name]
        out, first = rows.out_of(name, type_)
        rows.sample = q = sheet.fresh("q")
        with sheet.block(f"for {q} in range({length})"):
            values.bound.clear()
            for j, text in enumerate(values.named(expr, name)):
                place = f"{first} + {q}"
                place = place if type_.size == 1 else f"({place}) * {type_.size} + {j}"
                sheet(f"set_{LOADS[type_.store]}(out_{out}, {place}, {text})")
        values.bound.clear()
        rows.derived[name] = out
    values.folds = {}


def aggregate_frames(
    kernel: Kernel, stream: Stream, folds: Sequence[tuple[str, Expr]], results: Sequence[tuple[str, Expr]],
    columns: Sequence[Column], rows_of: RowsOf | None = None,
) -> None:  # fmt: skip
    """Write the body for one frame: one row of aggregates."""
    length = stream.frame.length if stream.frame and stream.frame.length else 0
    whole = stream.frame.whole if stream.frame else ()
    rows = (rows_of or FrameRows)(
        kernel, length, [c.name for c in stream.columns if c.name not in whole]
    )
    found = rows.fold(folds)
    write_results(kernel, results, found, columns)
