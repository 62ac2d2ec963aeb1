"""Answers of a model as columns: labels with their scores, or the numbers as they are declared."""

from array import array
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from flowedge.compile.kernels import frames as k
from flowedge.compile.kernels.library import ready
from flowedge.compile.program import CallSpec, Field
from flowedge.session.batch import DTYPES, Array, missing
from flowedge.session.strings import StringPool
from flowedge.session.words import address
from flowedge.types.arrays import text_array


class Heads:
    """What becomes of a model's outputs.

    Parameters
    ----------
    spec : its heads, and the columns made of them
    fields : of the rows that come out
    pool : ids of the labels, where a column holds ids
    """

    def __init__(self, spec: CallSpec, fields: Mapping[str, Field], pool: StringPool) -> None:
        self.spec = spec
        self._fields = fields
        self._labels = [self._ids(labels, at, pool) for _, labels, at in spec.heads]

    def _ids(self, labels: Sequence[str], at: int, pool: StringPool) -> Array:
        """What the column of a head holds for each of its labels."""
        name = next((n for n, what, out in self.spec.made if (what, out) == ("label", at)), None)
        field = self._fields.get(name or "")
        if field is not None and field.literals and field.labels is not None:
            return np.array([field.labels.index(x) for x in labels])
        return pool.pin(text_array(labels))

    def columns(self, raw: Mapping[int, Array]) -> dict[str, Array]:
        """Columns of the engine's types, shape ``(n, …)``, from outputs by their number, shape ``(n, …)``."""
        found: dict[tuple[str, int], Array] = {}
        for (kind, labels, at), ids in zip(self.spec.heads, self._labels, strict=True):
            if at in raw:
                best, score, probs = shares(raw[at], kind, len(labels))
                found["label", at], found["score", at], found["probs", at] = best, score, probs
                found["label", at] = ids[best]
        out = {}
        for name, what, at in self.spec.made:
            field = self._fields[name]
            values = raw[at] if what in ("raw", "samples") else found[what, at]
            if what == "samples":  # samples come first in a frame, and last in a model
                samples, *each = field.shape
                values = np.moveaxis(values.reshape(len(values), *each, samples), -1, 1)
            values = values.reshape((len(values), *field.shape))
            out[name] = np.ascontiguousarray(values, DTYPES[field.store])
        return out


def shares(raw: Array, kind: str, labels: int) -> tuple[Array, Array, Array]:
    """Of each frame the number of the best label, its share, and the shares of all.

    Parameters
    ----------
    raw : scores, shape ``(n, …)``, at least one for a frame
    kind : ``softmax``: they are weighed against each other; ``sigmoid``: each stands alone, and a single one
        decides between two labels

    Returns
    -------
    best : shape ``(n,)``
    score : shape ``(n,)``, from 0 to 1; NaN where a score is not a number
    probs : shape ``(n, scores)``

    Examples
    --------
    >>> shares(np.array([[0.0], [3.0]]), "sigmoid", 2)[0].tolist()
    [1, 1]
    """
    n = len(raw)
    z = np.ascontiguousarray(
        raw.reshape(n, -1), None if raw.dtype in (np.float32, np.float64) else np.float64
    )
    scores = z.shape[1]
    is_binary = kind == "sigmoid" and scores == 1 and labels == 2
    probs, best, top = np.empty((n, scores + is_binary)), np.empty(n, np.int64), np.empty(n)
    words = array("q", (
        n, scores, address(z), z.itemsize == 8, k.SOFTMAX if kind == "softmax" else k.SIGMOID, is_binary, address(probs),
        address(best), address(top),
    ))  # fmt: skip
    ready(k.shares)(words.buffer_info()[0])
    return best, top, probs


def text_of(field: Field, pool: StringPool, text: str) -> Any:  # noqa: ANN401
    """A label as its column holds it."""
    if field.literals and field.labels is not None:
        return field.labels.index(text)
    return pool.pin(text_array([text]))[0]


def columns_of(
    fields: Sequence[Field], rows: int, found: Mapping[str, Array], at: Array | None
) -> dict[str, Array]:
    """Columns with answers in the rows `at`, and missing in the others; None: in all rows.

    Parameters
    ----------
    fields : of the columns
    rows : how many there are
    found : by column, what stands at each of `at`
    """
    if at is None:
        return {f.name: found[f.name] for f in fields}
    out = {}
    for field in fields:
        column = missing(field, rows)
        if len(at):
            column[at] = found[field.name]
        out[field.name] = column
    return out
