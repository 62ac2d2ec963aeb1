"""How well `pipelines/activity.flow` tells what people do of whom the network has seen nothing.

Leave-people-out: the people are dealt into folds; for each fold a network is trained on all others, and the pipeline
runs with it over the raw sessions of those left out. A window counts by the activity of most of its samples:

* *whole*: all 128 samples have the same basic activity;
* *most*: more than half of them have.

The others (changes of posture, and what has no label) are not counted. `window` is the label of each window, `steady`
that of the mean of the last three answers.

Each session is judged once more with its pieces in an order by chance (another one than those of training): all people
followed one script, which a network that sees the last minutes may learn.

Run:  python benchmarks/activity.py [--data DIRECTORY] [--folds 7] [--as-recorded | --alone]
"""

import argparse
import sys
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa

import flowedge
from flowedge.runtime.run import Run

ROOT = Path(__file__).parent.parent
PIPELINE = ROOT / "pipelines" / "activity.flow"
LENGTH, HOP = 128, 64

sys.path.insert(0, str(PIPELINE.parent))
from train_activity import EPOCHS, LABELS, activities, export, learnt, reordered, sessions, train  # noqa: E402

Pairs = Counter[tuple[str, str | None]]
"""How often which truth met which label."""


def known(session: Path) -> list[tuple[str | None, float]]:
    """Of each window the basic activity of most samples (None: another), and their share."""
    samples = activities(session)
    out = []
    for k in range(0, len(samples) - LENGTH + 1, HOP):
        counts = np.bincount(samples[k : k + LENGTH], minlength=13)
        most = int(counts.argmax())
        out.append((LABELS[most - 1] if 1 <= most <= 6 else None, counts[most] / LENGTH))
    return out


def told(files: list[Path], models: Path) -> dict[str, dict[int, list[str | None]]]:
    """Labels of the windows of each session, as they leave the pipeline: each by itself, and steady."""
    with tempfile.TemporaryDirectory() as folder:
        for file in files:
            (Path(folder) / file.name).symlink_to(file.resolve())
        text = PIPELINE.read_text("utf-8").replace('"out/', f'"{folder}/')
        params = {"data": folder, "models": str(models)}
        Run(flowedge.compile(text=text, params=params, use_cache=False))()
        out: dict[str, dict[int, list[str | None]]] = {}
        for name, sink in (("window", "activity"), ("steady", "activity_steady")):
            with pa.memory_map(f"{folder}/{sink}.arrow") as file:
                rows = pa.ipc.open_file(file).read_all().select(["exp", "label"]).to_pydict()
            of: dict[int, list[str | None]] = {}
            for exp, label in zip(rows["exp"], rows["label"], strict=True):
                of.setdefault(exp, []).append(label)
            out[name] = of
    return out


def judged(files: list[Path], models: Path) -> dict[str, Pairs]:
    """What was told of sessions, by `window whole`, `window most`, `steady whole` and `steady most`."""
    out: dict[str, Pairs] = {f"{w} {s}": Counter() for w in ("window", "steady") for s in ("whole", "most")}  # fmt: skip
    labels = told(files, models)
    for session in files:
        truth = known(session)
        for name, of in labels.items():
            for (activity, share), label in zip(truth, of[int(session.stem[3:5])], strict=True):
                if activity is not None and share > 0.5:
                    out[f"{name} most"][activity, label] += 1
                    if share == 1:
                        out[f"{name} whole"][activity, label] += 1
    return out


def share(pairs: Pairs) -> float:
    """Share that is told right."""
    return sum(n for (a, b), n in pairs.items() if a == b) / max(1, sum(pairs.values()))


def main() -> None:
    """Print accuracy by fold and person, and where windows went wrong."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data" / "har_hapt")
    parser.add_argument("--folds", type=int, default=7)
    parser.add_argument("--as-recorded", action="store_true", help="sessions are learnt in the order of the script alone")  # fmt: skip
    parser.add_argument("--alone", action="store_true", help='the network does not see where "down" has been, and needs no other order')  # fmt: skip
    given = parser.parse_args()
    files = sessions(given.data)
    mixed = not (given.as_recorded or given.alone)
    total: dict[str, Pairs] = {}
    with tempfile.TemporaryDirectory() as folder:
        x, y, people = learnt(given.data, Path(folder), mixed=mixed)
        everyone = np.unique(people)
        for fold in range(given.folds):
            out = everyone[fold :: given.folds]
            is_other = ~np.isin(people, out)
            net = train(x[is_other], y[is_other], epochs=EPOCHS[mixed], has_past=not given.alone)
            export(net, Path(folder) / "models" / "activity.pt2")
            of_fold: dict[str, Pairs] = {}
            each = []
            for person in out:
                own = [f for f in files if int(f.stem.partition("user")[2]) == person]
                found = judged(own, Path(folder) / "models")
                with tempfile.TemporaryDirectory() as other:
                    again = judged(
                        [reordered(f, Path(other), seed=0) for f in own], Path(folder) / "models"
                    )
                found |= {f"{name}, reordered": again[name] for name in again if "window" in name}
                each.append(f"{person}: {share(found['window most']):.1%}")
                for name, pairs in found.items():
                    of_fold.setdefault(name, Counter()).update(pairs)
            for name, pairs in of_fold.items():
                total.setdefault(name, Counter()).update(pairs)
            print(f"fold {fold + 1}: " + ", ".join(f"{n} {share(p):.2%}" for n, p in of_fold.items()) + f"; by person {', '.join(each)}", flush=True)  # fmt: skip
    for name, pairs in total.items():
        right = sum(n for (a, b), n in pairs.items() if a == b)
        print(f"{name}: {right:,} of {sum(pairs.values()):,} windows, {share(pairs):.2%}")
    print("\nwindow most: what was (rows), what was told (columns)")
    print(f"{'':12}" + "".join(f"{label:>12}" for label in LABELS))
    for truth in LABELS:
        print(f"{truth:12}" + "".join(f"{total['window most'][truth, label]:>12,}" for label in LABELS))  # fmt: skip


if __name__ == "__main__":
    main()
