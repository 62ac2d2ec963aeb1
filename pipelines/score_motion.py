"""Compare the labels of `motion.flow` with what the people in the recording did.

Run:  python pipelines/score_motion.py [LABELS] [RECORDING]
"""

import sys
from collections import Counter
from pathlib import Path

import pyarrow as pa

LABELS, RECORDING = Path("out/labels.arrow"), Path("data/motion_test.arrow")


def table(path: Path) -> pa.Table:
    """A whole Arrow file."""
    with pa.memory_map(str(path)) as file:
        return pa.ipc.open_file(file).read_all()


def score(labels: Path, recording: Path) -> tuple[int, int, Counter[tuple[str, str]]]:
    """Right windows, all windows, and how often (truth, answer) came."""
    truth_of = table(recording).select(["piece", "activity"]).to_pydict()
    truth = dict(zip(truth_of["piece"], truth_of["activity"], strict=True))
    found = table(labels).select(["piece", "label"]).to_pydict()
    pairs = Counter(
        (truth[p], str(label)) for p, label in zip(found["piece"], found["label"], strict=True)
    )
    return sum(n for (a, b), n in pairs.items() if a == b), sum(pairs.values()), pairs


def main() -> None:
    """Print the share of right windows, and where they went wrong."""
    labels = Path(sys.argv[1]) if len(sys.argv) > 1 else LABELS
    recording = Path(sys.argv[2]) if len(sys.argv) > 2 else RECORDING
    right, total, pairs = score(labels, recording)
    print(f"accuracy on the test split: {right} of {total} windows, {right / total:.1%}")
    for (truth, answer), n in sorted(pairs.items()):
        if truth != answer:
            print(f"  {n} windows of {truth} taken for {answer}")
    print(f"the labels lie in {labels}; look at them with: flowedge inspect {labels}")


if __name__ == "__main__":
    main()
