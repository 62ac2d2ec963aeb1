"""What became of the rows of a run, for its report."""

from dataclasses import asdict
from typing import TYPE_CHECKING

from flowedge.compile import program as p
from flowedge.runtime.feeds import Feeds

if TYPE_CHECKING:
    from flowedge.session.session import Session


def count_values(session: "Session", feeds: Feeds) -> None:
    """Tell in the report what became of the values that ``valid`` speaks of, by column, and what live sources count."""
    for name, feed in feeds.by_name.items():
        feed.note_live()
        node = session.sources.get(name)
        counts = {} if node is None or node.validity is None else node.validity.counts
        values = {column: asdict(one) for column, one in counts.items()}
        for raw, (nulled, clamped) in feed.altered.items():
            told = values.setdefault(raw, {"rejected": 0, "nulled": 0, "clamped": 0})
            told["nulled"] += nulled
            told["clamped"] += clamped
        feed.report.values = values


def where_rows_went(program: p.Program, session: "Session") -> list[str]:
    """For each sink that no row reached, the stage that let none through, and what became of them."""
    nodes = {n.id: n for n in program.nodes}
    out = []
    for sink in program.nodes:
        if not isinstance(sink, p.SinkSpec) or session.nodes[sink.id].counts.rows_in:
            continue
        at: p.NodeSpec = sink
        while at.inputs and not session.nodes[at.id].counts.rows_in:
            # Of several inputs the one that something came through.
            at = max(
                (nodes[i] for i in at.inputs), key=lambda n: session.nodes[n.id].counts.rows_in
            )
        counts = session.nodes[at.id].counts
        if not counts.rows_in:
            out.append(f"sink {sink.name}: no row reached it, the source gave none")
            continue
        lost = [f"{n:,} {fate}" for fate, n in counts.fates.items() if fate != "used"]
        stage = at.label or at.name
        out.append(
            f"sink {sink.name}: no row reached it; `{stage}` took {counts.rows_in:,} and gave none"
            + (f" ({', '.join(lost)})" if lost else "")
        )
    return out
