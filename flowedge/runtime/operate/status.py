"""What a run is like at one moment, as plain data: taken by the run itself between two batches, read by whoever asks.

The run hands out a new one a few times a second and never changes one that it has handed out, so that readers on other
threads need no lock, meet no counter half-way, and see numbers that belong together.
"""

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from flowedge import __version__
from flowedge.runtime.clock import Clock
from flowedge.runtime.feeds import Feed, Feeds
from flowedge.runtime.latency import Latencies
from flowedge.runtime.outlets import Outlets
from flowedge.runtime.report import PeerReport, Report, SinkReport

if TYPE_CHECKING:
    from flowedge.session.session import Session

FATES = ("used", "filtered", "late", "duplicate", "rejected", "shed", "incomplete")
"""What becomes of rows for good; those that are `held` may still meet one of these."""
NOTES = ("jitter", "gaps", "filled", "leaps", "too_many_keys", "nulled", "clamped")
"""Remarks that cost no row."""


@dataclass(frozen=True, slots=True)
class SourceStatus:
    """One source.

    Attributes
    ----------
    rows, bytes : taken so far; bytes as they lie in memory
    unreadable : rows that the connector could not read
    watermark_ns : how far it has come in event time; None before its first row and behind its last
    is_live, is_over : its rows come by themselves; nothing will come any more
    waiting_bytes : read, and not taken by the run
    away : why its peer cannot be reached now; empty where it can, and where there is none
    told : what a live source counts besides
    """

    connector: str
    address: str
    rows: int
    bytes: int
    unreadable: int
    watermark_ns: int | None
    is_live: bool
    is_over: bool
    waiting_bytes: int
    away: str
    told: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class SinkStatus:
    """One sink.

    Attributes
    ----------
    rows, bytes : that came to it; bytes as they lie in memory
    late, dropped : rows behind their deadline that were handed over with a mark, and that were not
    shed : rows that the peer never got, for others are more important
    latency : from the receipt of the first source row that a row is made of to its hand-over
    peer : how rows come to a peer; None for files and the console
    """

    connector: str
    address: str
    rows: int
    bytes: int
    late: int
    dropped: int
    shed: int
    latency: Latencies
    peer: PeerReport | None


@dataclass(frozen=True, slots=True)
class Checkpoints:
    """The checkpoints of this run: how many, how long all of them and the last one took, its number and when it was made."""

    count: int = 0
    total_s: float = 0.0
    last_s: float = 0.0
    epoch: int = 0
    made_ns: int = 0


@dataclass(frozen=True, slots=True)
class Status:
    """A run at one moment. Times are of the day [ns since 1970, UTC], where nothing else is said.

    Attributes
    ----------
    phase : ``starting``, ``running``, ``finishing`` (all rows are read) or ``stopping``
    nodes : the ledger, by node
    models : by stage, see `flowedge.runtime.report.Report`
    state_bytes : what is held now, by node, and of texts, sources and sinks
    limit_bytes : the bound of ``--max-memory``; None: there is none
    reloads : by outcome
    """

    name: str
    pipeline: str = ""
    version: str = __version__
    pid: int = field(default_factory=os.getpid)
    phase: str = "starting"
    started_ns: int = 0
    taken_ns: int = 0
    sources: Mapping[str, SourceStatus] = field(default_factory=dict)
    sinks: Mapping[str, SinkStatus] = field(default_factory=dict)
    nodes: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    models: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    state_bytes: Mapping[str, int] = field(default_factory=dict)
    limit_bytes: int | None = None
    checkpoints: Checkpoints | None = None
    reloads: Mapping[str, int] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON; a histogram of latencies as its quantiles and its buckets that are not empty."""
        out = {
            name: getattr(self, name)
            for name in self.__slots__
            if name not in ("sources", "sinks", "checkpoints")
        }
        out["sources"] = {name: asdict(one) for name, one in self.sources.items()}
        out["sinks"] = {
            name: asdict(replace(one, latency=Latencies()))
            | {"latency": {**one.latency.as_dict(), "buckets": one.latency.places()}}
            for name, one in self.sinks.items()
        }
        out["checkpoints"] = None if self.checkpoints is None else asdict(self.checkpoints)
        return out


def parts_of(
    report: Report, session: "Session", feeds: Feeds, outlets: Outlets, held: Mapping[str, int]
) -> dict[str, Any]:
    """What a run that is under way is made of, for `Status`; to be called between two calls of the session."""
    return {
        "sources": {name: _source(feed, session) for name, feed in feeds.by_name.items()},
        "sinks": {
            name: _sink(told, outlets.latencies[name]) for name, told in report.sinks.items()
        },
        "nodes": report.streams,  # which is made anew each time
        "models": report.models,
        "state_bytes": dict(held),
    }


def _source(feed: Feed, session: "Session") -> SourceStatus:
    told, live = feed.report, feed.live
    listens = live is not None and feed.listens
    watermark = session.sources[feed.name].watermark
    return SourceStatus(
        told.connector, told.address, told.rows_in, told.bytes_in, told.rows_unreadable,
        watermark if -(2**62) < watermark < 2**62 else None, live is not None, feed.done, feed.nbytes,
        live.away if live is not None and listens and not feed.done else "", dict(live.told()) if live is not None and listens else {},
    )  # fmt: skip


def _sink(told: SinkReport, latency: Latencies) -> SinkStatus:
    peer = None if told.peer is None else replace(told.peer)
    return SinkStatus(
        told.connector, told.address, told.rows, told.bytes_taken, told.late, told.dropped, told.shed, latency.copy(), peer,
    )  # fmt: skip


def lag_s(source: SourceStatus, clock: Clock) -> float | None:
    """How far the watermark of a live source lies behind the time of day [s]; None where that says nothing."""
    if not source.is_live or source.is_over or source.watermark_ns is None:
        return None
    return (clock.wall_ns() - source.watermark_ns) / 1e9
