"""Progress on a terminal, and the summary at the end of a run."""

import contextlib
import shutil
import sys
import time
from typing import Any

import numpy as np

from flowedge.runtime.report import Report, SinkReport, SourceReport


class Bar:
    """One line that says how far a run is: rows, rows per second, how late they come, what was lost."""

    def __init__(self) -> None:
        self._start = time.monotonic()
        self._width = 0

    def update(self, report: Report) -> None:
        """Draw the line anew."""
        width = shutil.get_terminal_size().columns - 1
        line = progress(report, time.monotonic() - self._start)[:width]
        _say("\r" + line.ljust(min(self._width, width)))
        self._width = len(line)

    def close(self) -> None:
        """Take the line away."""
        _say("\r" + " " * self._width + "\r")


def _say(text: str) -> None:
    """Write to the terminal; one that is gone is no reason to stop."""
    with contextlib.suppress(OSError):
        sys.stderr.write(text)
        sys.stderr.flush()


def progress(report: Report, seconds: float) -> str:
    """How far a run is, in one line."""
    out = sum(s.rows for s in report.sinks.values())
    words = [
        f"{count(report.rows_in)} rows in", f"{count(out)} out",
        f"{count(report.rows_in / max(1e-9, seconds))} rows/s",
    ]  # fmt: skip
    slowest = max(
        (s.latency for s in report.sinks.values() if s.latency),
        key=lambda x: x["p99_ms"],
        default=None,
    )
    if slowest is not None:
        words.append(
            f"latency p50 {milliseconds(slowest['p50_ms'])}, p99 {milliseconds(slowest['p99_ms'])}"
        )
    words += [f"{count(n)} {fate}" for fate, n in losses(report).items() if n]
    words += [
        f"`{name}` is away ({s.peer.away}), {count(s.peer.waiting)} rows wait"
        for name, s in report.sinks.items()
        if s.peer is not None and s.peer.away
    ]
    return " · ".join(words)


def losses(report: Report) -> dict[str, int]:
    """Rows that were not used, by the reason."""
    sources = report.sources.values()
    return {
        "late": sum(s.rows_late for s in sources),
        "duplicate": sum(s.rows_duplicate for s in sources),
        "rejected": sum(s.rows_bad for s in sources),
        "incomplete": sum(s.get("incomplete", 0) for s in report.streams.values()),
    }


def milliseconds(value: float) -> str:
    """A duration for people: ``0.4 ms``, ``12 ms``, ``3.1 s``."""
    if value >= 1000:
        return f"{value / 1000:.3g} s"
    return f"{value:.2g} ms" if value < 10 else f"{value:.0f} ms"


def count(value: float) -> str:
    """A number for people: ``12.0 M``, ``3.4 k``, ``70``."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size * 9.995:
            return f"{value / size:.1f} {letter}"
    return f"{value:.0f}"


def summary(report: Report) -> str:
    """What happened, in a few lines: sources, losses with their reasons, sinks with their files."""
    lines = []
    for name, source in report.sources.items():
        lost = {
            "late": source.rows_late,
            "duplicate": source.rows_duplicate,
            "rejected": source.rows_bad,
        }
        words = [f"{n:,} {fate} ({_percent(n, source.rows_in)})" for fate, n in lost.items() if n]
        words += [NOTES[note].format(n) for note, n in source.notes.items()]
        words += [f"{n:,} {what.replace('_', ' ')}" for what, n in source.live.items()]
        lines.append(
            f"source {name}: {_rows(source.rows_in)} from {source.connector} {source.address}".rstrip()
            + (f": {', '.join(words)}" if words else "")
        )
        cures = CURES
        if source.quarantine:
            cures = CURES | {
                "rejected": f"look at them with `flowedge inspect {source.quarantine}`"
            }
        lines += _altered(source) + _clocks(source)
        lines += [
            f"  {fate}: {cures[fate]}" for fate, n in lost.items() if n * 100 > source.rows_in
        ]
    for name, sink in report.sinks.items():
        where = sink.files[0] if len(sink.files) == 1 else sink.address or sink.connector
        size = f", {bytes_shown(sink.bytes)}" if sink.bytes else ""
        many = f" in {len(sink.files):,} files" if len(sink.files) > 1 else ""
        late = ""
        if sink.latency:
            late = f", latency p50 {milliseconds(sink.latency['p50_ms'])}, p99 {milliseconds(sink.latency['p99_ms'])}"
        lines.append(f"sink {name}: {_rows(sink.rows)} to {where}{size}{many}{late}")
        lines += _behind_its_deadline(sink) + _peer(sink)
    lines += model_lines(report)
    lines += report.hints
    if report.resumed_from:
        lines.append(f"went on from checkpoint {report.resumed_from}")
    rate = report.rows_in / report.wall_s if report.wall_s else 0.0
    how = "plan from cache" if report.plan_from_cache else f"compiled in {report.compile_s:.1f} s"
    lines.append(
        f"{report.wall_s:.2f} s, {count(rate)} rows/s, {how}, peak memory {report.peak_memory_mb:.0f} MB, state "
        + bytes_shown(report.state_bytes)
    )
    return "\n".join(lines)


def model_lines(report: Report) -> list[str]:
    """Frames that a model gave no answer to, why, and what became of them; how far a shadow agrees."""
    lines = []
    for stage, told in report.models.items():
        frames = told["frames"]
        lost = {word: n for key, word in FATES.items() if (n := told[key])}
        if lost:
            words = ", ".join(f"{n:,} {word} ({_percent(n, frames)})" for word, n in lost.items())
            lines.append(f"model {told['model']} at `{stage}`: {frames:,} frames, {words}: else {told['policy']}")  # fmt: skip
            lines += [f"  {n:,}: {reason}" for reason, n in told["reasons"].items()]
        breaker = told["breaker"]
        if breaker["opened"]:
            when = f"{np.datetime64(breaker['first_ns'], 'ns')}"[:23]
            again = f" {breaker['opened']:,} times, first" if breaker["opened"] > 1 else ""
            lines.append(
                f"  the breaker opened{again} at {when}Z, after {breaker['after']} failures in a row"
                + ("; it is still open" if breaker["is_open"] else "")
            )
        lines += _shadow(told.get("shadow"))
    return lines


def _shadow(told: dict[str, Any] | None) -> list[str]:
    if told is None:
        return []
    words = []
    for name, one in told.items():
        if not isinstance(one, dict) or name == "reasons":
            continue
        if "agreement" in one:
            most = ", ".join(f"{pair} {n:,}" for pair, n in [*one["differ"].items()][:3])
            words.append(
                f"{100 * one['agreement']:.4g} % of `{name}` alike" + (f" ({most})" if most else "")
            )
        else:
            words.append(f"`{name}` apart by {one['mean_difference']:.3g} on average, {one['largest_difference']:.3g} at most")  # fmt: skip
    failed = f", {told['failed']:,} failed" if told["failed"] else ""
    return [f"shadow {told['model']}: {told['frames']:,} frames{failed}: {'; '.join(words) or 'nothing to compare'}"]  # fmt: skip


_OFF_S = 1.0
"""A clock that is off by more is worth a word; less may be the way that rows take."""


def _clocks(source: SourceReport) -> list[str]:
    """The device whose clock is furthest off, where that is far."""
    if not source.clocks or abs(source.clocks["worst"][0]["offset_s"]) < _OFF_S:
        return []
    worst = source.clocks["worst"][0]
    offset = worst["offset_s"]
    where = "behind" if offset > 0 else "ahead of"
    who = f" of {worst['key']}" if worst["key"] else ""
    drift = "" if worst["drift_ppm"] is None else f", and drifts by {worst['drift_ppm']:+.3g} ppm"
    return [
        f"  clocks: the one{who} is {abs(offset):.6g} s {where} the receipt{drift}; of {source.clocks['devices']:,} the furthest off"
    ]


def _behind_its_deadline(sink: SinkReport) -> list[str]:
    """What became of rows that came too late."""
    words = [
        f"{_rows(n)} {fate} ({_percent(n, sink.rows)})"
        for n, fate in (
            (sink.late, "late, and marked"),
            (sink.dropped, "too late, and left out"),
            (sink.shed, "shed, for it took too few"),
        )
        if n
    ]
    return [f"  deadline: {', '.join(words)}"] if words else []


def _peer(sink: SinkReport) -> list[str]:
    """How often a peer was away, and what that cost; nothing where all went well."""
    peer = sink.peer
    if peer is None or not (peer.outages or peer.lost or peer.waiting):
        return []
    words = []
    if peer.outages:
        times = "once" if peer.outages == 1 else f"{peer.outages:,} times"
        words.append(f"was away {times}, tried {peer.attempts:,} times")
    if peer.lost:
        words.append(f"{_rows(peer.lost)} may be lost")
    if peer.waiting:
        words.append(f"{_rows(peer.waiting)} not delivered" + (f": {peer.away}" if peer.away else ""))  # fmt: skip
    return [f"  {sink.connector}: {', '.join(words)}"]


FATES = {
    "failed": "failed",
    "missed": "late",
    "rested": "not asked after many failures",
}
"""What is told of frames without an answer."""


def _altered(source: SourceReport) -> list[str]:
    """Columns of which more than one value in a hundred was not valid."""
    return [
        f"  {column}: {n:,} values ({_percent(n, source.rows_in)}) were not valid; look at the sensor, or "
        "widen the range behind `valid`"
        for column, v in source.values.items()
        if (n := v["rejected"] + v["nulled"] + v["clamped"]) * 100 > source.rows_in
    ]


NOTES = {
    "jitter": "{:,} beside their instant",
    "gaps": "{:,} gaps",
    "filled": "{:,} rows put into gaps",
    "too_many_keys": "{:,} of keys beyond `max keys` (allow more, or let silent ones go with `expire key after D`)",
    "nulled": "{:,} values not valid, now missing",
    "clamped": "{:,} values not valid, clamped",
    "leaps": "{:,} leaps of more than a year in time (a clock that was set, or another format of time?)",
}

CURES = {
    "late": "wait longer with `late D`, or put a recording in order with `order time`",
    "duplicate": "say which of equal times counts with `duplicates keep|first|last`",
    "rejected": 'look at them with `on error quarantine "bad.msgpack"` and `flowedge inspect`',
}
"""What to do where more than one row in a hundred was lost."""


def _rows(count: int) -> str:
    return f"{count:,} row{'s' * (count != 1)}"


def _percent(part: int, whole: int) -> str:
    share = 100 * part / whole if whole else 0.0
    return f"{share:.0f} %" if share >= 10 else f"{share:.2g} %"


def bytes_shown(count: int) -> str:
    """A size for people."""
    for size, word in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if count >= size:
            return f"{count / size:.1f} {word}"
    return f"{count} B"
