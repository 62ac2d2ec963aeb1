"""Train the small network of `camera.flow` on clips that `prepare_camera.py` draws, from a fixed seed.

It sees what the pipeline will show it: frames that were encoded, decoded and scaled by the source `video`, and beside each the frame before.

Run:  python pipelines/train_camera.py        (under a minute; writes pipelines/models/camera.pt2)
"""

import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from export import write as archive
from prepare_camera import LABELS, write
from torch import nn

from flowedge.sources.catalog import get

SHAPE = (1, 48, 64)
TRAINING, TEST = range(100, 124), range(1, 4)
"""Seeds of clips; the first of the test is the clip of `camera.flow`."""
OUT = Path(__file__).parent / "models" / "camera.pt2"


class CameraNet(nn.Module):
    """Three convolutions over a frame and what changed in it, the mean and the largest of each feature, one linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(2, 8, 5, stride=2, padding=2)
        self.second = nn.Conv2d(8, 16, 3, stride=2, padding=1)
        self.third = nn.Conv2d(16, 16, 3, stride=2, padding=1)
        self.last = nn.Linear(32, len(LABELS))

    def forward(
        self, frame: torch.Tensor, before: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits (batch, 3) of frames (batch, 1, 48, 64) from 0 to 255, and what it wants to see beside the next frame."""
        light = frame / 255
        change = (light - before) * 4
        x = torch.cat([light - light.mean((1, 2, 3), keepdim=True), change], 1)
        x = torch.relu(self.third(torch.relu(self.second(torch.relu(self.first(x))))))
        return self.last(torch.cat([x.mean((2, 3)), x.amax((2, 3))], 1)), light


def clips(seeds: range, count: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Of each clip its frames (count, 1, 48, 64) as the pipeline has them, and the numbers of their labels."""
    kind: pa.DataType = pa.uint8()
    for length in reversed(SHAPE):
        kind = pa.list_(kind, length)
    video, out = get("video"), []
    with tempfile.TemporaryDirectory() as folder:
        for seed in seeds:
            path = Path(folder) / f"{seed}.mp4"
            truth = write(path, seed, count)
            source = video(str(path), declared=pa.schema([("frame", kind)]))
            found = [_flat(batch.column(0)) for batch, _ in source.batches(["frame"])]
            frames = np.concatenate(found).reshape(-1, *SHAPE).astype(np.float32)
            out.append((torch.from_numpy(frames), torch.tensor([LABELS.index(v) for v in truth])))
    return out


def _flat(column: pa.Array) -> np.ndarray:
    while pa.types.is_fixed_size_list(column.type):
        column = column.flatten()
    return column.to_numpy()


def with_the_frame_before(frames: torch.Tensor) -> torch.Tensor:
    """What the network remembers when it sees each frame; nothing at the first."""
    return torch.cat([torch.zeros_like(frames[:1]), frames[:-1] / 255])


def train() -> CameraNet:
    """The trained network."""
    torch.manual_seed(7)
    torch.set_num_threads(1)
    found = clips(TRAINING, 250)
    frames = torch.cat([x for x, _ in found])
    before = torch.cat([with_the_frame_before(x) for x, _ in found])
    labels = torch.cat([y for _, y in found])
    net, passes, size = CameraNet(), 12, 64
    optimiser = torch.optim.AdamW(net.parameters(), lr=3e-3, weight_decay=1e-2)
    steps = passes * (len(labels) // size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 1e-2, total_steps=steps)
    net.train()
    for _ in range(passes):
        order = torch.randperm(len(labels))
        for part in order[: len(order) // size * size].split(size):
            told, _ = net(frames[part], before[part])
            loss = nn.functional.cross_entropy(told, labels[part])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    return net.eval()


def confusion(net: CameraNet, seeds: range, count: int = 1200) -> np.ndarray:
    """How many frames of each label (rows) were told as which (columns)."""
    out = np.zeros((len(LABELS), len(LABELS)), int)
    with torch.inference_mode():
        for frames, labels in clips(seeds, count):
            told, _ = net(frames, with_the_frame_before(frames))
            np.add.at(out, (labels.numpy(), told.argmax(1).numpy()), 1)
    return out


def export(net: CameraNet, path: Path) -> None:
    """Write the archive of the network, for batches of any size."""
    example = (torch.zeros(16, *SHAPE), torch.zeros(16, *SHAPE))
    batch = torch.export.Dim("batch", min=1, max=4096)
    archive(torch.export.export(net, example, dynamic_shapes=({0: batch}, {0: batch})), path)


if __name__ == "__main__":
    trained = train()
    export(trained, OUT)
    for what, seeds in (("training", TRAINING), ("test", TEST)):
        table = confusion(trained, seeds, 250 if what == "training" else 1200)
        print(f"{what}: {table.trace() / table.sum():.2%} of {table.sum()} frames")
        for label, row in zip(LABELS, table, strict=True):
            print(f"  {label:7}", *(f"{n:6}" for n in row))
    print(f"wrote {OUT}, {OUT.stat().st_size} bytes")
