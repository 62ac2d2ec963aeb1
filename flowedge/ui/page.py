"""The live page of a run in the terminal: sources, streams and sinks, as they stand."""

import datetime as dt
import time
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from flowedge.runtime.report import Report
from flowedge.ui.progress import milliseconds, progress


class Page:
    """A full screen that shows the report of a run, a few times a second.

    Parameters
    ----------
    title : what runs
    console : where to; standard error by default
    """

    def __init__(self, title: str, console: Console | None = None) -> None:
        self._title = title
        self._start = self._before = time.monotonic()
        self._rows: dict[str, int] = {}
        self._live = Live(
            Text("starting …"),
            console=console or Console(stderr=True),
            screen=True,
            auto_refresh=False,
        )
        self._live.start()

    def update(self, report: Report) -> None:
        """Draw the page anew."""
        now = time.monotonic()
        self._live.update(self.page(report, now), refresh=True)
        self._before = now

    def close(self) -> None:
        """Give the screen back."""
        self._live.stop()

    def page(self, report: Report, now: float) -> Group:
        """The page as it stands."""
        return Group(
            Text(self._title, style="bold"),
            Text(progress(report, now - self._start)),
            self._sources(report, now),
            self._streams(report),
            self._sinks(report, now),
            Text("Ctrl-C stops after the batch at hand", style="dim"),
        )

    def _rate(self, name: str, rows: int, now: float) -> str:
        """Rows per second since the page was drawn last."""
        since = now - self._before
        rate = (rows - self._rows.get(name, 0)) / since if since > 0 else 0.0
        self._rows[name] = rows
        return f"{rate:,.0f}"

    def _sources(self, report: Report, now: float) -> Table:
        table = _table("source", "rows", "rows/s", "event time", "late", "duplicate", "rejected")
        for name, s in report.sources.items():
            table.add_row(
                name, f"{s.rows_in:,}", self._rate(f"source {name}", s.rows_in, now), _instant(s.watermark_ns),
                *(f"{n:,}" for n in (s.rows_late, s.rows_duplicate, s.rows_bad)),
            )  # fmt: skip
        return table

    def _streams(self, report: Report) -> Table:
        table = _table("stream", "in", "out", "filtered", "incomplete", "held")
        for name, counts in report.streams.items():
            if name not in report.sources and name not in report.sinks:
                table.add_row(
                    name,
                    *(
                        f"{counts.get(k, 0):,}"
                        for k in ("rows_in", "rows_out", "filtered", "incomplete", "held")
                    ),
                )
        return table

    def _sinks(self, report: Report, now: float) -> Table:
        table = _table("sink", "rows", "rows/s", "latency p50", "p99", "p99.9", "max")
        for name, s in report.sinks.items():
            latency = [
                milliseconds(s.latency[k]) if s.latency else ""
                for k in ("p50_ms", "p99_ms", "p99_9_ms", "max_ms")
            ]
            table.add_row(name, f"{s.rows:,}", self._rate(f"sink {name}", s.rows, now), *latency)
        return table


def _table(first: str, *others: str) -> Table:
    table: Any = Table(expand=True, box=None, header_style="bold", pad_edge=False)
    table.add_column(first, ratio=2, no_wrap=True)
    for name in others:
        fixed = len("2026-01-01 00:00:00.000") if name == "event time" else None
        table.add_column(
            name, justify="right", ratio=None if fixed else 1, width=fixed, no_wrap=True
        )
    return table


def _instant(ns: int | None) -> str:
    """An event time to the millisecond; nothing before the first row and behind the last."""
    if ns is None or not -(2**62) < ns < 2**62:
        return ""
    when = dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + dt.timedelta(microseconds=ns // 1000)
    return when.strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
