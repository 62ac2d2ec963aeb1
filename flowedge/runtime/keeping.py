"""What a checkpoint says of the sources of a run, and when they hear that what they gave is safe."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from flowedge.runtime.checkpoint import KEPT, Saved, seen
from flowedge.runtime.feeds import Feeds
from flowedge.runtime.places import Places
from flowedge.sources.contract import Position


def states_of(feeds: Feeds) -> dict[str, dict[str, Any]]:
    """Where all sources are, as plain data."""
    return {
        name: {
            "position": None if f.position is None else [f.position.file, f.position.row],
            "pushed": f.pushed, "done": f.done, "newest": f.newest, "altered": f.altered,
            "places": f.places.state(), "live": f.live.state() if f.live is not None and f.listens else f.kept,
        }
        for name, f in feeds.by_name.items()
    }  # fmt: skip


def go_on(saved: Saved, feeds: Feeds) -> None:
    """Put all sources where a checkpoint was made; one that it does not know begins afresh."""
    for name, feed in feeds.by_name.items():
        kept = saved.sources.get(name)
        if kept is None:
            continue
        feed.position = None if kept["position"] is None else Position(*kept["position"])
        feed.pushed, feed.done, feed.newest = kept["pushed"], kept["done"], kept["newest"]
        feed.altered = kept.get("altered", {})
        feed.places = Places.restore(kept["places"])
        feed.kept = kept.get("live")
        before = saved.report["sources"][name]
        feed.report.rows_in = before["rows_in"]
        feed.report.bytes_in = before.get("bytes_in", 0)
        feed.report.rows_unreadable = before["rows_unreadable"]
        feed.report.quarantine = before["quarantine"]


def inputs_of(feeds: Feeds) -> dict[str, list[list[Any]]]:
    """What the files of all sources look like."""
    return {name: seen(feed.source.paths()) for name, feed in feeds.by_name.items()}


def acknowledge(feeds: Feeds, positions: Mapping[str, Position | None]) -> None:
    """Tell the sources what no checkpoint that is kept asks for again."""
    for name, position in positions.items():
        if position is not None:
            feeds.by_name[name].source.acknowledge(position)


@dataclass
class Covered:
    """What the checkpoints that are kept hold of each source; it hears of it when the oldest of them has it."""

    _positions: list[dict[str, Position | None]] = field(default_factory=list)
    _states: list[dict[str, Any]] = field(default_factory=list)

    def add(self, feeds: Feeds, states: Mapping[str, Mapping[str, Any]]) -> None:
        """A checkpoint with these `states_of` is on the disk."""
        self._positions.append({name: feed.position for name, feed in feeds.by_name.items()})
        self._states.append({name: one["live"] for name, one in states.items()})
        del self._positions[:-KEPT], self._states[:-KEPT]
        if len(self._positions) < KEPT:
            return
        acknowledge(feeds, self._positions[0])
        for feed in feeds.live:
            if feed.live is not None and feed.listens:
                feed.live.covered(self._states[0][feed.name])
