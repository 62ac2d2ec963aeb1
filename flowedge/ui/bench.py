"""Where the time of a run goes, as text."""

from collections.abc import Iterator, Sequence

from flowedge.runtime.bench import Bench, Part
from flowedge.runtime.calibrate import machine
from flowedge.types.spelling import seconds
from flowedge.ui.progress import count


def table(found: Bench) -> Iterator[str]:
    """Where the time of a run goes, as the lines that `flowedge bench` prints."""
    copied = found.copied_bytes_s * 1e-9
    yield f"on {machine()}, one thread, {found.rounds} run{'s' * (found.rounds != 1)}; a copy reads and writes {copied:.1f} GB/s"  # fmt: skip
    yield ""
    whole = found.wall_s or 1.0
    width = max(len(part.name) for part in (*found.parts, *found.stages))
    yield from _parts(found.parts, width, whole, copied)
    left = Part(
        "between them", 0, 0, max(0.0, whole - sum(x.wall_s for x in found.parts)), max(0.0, found.cpu_s - sum(x.cpu_s for x in found.parts)),
    )  # fmt: skip
    yield _part(left, width, whole, copied)
    each = whole * 1e9 / found.rows if found.rows else 0.0
    yield ""
    yield f"{count(found.rows / whole)} rows/s, {each:.1f} ns a row; waits {_waits(whole, found.cpu_s)} of {seconds(whole)}"  # fmt: skip
    if found.stages:
        yield ""
        yield "each stage as a node of its own:"
        yield ""
        yield from _parts(found.stages, width, whole, copied)


def _parts(parts: Sequence[Part], width: int, whole: float, copied: float) -> Iterator[str]:
    yield f"{'':{width}} {'rows':>12} {'ns a row':>9} {'waits':>6} {'bytes a row':>11} {'GB/s':>6} {'of a copy':>9} {'share':>6}"
    for part in parts:
        yield _part(part, width, whole, copied)


def _part(part: Part, width: int, whole: float, copied: float) -> str:
    rate = part.nbytes * 1e-9 / part.wall_s if part.wall_s else 0.0
    each = f"{part.wall_s * 1e9 / part.rows:.1f}" if part.rows else ""
    words = f"{part.nbytes / part.rows:.1f}" if part.rows and part.nbytes else ""
    speed, of = (f"{rate:.1f}", f"{rate / copied:.0%}") if words else ("", "")
    return f"{part.name:{width}} {part.rows:>12,} {each:>9} {_waits(part.wall_s, part.cpu_s):>6} {words:>11} {speed:>6} {of:>9} {part.wall_s / whole:>6.0%}"


def _waits(wall_s: float, cpu_s: float) -> str:
    """The part of the time in which there was no processor for it, or nothing to do."""
    return f"{max(0.0, 1 - cpu_s / wall_s):.0%}" if wall_s else ""
