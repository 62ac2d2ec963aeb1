"""Values that a source does not take: told apart, made missing, put to the nearest, or their row rejected."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from flowedge.compile.program import SourceSpec
from flowedge.session.batch import DTYPES, MISSING, WIRE, Array
from flowedge.session.snapshot import tally

NEAREST, LOST = 1, 2
"""What `fitted` says of a value that does not fit: the nearest stands in its place, or there is none."""

Misfits = NDArray[np.uint8]
_FLOATS = ("f64", "f32")


def fitted(store: str, column: Any) -> tuple[Array, Misfits]:  # noqa: ANN401
    """Values of a column of another type, as far as they go.

    Parameters
    ----------
    store : the declared type, a number or a flag
    column : Arrow array of anything that is no list

    Returns
    -------
    values : nearest to what came; missing where nothing is near
    misfits : 0, `NEAREST` or `LOST` for each value; what is missing fits
    """
    kind, rows = column.type, len(column)
    out = np.full(rows, MISSING[store], DTYPES[store])
    misfits = np.zeros(rows, np.uint8)
    valid = column.is_valid().to_numpy(zero_copy_only=False)
    if pa.types.is_decimal(kind) or pa.types.is_float16(kind):
        column = column.cast(pa.float64())
        kind = column.type
    is_float = pa.types.is_floating(kind)
    if store == "bool" or not (is_float or pa.types.is_integer(kind)):
        misfits[valid] = LOST
        return out, misfits
    values = column.fill_null(0).to_numpy(zero_copy_only=False)
    if is_float:
        valid &= ~np.isnan(values)  # NaN is missing
    values = np.where(valid, values, values.dtype.type(0))
    if store in _FLOATS:
        with np.errstate(over="ignore"):
            out[valid] = values.astype(DTYPES[store])[valid]
        return out, misfits
    low, high = limits(store)
    whole = np.rint(values) if is_float else values
    # As floats the limits of 64 bits are one too far, and what reaches them is beyond.
    above = whole >= float(high) if is_float and high > 2**53 else whole > high
    below = whole < low
    inside = np.where(above | below, whole.dtype.type(0), whole).astype(DTYPES[store])
    found = np.where(
        above, DTYPES[store].type(high), np.where(below, DTYPES[store].type(low), inside)
    )
    misfits[valid & (above | below | (whole != values))] = NEAREST
    out[valid] = found[valid]
    return out, misfits


def limits(store: str) -> tuple[int, int]:
    """Least and greatest whole number of a type; one value of 64 bits stands for missing."""
    info = np.iinfo(WIRE[store])
    return int(info.min) + (store == "i64"), int(info.max)


@dataclass
class Counted:
    """What became of the values of one column that were not valid, in rows."""

    rejected: int = 0
    nulled: int = 0
    clamped: int = 0


@dataclass(frozen=True, slots=True)
class _Rule:
    """What is looked at in one column."""

    name: str
    column: str
    store: str
    policy: str
    low: Any
    high: Any
    told: str
    unit: str
    raws: tuple[str, ...]
    """Raw fields whose misfits are this column's: its own, or those that it is computed of."""
    is_computed: bool


@dataclass
class Validity:
    """The policies of one source.

    Parameters
    ----------
    spec : the source, with at least one policy
    keys : name of each key column in the batches -> its name and store

    Attributes
    ----------
    counts : by column
    rejects_time : rows without a readable time are rejected, whatever ``on error`` says
    """

    spec: SourceSpec
    keys: Mapping[str, tuple[str, str]]
    counts: dict[str, Counted] = field(default_factory=dict)
    rejects_time: bool = False

    def __post_init__(self) -> None:
        """Work out once what is looked at in which column."""
        stores = {f.name: (f.name, f.store) for f in self.spec.fields}
        stores |= {name: (column, store) for column, (name, store) in self.keys.items()}
        raws = dict(self.spec.columns) | {f.name: raw for f, raw in self.spec.keys}
        self.rules: list[_Rule] = []
        for name, policy, low, high, told, unit in self.spec.valid:
            self.counts[name] = Counted()
            if name == "time":
                self.rejects_time = True
            elif name in stores:
                column, store = stores[name]
                if self.keys.get(column, ("",))[0] != name and column in self.keys:
                    continue
                of = tuple(raw for raw, _, made in self.spec.fitting if name in made)
                own = (raws[name],) if raws.get(name) in {f.name for f in self.spec.raw} else ()
                bounds = _bounds(store, low, high)
                rule = _Rule(name, column, store, policy, *bounds, told, unit, of or own, bool(of))
                self.rules.append(rule)

    def apply(
        self, columns: dict[str, Array], misfits: Mapping[str, Misfits], n: int, text: Callable[[str, int], str],
        *, noted: int,
    ) -> tuple[NDArray[np.bool_] | None, list[tuple[int, str]]]:  # fmt: skip
        """Look at a block's values; those that are made missing or clamped are changed in `columns`.

        Parameters
        ----------
        columns : by name, shape ``(n, …)``; a changed one is a new array
        misfits : of raw fields that hold any
        text : what a raw field said in a row
        noted : reasons are told of so many rows of a column at most

        Returns
        -------
        refused : which rows are rejected; None where none is
        notes : (row of the block, reason)
        """
        refused: NDArray[np.bool_] | None = None
        notes: dict[int, str] = {}
        for rule in self.rules:
            values = columns[rule.column]
            unfit = [misfits[raw] for raw in rule.raws if raw in misfits]
            bad = _outside(values, rule)
            if not unfit and not bad.any():
                continue
            counts = self.counts[rule.name]
            lost = np.zeros(n, bool)
            odd = np.zeros(n, bool)
            for one in unfit:
                one = one.reshape(n, -1)  # noqa: PLW2901
                lost |= (one == LOST).any(1) | (rule.is_computed & (one > 0).any(1))
                odd |= (one > 0).any(1)
            rows = odd | bad.reshape(n, -1).any(1)
            if rule.policy == "reject":
                counts.rejected += int(rows.sum() if refused is None else (rows & ~refused).sum())
                refused = rows if refused is None else refused | rows
                for row in np.flatnonzero(rows)[:noted].tolist():
                    notes.setdefault(row, self._reason(rule, values[row], row, odd[row], text))
                continue
            values = values.copy()
            gone = bad if rule.policy == "null" else np.zeros_like(bad)
            for one in unfit:
                here = one > (0 if rule.policy == "null" else NEAREST)
                gone = gone | (
                    here if here.shape == bad.shape else lost.reshape(n, *[1] * (bad.ndim - 1))
                )
            if rule.policy == "clamp":
                bad = bad & ~gone
                if bad.any():
                    values[bad] = np.clip(values[bad], rule.low, rule.high)
                near = bad.reshape(n, -1).any(1) | (odd & ~lost)
                counts.clamped += int(near.sum())
                counts.nulled += int(lost.sum())
            else:
                counts.nulled += int(rows.sum())
            values[gone] = MISSING[rule.store]
            columns[rule.column] = values
        return refused, sorted(notes.items())

    @staticmethod
    def _reason(
        rule: _Rule, value: Any, row: int, odd: bool, text: Callable[[str, int], str]  # noqa: ANN401
    ) -> str:  # fmt: skip
        if odd:
            raw = rule.raws[0]
            of = f" of `{raw}`" if rule.is_computed else ""
            return f"`{rule.name}` is {rule.store}, which `{text(raw, row)[:80]}`{of} does not fit"
        worst = np.atleast_1d(value)
        worst = worst[_outside(worst, rule)].reshape(-1)[0]
        unit = f" {rule.unit}" if rule.unit else ""
        within = rule.told or f"what {rule.store} holds"
        return f"`{rule.name}` is {worst:.9g}{unit}, outside {within}"

    def state(self) -> dict[str, list[int]]:
        """The counts as plain data."""
        return {name: [c.rejected, c.nulled, c.clamped] for name, c in self.counts.items()}

    def load(self, state: Mapping[str, list[int]]) -> None:
        """Take the counts of a snapshot over; a column that had no policy begins with none."""
        for name, counts in state.items():
            if name in self.counts:
                self.counts[name] = Counted(*map(tally, counts))


def _bounds(store: str, low: float | None, high: float | None) -> tuple[Any, Any]:
    """Bounds in the column's own type, so that 0.1 in f32 is not above 0.1; None where nothing is a number."""
    if store in _FLOATS:
        kind = DTYPES[store].type
        most = float(np.finfo(kind).max)
        return kind(-most if low is None else low), kind(most if high is None else high)
    if store not in WIRE or store == "time":
        return None, None
    least, most_ = limits(store)
    return max(least, least if low is None else int(low)), min(
        most_, most_ if high is None else int(high)
    )


def _outside(values: Array, rule: _Rule) -> NDArray[np.bool_]:
    """Which values lie outside the bounds; missing ones do not, infinite ones do."""
    if rule.low is None:
        return np.zeros(values.shape, bool)
    out: NDArray[np.bool_] = (values < rule.low) | (values > rule.high)
    if rule.store not in _FLOATS:
        out &= values != MISSING[rule.store]
    return out
