"""Train the small network of `motion.flow` on the training split alone, from a fixed seed.

It sees what the pipeline will show it: the causal low-pass from zero state, then windows of 50
samples. Shifts, turns of the watch, changes of strength and noise make more of the 40 pieces there are.

Run:  python pipelines/train_motion.py        (about half a minute; writes pipelines/models/motion.pt2)
"""

from pathlib import Path

import numpy as np
import torch
from export import write
from prepare_motion import pieces
from scipy.signal import butter, sosfilt
from torch import nn

LABELS = ("badminton", "running", "standing", "walking")
LENGTH, HOP, RATE_HZ = 50, 25, 10
OUT = Path(__file__).parent / "models" / "motion.pt2"


class MotionNet(nn.Module):
    """Two convolutions over six channels, the mean and the largest of each feature, one linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.BatchNorm1d(6)
        self.first = nn.Conv1d(6, 24, 7, padding=3)
        self.second = nn.Conv1d(24, 32, 5, padding=2)
        self.last = nn.Linear(64, len(LABELS))
        self.drop = nn.Dropout(0.3)

    def forward(self, acc: torch.Tensor, gyro: torch.Tensor) -> torch.Tensor:
        """Logits (batch, 4) of frames (batch, 3, 50)."""
        x = self.scale(torch.cat([acc, gyro], 1))
        x = torch.nn.functional.max_pool1d(torch.relu(self.first(x)), 2)
        x = torch.relu(self.second(x))
        return self.last(self.drop(torch.cat([x.mean(2), x.amax(2)], 1)))


def filtered(split: str) -> tuple[np.ndarray, np.ndarray]:
    """Pieces through the pipeline's filter (pieces, 6, 100), and the number of each one's label."""
    x, y = pieces(split)
    sections = butter(2, 4, fs=RATE_HZ, output="sos")
    return sosfilt(sections, x.astype(np.float64), axis=2).astype(np.float32), np.array(
        [LABELS.index(v) for v in y]
    )


def windows(x: np.ndarray) -> np.ndarray:
    """All windows of the pipeline: (pieces, windows, 6, 50)."""
    return np.stack(
        [x[:, :, k : k + LENGTH] for k in range(0, x.shape[2] - LENGTH + 1, HOP)], axis=1
    )


def varied(x: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    """One window of each piece at a random place, turned, scaled, with noise: (pieces, 6, 50)."""
    out = np.empty((len(x), 6, LENGTH), np.float32)
    for k, piece in enumerate(x):
        start = draw.integers(0, piece.shape[1] - LENGTH + 1)
        turn, _ = np.linalg.qr(np.eye(3) + 0.25 * draw.normal(size=(3, 3)))
        turn *= np.sign(np.diag(turn))
        part = piece[:, start : start + LENGTH]
        out[k, :3], out[k, 3:] = turn @ part[:3], turn @ part[3:]
    out *= draw.uniform(0.8, 1.25, size=(len(x), 1, 1))
    return out + 0.05 * draw.normal(size=out.shape).astype(np.float32)


def train() -> MotionNet:
    """The trained network."""
    torch.manual_seed(7)
    torch.set_num_threads(1)
    draw = np.random.default_rng(7)
    x, y = filtered("train")
    net, labels = MotionNet(), torch.from_numpy(np.tile(y, 2))
    optimiser = torch.optim.AdamW(net.parameters(), lr=3e-3, weight_decay=1e-2)
    steps = 600
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 1e-2, total_steps=steps)
    net.train()
    for _ in range(steps):
        batch = torch.from_numpy(np.concatenate([varied(x, draw), varied(x, draw)]))
        loss = nn.functional.cross_entropy(
            net(batch[:, :3], batch[:, 3:]), labels, label_smoothing=0.05
        )
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return net.eval()


def accuracy(net: MotionNet, split: str) -> float:
    """Share of windows with the right label."""
    x, y = filtered(split)
    w = windows(x)
    with torch.inference_mode():
        flat = torch.from_numpy(w.reshape(-1, 6, LENGTH))
        found = net(flat[:, :3], flat[:, 3:]).argmax(1).numpy().reshape(w.shape[:2])
    return float((found == y[:, None]).mean())


def export(net: MotionNet, path: Path) -> None:
    """Write the archive of the network, for batches of any size."""
    frame = (torch.zeros(16, 3, LENGTH), torch.zeros(16, 3, LENGTH))
    batch = torch.export.Dim("batch", min=1, max=4096)
    write(torch.export.export(net, frame, dynamic_shapes=({0: batch}, {0: batch})), path)


if __name__ == "__main__":
    trained = train()
    export(trained, OUT)
    print(
        f"training windows {accuracy(trained, 'train'):.1%}, test windows {accuracy(trained, 'test'):.1%}"
    )
    print(f"wrote {OUT}, {OUT.stat().st_size} bytes")
