"""Train the network of `activity.flow` on the sessions of "Smartphone-Based Recognition of Human Activities", from a fixed seed.

What it learns from comes from the engine: the windows that the model node of the pipeline would see, each with the
label of most of its samples. Windows of which three quarters or more have a basic activity are learnt; phones that
sit a little otherwise are made by turning all axes by the same small angle, for where "down" is tells sitting from
standing, and would else be learnt by heart.

Run:  python pipelines/train_activity.py --data DIRECTORY      (minutes; writes models/activity.pt2)
"""

import argparse
import csv
import itertools
import json
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from export import write as write_archive
from torch import nn

from flowedge.runtime.windows import write
from flowedge.torch import FrameDataset

PIPELINE = Path(__file__).parent / "activity.flow"
LABELS = ("walking", "upstairs", "downstairs", "sitting", "standing", "lying")
"""The basic activities, as `labels.csv` numbers them from 1; what follows are changes of posture."""
OTHERS = (
    "stand to sit",
    "sit to stand",
    "sit to lie",
    "lie to sit",
    "stand to lie",
    "lie to stand",
)
TRUTH = """
source truth (time, exp: key i32, user: key i32, label: string, end: time) from arrow("{known}")
param known = "truth.arrow"
"""
LENGTH, RATE_HZ = 128, 50
VECTORS = 5
"""Three axes each: acceleration, rate of turn, and where "down" has been on three spans of time."""
BATCH = 128
EPOCHS = {True: 5, False: 8}
"""Passes over the windows, with the sessions in another order beside them, and without."""


class Net(nn.Module):
    """Three convolutions over acceleration and turning, and a layer that sees where "down" is and has been.

    Parameters
    ----------
    has_past : whether it looks at where "down" has been; without, a window is all that it sees
    """

    def __init__(self, *, has_past: bool = True) -> None:
        super().__init__()
        self.has_past = has_past
        self.first, self.norm1 = nn.Conv1d(6, 32, 7, padding=3), nn.BatchNorm1d(32)
        self.second, self.norm2 = nn.Conv1d(32, 48, 5, padding=2), nn.BatchNorm1d(48)
        self.third, self.norm3 = nn.Conv1d(48, 64, 5, padding=2), nn.BatchNorm1d(64)
        self.drop = nn.Dropout(0.5)
        self.down = nn.Sequential(nn.Linear(12, 32), nn.ReLU(), nn.Linear(32, 9))
        self.last = nn.Linear(128 + 3 + (9 if has_past else 0), len(LABELS))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits (windows, 6) of windows (windows, 15, 128) in gn, deg/s, gn, gn, gn."""
        down = x[:, :3].mean(2)
        y = torch.cat([x[:, :3], x[:, 3:6] * 0.01], 1)
        y = torch.max_pool1d(torch.relu(self.norm1(self.first(y))), 2)
        y = torch.max_pool1d(torch.relu(self.norm2(self.second(y))), 2)
        y = torch.relu(self.norm3(self.third(y)))
        seen = [self.drop(torch.cat([y.mean(2), y.amax(2)], 1)), down * 2]
        if self.has_past:
            seen.append(self.down(torch.cat([x[:, 6:, -1], down], 1)))
        return self.last(torch.cat(seen, 1))


def sessions(data: Path) -> list[Path]:
    """The files of a folder in the order in which the engine reads them."""
    return sorted(data.glob("exp*_user*.npz"), key=lambda p: p.name.encode())


def activities(session: Path) -> np.ndarray:
    """Of each sample the number of its activity, 0 where there is none."""
    with np.load(session) as arrays:
        out = np.zeros(len(arrays["acc"]), np.int64)
    with (session.parent / "labels.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if int(row["experiment"]) == int(session.stem[3:5]):
                out[int(row["start"]) - 1 : int(row["end"])] = int(row["activity"])
    return out


def reordered(session: Path, folder: Path, seed: int) -> Path:
    """The same session with its pieces in another order, and their labels beside it; a piece ends with a label."""
    samples = activities(session)
    with session.with_name("labels.csv").open(encoding="utf-8") as file:
        exp = int(session.stem[3:5])
        ends = sorted(int(r["end"]) for r in csv.DictReader(file) if int(r["experiment"]) == exp)
    pieces = [x for x in np.split(np.arange(len(samples)), ends) if len(x)]
    order = np.random.default_rng([seed, exp]).permutation(len(pieces))
    rows = np.concatenate([pieces[k] for k in order])
    with np.load(session) as arrays:
        np.savez(folder / session.name, acc=arrays["acc"][rows], gyro=arrays["gyro"][rows])
    bounds = np.flatnonzero(np.diff(samples[rows], prepend=-1, append=-1))
    user = int(session.stem.partition("user")[2])
    with (folder / "labels.csv").open("a", encoding="utf-8") as file:
        if not file.tell():
            file.write("experiment,user,activity,start,end\n")
        for start, end in itertools.pairwise(bounds.tolist()):
            if samples[rows[start]]:
                file.write(f"{exp},{user},{samples[rows[start]]},{start + 1},{end}\n")
    return folder / session.name


def truth(data: Path) -> pa.Table:
    """What people did, as rows with a beginning and an end.

    Sessions lie one behind the other in time, for the pipeline counts the samples of all files.
    """
    begins, at = {}, 0
    for path in sessions(data):
        with np.load(path) as session:
            begins[int(path.stem[3:5])] = at
            at += len(session["acc"])
    with (data / "labels.csv").open(encoding="utf-8") as file:
        rows = [{k: int(v) for k, v in row.items()} for row in csv.DictReader(file)]
    rows = [row for row in rows if row["experiment"] in begins]
    rows.sort(key=lambda row: begins[row["experiment"]] + row["start"])
    begin = np.array([begins[row["experiment"]] for row in rows])
    start = begin + [
        row["start"] - 1 for row in rows
    ]  # they are counted from 1, and the last is part of it
    end = begin + [row["end"] for row in rows]
    instant = pa.timestamp("ns", "UTC")
    names = (*LABELS, *OTHERS)
    return pa.table(
        {
            "time": pa.array(start * (10**9 // RATE_HZ)).cast(instant),
            "exp": pa.array([row["experiment"] for row in rows], pa.int32()),
            "user": pa.array([row["user"] for row in rows], pa.int32()),
            "label": [names[row["activity"] - 1] for row in rows],
            "end": pa.array(end * (10**9 // RATE_HZ)).cast(instant),
        }
    )


def labelled(data: Path, out: Path) -> Path:
    """Write the windows of all sessions with their labels into a folder; the file."""
    known = truth(data)
    with pa.OSFile(str(out / "truth.arrow"), "wb") as file, pa.ipc.new_file(file, known.schema) as writer:  # fmt: skip
        writer.write_table(known)
    frames = out / "frames.arrow"
    write(
        None,
        text=PIPELINE.read_text("utf-8") + TRUTH,
        stream="activity",
        out=frames,
        params={"data": str(data), "known": str(out / "truth.arrow")},
        labels="truth.label",
        fresh=True,
    )
    return frames


def turned(count: int, spread_rad: float = 0.12) -> torch.Tensor:
    """Rotations by small angles around random axes, (count, 3, 3): Rodrigues' formula, as the exponential of a matrix."""
    x, y, z = (spread_rad * torch.randn(count, 3)).unbind(1)
    none = torch.zeros(count)
    skew = torch.stack([none, -z, y, z, none, -x, -y, x, none], 1).view(count, 3, 3)
    return torch.matrix_exp(skew)


def varied(x: torch.Tensor) -> torch.Tensor:
    """Windows (windows, 15, 128) of phones that sit a little otherwise, and of people who move more or less."""
    n = len(x)
    x = (turned(n)[:, None] @ x.view(n, VECTORS, 3, LENGTH)).view(n, 3 * VECTORS, LENGTH)
    x[:, :3] *= 1 + 0.03 * torch.randn(n, 1, 1)
    x[:, 3:6] *= 1 + 0.15 * torch.randn(n, 1, 1)
    x[:, :3] += 0.01 * torch.randn(n, 3, LENGTH)
    x[:, 3:6] += torch.randn(n, 3, LENGTH)
    return x


def train(
    x: torch.Tensor, y: torch.Tensor, *, epochs: int = EPOCHS[True], has_past: bool = True
) -> Net:
    """A network for windows and the numbers of their labels."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    net = Net(has_past=has_past)
    steps = epochs * (len(x) // BATCH)
    optimiser = torch.optim.AdamW(net.parameters(), lr=3e-3, weight_decay=2e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 4e-3, total_steps=steps)
    net.train()
    for _ in range(epochs):
        order = torch.randperm(len(x))
        for k in range(len(x) // BATCH):
            chosen = order[k * BATCH : (k + 1) * BATCH]
            loss = nn.functional.cross_entropy(
                net(varied(x[chosen])), y[chosen], label_smoothing=0.05
            )
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    return net.eval()


def learnt(
    data: Path, out: Path, *, mixed: bool = True
) -> tuple[torch.Tensor, torch.Tensor, np.ndarray]:
    """Windows to learn from, the numbers of their labels, and who each is of; a folder holds what is made on the way.

    Every session comes as it is, and with its pieces in another order: all people followed one script, and a network
    that sees the last minutes would learn it.
    """
    files = [labelled(data, out)]
    if mixed:
        (out / "mixed").mkdir()
        for session in sessions(data):
            reordered(session, out / "mixed", seed=1)
        files.append(labelled(out / "mixed", out / "mixed"))
    found = FrameDataset(files, labels=LABELS, others="drop", min_share=0.75)
    x = torch.stack([x for x, _ in found])
    return x, found.targets, found.groups("user")


def export(net: Net, path: Path) -> None:
    """Write the network for batches of any size, and beside it what there is to know of it."""
    frames = torch.zeros(16, 3 * VECTORS, LENGTH)
    batch = torch.export.Dim("batch", min=1, max=4096)
    write_archive(torch.export.export(net, (frames,), dynamic_shapes=({0: batch},)), path)
    manifest = {
        "file": path.name,
        "rate": RATE_HZ,
        "labels": LABELS,
        "output": "softmax",
        "inputs": [
            {
                "channels": ["a", "w", "soon", "lately", "long"],
                "unit": ["gn"] * 3 + ["deg/s"] * 3 + ["gn"] * 9,
            }
        ],
    }
    path.with_suffix(".model.json").write_text(json.dumps(manifest, indent=1) + "\n", "utf-8")


def main() -> None:
    """Read the command line, train on all people, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="where expNN_userMM.npz and labels.csv lie")  # fmt: skip
    parser.add_argument("--out", type=Path, default=Path("models"), help="where the model goes")
    given = parser.parse_args()
    if not (given.data / "labels.csv").exists() or not sessions(given.data):
        parser.error(f"there are no sessions and labels.csv in {given.data}; docs/examples/activity.md says where to get them")  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        x, y, people = learnt(given.data, Path(folder))
    net = train(x, y)
    with torch.inference_mode():
        known = float((net(x).argmax(1) == y).float().mean())
    path = given.out / "activity.pt2"
    export(net, path)
    print(f"{len(x):,} windows of {len(set(people.tolist()))} people, {known:.1%} of them told right; "
          f"wrote {path}, {path.stat().st_size:,} bytes")  # fmt: skip


if __name__ == "__main__":
    main()
