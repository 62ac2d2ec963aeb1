"""``--max-memory``: what a run may hold, and what it does when that is too little.

A run over the bound first waits until its sinks have written what is theirs; a live one then lets
rows go that wait for peers less important than others. Recordings cannot be shed. If that was not
enough it makes a checkpoint and stops: the same command with a larger bound goes on.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from flowedge.compile import program as p
from flowedge.lang.errors import RunError
from flowedge.runtime.feeds import Feeds
from flowedge.runtime.outlets import Outlets
from flowedge.runtime.threads import MOST_BYTES
from flowedge.types.sizes import shown_bytes

if TYPE_CHECKING:
    from flowedge.session.session import Session

_PUSHES = 16
_BYTES = 32 << 20
"""After so many pushes, or bytes of them, the memory is looked at: tens of microseconds each time."""


class MemoryExceededError(RunError):
    """The run would hold more than it may; with a checkpoint it can go on."""


@dataclass
class Memory:
    """Watches what a run holds.

    Parameters
    ----------
    limit : bytes that may be held; None: any number

    Attributes
    ----------
    peak : the most bytes held so far, by node, and those of texts, sources and sinks
    peak_total : the most at one time
    """

    limit: int | None = None
    peak: dict[str, int] = field(default_factory=dict)
    peak_total: int = 0
    _pushes: int = 0
    _bytes: int = 0

    @property
    def queue_bytes(self) -> int:
        """What may wait between two threads."""
        return MOST_BYTES if self.limit is None else max(1, min(MOST_BYTES, self.limit // 4))

    def is_due(self, pushed_bytes: int) -> bool:
        """Count a push; whether it is time to look."""
        self._pushes += 1
        self._bytes += pushed_bytes
        least = _BYTES if self.limit is None else min(_BYTES, max(1, self.limit // 16))
        if self._pushes < _PUSHES and self._bytes < least:
            return False
        self._pushes = self._bytes = 0
        return True

    def held(self, session: "Session", feeds: Feeds, outlets: Outlets) -> dict[str, int]:
        """Bytes held now: by node, and of texts, sources and sinks."""
        out = session.nbytes_by_node()
        out["texts"] = session.texts_nbytes
        for name, feed in feeds.by_name.items():
            out[name] = out.get(name, 0) + feed.nbytes
        for name, size in outlets.nbytes_by_name().items():
            out[name] = out.get(name, 0) + size
        for name, size in out.items():
            self.peak[name] = max(self.peak.get(name, 0), size)
        self.peak_total = max(self.peak_total, sum(out.values()))
        return out

    def look(
        self,
        session: "Session",
        feeds: Feeds,
        outlets: Outlets,
        save: Callable[[], object] | None,
        state: str,
        *,
        may_shed: bool = False,
    ) -> None:
        """Keep what is held within the bound.

        Parameters
        ----------
        may_shed : rows that wait for less important peers may go
        save : makes a checkpoint; None: there are none
        state : the directory of the state

        Raises
        ------
        MemoryExceededError : more is held, and cannot be given back
        """
        found = self.held(session, feeds, outlets)
        if self.limit is None or sum(found.values()) <= self.limit:
            return

        def make_room() -> None:
            outlets.make_room(sum(found.values()) - (self.limit or 0))

        for step in (outlets.drain, make_room if may_shed else None, save):
            if step is None:
                continue
            step()
            found = self.held(session, feeds, outlets)
            if sum(found.values()) <= self.limit:
                return
        most = max(found, key=lambda name: found[name])
        then = (
            f"; the state is in `{state}`, and the same command with a larger bound goes on"
            if save is not None
            else "; with --checkpoint a run could go on from here"
        )
        raise MemoryExceededError(
            f"the run holds {shown_bytes(sum(found.values()))} of memory, --max-memory allows {shown_bytes(self.limit)}; "
            f"most of it, {shown_bytes(found[most])}, is in `{most}`: {_cure(session, most)}, or allow more{then}"
        )


def _cure(session: "Session", label: str) -> str:
    """What bounds the memory of a node."""
    for node in session.nodes.values():
        spec = node.spec
        if label not in (spec.label, spec.name):
            continue
        if isinstance(spec, p.SourceSpec):
            waits = sum(part.nbytes for part in session.sources[spec.name].partitions.values())
            if spec.table < 0 or 2 * waits > node.nbytes + session.tables[spec.table].nbytes:
                return (
                    "say a smaller `late`"
                    if not spec.sort_first
                    else "say `late D` for `order time`"
                )
            if spec.expire_ns >= 0:
                return "let its keys expire sooner, or bound them with `max keys N`"
            return "bound its keys with `max keys N` or `expire key after D`"
        if isinstance(spec, p.SinkSpec):
            return "let it write smaller blocks or files (`roll`)"
        if len(spec.inputs) > 1 and node.held():
            return "let the streams that meet here be equally far, or end"
        if spec.table >= 0:
            return "bound its keys with `max keys N` or `expire key after D`, or what it keeps with `up to D`"
        return "bound what it keeps with `up to D`, or shorten it"
    return "take numbers for texts" if label == "texts" else "write to it more often"
