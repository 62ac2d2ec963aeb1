"""Event times [ns since 1970, UTC] from whatever a source has: instants, numbers, texts, or a rate."""

import ctypes
import datetime as dt
from array import array
from fractions import Fraction
from typing import Any

import numpy as np
import pyarrow as pa

from flowedge.compile.kernels.ingest import COUNT_WORDS, count
from flowedge.compile.kernels.library import ready
from flowedge.lang.errors import SourceError
from flowedge.session.batch import Array, Times

MISSING = -(2**63)
SECOND = 1_000_000_000
LATEST = 2**63 - 2**58
"""Times are kept nine years from the end of what int64 holds (2253), so that a window's end still fits."""
_TABLE = 4096
"""Turns of up to so many rows are tabulated, which is three times as fast as to compute them."""


class Counted:
    """Times of the rows of a signal, counted from its rate: row i stands at start + i / rate.

    Whole seconds are counted in whole numbers, so that a long recording does not drift.

    Examples
    --------
    >>> Counted(0, 250.0).times(499, 2).tolist()
    [1996000000, 2000000000]
    """

    def __init__(self, start_ns: int, rate_hz: float) -> None:
        exact = Fraction(rate_hz).limit_denominator(1000)
        close = exact != 0 and abs(float(exact) / rate_hz - 1) < 1e-15
        # One turn: so many rows take so many whole seconds.
        self._rows = exact.numerator if close else 2**62
        self._turn_ns = exact.denominator * SECOND if close else 0
        self.start_ns, self.period_ns = start_ns, SECOND / rate_hz
        self._ctx = array("q", bytes(8 * COUNT_WORDS))
        self._ctx[4] = int(np.float64(self.period_ns).view(np.int64))
        self._count = ready(count).bound(self._ctx.buffer_info()[0])
        self._table = array("q")

    def times(self, first: int, rows: int) -> Times:
        """Times of `rows` rows from number `first` on."""
        out = np.empty(rows, np.int64)
        self.fill(pa.py_buffer(out).address, first, rows)
        return out

    def fill(self, address: int, first: int, rows: int) -> tuple[int, int]:
        """The same, written as int64 to an address; returns the first and the last one."""
        ctx, turn_rows = self._ctx, self._rows
        if turn_rows <= _TABLE:
            table = self._table
            if turn_rows + rows > len(table):
                table = self._tabulate(rows)
            turn, place = divmod(first, turn_rows)
            base = self.start_ns + turn * self._turn_ns
            ctx[0], ctx[1], ctx[2], ctx[3] = rows, address, base, place
            self._count()
            return base + table[place], base + table[place + rows - 1]
        done = 0
        while done < rows:
            turn, place = divmod(first + done, turn_rows)
            ctx[0] = part = min(rows - done, turn_rows - place)
            ctx[1], ctx[2], ctx[3] = address + 8 * done, self.start_ns + turn * self._turn_ns, place
            self._count()
            done += part
        return word_at(address), word_at(address + 8 * (rows - 1))

    def _tabulate(self, rows: int) -> "array[int]":
        """Keep the times of a turn and of so many rows behind it."""
        turn = np.arange(self._rows, dtype=np.float64) * self.period_ns + 0.5
        turns = -(-rows // self._rows) + 1
        starts = np.arange(turns, dtype=np.int64) * self._turn_ns
        self._table = array("q", (starts[:, None] + turn.astype(np.int64)).tobytes())
        self._ctx[5] = self._table.buffer_info()[0]
        return self._table


def word_at(address: int) -> int:
    """The int64 at an address."""
    return ctypes.c_int64.from_address(address).value


def from_numbers(values: Array, scale_ns: float, *, is_float: bool) -> Times:
    """Numbers of a time unit since 1970; what is missing or too large for int64 ns is missing."""
    if is_float:
        exact = np.asarray(values, np.float64) * scale_ns
        good = np.abs(exact) < LATEST  # NaN is not
        return np.where(good, np.rint(np.where(good, exact, 0)), MISSING).astype(np.int64)
    whole = np.asarray(values)
    if whole.dtype == np.uint64 and len(whole) and whole.max() > LATEST:
        whole = np.where(whole > LATEST, MISSING, whole.astype(np.int64))
    whole = whole.astype(np.int64, copy=False)
    if scale_ns == 1.0:
        return whole
    if scale_ns == int(scale_ns):
        factor = int(scale_ns)
        most = LATEST // factor
        if len(whole) and -most < int(whole.min()) and int(whole.max()) < most:
            return whole * factor
        good = (whole < most) & (whole > -most)
        return np.where(good, np.where(good, whole, 0) * factor, MISSING)
    return from_numbers(np.where(whole == MISSING, np.nan, whole), scale_ns, is_float=True)


def from_text(texts: Any, layout: str, zone: str) -> tuple[Times, Any]:  # noqa: ANN401
    """Instants of texts.

    Parameters
    ----------
    texts : Arrow array of text, or a dictionary of it
    layout : of `strptime`; "" or "iso" for ISO 8601
    zone : where clocks that name no zone stand; "" for UTC

    Returns
    -------
    times : int64 ns, missing where a text is no time
    texts : the array as plain text, for messages
    """
    if pa.types.is_dictionary(texts.type):
        texts = texts.dictionary_decode()
    texts = texts.cast(pa.string())
    parsed = _parsed(texts, layout, zone)
    if parsed is None:  # some text is no time: one by one
        parts = [_parsed(texts.slice(i, 1), layout, zone) for i in range(len(texts))]
        gone = pa.nulls(1, pa.timestamp("ns"))
        parsed = pa.concat_arrays([gone if p is None else p for p in parts])
    out = parsed.view(pa.int64()).fill_null(MISSING).to_numpy(zero_copy_only=False)
    return out, texts


def _parsed(texts: Any, layout: str, zone: str) -> Any:  # noqa: ANN401
    """Instants as timestamps without a zone, in UTC; None where a text is no time."""
    import pyarrow.compute as pc  # noqa: PLC0415  # 30 ms that only texts need

    naive, aware = pa.timestamp("ns"), pa.timestamp("ns", "UTC")
    trimmed = pc.utf8_trim_whitespace(texts)
    try:
        if layout and layout != "iso":
            if "%f" in layout or "%z" in layout:
                return _by_datetime(trimmed, layout, zone)
            clock = pc.strptime(trimmed, layout, "s").cast(naive)
        else:
            try:
                clock = trimmed.cast(naive)
            except pa.ArrowInvalid:
                return trimmed.cast(aware).cast(naive)
        if not zone or zone == "UTC":
            return clock
        there = pc.assume_timezone(clock, zone, ambiguous="earliest", nonexistent="earliest")
        return there.cast(aware).cast(naive)
    except (pa.ArrowInvalid, ValueError, OverflowError):
        return None


def _by_datetime(texts: Any, layout: str, zone: str) -> Any:  # noqa: ANN401
    """Layouts with fractions or zones, which Arrow does not read."""
    import zoneinfo  # noqa: PLC0415

    utc = dt.UTC
    home = zoneinfo.ZoneInfo(zone) if zone else utc
    out: list[int | None] = []
    for text in texts.to_pylist():
        if text is None:
            out.append(None)
            continue
        when = dt.datetime.strptime(text, layout)  # noqa: DTZ007  # the zone follows
        if when.tzinfo is None:
            when = when.replace(tzinfo=home)
        delta = when.astimezone(utc) - dt.datetime(1970, 1, 1, tzinfo=utc)
        out.append((delta.days * 86400 + delta.seconds) * SECOND + delta.microseconds * 1000)
    return pa.array(out, pa.int64()).cast(pa.timestamp("ns"))


def missing_time(source: str, name: str, row: int, text: object = None) -> SourceError:
    """The error for a row without a readable time."""
    what = "no time" if text is None else f"`{text}`, which is no time"
    return SourceError(
        f"`{source}`: row {row} has {what} in `{name}`; mend it, or say `on error skip` to drop such rows"
    )
