"""How well `pipelines/heartbeats.flow` tells the heartbeats of patients whom it has not seen: MIT-BIH Arrhythmia Database.

Leave-patients-out: records in eleven groups; for each, networks trained on the others, put into the pipeline, which then
runs over the whole records of the group as they stand, its own detector included. A beat that it finds belongs to the
nearest annotated beat within 150 ms, one to one. Classes after ANSI/AAMI EC57: N (N L R e j), S (A a J S), V (V E), F (F);
annotated beats of class Q (/ f Q) are left out, and so are records of pacemakers and what is found in ventricular
flutter (between the marks [ and ]). A beat that was not found counts as a miss of its class, a find that is no beat
against the positive predictivity of the class that it was given.

Run:  python benchmarks/heartbeats.py [--data DIRECTORY] [--shipped]
"""

import argparse
import sys
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import wfdb

import flowedge
from flowedge.runtime.run import Run

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "pipelines"))
from train_heartbeats import (  # noqa: E402  # the scripts of `pipelines` are no package
    CLASSES,
    LABELS,
    OUT,
    PIPELINE,
    beats_of,
    export,
    records,
    train,
)

GROUPS = 11
NEAR_S = 0.15
NO_BEAT, MISSED = len(LABELS), len(LABELS)


@dataclass(frozen=True)
class Truth:
    """What was annotated: seconds and classes of the beats, and spans of ventricular flutter."""

    time_s: np.ndarray
    label: np.ndarray
    flutter: list[tuple[float, float]]


def truth_of(record: Path) -> Truth:
    """The annotations of a record."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the package calls pandas in ways that pandas gives up
        marks = wfdb.rdann(str(record), "atr")
    seconds = marks.sample / float(wfdb.rdheader(str(record)).fs)
    beats = [(s, CLASSES[x]) for s, x in zip(seconds, marks.symbol, strict=True) if x in CLASSES]
    begins = [s for s, x in zip(seconds, marks.symbol, strict=True) if x == "["]
    ends = [s for s, x in zip(seconds, marks.symbol, strict=True) if x == "]"]
    return Truth(
        np.array([s for s, _ in beats]),
        np.array([c for _, c in beats]),
        list(zip(begins, ends, strict=True)),
    )


def told(record: Path, model: Path) -> tuple[np.ndarray, np.ndarray]:
    """Seconds and labels of the beats that the pipeline finds in a record, with a model in place of the shipped one."""
    with tempfile.TemporaryDirectory() as folder:
        text = PIPELINE.read_text("utf-8").replace("out/", f"{folder}/")
        text = text.replace("pipelines/models/heartbeats.pt2", str(model))
        Run(flowedge.compile(text=text, params={"record": str(record)}))()
        with pa.memory_map(f"{folder}/heartbeats.arrow") as file:
            table = pa.ipc.open_file(file).read_all()
            time_s = table["time"].cast(pa.int64()).to_numpy() * 1e-9
            return time_s, np.array([x or "" for x in table["label"].to_pylist()])


def judged(truth: Truth, time_s: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Counts (5, 5): annotated N, S, V, F, no beat, against told N, S, V, F, not found or without a label."""
    near = []
    for k, at in enumerate(time_s):
        low, high = np.searchsorted(truth.time_s, [at - NEAR_S, at + NEAR_S])
        near += [(abs(truth.time_s[j] - at), k, j) for j in range(low, high)]
    found: dict[int, int] = {}
    taken: set[int] = set()
    for _, k, j in sorted(near):
        if k not in found and j not in taken:
            found[k] = j
            taken.add(j)
    counts = np.zeros((len(LABELS) + 1, len(LABELS) + 1), int)
    for k, at in enumerate(time_s):
        column = LABELS.index(label[k]) if label[k] else MISSED
        if k in found:
            known = truth.label[found[k]]
            if known in LABELS:
                counts[LABELS.index(known), column] += 1
        elif label[k] and not any(a <= at <= b for a, b in truth.flutter):
            counts[NO_BEAT, column] += 1
    for j, known in enumerate(truth.label):
        if j not in taken and known in LABELS:
            counts[LABELS.index(known), MISSED] += 1
    return counts


def figures(counts: np.ndarray) -> list[str]:
    """Lines with sensitivity and positive predictivity of each class, and the accuracy."""
    size, f = len(LABELS), LABELS.index("F")
    lines = [f"{'':12}{'beats':>8}{'found':>8}{'Se %':>8}{'Se found %':>12}{'+P %':>8}"]
    for k, name in enumerate(LABELS):
        right, all_, seen = counts[k, k], counts[k].sum(), counts[k, :size].sum()
        given = counts[:, k].sum()
        lines.append(
            f"{name:12}{all_:8}{seen:8}{100 * right / max(1, all_):8.2f}{100 * right / max(1, seen):12.2f}"
            f"{100 * right / max(1, given):8.2f}"
        )
    v = LABELS.index("V")
    right = int(np.trace(counts[:size, :size]))
    lines += [
        f"+P of V where F told as V is no mistake (EC57): {100 * counts[v, v] / max(1, counts[:, v].sum() - counts[f, v]):.2f} %",
        f"accuracy: {100 * right / counts[:size].sum():.2f} % of annotated beats, {100 * right / counts[:size, :size].sum():.2f} % of those found",
    ]
    return lines


def table(counts: np.ndarray) -> list[str]:
    """The counts as lines."""
    heads = [*LABELS, "not found"]
    lines = [f"{'':12}" + "".join(f"{h:>10}" for h in heads)]
    for name, row in zip([*LABELS, "no beat"], counts, strict=True):
        lines.append(f"{name:12}" + "".join(f"{n:10}" for n in row))
    return lines


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data" / "mitbih")
    parser.add_argument(
        "--shipped",
        action="store_true",
        help="train nothing: judge the shipped model, on patients whom it should not have seen",
    )
    given = parser.parse_args()
    names = records(given.data)
    if not names:
        parser.error(f"no records in {given.data}")
    total = np.zeros((len(LABELS) + 1, len(LABELS) + 1), int)
    print(f"{'record':8}{'right':>8}{'of':>8}   annotated N, S, V, F: told N, S, V, F, not found")
    with tempfile.TemporaryDirectory() as folder:
        groups = [names] if given.shipped else [names[k::GROUPS] for k in range(GROUPS)]
        parts = {} if given.shipped else {r: beats_of(r, Path(folder)) for r in names}
        for group in groups:
            model = OUT
            if not given.shipped:
                model = Path(folder) / "heartbeats.pt2"
                export(train([parts[r] for r in names if r not in group]), model)
            for record in group:
                counts = judged(truth_of(record), *told(record, model))
                total += counts
                rows = "  ".join(" ".join(map(str, row)) for row in counts[:-1].tolist())
                right = int(np.trace(counts[:-1, :-1]))
                print(f"{record.name:8}{right:8}{counts[:-1].sum():8}   {rows}", flush=True)
    print("\n".join(["", *table(total), "", *figures(total)]))


if __name__ == "__main__":
    main()
