"""How well `pipelines/room_occupied.flow` tells whether somebody is in the room, with light and without.

Trains both networks on `datatraining.txt`, runs the pipeline over `datatest.txt` as it is, and compares the labels
with the occupancy that the file has. A row without a label counts as wrong.

Run:  python benchmarks/room.py [--data DIRECTORY] [--models DIRECTORY]
"""

import argparse
import csv
import sys
import tempfile
from collections import Counter
from pathlib import Path

import pyarrow as pa

import flowedge
from flowedge.runtime.run import Run

ROOT = Path(__file__).parent.parent
PIPELINE = ROOT / "pipelines" / "room_occupied.flow"
LABELS = ("empty", "occupied")


def told(recording: Path, models: Path) -> dict[str, list[str | None]]:
    """The labels of both networks, row by row."""
    with tempfile.TemporaryDirectory() as folder:
        text = PIPELINE.read_text("utf-8").replace("out/", f"{folder}/")
        params = {"data": str(recording), "models": str(models)}
        Run(flowedge.compile(text=text, params=params, use_cache=False))()
        out = {}
        for name in ("lit", "dark"):
            with pa.memory_map(f"{folder}/room_{name}.arrow") as file:
                out[name] = pa.ipc.open_file(file).read_all()["label"].to_pylist()
        return out


def truth(recording: Path) -> list[str]:
    """What the pictures of the room have shown, row by row: the last cell of each."""
    with recording.open(encoding="utf-8") as file:
        return [LABELS[int(row[-1])] for row in list(csv.reader(file))[1:]]


def judged(recording: Path, models: Path) -> dict[str, Counter[tuple[str, str | None]]]:
    """How often which truth met which label, for each network."""
    known = truth(recording)
    return {
        name: Counter(zip(known, labels, strict=True))
        for name, labels in told(recording, models).items()
    }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data" / "occupancy")
    parser.add_argument("--models", type=Path, help="take the models there, and train none")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if given.models is None:
            sys.path.insert(0, str(PIPELINE.parent))
            from train_room import make

            make(given.data, Path(folder))
        counts = judged(given.data / "datatest.txt", given.models or Path(folder))
    columns = (
        "right",
        "of",
        "accuracy",
        "empty, told occupied",
        "occupied, told empty",
        "no label",
    )
    print(f"{'network':8}" + "".join(f"{c:>22}" for c in columns))
    for name, pairs in counts.items():
        right, total = sum(pairs[x, x] for x in LABELS), sum(pairs.values())
        silent = sum(n for (_, label), n in pairs.items() if label is None)
        cells = (right, total, f"{right / total:.2%}", pairs["empty", "occupied"], pairs["occupied", "empty"], silent)  # fmt: skip
        print(f"{name:8}" + "".join(f"{c:>22}" for c in cells))


if __name__ == "__main__":
    main()
