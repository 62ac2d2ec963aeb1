"""The page of ``flowedge top``: what a run tells of itself, with what has changed since the last look."""

import contextlib
import datetime as dt
import http.client
import json
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from flowedge.lang.errors import RunError
from flowedge.runtime.latency import Latencies
from flowedge.runtime.operate.server import address_of
from flowedge.runtime.operate.status import FATES
from flowedge.runtime.operate.whereabouts import runs
from flowedge.ui.progress import bytes_shown, milliseconds

_TIMEOUT_S = 5.0
_LARGEST = 64 << 20
_LOST = tuple(fate for fate in FATES if fate not in ("used", "filtered"))


def find(wanted: str | None) -> str:
    """The address of a run: as it is given, or of the run with this process or name. Raises RunError."""
    if wanted is not None and ":" in wanted:
        if "://" in wanted:
            return wanted.rstrip("/")
        with contextlib.suppress(ValueError):
            host, port = address_of(wanted)
            return f"http://{f'[{host}]' if ':' in host else host}:{port}"
    there = runs()
    told = "".join(f"\n    {one.pid}  {one.name}  {one.url}" for one in there)
    have = f"; there are{told}" if there else "; no run serves `--metrics` here"
    found = [one for one in there if wanted in (None, str(one.pid), one.name, _short(one.name))]
    if not found:
        raise RunError(f"there is no run `{wanted}`{have}" if wanted else f"nothing runs{have}")
    if len(found) > 1:
        raise RunError(f"there are several; say which by its process{have}")
    return found[0].url


def _short(name: str) -> str:
    """The name of a pipeline without its folder and ending."""
    return name.rpartition("/")[2].removesuffix(".flow")


def ask(url: str) -> dict[str, Any]:
    """What a run tells of itself; raises RunError."""
    parts = urlsplit(url)
    if parts.scheme != "http" or not parts.hostname:
        raise RunError(f"`{url}` is no address of a run; give one such as `http://127.0.0.1:9464`")
    try:
        link = http.client.HTTPConnection(parts.hostname, parts.port or 9464, timeout=_TIMEOUT_S)
        with contextlib.closing(link):
            link.request("GET", f"{parts.path.rstrip('/')}/status")
            answer = link.getresponse()
            found = json.loads(answer.read(_LARGEST))
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise RunError(f"no run answers at `{url}`: {error}") from None
    if not isinstance(found, dict) or "phase" not in found:
        raise RunError(f"what answers at `{url}` is no run of FlowEdge")
    return found


class Page:
    """Draws what a run tells; from the second time on with what has changed since."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._before: dict[str, Any] = {}

    def drawn(self, told: dict[str, Any]) -> RenderableType:
        """The page; raises RunError where what is told cannot be understood."""
        try:
            page = self._drawn(told)
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise RunError(f"the run at `{self._url}` is of another version: {error!r}") from None
        self._before = told
        return page

    def lost(self, why: str) -> RenderableType:
        """The page of a run that does not answer."""
        self._before = {}
        return Text(why, style="red")

    def _drawn(self, told: dict[str, Any]) -> RenderableType:
        parts: list[RenderableType] = [self._head(told), self._sources(told), self._nodes(told), self._sinks(told)]  # fmt: skip
        if told["models"]:
            parts.append(self._models(told))
        return Group(*parts)

    def _rate(self, told: Mapping[str, Any], *path: str) -> str:
        """How much more of something there is a second; since the beginning of the run at the first look."""
        now, before = _at(told, path), _at(self._before, path)
        if self._before and told["pid"] == self._before["pid"]:
            span_s = (told["taken_ns"] - self._before["taken_ns"]) * 1e-9
            return f"{max(0, now - before) / span_s:,.0f}" if span_s > 0 else ""
        span_s = (told["taken_ns"] - told["started_ns"]) * 1e-9
        return f"{now / span_s:,.0f}" if span_s > 0 else ""

    def _head(self, told: Mapping[str, Any]) -> Text:
        up = dt.timedelta(seconds=round((told["taken_ns"] - told["started_ns"]) * 1e-9))
        state = bytes_shown(sum(told["state_bytes"].values()))
        words = [
            f"{told['name']}",
            f"process {told['pid']}",
            told["phase"],
            f"up {up}",
            f"state {state}",
        ]
        made = told["checkpoints"]
        if made is not None and made["count"]:
            age = time.time() - made["made_ns"] * 1e-9
            words.append(f"checkpoint {made['epoch']} {age:.0f} s ago, took {milliseconds(made['last_s'] * 1e3)}")  # fmt: skip
        if told["loop_age_s"] > 5:
            words.append(f"its loop has not come around for {told['loop_age_s']:.0f} s")
        return Text(" · ".join(words), style="bold")

    def _sources(self, told: Mapping[str, Any]) -> Table:
        table = _table("source", "rows", "rows/s", "MB", "lag", "late", "duplicate", "rejected", "")
        for name, one in told["sources"].items():
            counts = told["nodes"].get(name, {})
            lag = ""
            if one["is_live"] and not one["is_over"] and one["watermark_ns"] is not None:
                lag = milliseconds(max(0.0, time.time() * 1e3 - one["watermark_ns"] * 1e-6))
            notes = (one["away"] and f"away: {one['away']}") or ("ended" if one["is_over"] else "")  # fmt: skip
            _add(
                table,
                name, f"{one['rows']:,}", self._rate(told, "sources", name, "rows"), f"{one['bytes'] / 1e6:,.1f}", lag,
                *(f"{counts.get(fate, 0):,}" for fate in ("late", "duplicate", "rejected")), notes,
            )  # fmt: skip
        return table

    def _nodes(self, told: Mapping[str, Any]) -> Table:
        table = _table("node", "in", "in/s", "out", "held", "filtered", "lost", "state")
        names = set(told["sources"])
        for name, counts in told["nodes"].items():
            if name in names or name.startswith("sink "):
                continue
            lost = sum(counts[fate] for fate in _LOST)
            _add(
                table,
                name, f"{counts['rows_in']:,}", self._rate(told, "nodes", name, "rows_in"), f"{counts['rows_out']:,}",
                f"{counts['held']:,}", f"{counts['filtered']:,}", f"{lost:,}", bytes_shown(told["state_bytes"].get(name, 0)),
            )  # fmt: skip
        return table

    def _sinks(self, told: Mapping[str, Any]) -> Table:
        table = _table(
            "sink", "rows", "rows/s", "p50", "p99", "p99.9", "max", "late", "dropped", ""
        )
        for name, one in told["sinks"].items():
            took = self._latency(name, one["latency"])
            peer, notes = one["peer"], ""
            if peer is not None:
                notes = f"away: {peer['away']}" if peer["away"] else ""
                notes += (
                    f"{', ' if notes else ''}{peer['waiting']:,} wait" if peer["waiting"] else ""
                )
            _add(
                table,
                name, f"{one['rows']:,}", self._rate(told, "sinks", name, "rows"),
                *(milliseconds(took[key]) if took else "" for key in ("p50_ms", "p99_ms", "p99_9_ms", "max_ms")),
                f"{one['late']:,}", f"{one['dropped'] + one['shed']:,}", notes,
            )  # fmt: skip
        return table

    def _latency(self, name: str, told: Mapping[str, Any]) -> Mapping[str, float]:
        """Quantiles since the last look; of the whole run at the first one, and where no row has come since."""
        before = _at(self._before, ("sinks", name, "latency", "buckets")) or {}
        found = Latencies.of(told["buckets"], round(told.get("max_ms", 0.0) * 1e6), before)
        return found.as_dict() or {k: v for k, v in told.items() if k != "buckets"}

    def _models(self, told: Mapping[str, Any]) -> Table:
        table = _table("model", "frames", "frames/s", "failed", "late", "rested", "breaker")
        for stage, one in told["models"].items():
            _add(
                table,
                f"{one['model']} at {stage}", f"{one['frames']:,}", self._rate(told, "models", stage, "frames"),
                f"{one['failed']:,}", f"{one['missed']:,}", f"{one['rested']:,}", "open" if one["breaker"]["is_open"] else "",
            )  # fmt: skip
        return table


def _at(told: Mapping[str, Any], path: tuple[str, ...]) -> Any:  # noqa: ANN401
    """What lies at the end of a path; 0 where it ends before."""
    found: Any = told
    for name in path:
        found = found.get(name) if isinstance(found, Mapping) else None
        if found is None:
            return 0
    return found


def _add(table: Table, *cells: str) -> None:
    """A row whose texts mean nothing but themselves, brackets and all."""
    table.add_row(*map(Text, cells))


def _table(first: str, *others: str) -> Table:
    table = Table(expand=False, box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(first, no_wrap=True, max_width=48)
    for name in others:
        table.add_column(name, justify="right" if name else "left", no_wrap=bool(name))
    return table
