"""Rows in order become rows of keys: slots, lives, duplicates, the steps of a signal, gaps and what fills them."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from flowedge.compile.kernels import ingest as k
from flowedge.compile.kernels.library import ready
from flowedge.compile.program import FOREVER, NEVER, SourceSpec
from flowedge.lang.errors import RunError
from flowedge.session.batch import (
    Array,
    Batch,
    concat,
    pack,
    unpack,
)
from flowedge.session.gaps import Filled, Followed, Gaps
from flowedge.session.ledger import Counts
from flowedge.session.lives import LATE, Life, Lives, longer
from flowedge.session.node import Mask, Shared
from flowedge.session.silence import Silence
from flowedge.session.snapshot import tally
from flowedge.session.steps import Steps
from flowedge.session.times import word_at
from flowedge.session.words import Context, address

ROW, PARTITION = "\0row", "\0partition"
"""Where rows come from, beside them only where those of too many keys are kept."""
LEAP_NS = 366 * 86_400 * 10**9
"""A longer step of time in a recording is worth a word."""
_ALWAYS = Life(-1, -1)
"""That of a key which does not expire."""
_SURE = 10_000
"""After so many steps a wrong rate stops the run; fewer are judged at the end."""
_TOLD = (k.F_AT, k.F_MISSED, k.F_PREVIOUS, k.F_START)
"""What there is of gaps and duplicates, in the order of `flowedge.session.gaps.Followed`."""


class Settle:
    """What a source does with each row once it is in order.

    Parameters
    ----------
    spec : the source
    key_names : names of the key columns in the batches that come
    counts : the source's page of the ledger
    is_counted : times are counted from the rate, so every step is right by construction
    """

    def __init__(
        self,
        spec: SourceSpec,
        shared: Shared,
        key_names: tuple[str, ...],
        counts: Counts,
        *,
        is_counted: bool,
    ) -> None:
        self.spec, self.shared, self.counts = spec, shared, counts
        self._key_names = key_names
        self._is_counted = is_counted
        self.is_keyed = spec.table >= 0
        self.silence = (
            Silence(spec.silence_ns) if spec.silence_ns >= 0 and spec.wants_silent else None
        )
        self._is_signal = spec.is_signal and spec.rate_hz is not None
        self._drops = spec.duplicates == "first"
        self._keeps_last = spec.duplicates == "last"
        self._follows = (
            self._is_signal or self._drops or self.silence is not None or spec.wants_ends
        )
        self._last = np.full(1, NEVER, np.int64)
        self._place = np.full(1, -1, np.int64)
        self._base = 0
        self._next = np.full(1, FOREVER, np.int64)
        self._unsettled: Batch | None = None
        self._lives: Lives | None = None
        if spec.expire_ns >= 0 and self.is_keyed:
            texts = [f.store in ("string", "binary") for f, _ in spec.keys]
            self._lives = Lives(texts, spec.expire_ns, spec.max_keys, shared.seed)
        self._sum_ns = 0.0
        self._steps = 0
        self._wide = 0
        self._context = Context(k.FOLLOW_WORDS)
        self.refused: list[tuple[int, int, str]] = []
        """(number of the partition, row, reason) of rows of too many keys, where they are to be kept."""
        self.notes_refused = self.is_keyed and spec.max_keys >= 0 and spec.on_error == "quarantine"
        self.steps = Steps()
        self.known: tuple[int, int] | None = None
        """Smallest and largest step of the rows about to come, where they have been looked at."""
        self._half = 0
        if self._is_signal:
            assert spec.rate_hz is not None
            self.period_ns = 1e9 / spec.rate_hz
            slack = min(spec.jitter, 0.49)
            # A step in this range is one sample, near enough to its instant.
            self._low = int(np.ceil(self.period_ns * (1 - slack)))
            self._high = int(np.floor(self.period_ns * (1 + slack)))
            self._half = int(np.ceil(self.period_ns / 2)) if self._keeps_last else 0
            words = self._context
            words.reals[k.F_RATE] = spec.rate_hz * 1e-9
            words.reals[k.F_JITTER] = spec.jitter
            words.words[k.F_LOW], words.words[k.F_HIGH] = self._low, self._high
        fills = self._is_signal and spec.gaps_policy != "reset"
        self._gaps = Gaps(spec, self.period_ns if self._is_signal else 0.0, fills=fills)
        self._context.words[k.F_IS_SIGNAL] = self._is_signal
        self._context.words[k.F_DUPLICATES] = self._drops or (self._is_signal and self._keeps_last)
        self._context.words[k.F_SILENCE] = -1 if self.silence is None else spec.silence_ns

    @property
    def lag_ns(self) -> int:
        """So long before the watermark a key may have rows that are not settled."""
        return self._half

    def held(self) -> int:
        """Rows that wait here; those put into gaps do not count."""
        waiting = 0 if self._unsettled is None else self._unsettled.n
        return waiting + self._gaps.waiting

    # ---- the whole way

    def take(self, batch: Batch | None, watermark: int) -> tuple[Batch | None, int]:
        """Rows in order and the watermark after them, to rows for the nodes and their watermark."""
        if batch is not None and self.is_keyed:
            batch = self._with_slots(batch)
            if self.notes_refused:
                del batch.columns[PARTITION], batch.columns[ROW]
        if self._keeps_last:
            self.known = None
            batch, watermark = self._last_ones(batch, watermark)
        marks: Array | None = None
        filled = 0
        if batch is not None and batch.n and self._follows:
            batch, marks, filled = self._follow(batch)
        self.counts.filled += filled
        gaps = self._gaps
        if gaps.fills and self.is_keyed:
            out, beyond, real = gaps.in_order(batch, marks, watermark, self._last)
            self.counts.used += real
            return out, beyond
        if batch is not None:
            self.counts.used += batch.n - filled
        return batch, gaps.until(watermark, self._last) if gaps.fills else watermark

    def slots_of(self, batch: Batch) -> Batch:
        """Rows beside the stream (late ones) with their slots; those of refused keys are left out."""
        if not self.is_keyed:
            return batch
        columns = [batch.columns[name] for name in self._key_names]
        if self._lives is not None:
            columns.append(np.full(batch.n, LATE))
        slot = self.shared.tables[self.spec.table].slots(columns)
        out = Batch(batch.n, batch.time, slot, None, batch.columns)
        return out if not len(slot) or slot.min() >= 0 else out.keep(slot >= 0)

    def slots_of_keys(self, keys: list[Array]) -> tuple[Array, list[Life]]:
        """The slots of keys that are there, int32, and the lives that they are in."""
        table = self.shared.tables[self.spec.table]
        if self._lives is None:
            slot = table.slots(keys)
            return slot, [_ALWAYS] * len(slot)
        lives = self._lives.now(keys)
        return table.slots([*keys, np.array([one.number for one in lives], np.int64)]), lives

    def are_in(self, lives: Sequence[Life]) -> bool:
        """Whether these are the lives that their keys are in."""
        return self._lives is None or self._lives.are_now(lives)

    def live_on(self, lives: Sequence[Life], time: int) -> bool:
        """Whether rows still belong to these lives of their keys; by the address of their times."""
        return self._lives is None or self._lives.go_on(lives, time)

    def lived_on(self, lives: Sequence[Life], time: int) -> None:
        """Note that they do."""
        if self._lives is not None:
            self._lives.went_on(lives, time)

    def last_times(self) -> Array:
        """The time of each slot's last row, `NEVER` where it had none."""
        keys = self.shared.tables[self.spec.table].count if self.is_keyed else 1
        self._last = longer(self._last, keys, NEVER)
        return self._last[:keys]

    def finish(self) -> None:
        """Judge the rate at the end of the input."""
        self._judge(at_end=True)

    # ---- slots and lives

    def _with_slots(self, batch: Batch) -> Batch:
        columns = dict(batch.columns)
        keys = [columns.pop(name) for name in self._key_names]
        if self._lives is not None:
            life = self._lives.of(keys, batch.time)
            good = life >= 0
            if not good.all():
                batch = self._refuse(batch, good)
                columns = dict(batch.columns)
                keys, life = [columns.pop(name) for name in self._key_names], life[good]
            keys.append(life)
        slot = self.shared.tables[self.spec.table].slots(keys)
        if self.spec.max_keys >= 0 and len(slot) and slot.min() < 0:
            return self._refuse(Batch(batch.n, batch.time, slot, batch.gap, columns), slot >= 0)
        return Batch(batch.n, batch.time, slot, batch.gap, columns)

    def _refuse(self, batch: Batch, good: Mask) -> Batch:
        """Rows of keys beyond `max keys` are rejected."""
        count = batch.n - int(good.sum())
        self.counts.rejected += count
        self.counts.too_many_keys += count
        if self.notes_refused:
            reason = f"its key would be one more than `max keys {self.spec.max_keys}`"
            bad = batch.keep(~good)
            parts, rows = bad.columns[PARTITION].tolist(), bad.columns[ROW].tolist()
            self.refused += [(part, row, reason) for part, row in zip(parts, rows, strict=True)]
        return batch.keep(good)

    # ---- keys whose time is over

    def is_swollen(self, slack: int) -> bool:
        """Whether it is worth its while to look which keys have expired."""
        if self._lives is None:
            return False
        return self._lives.table.is_swollen(slack) or self.shared.tables[
            self.spec.table
        ].is_swollen(slack)

    def over(self, watermark: int) -> tuple[Mask, Mask]:
        """Slots whose life is over, once no row before the watermark comes; and those of late rows."""
        assert self._lives is not None
        table = self.shared.tables[self.spec.table]
        *keys, life = (table.values(c) for c in range(len(self._key_names) + 1))
        late = table.is_taken & (life == LATE)
        slots = np.flatnonzero(table.is_taken & ~late)
        over = np.zeros(table.count, np.bool_)
        over[slots] = self._lives.over([c[slots] for c in keys], life[slots], watermark)
        return over, late

    def mark_held(self, held: Mask) -> None:
        """Mark the slots of rows that wait here, and of keys whose silence is still to be told."""
        if self._unsettled is not None and self._unsettled.slot is not None:
            held[self._unsettled.slot] = True
        self._gaps.mark_slots(held)
        if self.silence is not None:
            self.silence.mark_slots(self.last_times(), held)

    def forget_slots(self, gone: Mask) -> None:
        """Begin afresh for slots that are about to be given to other keys."""
        self._last = longer(self._last, len(gone), NEVER)
        self._last[: len(gone)][gone] = NEVER
        if self.silence is not None:
            self.silence.forget_slots(gone)

    @property
    def nbytes(self) -> int:
        """Bytes of what is known of each key, and of the rows that wait."""
        out = self._last.nbytes + self._place.nbytes + self._next.nbytes + self._gaps.nbytes
        out += 0 if self._unsettled is None else self._unsettled.nbytes
        out += 0 if self._lives is None else self._lives.nbytes
        return out + (0 if self.silence is None else self.silence.nbytes)

    # ---- the last of several rows at one instant

    def _last_ones(self, batch: Batch | None, watermark: int) -> tuple[Batch | None, int]:
        """Rows that no later row can replace any more; the others wait."""
        parts = [b for b in (self._unsettled, batch) if b is not None and b.n]
        beyond = (
            watermark if watermark in (FOREVER, NEVER) else max(NEVER + 1, watermark - self._half)
        )
        if not parts:
            return None, beyond
        whole = concat(parts)
        # Rows at the watermark itself may still be joined by others of the same time.
        before = np.full(whole.n, fill_value=True) if watermark == FOREVER else whole.time < beyond
        drop = np.empty(whole.n, np.uint8)
        keys = int(whole.slot.max()) + 1 if whole.slot is not None else 1
        self._next = longer(self._next, keys, FOREVER)
        ctx = Context(k.SUPERSEDE_WORDS)
        slots = 0 if whole.slot is None else address(whole.slot)
        ctx.words[:] = [
            whole.n,
            address(whole.time),
            slots,
            address(self._next),
            0,
            address(drop),
            0,
        ]
        if self._is_signal and self.spec.rate_hz is not None:
            ctx.reals[k.S_RATE] = self.spec.rate_hz * 1e-9
        ready(k.supersede)(ctx.address)
        # With `late per key` they are in order inside each key only, so that none is where all before are settled.
        self._unsettled = None if before.all() else whole.keep(~before)
        good = before & (drop == 0)
        self.counts.duplicate += int(before.sum()) - int(good.sum())
        return (whole if good.all() else whole.keep(good)), beyond

    # ---- key by key

    def _follow(self, batch: Batch) -> Filled:
        """Drop duplicates, flag or fill gaps, note silence."""
        if self._is_signal and batch.slot is None and self._is_regular(batch):
            return Filled(batch, None, 0)
        n = batch.n
        keys = self.shared.tables[self.spec.table].count if self.is_keyed else 1
        self._last = longer(self._last, keys, NEVER)
        self._place = longer(self._place, keys, -1)
        fate = np.empty(n, np.uint8)
        # Of gaps and duplicates there are few, as a rule: where nothing is written, nothing is taken.
        told = [np.empty(n, np.int64) for _ in range(4)]
        before = np.empty(0 if self.silence is None else n, np.int64)
        ctx = self._context
        words = ctx.words
        words[k.F_ROWS], words[k.F_TIME] = n, address(batch.time)
        words[k.F_SLOT] = 0 if batch.slot is None else address(batch.slot)
        words[k.F_LAST], words[k.F_FATE] = address(self._last), address(fate)
        words[k.F_PLACE], words[k.F_BASE] = address(self._place), self._base
        words[k.F_BEFORE] = address(before)
        for word, values in zip(_TOLD, told, strict=True):
            words[word] = address(values)
        ready(k.follow)(ctx.address)
        self._base += n
        counts = self.counts
        counts.gaps += int(words[k.F_GAPS])
        counts.jitter += int(words[k.F_JITTERED])
        counts.duplicate += int(words[k.F_DUPLICATE])
        if self._is_signal:
            self._sum_ns += float(ctx.reals[k.F_SUM])
            self._steps += int(words[k.F_STEPS])
            self._wide += int(words[k.F_GAPS])
            self._judge(at_end=False)
        if self.silence is not None and words[k.F_AWAY]:
            away = np.flatnonzero(fate & k.AWAY)
            slot = np.zeros(len(away), np.int64) if batch.slot is None else batch.slot[away]
            self.silence.back(slot, before[away], batch.time[away])
        out = Filled(batch, None, 0)
        if words[k.F_GAPS]:
            count = int(words[k.F_GAPS] + words[k.F_DUPLICATE])
            out = self._gaps.fill(batch, Followed(fate, *(values[:count] for values in told)))
        elif words[k.F_DUPLICATE]:
            out = Filled(batch.keep(fate != k.DUPLICATE), None, 0)
        if self._gaps.remembers:
            self._gaps.remember(batch, fate, len(self._last))
        return out

    @property
    def may_be_direct(self) -> bool:
        """Whether rows that are the next ones pass as they are."""
        if self._keeps_last or self.silence is not None or self.notes_refused:
            return False
        if self._gaps.fills and self.is_keyed:  # rows of other keys wait until a gap is filled
            return False
        return self._is_signal or not self._follows

    @property
    def remembers(self) -> bool:
        """Whether a gap is filled with the row before it, of which is to be told (`went_past`)."""
        return self._gaps.remembers

    def went_past(self, columns: dict[str, Array]) -> None:
        """Keep the last row of a signal without keys, of those that were next: columns of that row."""
        time = self._last[:1]
        self._gaps.remember(Batch(1, time, None, None, columns), np.zeros(1, np.uint8), 1)

    def are_next(
        self, first: int, newest: int, rows: int, time: int, slots: Array | None = None
    ) -> bool:
        """Whether rows are the next samples of a signal, or just in order where nothing follows them.

        They are noted if they are.

        Parameters
        ----------
        first, newest : times of the first and the last row [ns]
        time : address of all their times
        slots : of their keys, if there are any; of few rows, then
        """
        if slots is not None or not self._follows:
            least, most = (0, 0) if rows == 1 else self.steps.at(time, rows)
            if least < 0 or most > LEAP_NS:
                return False
            return slots is None or not self._is_signal or self._are_next_of_keys(slots, time)
        last = int(self._last[0])
        if self._is_counted:
            # A row that was rejected leaves a gap, although times are counted.
            if last != NEVER and not self._low <= first - last <= self._high:
                return False
            if abs(newest - first - (rows - 1) * self.period_ns) > self.period_ns / 2:
                return False
        else:
            known, self.known = self.known, None
            if rows > 1:
                least, most = self.steps.at(time, rows) if known is None else known
                if least < self._low or most > self._high:
                    return False
            if last != NEVER and not self._low <= first - last <= self._high:
                return False
        self._sum_ns += float(newest - (first if last == NEVER else last))
        self._steps += rows - (last == NEVER)
        self._last[0] = newest
        self._place[0] = -1
        if not self._is_counted:
            self._judge(at_end=False)
        return True

    def _are_next_of_keys(self, slots: Array, time: int) -> bool:
        """The same of few rows in order, key by key; each key has had a sample."""
        last, low, high = self._last, self._low, self._high
        here: dict[int, int] = {}
        total = 0
        for row, slot in enumerate(slots.tolist()):
            before = here[slot] if slot in here else int(last[slot])
            here[slot] = now = word_at(time + 8 * row)
            if not low <= now - before <= high:
                return False
            total += now - before
        for slot, now in here.items():
            last[slot] = now
            self._place[slot] = -1
        self._sum_ns += float(total)
        self._steps += len(slots)
        self._judge(at_end=False)
        return True

    def _is_regular(self, batch: Batch) -> bool:
        """Whether every row of a signal without keys is the next sample: the usual case, and fast."""
        if self.silence is not None:
            self.known = None
            return False
        time = batch.time
        if not self.are_next(int(time[0]), int(time[-1]), batch.n, address(time)):
            return False
        if self._gaps.remembers:
            self._gaps.remember(batch.slice(batch.n - 1, batch.n), np.zeros(1, np.uint8), 1)
        return True

    def _judge(self, *, at_end: bool) -> None:
        """Stop a recording whose rate is not the one that it is said to have."""
        if not self._is_signal or self._is_counted or not self._steps:
            return
        spec = self.spec
        steps_seen = self._steps
        if steps_seen < _SURE and not at_end:
            return
        mean = self._sum_ns / steps_seen
        off = abs(self.period_ns / mean - 1) if mean > 0 else 1.0
        slack = 0.01 + 2 * spec.jitter / steps_seen
        if off > slack:
            what = f"its rows come at {1e9 / mean if mean > 0 else 0.0:.6g} Hz"
        elif steps_seen >= 100 and 2 * self._wide > steps_seen:
            what = f"{self._wide} of {steps_seen} steps are longer than one sample"
        else:
            return
        raise RunError(
            f"`{spec.name}` is said to be sampled at {spec.rate_hz:g} Hz, but {what}; correct `at`, or leave it out and "
            "`resample`"
        )

    # ---- snapshots

    def state(self) -> dict[str, Any]:
        """All that outlives a push."""
        return {
            "last": self._last.tobytes(),
            "unsettled": pack(self._unsettled),
            **self._gaps.state(),
            "lives": None if self._lives is None else self._lives.state(),
            "rate": [self._sum_ns, self._steps, self._wide],
            "silence": None if self.silence is None else self.silence.state(),
        }

    def load(self, state: dict[str, Any]) -> None:
        """Take a snapshot over."""
        expected = self.shared.layout(self.spec)
        self._last = longer(np.frombuffer(state["last"], np.int64).copy(), 1, NEVER)
        in_order = not self.spec.late_per_key  # else inside each key only
        self._unsettled = unpack(state["unsettled"], expected, is_ordered=in_order)
        self._gaps.load(state, expected, self._last)
        if self._lives is not None:
            self._lives.load(state["lives"])
        total, steps, wide = state["rate"]
        self._sum_ns, self._steps, self._wide = float(total), tally(steps), tally(wide)
        if self.silence is not None:
            self.silence.load(state["silence"], expected.slots or 1)
