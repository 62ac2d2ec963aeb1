"""Turn the raw sessions of "Smartphone-Based Recognition of Human Activities" into what `activity.flow` reads.

UCI has them as text, in g and rad/s. What the sensors gave were whole numbers: steps of 1/720 g and of 0.0175 deg/s.
Those are written again, as ``expNN_userMM.npz`` with the arrays `acc` and `gyro`, and ``labels.csv`` beside them.

Run:  python pipelines/prepare_activity.py RawData data/har_hapt
"""

import csv
import sys
from pathlib import Path

import numpy as np

STEPS = {"acc": 720.0, "gyro": 1 / np.radians(0.0175)}
"""Steps of the sensors to one g, and to one rad/s."""


def steps(path: Path, per_unit: float) -> np.ndarray:
    """The whole numbers that a sensor gave, (samples, 3).

    Raises
    ------
    ValueError
        the file has other numbers than multiples of a step
    """
    exact = np.loadtxt(path, ndmin=2) * per_unit
    whole = np.round(exact)
    if not np.abs(exact - whole).max() < 0.05 or np.abs(whole).max() > 32_767:
        raise ValueError(f"{path} is not in the sensor's own steps")
    return whole.astype(np.int16)


def main() -> None:
    """Convert every session of a folder."""
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    raw, out = Path(sys.argv[1]), Path(sys.argv[2])
    files = sorted(raw.glob("acc_exp*_user*.txt"))
    if not files:
        sys.exit(f"there are no acc_expNN_userMM.txt in {raw}; docs/examples/activity.md says where to get them")  # fmt: skip
    out.mkdir(parents=True, exist_ok=True)
    for file in files:
        name = file.stem.removeprefix("acc_")
        acc, gyro = (steps(raw / f"{kind}_{name}.txt", n) for kind, n in STEPS.items())
        np.savez_compressed(out / f"{name}.npz", acc=acc, gyro=gyro)
    labels = np.loadtxt(raw / "labels.txt", dtype=np.int64, ndmin=2)
    with (out / "labels.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["experiment", "user", "activity", "start", "end"])
        writer.writerows(labels.tolist())
    print(f"{len(files)} sessions and {len(labels)} labels to {out}")


if __name__ == "__main__":
    main()
