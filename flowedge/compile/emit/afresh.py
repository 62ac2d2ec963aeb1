"""Spread over a few rows: `std(x) over 10 samples`, computed afresh at every row.

Two stacks merge three parts at a row, each of which waits for a division. Few values are gone through twice in less time,
and rows side by side in a vector: the mean of the distances from the newest value, then the squares of what lies apart
from it. Nothing is carried on but the values themselves, so nothing drifts.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from flowedge.compile.emit.passes import STRIP, Calm
from flowedge.graph.expressions import Rolling

if TYPE_CHECKING:
    from flowedge.compile.emit.values import Value, Values

FEW = 16
"""Rows up to which it is the faster way; the work at a row grows with them."""


def is_afresh(expr: Rolling) -> bool:
    """Whether a rolling aggregate is computed this way: always, or one row would not have the same bits in each kernel."""
    return expr.aggregate.moments == 2 and expr.count is not None and expr.count <= FEW


def emit_afresh(values: "Values", expr: Rolling, x: str, constants: Sequence[str]) -> "Value":
    """Write the statements that step it; returns the text of its result."""
    n, agg, state, sheet = expr.count or 1, expr.aggregate, values.state, values.state.sheet
    ring, place, seen = state.ring_address(n), state.cell(f"{agg.name}_place", 0), state.cell(f"{agg.name}_seen", 0)  # fmt: skip
    state.within(0, place, n - 1)
    state.within(0, seen, n)
    result = state.names.function(agg.result, f"{agg.name}_result")
    out, p = sheet.fresh(agg.name), sheet.fresh("p")
    names = [sheet.fresh("w") for _ in range(n)]
    parts = _Parts(
        names, sheet.fresh, lambda moments: f"{result}({', '.join([moments, *constants])})"
    )
    if state.strips:
        sheet(f"CALM {len(values.calms)}")
    sheet(f"{p} = {state.get(place)}", f"set_f64({ring}, {p}, {x})")
    state.put(place, f"({p} + 1 if {p} + 1 < {n} else 0)")
    state.put(seen, f"min({state.get(seen)} + 1, {n})")
    for j, name in enumerate(names):
        kept = f"f64({ring}, ({p} + {j + 1}) % {n})"
        sheet(f"{name} = {kept} if {state.get(seen)} > {n - 1 - j} else nan")
    sheet(*parts.with_missing(out))
    if state.strips:
        sheet("CALMED")
        work = state.scratch(n + STRIP)
        strip = _strip(parts, sheet.fresh, ring, place, seen, work)
        values.calms.append(Calm(x, f"{x} == {x}", result=out, strip=strip))
    return (out,)


class _Parts:
    """Lines that make the result of the values of one row's extent, the oldest first.

    Parameters
    ----------
    names : variables that hold the values
    fresh : gives variables that nobody has
    result : text of the result, from that of a tuple: how many values, their mean, their squares
    """

    def __init__(
        self, names: Sequence[str], fresh: Callable[[str], str], result: Callable[[str], str]
    ) -> None:
        self.names, self._result = names, result
        self._apart = [fresh("d") for _ in names]
        self._centre, self._off, self._count = fresh("centre"), fresh("off"), fresh("count")

    def all_there(self, out: str) -> list[str]:
        """Where no value is missing."""
        *older, newest = self.names
        apart, n = self._apart[:-1], len(self.names)
        each = [f"({d} - {self._off}) * ({d} - {self._off})" for d in apart]
        squares = " + ".join([*each, f"{self._off} * {self._off}"])
        return [
            *(f"{d} = {x} - {newest}" for d, x in zip(apart, older, strict=True)),
            f"{self._off} = ({' + '.join(apart) or f'{newest} - {newest}'}) * {1.0 / n!r}",
            f"{out} = {self._result(f'({float(n)!r}, {newest} + {self._off}, {squares})')}",
        ]

    def with_missing(self, out: str) -> list[str]:
        """Where some may be: the same operations on the others in the same order, so that the bits are the same."""
        is_there = [f"{x} == {x}" for x in self.names]
        centre, off, count = self._centre, self._off, self._count
        pairs = list(zip(self._apart, self.names, is_there, strict=True))
        squares = " + ".join(f"(({d} - {off}) * ({d} - {off}) if {known} else 0.0)" for d, _, known in pairs)  # fmt: skip
        return [
            f"{centre} = nan",
            *(f"{centre} = {x} if {known} else {centre}" for _, x, known in pairs),
            f"{count} = {' + '.join(f'(1.0 if {known} else 0.0)' for known in is_there)}",
            *(f"{d} = {x} - {centre} if {known} else 0.0" for d, x, known in pairs),
            f"{off} = ({' + '.join(self._apart)}) * (1.0 / max({count}, 1.0))",
            f"{out} = {self._result(f'({count}, {centre} + {off}, {squares})')}",
        ]


def _strip(
    parts: _Parts, fresh: Callable[[str], str], ring: str, place: str, seen: str, work: str
) -> tuple[str, ...]:
    """Lines that do a strip whose values are all there; of those before it, which stand in the ring, some may not be.

    A result takes the place of the oldest value of its row, and moves on later: stores a multiple of 4096 bytes behind the
    loads of the next rows would hold these up (4K aliasing; Intel, Optimization Reference Manual, 3.6.7), twice the time.
    """
    n = len(parts.names)
    q, odd, out, some = fresh("q"), fresh("odd_before"), fresh("made"), fresh("some")
    window = [f"{name} = f64({work}, {q} + {j})" for j, name in enumerate(parts.names)]
    put = f"set_f64({work}, {q}, {out})"
    older = f"f64({ring}, ({place} + 1 + {q}) % {n}) if {seen} > {n - 2} - {q} else nan"
    return (
        f"{odd} = 0",
        f"for {q} in range({n - 1}):",
        f"    {out} = {older}",
        f"    set_f64({work}, {q}, {out})",
        f"    {odd} += 0 if {out} == {out} else 1",
        f"copy({work} + {8 * (n - 1)}, {{x}}, 8 * ({{rows}}))",
        f"{some} = 0 if {odd} == 0 else min({{rows}}, {n - 1})",
        f"for {q} in range({some}):",
        *(f"    {line}" for line in (*window, *parts.with_missing(out), put)),
        f"for {q} in range({some}, {{rows}}):",
        *(f"    {line}" for line in (*window, *parts.all_there(out), put)),
        f"for {q} in range(max(0, ({{rows}}) - {n}), {{rows}}):",
        f"    set_f64({ring}, ({place} + {q}) % {n}, f64({{x}}, {q}))",
        f"copy({{y}}, {work}, 8 * ({{rows}}))",
        f"{place} = ({place} + ({{rows}})) % {n}",
        f"{seen} = min({seen} + ({{rows}}), {n})",
    )
