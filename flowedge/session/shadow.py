"""A model that runs beside another: how far they agree is told, and no row depends on it."""

import math
from typing import Any

import numpy as np

from flowedge.session.asking import ANSWERED, Answers, Asker
from flowedge.session.batch import Array, Batch
from flowedge.session.heads import Heads, shares
from flowedge.session.snapshot import tally

_MOST_PAIRS = 64


class Shadow:
    """Asks the second model about all frames, and compares where both answer.

    Attributes
    ----------
    frames : that both answered
    failed : that the first answered and the second did not
    agreed : by label column, frames with the same label
    pairs : by label column, (label of the first, label of the second): frames, where they differ
    largest, total : by column of numbers: the largest difference, and the sum of the frames' mean differences
    """

    def __init__(self, asker: Asker, heads: Heads) -> None:
        self.asker = asker
        self._spec = heads.spec
        self.frames = self.failed = 0
        self.agreed: dict[str, int] = {}
        self.pairs: dict[str, dict[str, int]] = {}
        self.largest: dict[str, float] = {}
        self.total: dict[str, float] = {}

    def compare(self, batch: Batch, first: Answers, heads: Heads) -> None:
        """Ask about all frames, and note where the answers to those that the first model answered differ."""
        second = self.asker.ask(batch, self.asker.frames(batch))
        at, mine = _answered(batch, first)
        there, its = _answered(batch, second)
        self.failed += int(np.isin(at, _asked(batch, second)).sum() - np.isin(at, there).sum())
        _, i, k = np.intersect1d(at, there, assume_unique=True, return_indices=True)
        self.frames += len(i)
        if not len(i):
            return
        one = {n: v[mine[i]] for n, v in first.raw.items()}
        two = {n: v[its[k]] for n, v in second.raw.items()}
        self._labels(one, two, heads)
        numbers = {name: out for name, what, out in self._spec.made if what in ("raw", "samples")}
        for name, what, out in heads.spec.made:
            if what in ("raw", "samples"):
                self._numbers(name, one[out], two[numbers[name]])

    def _labels(self, one: dict[int, Array], two: dict[int, Array], heads: Heads) -> None:
        for (kind, labels, at), (other, theirs, there) in zip(heads.spec.heads, self._spec.heads, strict=True):  # fmt: skip
            if at not in one or there not in two:
                continue
            name = next(n for n, _, k in heads.spec.made if k == at)
            name = name.removesuffix("_score").removesuffix("_probs")
            name = "label" if name in ("score", "probs") else name
            a = np.array(labels)[shares(one[at], kind, len(labels))[0]]
            b = np.array(theirs)[shares(two[there], other, len(theirs))[0]]
            self.agreed[name] = self.agreed.get(name, 0) + int((a == b).sum())
            pairs = self.pairs.setdefault(name, {})
            for i in np.flatnonzero(a != b):
                pair = f"{a[i]} -> {b[i]}"
                if pair not in pairs and len(pairs) >= _MOST_PAIRS:
                    pair = "others"
                pairs[pair] = pairs.get(pair, 0) + 1

    def _numbers(self, name: str, one: Array, two: Array) -> None:
        n = len(one)
        with np.errstate(invalid="ignore", over="ignore"):
            apart = np.abs(one.reshape(n, -1).astype(np.float64) - two.reshape(n, -1))
        self.largest[name] = max(self.largest.get(name, 0.0), float(apart.max(initial=0)))
        self.total[name] = self.total.get(name, 0.0) + math.fsum(apart.mean(axis=1))

    def told(self) -> dict[str, Any]:
        """Plain data for the report: of labels the share that agrees, of numbers how far they are apart."""
        out: dict[str, Any] = {
            "model": self._spec.model,
            "frames": self.frames,
            "failed": self.failed,
            "reasons": dict(self.asker.reasons),
        }
        n = max(self.frames, 1)
        for name, agreed in self.agreed.items():
            pairs = sorted(self.pairs[name].items(), key=lambda pair: -pair[1])
            out[name] = {"agreement": agreed / n, "differ": dict(pairs)}
        for name, largest in self.largest.items():
            out[name] = {"largest_difference": largest, "mean_difference": self.total[name] / n}
        return out

    def state(self) -> dict[str, Any]:
        """Plain data for a snapshot."""
        return {
            "counts": [self.frames, self.failed],
            "agreed": dict(self.agreed),
            "pairs": {name: dict(pairs) for name, pairs in self.pairs.items()},
            "largest": dict(self.largest),
            "total": dict(self.total),
        }

    def load(self, state: Any) -> None:  # noqa: ANN401
        """Take a snapshot over."""
        self.frames, self.failed = (tally(x) for x in state["counts"])
        self.agreed = {str(k): tally(v) for k, v in state["agreed"].items()}
        self.pairs = {str(k): {str(a): tally(n) for a, n in v.items()} for k, v in state["pairs"].items()}  # fmt: skip
        self.largest = {str(k): float(v) for k, v in state["largest"].items()}
        self.total = {str(k): float(v) for k, v in state["total"].items()}


def _asked(batch: Batch, answers: Answers) -> Array:
    """Numbers of the frames that a model was asked about."""
    return np.arange(batch.n) if answers.which is None else answers.which


def _answered(batch: Batch, answers: Answers) -> tuple[Array, Array]:
    """Numbers of the frames that a model answered, and their places among those asked about."""
    good = np.flatnonzero(answers.fate == ANSWERED)
    return _asked(batch, answers)[good], good
