"""One pipeline at work in a run: the one that it began with, or one that took over while the run went on."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgpack

from flowedge.compile import program as p
from flowedge.runtime.checkpoint import Saved
from flowedge.runtime.feeds import Feeds, declared_schema
from flowedge.runtime.live import Live
from flowedge.runtime.models import Models
from flowedge.runtime.plan import Plan
from flowedge.runtime.swap import Swaps

if TYPE_CHECKING:
    from flowedge.session.session import Session


@dataclass
class Life:
    """All that belongs to one pipeline of a run, and ends with it.

    Attributes
    ----------
    swaps : models that were swapped, where there are models and a state
    saved : the checkpoint that its session was made of; None for the first life of a run, which looks for one
    live : the live sources, once they are begun; before that those of the life before
    kept : names of the live sources that it took over from the life before
    is_up : its loop has begun
    """

    plan: Plan
    feeds: Feeds
    models: Models
    session: "Session"
    swaps: Swaps | None = None
    saved: Saved | None = None
    live: Live | None = None
    kept: list[str] = field(default_factory=list)
    is_up: bool = False

    def take_sources(self, before: "Life") -> None:
        """Take the live sources over that are the same in both pipelines: their connections stay, what waits in them waits on."""
        for name, feed in self.feeds.by_name.items():
            old = before.feeds.by_name.get(name)
            if old is None or old.done or not old.listens or _wiring(self.plan.program, name) != _wiring(before.plan.program, name):  # fmt: skip
                continue
            feed.source, feed.listens = old.source, True
            del before.feeds.by_name[name]
            self.kept.append(name)
        self.live = before.live

    def close(self) -> None:
        """End the threads of sources, and the processes of models."""
        self.feeds.close()
        self.models.close()


def _wiring(program: p.Program, name: str) -> list[Any]:
    """All that the connector of a source is made with."""
    asked = next(list(one) for one in program.connectors if one[0] == name)
    spec = next(n for n in program.nodes if isinstance(n, p.SourceSpec) and n.name == name)
    return [msgpack.packb(asked), declared_schema(spec), tuple(spec.fitting)]
