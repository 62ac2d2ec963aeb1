"""How `pipelines/anomalies.flow` does in NAB, the Numenta Anomaly Benchmark, by its own scorer (`nab_score.py`).

Every series goes through the pipeline row by row in the order of the file; the same setting for all.
Prints the table per series, the score at the threshold of the pipeline, and at the best one threshold
for all series, as NAB chooses it.

Run:  python benchmarks/nab.py [--data DIRECTORY] [--model FILE] [--without-model] [--constants]
"""

import argparse
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.csv
from nab_score import PROFILES, Choice, Judged

import flowedge
from flowedge.runtime.models import load_models

ROOT = Path(__file__).parent.parent
PIPELINE = ROOT / "pipelines" / "anomalies.flow"
MODEL = ROOT / "pipelines" / "models" / "anomalies.pt2"
GUESS = "last(forecast) as forecast"
INSTEAD = {
    "the running median for a forecast": "0 * last(x) as forecast",
    "the value 288 rows ago for a forecast": "last(ago_288) as forecast",
}
"""What takes the place of the model's answer, the rest of the pipeline as it is."""
SHORT, LONG, APART = (12, 24, 48), (1500, 2000, 3000), (50, 100, 200)
"""Values of the constants of the last stage: rows of a mean, rows that a record holds for, rows that an alarm lasts."""
OURS = (24, 2000, 100)
Runs = dict[tuple[int, int, int], list[np.ndarray]]
"""Scores of each series for each setting of those."""


class Series(NamedTuple):
    """A file of NAB: what the pipeline reads, and how it is judged."""

    name: str
    rows: pa.Table
    judged: Judged


def corpus(data: Path) -> Iterator[Series]:
    """Every series that is there, by name."""
    labels = json.loads((data / "labels" / "combined_windows.json").read_text("utf-8"))
    text = pa.csv.ConvertOptions(column_types={"timestamp": pa.string(), "value": pa.float64()})
    for name in sorted(labels):
        path = data / "data" / name
        if path.exists():
            rows = pa.csv.read_csv(path, convert_options=text)
            windows = [(first[:19], last[:19]) for first, last in labels[name]]  # to the second
            yield Series(name, rows, Judged.of(rows["timestamp"].to_pylist(), windows))


def pipeline(
    example: Path, change: Mapping[str, str] | None = None, model: Path = MODEL
) -> flowedge.Plan:
    """The pipeline, compiled, with texts of it exchanged for others; any series tells the checker what a file is like."""
    text = PIPELINE.read_text("utf-8").replace("pipelines/models/anomalies.pt2", str(model))
    if model != MODEL:
        text = re.sub(r',\s*sha256="\w+"', "", text)
    for old, new in (change or {}).items():
        assert text.count(old) > 0, old
        text = text.replace(old, new)
    return flowedge.compile(text=text, params={"data": str(example)})


def scored(plan: flowedge.Plan, series: Series) -> tuple[np.ndarray, np.ndarray]:
    """Score and alarm of every row of a series; 0 and none before the first frame is full."""
    models = load_models(plan.program)
    (out,) = plan.run({"series": series.rows}, models=models).values()
    ahead = len(series.rows) - len(out)
    scores = np.concatenate([np.zeros(ahead), out["score"].to_numpy()])
    alarms = np.append(np.zeros(ahead, bool), np.array(out["label"].to_pylist()) == "anomaly")
    return np.nan_to_num(scores, posinf=np.finfo(float).max), alarms


def windowed_gaussian(values: np.ndarray) -> np.ndarray:
    """NAB's baseline: how unlikely a value is under the normal distribution of those before it.

    Mean and deviation are those of the last 6,400 values, moved on by 100 at a time; scores have twelve
    digits, as in NAB's own tables of results.
    """
    size, step = 6400, 100
    out = np.zeros(len(values))
    for i in range(1, len(values)):
        first = max(0, (i - size) // step * step)
        before = values[first : min(i, first + size)]
        deviation = before.std() or 1e-6
        tail = 0.5 * math.erfc(abs(values[i] - before.mean()) / deviation / 1.4142)
        out[i] = float(f"{1 - tail:.12g}")
    return out


def heard(judged: Judged, alarms: np.ndarray) -> tuple[int, int]:
    """How many windows have an alarm, and how many alarms lie outside."""
    at = judged.window[alarms & judged.counts]
    return len(np.unique(at[at >= 0])), int((at < 0).sum())


def per_series(every: list[Series], alarms: Sequence[np.ndarray]) -> None:
    """Print what each series earns with given alarms."""
    print(f"{'series':58}{'windows':>8}{'found':>7}{'false':>7}{'points':>8}")
    for series, alarm in zip(every, alarms, strict=True):
        judged = series.judged
        found, wrong = heard(judged, alarm)
        points = judged.earned(alarm.astype(float), 1, PROFILES["standard"])
        print(f"{series.name:58}{judged.windows:>8}{found:>7}{wrong:>7}{points:>8.2f}")


def row(name: str, judged: Judged, scores: np.ndarray, threshold: float | None = None) -> None:
    """Print a row of the table of detectors: the three applications, each with its best threshold or with a given one.

    Windows that are found, and false alarms, are those of the standard profile.
    """
    chosen = {
        k: judged.best(scores, p)
        if threshold is None
        else Choice(threshold, judged.score(scores, threshold, p))
        for k, p in PROFILES.items()
    }
    found, wrong = heard(judged, scores >= chosen["standard"].threshold)
    above = [f" at {c.threshold:<6.4g}" if threshold is None else " " * 10 for c in chosen.values()]
    cells = "".join(f"{c.score:>9.2f}{x}" for c, x in zip(chosen.values(), above, strict=True))
    print(f"{name:44}{cells}{found:>4} of {judged.windows}{wrong:>7}", flush=True)


def constants(every: list[Series], example: Path) -> None:
    """Choose the constants of the last stage on other series than those that are judged, and print what that gives."""
    runs: Runs = {}
    whole = Judged.together([s.judged for s in every])
    for short, long, apart in product(SHORT, LONG, APART):
        change = {
            "over 24 samples": f"over {short} samples",
            "over 2000 samples": f"over {long} samples",
            "over 100 samples": f"over {apart} samples",
        }
        plan = pipeline(example, change)
        runs[short, long, apart] = [scored(plan, s)[0] for s in every]
        best = whole.best(np.concatenate(runs[short, long, apart]), PROFILES["standard"])
        print(f"{short:4}{long:6}{apart:5}{best.score:8.2f} at {best.threshold:.3f}", flush=True)
    print("constants and threshold of each group chosen by the others:")
    print(f"{left_out(every, runs):.2f}\nthe threshold alone:")
    print(f"{left_out(every, {OURS: runs[OURS]}):.2f}")


def left_out(every: list[Series], runs: Runs) -> float:
    """The score when each group of series, a folder of NAB, is judged by the setting and threshold that do best on all others."""
    profile, points = PROFILES["standard"], 0.0
    for group in sorted({s.name.split("/")[0] for s in every}):
        inside = np.array([s.name.startswith(group + "/") for s in every])
        rest = Judged.together([s.judged for s, x in zip(every, inside, strict=True) if not x])
        choices = {
            setting: rest.best(
                np.concatenate([y for y, x in zip(scores, inside, strict=True) if not x]), profile
            )
            for setting, scores in runs.items()
        }
        setting, (threshold, _) = max(choices.items(), key=lambda item: item[1].score)
        earned = [
            every[k].judged.earned(runs[setting][k], threshold, profile)
            for k in np.flatnonzero(inside)
        ]
        print(f"    {group:24}{setting} above {threshold:.3f} earns {sum(earned):.2f}")
        points += sum(earned)
    return Judged.together([s.judged for s in every]).normalised(points, profile)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data" / "nab")
    parser.add_argument("--without-model", action="store_true", help="simple guesses in its place")
    parser.add_argument("--constants", action="store_true", help="chosen without a group, for each")
    parser.add_argument("--model", type=Path, default=MODEL, help="another archive of the network")
    given = parser.parse_args()
    every = list(corpus(given.data))
    if not every:
        parser.error(f"no series in {given.data}")
    example = given.data / "data" / every[0].name
    if given.constants:
        constants(every, example)
        return
    whole = Judged.together([s.judged for s in every])
    plan = pipeline(example, model=given.model)
    scores, alarms = zip(*(scored(plan, s) for s in every), strict=True)
    per_series(every, alarms)
    print(f"\n{'detector':44}" + "".join(f"{n:>18} " for n in PROFILES) + "   windows  false")
    row("anomalies.flow, as it labels rows", whole, np.concatenate(alarms).astype(float), 1)
    row("anomalies.flow, best threshold", whole, np.concatenate(scores))
    if given.without_model:
        for name, instead in INSTEAD.items():
            other = pipeline(example, {GUESS: instead})
            row(name, whole, np.concatenate([scored(other, s)[0] for s in every]))
    gaussian = [windowed_gaussian(s.rows["value"].to_numpy()) for s in every]
    row("NAB's windowed Gaussian, best threshold", whole, np.concatenate(gaussian))


if __name__ == "__main__":
    main()
