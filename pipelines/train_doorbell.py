"""Train the network of `doorbell.flow`, from a fixed seed, on sounds that are made up (`doorbell_sounds.py`).

Tracks of chimes among noise, and what resembles speech, music and clatter, go through the first half of the pipeline
itself, so that the network sees in training what it sees in a run. One kind of chime, of three notes, is left out.

Run:  python pipelines/train_doorbell.py        (under three minutes; writes pipelines/models/doorbell.pt2)
"""

import argparse
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from doorbell_sounds import CHIMES, RATE, Track, track
from export import write
from torch import nn

import flowedge

PIPELINE = Path(__file__).parent / "doorbell.flow"
OUT = Path(__file__).parent / "models" / "doorbell.pt2"
BANDS, LENGTH = 40, 48
HOP_S, BAND_S = 512 / RATE, 1024 / RATE
TRACKS, SECONDS = 22, 120
STEPS, BATCH = 1600, 96
SEEN_S = 0.15
"""A ring is told once so much of its second note is in the frame [s]."""


class BellNet(nn.Module):
    """Three convolutions over bands and time, the mean and the largest of each feature, one linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 12, 5, stride=2, padding=2)
        self.second = nn.Conv2d(12, 24, 3, stride=2, padding=1)
        self.third = nn.Conv2d(24, 32, 3, padding=1)
        self.last = nn.Linear(64, 1)

    def forward(self, mel: torch.Tensor) -> torch.Tensor:
        """Logits (batch, 1) of the power in mel bands (batch, 40, 48), however loud."""
        x = torch.log(mel + 1e-10)
        x = (x - x.mean((1, 2), keepdim=True)) / 4
        x = torch.relu(self.first(x.unsqueeze(1)))
        x = torch.relu(self.second(x))
        x = torch.relu(self.third(x))
        return self.last(torch.cat([x.mean((2, 3)), x.amax((2, 3))], 1))


def first_half() -> flowedge.Plan:
    """The pipeline up to its model; nobody listens."""
    text = PIPELINE.read_text("utf-8").split("\nmodel ")[0].replace("param threshold = 0.9\n", "")
    return flowedge.compile(text=f"{text}\nsink bands to console", params={"sound": "pipe:none"})


def bands(plan: flowedge.Plan, x: np.ndarray) -> np.ndarray:
    """What the pipeline makes of samples: the power in mel bands (rows, 40)."""
    times = pa.array(np.arange(len(x)) * (10**9 // RATE)).cast(pa.timestamp("ns", "UTC"))
    table = pa.table({"time": times, "x": x.astype(np.float32)})
    (found,) = plan.run({"house": table}).values()
    return found["mel"].combine_chunks().flatten().to_numpy().reshape(-1, BANDS).astype(np.float32)


def truth(made: Track, rows: int) -> np.ndarray:
    """Of each frame that ends with a row whether a ring has begun in it (1, 0), or it is not to be said (-1): (rows,)."""
    end = np.arange(rows) * HOP_S + BAND_S
    begin = end - (LENGTH - 1) * HOP_S - BAND_S
    out = np.zeros(rows, np.int64)
    for ring in made.rings:
        out[(end > ring.begin + 0.05) & (begin < ring.over + 2.0)] = -1
        out[(end >= ring.second + SEEN_S) & (begin <= ring.begin + 0.2)] = 1
    out[: LENGTH - 1] = -1
    return out


def train(mels: np.ndarray, wanted: np.ndarray, draw: np.random.Generator) -> BellNet:
    """The trained network; a quarter of each batch are rings.

    Parameters
    ----------
    mels : (rows, 40)
    wanted : (rows,), of the frame that ends with each
    """
    net = BellNet()
    optimiser = torch.optim.AdamW(net.parameters(), lr=2e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 4e-3, total_steps=STEPS)
    rings, others = np.flatnonzero(wanted == 1), np.flatnonzero(wanted == 0)
    before, labels = np.arange(1 - LENGTH, 1), torch.zeros(BATCH)
    labels[: BATCH // 4] = 1
    total = 0.0
    for step in range(1, STEPS + 1):
        ends = np.concatenate([draw.choice(rings, BATCH // 4), draw.choice(others, BATCH - BATCH // 4)])  # fmt: skip
        frame = mels[ends[:, None] + before].transpose(0, 2, 1).copy()
        frame *= np.exp(draw.uniform(-2, 2, (BATCH, 1, 1)) + draw.normal(size=(BATCH, BANDS, 1)) * 0.3)  # fmt: skip
        logits = net(torch.from_numpy(frame.astype(np.float32)))[:, 0]
        loss = nn.functional.binary_cross_entropy_with_logits(logits, labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        total += loss.item()
        if step % 400 == 0:
            print(f"step {step}: loss {total / 400:.4f}", flush=True)
            total = 0.0
    return net.eval()


def main() -> None:
    """Make the sounds, train, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--seed", type=int, default=7)
    given = parser.parse_args()
    start = time.perf_counter()
    torch.manual_seed(given.seed)
    torch.set_num_threads(1)
    draw, plan = np.random.default_rng(given.seed), first_half()
    mels, wanted = [], []
    for _ in range(TRACKS):
        made = track(draw, SECONDS, (-3, 25), kinds=CHIMES[:-1])
        mels.append(bands(plan, made.x))
        wanted.append(truth(made, len(mels[-1])))
    print(f"{TRACKS * SECONDS // 60} minutes of sound after {time.perf_counter() - start:.0f} s", flush=True)  # fmt: skip
    net = train(np.concatenate(mels), np.concatenate(wanted), draw)
    batch = torch.export.Dim("batch", min=1, max=4096)
    frame = (torch.zeros(16, BANDS, LENGTH),)
    write(torch.export.export(net, frame, dynamic_shapes=({0: batch},)), given.out)
    took = time.perf_counter() - start
    print(f"wrote {given.out}, {given.out.stat().st_size} bytes, after {took:.0f} s")


if __name__ == "__main__":
    main()
