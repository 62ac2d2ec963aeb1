"""What a run has to tell: counts by source, stream and sink, as JSON and as a summary."""

import json
import resource
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass
class SourceReport:
    """One source: every row that was read is in `rows_in`, and may have met one of the fates below.

    Attributes
    ----------
    bytes_in : of these rows, as they lie in memory
    rows_bad : could not be used: unreadable, without a time, a key too many
    rows_unreadable : those of them that the connector could not read
    quarantine : the file that holds the bad rows, empty if there is none
    watermark_ns : how far the source has come in event time; None before its first row
    values : by column, where ``valid`` speaks of it: rows rejected, values nulled, values clamped
    notes : remarks that cost no row: samples beside their instant, gaps met, rows put into gaps
    clocks : of a live source whose rows bring their times: how many devices there are, and those whose clocks are furthest off
        (see `flowedge.runtime.skew.ClockWatch.told`)
    live : what a live source counts besides: connections, outages, messages that came again, what was lost and why
    """

    connector: str
    address: str
    rows_in: int = 0
    bytes_in: int = 0
    rows_late: int = 0
    rows_duplicate: int = 0
    rows_bad: int = 0
    rows_unreadable: int = 0
    quarantine: str = ""
    watermark_ns: int | None = None
    notes: dict[str, int] = field(default_factory=dict)
    values: dict[str, dict[str, int]] = field(default_factory=dict)
    live: dict[str, int] = field(default_factory=dict)
    clocks: dict[str, Any] = field(default_factory=dict)


@dataclass
class SinkReport:
    """One sink: rows that came to it, bytes written, and the files that are complete.

    Attributes
    ----------
    latency : p50_ms, p99_ms, p99_9_ms, max_ms: from the receipt of the first source row that a row
        is made of to its hand-over to the sink; a row of a window waits for the window to close. Of a peer: until the row
        is safe there
    late : rows that were handed over behind their deadline, and bear a mark
    dropped : rows that were not handed over, for it was too late
    shed : rows that the peer never got, for it took too few, and others are more important
    bytes_taken : of the rows that came to it, as they lie in memory
    peer : of a sink whose rows go to one, how that went; None for all others
    """

    connector: str
    address: str
    rows: int = 0
    bytes: int = 0
    files: list[str] = field(default_factory=list)
    latency: dict[str, float] = field(default_factory=dict)
    late: int = 0
    dropped: int = 0
    shed: int = 0
    bytes_taken: int = 0
    peer: "PeerReport | None" = None


@dataclass
class PeerReport:
    """How rows came to a peer that may be away.

    Attributes
    ----------
    guarantee : what holds with checkpoints
    delivered : rows that it has said to be safe, in this run
    waiting : rows that are made, and not known to be there
    attempts : times that it was tried to connect
    outages : times that it was gone, or could not be reached at the beginning
    lost : rows that were sent once and may not have come, where it is ``at most once``
    away : why it cannot be reached now; empty while it can
    """

    guarantee: str
    delivered: int = 0
    waiting: int = 0
    attempts: int = 0
    outages: int = 0
    lost: int = 0
    away: str = ""


@dataclass
class Report:
    """The whole run. Times in seconds, memory in MiB.

    Attributes
    ----------
    streams : the ledger: of each stage, rows in and out, and what became of those in
    models : of each stage that asks a model, by its stream and stage: frames, how many of them were not shown to
        it, failed, came late (missed) or were not asked about after many failures (rested), why, what then became
        of them, how often the breaker opened, and how far a shadow agrees
    version : of this layout
    is_complete : the sources came to their end; otherwise the counts are those of a run cut short
    hints : sinks that no row reached, and where the rows went
    checkpoints, checkpoint_s : how many were made, and how long all of them took
    resumed_from : the checkpoint that the run went on from (0: none)
    state_bytes, state_bytes_by_node : the most that was held at a time, and the most of each stage, of
        texts, of sources read ahead and of sinks
    """

    version: int = 1
    sources: dict[str, SourceReport] = field(default_factory=dict)
    sinks: dict[str, SinkReport] = field(default_factory=dict)
    streams: dict[str, dict[str, int]] = field(default_factory=dict)
    models: dict[str, dict[str, Any]] = field(default_factory=dict)
    is_complete: bool = False
    hints: list[str] = field(default_factory=list)
    checkpoints: int = 0
    checkpoint_s: float = 0.0
    resumed_from: int = 0
    wall_s: float = 0.0
    compile_s: float = 0.0
    plan_from_cache: bool = False
    peak_memory_mb: float = 0.0
    state_bytes: int = 0
    state_bytes_by_node: dict[str, int] = field(default_factory=dict)
    kernel_cache: dict[str, Any] = field(default_factory=dict)

    def finish(self) -> None:
        """Take the figures that are known only at the end."""
        from flowedge.cache import default_cache  # noqa: PLC0415

        self.count_losses()
        self.peak_memory_mb = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)
        s = default_cache().statistics
        self.kernel_cache = {"hits": s.hits, "misses": s.misses, "compile_s": round(s.compile_s, 3)}

    def count_losses(self) -> None:
        """Take what became of the rows of each source out of the ledger."""
        for name, source in self.sources.items():
            counts = self.streams.get(name, {})
            source.rows_late = counts.get("late", 0)
            source.rows_duplicate = counts.get("duplicate", 0)
            source.rows_bad = counts.get("rejected", 0) + source.rows_unreadable
            source.notes = {
                k: counts[k]
                for k in ("jitter", "gaps", "filled", "leaps", "too_many_keys")
                if counts.get(k)
            }
            for word in ("nulled", "clamped"):
                if total := sum(v[word] for v in source.values.values()):
                    source.notes[word] = total

    @property
    def rows_in(self) -> int:
        """Rows read from all sources."""
        return sum(s.rows_in for s in self.sources.values())

    def as_json(self) -> str:
        """The report as JSON text."""
        return json.dumps(asdict(self), indent=2, default=_plain, ensure_ascii=False) + "\n"


def _plain(value: Any) -> Any:  # noqa: ANN401
    if hasattr(value, "item"):
        return value.item()
    if hasattr(value, "__dataclass_fields__"):
        return asdict(value)
    return str(value)
