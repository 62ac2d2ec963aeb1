"""Progress on a terminal, and the summary at the end of a run."""

import sys
import time

from flowedge.runtime.report import Report


class Bar:
    """One line that says how far a run is: rows, rows per second."""

    def __init__(self) -> None:
        self._start = self._shown = time.monotonic()
        self._width = 0

    def update(self, report: Report) -> None:
        """Draw the line anew, five times a second at most."""
        now = time.monotonic()
        if now - self._shown < 0.2:
            return
        self._shown = now
        rows = report.rows_in
        out = sum(s.rows for s in report.sinks.values())
        line = f"{_count(rows)} rows in · {_count(out)} out · {_count(rows / max(1e-9, now - self._start))} rows/s"
        sys.stderr.write("\r" + line.ljust(self._width))
        sys.stderr.flush()
        self._width = len(line)

    def close(self) -> None:
        """Take the line away."""
        sys.stderr.write("\r" + " " * self._width + "\r")
        sys.stderr.flush()


def _count(value: float) -> str:
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
        lines.append(
            f"source {name}: {_rows(source.rows_in)} from {source.connector} {source.address}".rstrip()
            + (f": {', '.join(words)}" if words else "")
        )
        cures = CURES
        if source.quarantine:
            cures = CURES | {
                "rejected": f"look at them with `flowedge inspect {source.quarantine}`"
            }
        lines += [
            f"  {fate}: {cures[fate]}" for fate, n in lost.items() if n * 100 > source.rows_in
        ]
    for name, sink in report.sinks.items():
        where = sink.files[0] if len(sink.files) == 1 else sink.address or sink.connector
        size = f", {_bytes(sink.bytes)}" if sink.bytes else ""
        many = f" in {len(sink.files):,} files" if len(sink.files) > 1 else ""
        lines.append(f"sink {name}: {_rows(sink.rows)} to {where}{size}{many}")
    rate = report.rows_in / report.wall_s if report.wall_s else 0.0
    how = "plan from cache" if report.plan_from_cache else f"compiled in {report.compile_s:.1f} s"
    lines.append(
        f"{report.wall_s:.2f} s, {_count(rate)} rows/s, {how}, peak memory {report.peak_memory_mb:.0f} MB"
    )
    return "\n".join(lines)


NOTES = {
    "jitter": "{:,} beside their instant",
    "gaps": "{:,} gaps",
    "filled": "{:,} rows put into gaps",
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


def _bytes(count: int) -> str:
    for size, word in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if count >= size:
            return f"{count / size:.1f} {word}"
    return f"{count} B"
