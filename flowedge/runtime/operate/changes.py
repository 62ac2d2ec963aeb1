"""What has changed from one status of a run to the next, as events; an outage between two looks is told by its count."""

from dataclasses import dataclass, field

from flowedge.runtime.clock import Clock
from flowedge.runtime.operate.events import say
from flowedge.runtime.operate.status import Checkpoints, Status

_CHECKPOINT_EVERY_NS = 10**9
_SHED_EVERY_NS = 60 * 10**9
_MUCH, _LESS = 0.9, 0.8
"""Shares of the memory that may be held: above the first it is told, and told again once it was below the second."""


@dataclass
class Changes:
    """Compares statuses.

    Attributes
    ----------
    away : since when peers have been away, by ("source" or "sink", name) [ns of the clock]; a new dict at each change
    """

    clock: Clock
    away: dict[tuple[str, str], int] = field(default_factory=dict)
    _outages: dict[str, int] = field(default_factory=dict)
    _open: set[str] = field(default_factory=set)
    _told_checkpoint: int = -(1 << 62)
    _untold: int = 0
    _told_shed: int = -(1 << 62)
    _shed: int = 0
    _is_much: bool = False

    def look(self, status: Status) -> None:
        """Tell what has changed since the last look."""
        self._sources(status)
        self._peers(status)
        self._breakers(status)
        self._load(status)

    def saved(self, told: Checkpoints) -> None:
        """A checkpoint was made; so many as a source or a peer may ask for are told together."""
        self._untold += 1
        now = self.clock.ns()
        if now - self._told_checkpoint >= _CHECKPOINT_EVERY_NS:
            self._told_checkpoint = now
            say("checkpoint", epoch=told.epoch, took_s=round(told.last_s, 4), made=self._untold)
            self._untold = 0

    def _sources(self, status: Status) -> None:
        for name, one in status.sources.items():
            place = ("source", name)
            if one.away and place not in self.away:
                self._goes(place)
                say("source_lost", source=name, why=one.away)
            elif not one.away and place in self.away:
                say("source_back", source=name, after_s=self._comes(place))

    def _peers(self, status: Status) -> None:
        for name, one in status.sinks.items():
            peer, place = one.peer, ("sink", name)
            if peer is None:
                continue
            known = self._outages.setdefault(name, 0)
            self._outages[name] = peer.outages
            if place in self.away and not peer.away:
                say("peer_back", sink=name, after_s=self._comes(place), outages=peer.outages)
            elif place not in self.away and peer.away:
                self._goes(place)
                say("peer_away", sink=name, why=peer.away, waiting=peer.waiting)
            elif place not in self.away and peer.outages > known:  # between two looks
                say("peer_away", sink=name, why="for a moment", waiting=peer.waiting)
                say("peer_back", sink=name, after_s=0.0, outages=peer.outages)

    def _goes(self, place: tuple[str, str]) -> None:
        self.away = {**self.away, place: self.clock.ns()}

    def _comes(self, place: tuple[str, str]) -> float:
        since = self.away[place]
        self.away = {p: when for p, when in self.away.items() if p != place}
        return round((self.clock.ns() - since) * 1e-9, 3)

    def _breakers(self, status: Status) -> None:
        for stage, told in status.models.items():
            is_open = bool(told["breaker"]["is_open"])
            if is_open and stage not in self._open:
                self._open.add(stage)
                say("breaker_open", stage=stage, model=told["model"])
            elif not is_open and stage in self._open:
                self._open.remove(stage)
                say("breaker_closed", stage=stage, model=told["model"])

    def _load(self, status: Status) -> None:
        shed = sum(counts.get("shed", 0) for counts in status.nodes.values())
        shed += sum(one.shed for one in status.sinks.values())
        now = self.clock.ns()
        if shed > self._shed and now - self._told_shed >= _SHED_EVERY_NS:
            say("shedding", rows=shed - self._shed)
            self._shed, self._told_shed = shed, now
        if status.limit_bytes:
            held = sum(status.state_bytes.values())
            share = held / status.limit_bytes
            if share > _MUCH and not self._is_much:
                say("memory", held=held, limit=status.limit_bytes)
            self._is_much = share > (_LESS if self._is_much else _MUCH)
