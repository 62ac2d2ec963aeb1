"""Spread over a few rows: `std(x) over 10 samples`, computed afresh at every row.

Two stacks merge three parts at a row, each of which waits for a division. Few values are gone through twice in less time,
and rows side by side in a vector: the mean of the distances from the newest value, then the squares of what lies apart
from it. Nothing is carried on but the values themselves, so nothing drifts.
"""

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from flowedge.compile.emit.passes import STRIP, Calm
from flowedge.compile.memory import f64
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
    spread = state.names.function(spread_of_some, "spread_of_some")
    out, p, q = sheet.fresh(agg.name), sheet.fresh("p"), sheet.fresh("q")
    work = state.scratch(n + STRIP if state.strips else n)

    def made(moments: str) -> str:
        return f"{result}({', '.join([moments, *constants])})"

    def of_some(at: str) -> str:
        return made(f"{spread}({at}, {n})")

    if state.strips:
        sheet(f"CALM {len(values.calms)}")
    sheet(f"{p} = {state.get(place)}", f"set_f64({ring}, {p}, {x})")
    state.put(place, f"({p} + 1 if {p} + 1 < {n} else 0)")
    state.put(seen, f"min({state.get(seen)} + 1, {n})")
    with sheet.block(f"for {q} in range({n})"):
        kept = f"f64({ring}, ({p} + 1 + {q}) % {n})"
        sheet(f"set_f64({work}, {q}, {kept} if {state.get(seen)} > {n - 1} - {q} else nan)")
    sheet(f"{out} = {of_some(work)}")
    if state.strips:
        sheet("CALMED")
        lines = _all_there([sheet.fresh("w") for _ in range(n)], sheet.fresh, made)
        strip = _strip(lines, of_some, sheet.fresh, ring, place, seen, work, n)
        values.calms.append(Calm(x, f"{x} == {x}", result=out, strip=strip))
    return (out,)


def spread_of_some(at: int, n: int) -> tuple[float, float, float]:
    """How many of `n` values, the oldest first, are there, their mean, and their squared distances from it.

    The operations are those of `_all_there` in their order, so that the bits are the same where none is missing.
    """
    centre = math.nan
    for j in range(n):
        v = f64(at, j)
        centre = v if v == v else centre  # noqa: PLR0124  # NaN is missing
    count, total, squares = 0.0, 0.0, 0.0
    for j in range(n):
        v = f64(at, j)
        count += 1.0 if v == v else 0.0  # noqa: PLR0124
        total += v - centre if v == v else 0.0  # noqa: PLR0124
    off = total * (1.0 / max(count, 1.0))
    for j in range(n):
        v = f64(at, j)
        d = v - centre - off
        squares += d * d if v == v else 0.0  # noqa: PLR0124
    return (count, centre + off, squares)


def _all_there(
    names: Sequence[str], fresh: Callable[[str], str], made: Callable[[str], str]
) -> Callable[[str, str, str], list[str]]:
    """Lines for a row none of whose values is missing, from an address, the place of the first, and what they make.

    Parameters
    ----------
    names : variables for the values, the oldest first
    fresh : gives variables that nobody has
    made : text of the result, from that of a tuple: how many values, their mean, their squares
    """
    *older, newest = names
    apart, off, n = [fresh("d") for _ in older], fresh("off"), len(names)
    each = [f"({d} - {off}) * ({d} - {off})" for d in apart]
    squares = " + ".join([*each, f"{off} * {off}"])
    moments = f"({float(n)!r}, {newest} + {off}, {squares})"

    def lines(values: str, first: str, out: str) -> list[str]:
        # One address and a place that moves: of others the compiler does not see that rows lie side by side.
        return [
            *(f"{name} = f64({values}, {first} + {j})" for j, name in enumerate(names)),
            *(f"{d} = {x} - {newest}" for d, x in zip(apart, older, strict=True)),
            f"{off} = ({' + '.join(apart) or f'{newest} - {newest}'}) * {1.0 / n!r}",
            f"{out} = {made(moments)}",
        ]

    return lines


def _strip(
    all_there: Callable[[str, str, str], list[str]], of_some: Callable[[str], str], fresh: Callable[[str], str],
    ring: str, place: str, seen: str, work: str, n: int,
) -> tuple[str, ...]:  # fmt: skip
    """Lines that do a strip whose values are all there; of those before it, which stand in the ring, some may not be.

    A result takes the place of the oldest value of its row, and moves on later: stores a multiple of 4096 bytes behind the
    loads of the next rows would hold these up (4K aliasing; Intel, Optimization Reference Manual, 3.6.7), twice the time.
    """
    q, odd, out, some = fresh("q"), fresh("odd_before"), fresh("made"), fresh("some")
    at = f"{work} + 8 * {q}"
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
        f"    {out} = {of_some(at)}",
        f"    {put}",
        f"for {q} in range({some}, {{rows}}):",
        *(f"    {line}" for line in (*all_there(work, q, out), put)),
        f"for {q} in range(max(0, ({{rows}}) - {n}), {{rows}}):",
        f"    set_f64({ring}, ({place} + {q}) % {n}, f64({{x}}, {q}))",
        f"copy({{y}}, {work}, 8 * ({{rows}}))",
        f"{place} = ({place} + ({{rows}})) % {n}",
        f"{seen} = min({seen} + ({{rows}}), {n})",
    )
