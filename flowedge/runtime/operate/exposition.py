"""What a run is like, as metrics of Prometheus.

Latencies are a classic histogram, as the field does it: buckets of several machines add up, and a query chooses the span of time. Their bounds
are counted out of the HdrHistogram of the run, to one part in sixty-four. Beside it stand the quantiles of the whole run, exact to as much.
"""

import threading
import time
from collections.abc import Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    SummaryMetricFamily,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from flowedge.runtime.clock import SYSTEM, Clock
from flowedge.runtime.operate.monitor import Monitor
from flowedge.runtime.operate.status import FATES, NOTES, Status, lag_s

BOUNDS_S = (
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0,
)  # fmt: skip
"""Of the latency: from what rules on single rows take to what a window of half an hour waits for."""
_BOUNDS_NS = tuple(round(bound * 1e9) for bound in BOUNDS_S)
_KEPT_NS = 10**8
_OPEN = "application/openmetrics-text; version=1.0.0"
QUANTILES = (0.5, 0.9, 0.99, 0.999)

Samples = Iterator[tuple[tuple[str, ...], float]]


class RunCollector(Collector):
    """Makes metrics of the status that a run has published last."""

    def __init__(self, monitor: Monitor, clock: Clock = SYSTEM) -> None:
        self._monitor, self._clock = monitor, clock

    def collect(self) -> Iterator[Metric]:
        """All families, in order, of one status; between two of them the thread of the run may go on."""
        status = self._monitor.status
        for families in (self._run, self._sources, self._sinks, self._peers, self._nodes, self._models, self._state):  # fmt: skip
            for family in families(status):
                yield family
                time.sleep(
                    0
                )  # gives the interpreter up, which a run that wants it would else wait 5 ms for

    # ---- one group each

    def _run(self, status: Status) -> Iterator[Metric]:
        about = {"flow": status.name, "pipeline": status.pipeline, "version": status.version}
        yield InfoMetricFamily("flowedge_run", "What runs.", value=about)
        yield _gauge("flowedge_run_start_time_seconds", "When the run began, since 1970.", status.started_ns * 1e-9)  # fmt: skip
        yield _gauge("flowedge_run_loop_age_seconds", "Since the loop of the run came around last.", self._monitor.loop_age_s)  # fmt: skip
        yield _gauge("flowedge_run_status_age_seconds", "Age of what all other metrics tell.", (self._clock.wall_ns() - status.taken_ns) / 1e9)  # fmt: skip
        yield _gauge(
            "flowedge_run_ready", "1 while /ready says so.", self._monitor.readiness()["ok"]
        )
        yield _counters("flowedge_run_reloads", "Pipelines that SIGHUP has brought, by what became of them.", ("outcome",),
                        (((outcome,), n) for outcome, n in status.reloads.items()))  # fmt: skip

    def _sources(self, status: Status) -> Iterator[Metric]:
        sources = status.sources.items()
        who = ("source",)
        yield _counters("flowedge_source_rows", "Rows taken of a source.", ("source", "connector"), (((n, s.connector), s.rows) for n, s in sources))  # fmt: skip
        yield _counters("flowedge_source_bytes", "Bytes of these rows, as they lie in memory.", who, (((n,), s.bytes) for n, s in sources))  # fmt: skip
        yield _counters("flowedge_source_rows_unreadable", "Rows that the connector could not read.", who, (((n,), s.unreadable) for n, s in sources))  # fmt: skip
        yield _gauges("flowedge_source_watermark_seconds", "Event time that a source has reached, since 1970.", who,
                      (((n,), s.watermark_ns * 1e-9) for n, s in sources if s.watermark_ns is not None))  # fmt: skip
        yield _gauges("flowedge_source_lag_seconds", "Time of day less the watermark of a live source.", who,
                      (((n,), lag) for n, s in sources if (lag := lag_s(s, self._clock)) is not None))  # fmt: skip
        yield _gauges("flowedge_source_waiting_bytes", "Bytes that are read and wait for the run.", who, (((n,), s.waiting_bytes) for n, s in sources))  # fmt: skip
        yield _gauges("flowedge_source_up", "1 unless the peer of a live source cannot be reached.", who, (((n,), not s.away) for n, s in sources if s.is_live))  # fmt: skip
        yield _counters("flowedge_source_events", "What a live source counts besides: connections, outages, what was lost and why.",
                        ("source", "event"), (((n, what), k) for n, s in sources for what, k in s.told.items()))  # fmt: skip

    def _sinks(self, status: Status) -> Iterator[Metric]:
        sinks = status.sinks.items()
        who = ("sink",)
        yield _counters("flowedge_sink_rows", "Rows that came to a sink.", ("sink", "connector"), (((n, s.connector), s.rows) for n, s in sinks))  # fmt: skip
        yield _counters("flowedge_sink_bytes", "Bytes of these rows, as they lie in memory.", who, (((n,), s.bytes) for n, s in sinks))  # fmt: skip
        yield _counters("flowedge_sink_rows_late", "Rows handed over behind their deadline, with a mark.", who, (((n,), s.late) for n, s in sinks))  # fmt: skip
        yield _counters("flowedge_sink_rows_dropped", "Rows not handed over, for it was too late.", who, (((n,), s.dropped) for n, s in sinks))  # fmt: skip
        yield _counters("flowedge_sink_rows_shed", "Rows that a peer never got, for others are more important.", who, (((n,), s.shed) for n, s in sinks))  # fmt: skip
        latency = HistogramMetricFamily("flowedge_sink_latency_seconds", "From the receipt of the first source row that a row is made of to its hand-over.", labels=who)  # fmt: skip
        for name, sink in sinks:
            counts = (*sink.latency.within(_BOUNDS_NS), sink.latency.count)
            bounds = (*map(repr, BOUNDS_S), "+Inf")
            latency.add_metric(
                (name,), list(zip(bounds, counts, strict=True)), sink.latency.total_ns * 1e-9
            )
        yield latency
        yield _gauges("flowedge_sink_latency_quantile_seconds", "Quantiles of the same over the whole run; 1 is the longest.", ("sink", "quantile"),
                      (((n, f"{q:g}"), (s.latency.quantile(q) if q < 1 else s.latency.largest) / 1e9)
                       for n, s in sinks if s.latency.count for q in (*QUANTILES, 1.0)))  # fmt: skip

    def _peers(self, status: Status) -> Iterator[Metric]:
        peers = [(name, s.peer) for name, s in status.sinks.items() if s.peer is not None]
        who = ("sink",)
        yield _gauges(
            "flowedge_peer_up",
            "1 unless the peer of a sink cannot be reached.",
            who,
            (((n,), not p.away) for n, p in peers),
        )
        yield _gauges("flowedge_peer_away_seconds", "How long it has been away; 0 if it is not.", who, (((n,), self._monitor.away_s("sink", n)) for n, _ in peers))  # fmt: skip
        yield _gauges("flowedge_peer_waiting_rows", "Rows that are made, and not known to be there.", who, (((n,), p.waiting) for n, p in peers))  # fmt: skip
        yield _counters("flowedge_peer_rows_delivered", "Rows that a peer has said to be safe, in this run.", who, (((n,), p.delivered) for n, p in peers))  # fmt: skip
        yield _counters("flowedge_peer_rows_lost", "Rows that were sent once and may not have come.", who, (((n,), p.lost) for n, p in peers))  # fmt: skip
        yield _counters(
            "flowedge_peer_outages",
            "Times that a peer was gone.",
            who,
            (((n,), p.outages) for n, p in peers),
        )
        yield _counters("flowedge_peer_connect_attempts", "Times that it was tried to connect.", who, (((n,), p.attempts) for n, p in peers))  # fmt: skip

    def _nodes(self, status: Status) -> Iterator[Metric]:
        nodes = status.nodes.items()
        who = ("node",)
        yield _counters(
            "flowedge_node_rows_in",
            "Rows that came to a node.",
            who,
            (((n,), c["rows_in"]) for n, c in nodes),
        )
        yield _counters(
            "flowedge_node_rows_out",
            "Rows that it gave.",
            who,
            (((n,), c["rows_out"]) for n, c in nodes),
        )
        yield _counters("flowedge_node_rows_fate", "The ledger: what became of the rows that came to a node.", ("node", "fate"),
                        (((n, fate), c[fate]) for n, c in nodes for fate in FATES))  # fmt: skip
        yield _gauges(
            "flowedge_node_rows_held",
            "Rows that still wait inside.",
            who,
            (((n,), c["held"]) for n, c in nodes),
        )
        yield _counters("flowedge_node_notes", "Remarks that cost no row: gaps, samples beside their instant, values mended.", ("node", "note"),
                        (((n, note), c[note]) for n, c in nodes for note in NOTES if c.get(note)))  # fmt: skip

    def _models(self, status: Status) -> Iterator[Metric]:
        models = [((stage, told["model"]), told) for stage, told in status.models.items()]
        who = ("stage", "model")
        yield _counters(
            "flowedge_model_frames",
            "Frames for a model.",
            who,
            ((w, t["frames"]) for w, t in models),
        )
        yield _counters("flowedge_model_frames_unanswered", "Frames that it failed at, answered too late, or was not asked about after many failures.",
                        (*who, "reason"), (((*w, r), t[key]) for w, t in models for r, key in _REASONS.items()))  # fmt: skip
        yield _gauges("flowedge_model_breaker_open", "1 while a model that failed again and again is left alone.", who, ((w, t["breaker"]["is_open"]) for w, t in models))  # fmt: skip
        yield _counters("flowedge_model_breaker_openings", "Times that this began.", who, ((w, t["breaker"]["opened"]) for w, t in models))  # fmt: skip

    def _state(self, status: Status) -> Iterator[Metric]:
        yield _gauges("flowedge_state_bytes", "What is held now, by node, and of texts, sources and sinks.", ("node",),
                      (((n,), size) for n, size in status.state_bytes.items()))  # fmt: skip
        if status.limit_bytes is not None:
            yield _gauge("flowedge_state_limit_bytes", "What may be held: --max-memory.", status.limit_bytes)  # fmt: skip
        made = status.checkpoints
        if made is not None:
            yield SummaryMetricFamily("flowedge_checkpoint_duration_seconds", "How long checkpoints took.", made.count, made.total_s)  # fmt: skip
            yield _gauge("flowedge_checkpoint_last_duration_seconds", "How long the last one took.", made.last_s)  # fmt: skip
            yield _gauge("flowedge_checkpoint_epoch", "Its number.", made.epoch)
            since = made.made_ns or status.started_ns
            yield _gauge("flowedge_checkpoint_age_seconds", "Since the last one, or since the run began.", (self._clock.wall_ns() - since) / 1e9)  # fmt: skip


_REASONS = {"failed": "failed", "late": "missed", "rested": "rested"}


def _gauge(name: str, about: str, value: float) -> Metric:
    return GaugeMetricFamily(name, about, value=float(value))


def _gauges(name: str, about: str, labels: tuple[str, ...], samples: Samples) -> Metric:
    out = GaugeMetricFamily(name, about, labels=labels)
    for found, value in samples:
        out.add_metric(found, float(value))
    return out


def _counters(name: str, about: str, labels: tuple[str, ...], samples: Samples) -> Metric:
    out = CounterMetricFamily(name, about, labels=labels)
    for found, value in samples:
        out.add_metric(found, float(value))
    return out


class Exposition:
    """The metrics of a run and of its process, as text, which is made ten times a second at most, however often it is asked for."""

    def __init__(self, monitor: Monitor, clock: Clock = SYSTEM) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(RunCollector(monitor, clock))
        ProcessCollector(registry=self._registry)
        self._clock = clock
        self._lock = threading.Lock()  # of those who ask; the run does not take it
        self._made: dict[str, tuple[int, bytes]] = {}

    def text(self, accept: str = "") -> tuple[bytes, str]:
        """The metrics and their type, as a scraper says that it wants them."""
        # Of what a scraper says only the format counts: versions are his to make up, without end.
        encoder, kind = choose_encoder(_OPEN if _OPEN.partition(";")[0] in accept else "")
        with self._lock:
            when, text = self._made.get(kind, (0, b""))
            now = self._clock.ns()
            if not text or now - when >= _KEPT_NS:
                text = encoder(self._registry)
                self._made[kind] = now, text
        return text, kind
