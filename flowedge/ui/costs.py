"""What a pipeline costs, as text."""

from collections.abc import Iterator

from flowedge.compile import program as p
from flowedge.runtime.calibrate import SMALL, Calibration
from flowedge.types.spelling import seconds
from flowedge.ui.progress import count


def table(found: Calibration, program: p.Program) -> Iterator[str]:
    """What was measured, as the lines that `flowedge calibrate` prints."""
    yield f"on {found.machine}, with " + ("made-up rows" if found.is_made_up else "recorded rows")
    yield ""
    yield f"{'a push of':>12} {'p50':>10} {'p99':>10} {'p99.9':>10} {'max':>10}"
    for cost in found.pushes:
        words = [_time(x) for x in (cost.p50_us, cost.p99_us, cost.p99_9_us, cost.max_us)]
        yield f"{cost.rows:>7,} row{'s' if cost.rows != 1 else ' '} " + " ".join(f"{w:>10}" for w in words)  # fmt: skip
    yield ""
    width = max((len(s.stage) for s in found.stages), default=0)
    total = sum(s.ns_a_row * s.rows for s in found.stages) or 1.0
    yield f"{'stage':{width}} {'rows':>12} {'ns a row':>10} {'share':>7}"
    for stage in found.stages:
        share = 100 * stage.ns_a_row * stage.rows / total
        yield f"{stage.stage:{width}} {stage.rows:>12,} {stage.ns_a_row:>10.1f} {share:>5.0f} %"
    yield ""
    yield from promises(found, program)


def promises(found: Calibration, program: p.Program) -> Iterator[str]:
    """What can be promised of each sink here, as lines."""
    yield f"up to {count(found.rows_a_s)} rows/s on one core, reading and writing apart ({found.made[:10]})"
    pushes = sum(c.pushes for c in found.pushes if c.rows <= SMALL)
    for node in program.nodes:
        if isinstance(node, p.SinkSpec):
            promised = found.promise_s(node.floor_ns)
            told = (
                "a wait has no bound"
                if promised is None
                else f"{seconds(promised)} was enough for each of {pushes:,} pushes"
            )
            yield f"sink {node.name}: {told}"


def _time(us: float) -> str:
    return seconds(us * 1e-6)
