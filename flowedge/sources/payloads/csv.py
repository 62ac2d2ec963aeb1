"""CSV payloads: lines of cells (RFC 4180), in the order of the declared fields or under names of their own."""

import csv
from collections.abc import Iterator, Set
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from flowedge.sources.payloads.bounds import (
    MOST_VALUES,
    PayloadError,
    check_rows,
    check_size,
    too_many,
)
from flowedge.sources.payloads.kernels.layout import F32_MOST
from flowedge.sources.payloads.values import described
from flowedge.sources.text import TooManyError, convert

LONGEST_CELL = 1 << 17
"""Characters of a cell."""
_BOM = "\ufeff"
_MOST_BAD = 256
"""Cells that do not fit, of which each is named; beyond, the payload is refused as a whole."""


class Lines(NamedTuple):
    """What the lines of a payload say.

    Attributes
    ----------
    rows : those that fit
    lines : of each line, in order, its reason to be turned away, or None
    cells : of each line, for what is said of it
    """

    rows: pa.RecordBatch
    lines: list[str | None]
    cells: list[list[str]]


def unpacked(payload: bytes, schema: pa.Schema, width: int) -> Lines:
    """The lines of a payload; empty cells are missing, blank lines are nothing.

    A list takes as many cells as it is long: ``x_0, x_1, …`` under names. A first line in which a cell is the
    name of a declared field (or of a cell of a list), and none is a number, holds names.

    Parameters
    ----------
    schema : declared fields
    width : bytes of a row, see `flowedge.sources.payloads.bounds.width_of`

    Raises
    ------
    PayloadError : it is no CSV, or beyond the bounds
    """
    check_size(payload)
    try:
        text = payload.decode().removeprefix(_BOM)
    except UnicodeDecodeError:
        raise PayloadError("a text is not UTF-8") from None
    if text.count(",") + text.count("\n") + text.count("\r") > MOST_VALUES:
        raise too_many()
    try:
        found = [cells for cells in csv.reader(_ended(text), strict=True) if cells]
    except csv.Error as error:
        if "field larger" in str(error):
            raise PayloadError(f"a cell is longer than {LONGEST_CELL:,} characters") from None
        raise PayloadError(f"it is no CSV: {error}") from None
    # The limit of the module `csv` itself is another one once a file of CSV has been read.
    if len(text) > LONGEST_CELL and any(len(c) > LONGEST_CELL for cells in found for c in cells):
        raise PayloadError(f"a cell is longer than {LONGEST_CELL:,} characters")
    wanted = [cell for field in schema for cell in _cells(field)]
    names = wanted
    if found and _is_header(found[0], set(wanted)):
        names = found.pop(0)
        twice = next((n for n in names if names.count(n) > 1), None) if len(names) < 1000 else ""
        if twice is not None:
            raise PayloadError(f"the name `{twice[:40]}` is there twice")
    check_rows(len(found), len(payload), width)
    return _typed(found, names, schema)


def is_header(line: bytes, wanted: frozenset[str]) -> bool:
    """Whether a first line holds names; `wanted`: those of `cells_of`."""
    try:
        cells = next(csv.reader([line.decode()], strict=True), [])
    except (UnicodeDecodeError, csv.Error):
        return False
    return _is_header(cells, wanted)


def cells_of(schema: pa.Schema) -> frozenset[str]:
    """The names that the cells of the declared fields may have."""
    return frozenset(cell for field in schema for cell in _cells(field))


def _ended(text: str) -> Iterator[str]:
    """Lines with their ends."""
    return iter(text.splitlines(keepends=True)) if "\r" in text else iter(_at_newlines(text))


def _at_newlines(text: str) -> list[str]:
    # `splitlines` cuts at characters that are part of a cell, such as U+2028.
    return [line + "\n" for line in text.split("\n")]


def _cells(field: pa.Field) -> list[str]:
    """The names of the cells of a field."""
    size = 1
    kind = field.type
    while pa.types.is_fixed_size_list(kind):
        size, kind = size * kind.list_size, kind.value_type
    if kind == field.type:
        return [field.name]
    return [f"{field.name}_{k}" for k in range(size)]


def _is_header(cells: list[str], wanted: Set[str]) -> bool:
    return any(c.strip() in wanted for c in cells) and not any(_is_number(c) for c in cells)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _typed(found: list[list[str]], names: list[str], schema: pa.Schema) -> Lines:
    """Cells as values of the declared fields, whole columns at once."""
    reasons: list[str | None] = [None] * len(found)
    good = []
    for place, cells in enumerate(found):
        if len(cells) == len(names):
            good.append(place)
        else:
            reasons[place] = f"it has {len(cells)} cells, where {len(names)} are named"
    places = {name.strip(): k for k, name in enumerate(names)}
    arrays: list[Any] = []
    misfits = 0
    for field in schema:
        parts = []
        kind = field.type
        while pa.types.is_fixed_size_list(kind):
            kind = kind.value_type
        for cell in _cells(field):
            if cell not in places:
                parts.append(pa.nulls(len(good), kind))
                continue
            k = places[cell]
            texts = pa.array([found[place][k] or None for place in good], pa.string())
            try:
                values, bad = _converted(texts, kind, _MOST_BAD - misfits)
            except TooManyError:
                raise PayloadError(f"more than {_MOST_BAD} of its cells do not fit") from None
            misfits += len(bad)
            for b in bad:
                reasons[good[b]] = reasons[good[b]] or f"`{field.name}` is not {described(kind)}"
            parts.append(values)
        arrays.append(parts)
    kept = [k for k, place in enumerate(good) if reasons[place] is None]
    take = None if len(kept) == len(good) else pa.array(kept, pa.int64())
    columns = []
    for field, parts in zip(schema, arrays, strict=True):
        whole = parts if take is None else [p.take(take) for p in parts]
        columns.append(_joined(whole, field.type, len(kept)))
    return Lines(pa.RecordBatch.from_arrays(columns, schema=schema), reasons, found)


def _converted(texts: pa.Array, kind: pa.DataType, most: int) -> tuple[pa.Array, list[int]]:
    values, bad = convert(texts, kind, most=most)
    if pa.types.is_float32(kind):
        wide, _ = convert(texts, pa.float64(), most=most)
        plain = np.abs(wide.fill_null(0.0).to_numpy(zero_copy_only=False))
        beyond = np.isfinite(plain) & (plain > F32_MOST)
        if beyond.any():
            bad = sorted({*bad, *np.flatnonzero(beyond).tolist()})
    return values, bad


def _joined(parts: list[Any], kind: pa.DataType, rows: int) -> pa.Array:
    """The cells of a field side by side; a list without any cell is missing."""
    if not pa.types.is_fixed_size_list(kind):
        return parts[0]
    stacked = pa.concat_arrays(parts)
    order = np.arange(len(parts) * rows).reshape(len(parts), rows).T.ravel()
    values = stacked.take(pa.array(order))
    sizes = []
    while pa.types.is_fixed_size_list(kind):
        sizes.append(kind.list_size)
        kind = kind.value_type
    for size in reversed(sizes):
        values = pa.FixedSizeListArray.from_arrays(values, size)
    return values


__all__ = ["Lines", "cells_of", "is_header", "unpacked"]
