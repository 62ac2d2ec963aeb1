"""Train the networks of `heartbeats.flow` on the MIT-BIH Arrhythmia Database, from a fixed seed.

They learn from what the model node of the pipeline would see (`flowedge windows`), each beat with the annotation that
stands nearest, within 150 ms. Four small networks that differ in their first weights vote, each on both leads; while
learning, either lead takes the place of the first, and beats are moved, scaled and disturbed.

Run:  python pipelines/train_heartbeats.py --data DIRECTORY      (minutes; writes pipelines/models/heartbeats.pt2)
"""

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from export import write as write_archive
from torch import nn

from flowedge.runtime.windows import write
from flowedge.torch import FrameDataset

PIPELINE = Path(__file__).parent / "heartbeats.flow"
OUT = Path(__file__).parent / "models" / "heartbeats.pt2"
LABELS = ("N", "S", "V", "F")
CLASSES = {
    **dict.fromkeys("NLRej", "N"),
    **dict.fromkeys("AaJS", "S"),
    **dict.fromkeys("VE", "V"),
    "F": "F",
    **dict.fromkeys("/fQ", "Q"),
}
"""The class of each kind of beat, after ANSI/AAMI EC57; those of pacemakers and unclear ones (Q) are left out."""
PACED = ("102", "104", "107", "217")
"""Records of pacemakers, which EC57 leaves out."""
TRUTH = """
source truth from wfdb.annotations("{record}")
stream marks = truth | where symbol in [SYMBOLS] | select symbol
"""
LEADS = ("lead", "second")
RATE_HZ, SAMPLES, MEMBERS = 60, 54, 4
RHYTHM = 18
"""Numbers that tell of the rhythm: `r1` to `r18` of the pipeline."""
ROUNDS, BATCH, KEPT = 10, 256, 1 / 3
"""A round sees a third of the beats of class N, and all others."""


class Member(nn.Module):
    """Three layers on the shape of a beat beside the usual one, and two on that with the rhythm."""

    def __init__(self) -> None:
        super().__init__()
        self.shape, self.shorter = nn.Linear(3 * SAMPLES, 32), nn.Linear(32, 24)
        self.both, self.last = nn.Linear(24 + RHYTHM, 32), nn.Linear(32, len(LABELS))
        self.drop = nn.Dropout(0.5)

    def forward(
        self, beat: torch.Tensor, usual: torch.Tensor, rhythm: torch.Tensor
    ) -> torch.Tensor:
        """Logits (beats, 4) of beats (beats, 54) and usual beats (beats, 54) in mV, and rhythm (beats, 18)."""
        beat = beat - beat.mean(1, keepdim=True)
        usual = usual - usual.mean(1, keepdim=True)
        height = usual.std(1, keepdim=True) + 0.05
        beat, usual = beat / height, usual / height
        x = torch.relu(self.shape(torch.cat([beat, usual, beat - usual], 1)))
        x = torch.relu(self.shorter(self.drop(x)))
        return self.last(self.drop(torch.relu(self.both(torch.cat([x, rhythm], 1)))))


class Heartbeats(nn.Module):
    """Networks that vote, each on two leads: means of what they take the logarithms of probabilities to be."""

    def __init__(self, members: Sequence[Member], mean: torch.Tensor, std: torch.Tensor) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)

    def forward(
        self,
        lead: torch.Tensor,
        lead_usual: torch.Tensor,
        second: torch.Tensor,
        second_usual: torch.Tensor,
        rhythm: Sequence[torch.Tensor],
    ) -> torch.Tensor:
        """Logits (beats, 4) of beats (beats, 54) of two leads in mV, and of 18 numbers (beats, 1) of the rhythm."""
        numbers = (torch.cat(list(rhythm), 1) - self.mean) / self.std
        total = torch.zeros(1, len(LABELS))
        for member in self.members:
            first = member(lead, lead_usual, numbers).log_softmax(1)
            other = member(second, second_usual, numbers).log_softmax(1)
            total = total + (0.6 * first + 0.4 * other) / len(self.members)
        return total


@dataclass(frozen=True)
class Beats:
    """Beats as the model node sees them: shapes and usual shapes (beats, 2, 54), rhythm (beats, 18), classes (beats)."""

    shape: torch.Tensor
    usual: torch.Tensor
    rhythm: torch.Tensor
    label: torch.Tensor


def records(data: Path) -> list[Path]:
    """The records of a folder without those of pacemakers, by name."""
    return [p.with_suffix("") for p in sorted(data.glob("*.hea")) if p.stem not in PACED]


def beats_of(record: Path, folder: Path) -> Beats:
    """The beats that the pipeline finds in a record and that are annotated, with their classes."""
    symbols = ", ".join(f'"{s}"' for s in CLASSES)
    text = PIPELINE.read_text("utf-8") + TRUTH.replace("SYMBOLS", symbols)
    flow, out = folder / "labelled.flow", folder / f"{record.name}.arrow"
    flow.write_text(text, "utf-8")
    write(flow, stream="labels", out=out, params={"record": str(record)},
          labels="marks.symbol", within="150 ms", fresh=True)  # fmt: skip
    known = [s for s, c in CLASSES.items() if c in LABELS]
    shapes = [(SAMPLES,)] * 4 + [(1,)] * RHYTHM
    frames = FrameDataset(out, labels=known, others="drop", each=True, shapes=shapes)
    inputs = frames.__getitems__(range(len(frames)))
    columns = [torch.stack([x[k] for x, _ in inputs]) for k in range(4 + RHYTHM)]
    label = torch.tensor([LABELS.index(CLASSES[known[y]]) for _, y in inputs])
    return Beats(
        torch.stack([columns[0], columns[2]], 1),
        torch.stack([columns[1], columns[3]], 1),
        torch.cat(columns[4:], 1),
        label,
    )


def train(parts: Sequence[Beats]) -> Heartbeats:
    """The networks, trained on the beats of some records."""
    torch.set_num_threads(1)
    whole = Beats(
        torch.cat([p.shape for p in parts]), torch.cat([p.usual for p in parts]),
        torch.cat([p.rhythm for p in parts]), torch.cat([p.label for p in parts]),
    )  # fmt: skip
    mean, std = whole.rhythm.mean(0), whole.rhythm.std(0) + 1e-3
    members = [_member(whole, mean, std, seed) for seed in range(MEMBERS)]
    return Heartbeats(members, mean, std).eval()


def _member(beats: Beats, mean: torch.Tensor, std: torch.Tensor, seed: int) -> Member:
    """One network, from one seed."""
    torch.manual_seed(seed)
    draw = np.random.default_rng(seed)
    rhythm = ((beats.rhythm - mean) / std).numpy()
    label = beats.label.numpy()
    shape, usual = beats.shape.numpy(), beats.usual.numpy()
    counts = np.bincount(label, minlength=len(LABELS))
    weights = (counts.sum() / len(LABELS) / np.maximum(counts, 1)) ** 0.4
    weights[LABELS.index("F")] *= 0.25  # nearly all fusions are of one patient
    weigh = torch.tensor(weights, dtype=torch.float32)
    normal, rare = np.flatnonzero(label == 0), np.flatnonzero(label > 0)
    kept = int(len(normal) * KEPT)
    net = Member()
    steps = (kept + len(rare)) // BATCH
    optimiser = torch.optim.AdamW(net.parameters(), lr=4e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 4e-3, total_steps=steps * ROUNDS)
    net.train()
    for _ in range(ROUNDS):
        chosen = draw.permutation(np.concatenate([draw.choice(normal, kept, replace=False), rare]))
        which = (draw.random(len(chosen)) < 0.4).astype(int)
        x, t = _varied(shape[chosen, which], usual[chosen, which], draw)
        r = rhythm[chosen] + draw.normal(0, 0.1, (len(chosen), RHYTHM))
        given = [torch.from_numpy(v.astype(np.float32)) for v in (x, t, r)]
        wanted = torch.from_numpy(label[chosen])
        for k in range(steps):
            part = slice(k * BATCH, (k + 1) * BATCH)
            answer = net(*(v[part] for v in given))
            loss = nn.functional.cross_entropy(answer, wanted[part], weight=weigh)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    return net.eval()


def _varied(
    x: np.ndarray, usual: np.ndarray, draw: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Beats and usual beats moved by a sample at most, scaled alike; the beats with a wandering baseline and noise."""
    count = len(x)
    places = (np.arange(SAMPLES) + draw.integers(-1, 2, (count, 1))) % SAMPLES
    scale = draw.uniform(0.7, 1.4, (count, 1))
    x, usual = (
        np.take_along_axis(x, places, 1) * scale,
        np.take_along_axis(usual, places, 1) * scale,
    )
    turns = draw.uniform(0.2, 0.8, (count, 1)) * np.linspace(0, 1, SAMPLES) + draw.random(
        (count, 1)
    )
    wander = draw.normal(0, 0.1, (count, 1)) * np.sin(2 * np.pi * turns)
    return x + wander + draw.normal(0, 0.02, x.shape), usual


def export(net: Heartbeats, path: Path) -> None:
    """Write the archive of the networks, for batches of any size, with what it tells of itself."""
    batch = torch.export.Dim("batch", min=1, max=4096)
    frames = tuple(torch.zeros(16, SAMPLES) for _ in range(4))
    rhythm = tuple(torch.zeros(16, 1) for _ in range(RHYTHM))
    dynamic = (*({0: batch},) * 4, ({0: batch},) * RHYTHM)
    program = torch.export.export(net, (*frames, rhythm), dynamic_shapes=dynamic)
    shapes = [{"channels": [n], "unit": "mV"} for x in LEADS for n in (x, f"{x}_usual")]
    numbers = [{"channels": [f"r{k + 1}"]} for k in range(RHYTHM)]
    write_archive(
        program, path,
        {"rate": RATE_HZ, "labels": list(LABELS), "output": "softmax", "inputs": shapes + numbers},
    )  # fmt: skip


def main() -> None:
    """Train on all records of a folder."""
    parser = argparse.ArgumentParser(description="train the networks of heartbeats.flow")
    parser.add_argument("--data", type=Path, required=True, help="a folder of mitdb 1.0.0")
    data = parser.parse_args().data
    if not records(data):
        parser.error(f"no records in {data}")
    with tempfile.TemporaryDirectory() as folder:
        parts = [beats_of(record, Path(folder)) for record in records(data)]
    print(f"{sum(len(p.label) for p in parts)} beats of {len(parts)} records")
    export(train(parts), OUT)
    print(f"wrote {OUT}, {OUT.stat().st_size} bytes")


if __name__ == "__main__":
    main()
