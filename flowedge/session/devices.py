"""Which devices rows come from."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from flowedge.session.batch import MISSING, Array, Times
from flowedge.session.strings import StringPool

Device = tuple[Any, ...]
"""The values of a row's keys; empty where a source has none."""


def newest_of(
    columns: Mapping[str, Array], texts: Mapping[str, bool], time: Times, pool: StringPool
) -> tuple[Sequence[Device], Times]:
    """The devices that rows are of, and the newest time of each, shape ``(devices,)``.

    Parameters
    ----------
    columns : of the rows
    texts : names of the key columns, and whether they hold numbers of texts
    """
    if not texts:
        return [()], np.array([time.max()])
    table = np.stack([columns[name].astype(np.int64, copy=False) for name in texts])
    found, place = np.unique(table, axis=1, return_inverse=True)
    newest = np.full(found.shape[1], -(2**63), np.int64)
    np.maximum.at(newest, place.reshape(-1), time)
    values = [
        [pool.text(n) if n >= 0 else None for n in row] if is_text else [None if n == MISSING["i64"] else n for n in row]
        for row, is_text in zip(found.tolist(), texts.values(), strict=True)
    ]  # fmt: skip
    return list(zip(*values, strict=True)), newest
