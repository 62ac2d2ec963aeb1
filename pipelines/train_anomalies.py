"""Train the forecaster of `anomalies.flow`, from a fixed seed, on series that are made up here.

Days and weeks of many shapes, noise with and without a memory, steps, bursts, values that are rounded
or cut off: what real series look like, in any unit. They go through the first half of the pipeline
itself, so the network sees in training what it will see in a run. No recording is needed, and so
none has been seen that the network is judged on; `--data DIR` adds the first 15 % (at most 750 rows)
of each series of a copy of NAB, the part in which its detectors may learn.

Run:  python pipelines/train_anomalies.py [--data DIR]        (about two minutes; writes pipelines/models/anomalies.pt2)
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import torch
from scipy.signal import lfilter
from torch import nn
from train_motion import write

import flowedge

PIPELINE = Path(__file__).parent / "anomalies.flow"
OUT = Path(__file__).parent / "models" / "anomalies.pt2"
AGO = ("ago_144", "ago_168", "ago_288", "ago_336", "ago_2016")
OFF = ("off_144", "off_168", "off_288", "off_336", "off_2016", "off_near", "off_middle")
INPUTS = ("near", *AGO, *OFF)
LENGTH = 32
"""Samples of a frame."""
SERIES, ROWS = 400, 4000
"""How many series are made up, and how long each is."""
STEPS, BATCH = 4000, 512


class Forecaster(nn.Module):
    """Weighs simple guesses: the middle, the newest values, and the values at the same time some days or weeks ago.

    Each starts with a weight by how far off it was lately; two layers, which see the whole frame, change the weights.
    """

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(LENGTH * (1 + len(AGO)) + len(OFF) + 2, 64)
        self.second = nn.Linear(64, 64)
        self.weights = nn.Linear(64, 4 + len(AGO))
        self.shift = nn.Linear(64, 1)

    def hidden(self, frame: torch.Tensor) -> torch.Tensor:
        """What the layers make of frames (batch, 13, 32): (batch, 64)."""
        near, off = frame[:, 0], torch.log(frame[:, 1 + len(AGO) :, -1].abs() + 1e-3)
        spread = torch.sqrt(((near - near.mean(1, keepdim=True)) ** 2).mean(1, keepdim=True))
        seen = [frame[:, : 1 + len(AGO)].flatten(1), off, torch.log(spread + 1e-3), near[:, -1:]]
        return torch.relu(self.second(torch.relu(self.first(torch.cat(seen, 1)))))

    def guess(self, frame: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
        """The forecast (batch,) for the last sample of each frame."""
        near, ago = frame[:, 0], frame[:, 1 : 1 + len(AGO), -1]
        short, long = near[:, -6:].mean(1, keepdim=True), near.mean(1, keepdim=True)
        guesses = torch.cat([torch.zeros_like(short), near[:, -1:], short, long, ago], 1)
        off = frame[:, 1 + len(AGO) :, -1].abs()  # means of distances, and so they are not below 0
        last, middle, seasons = off[:, -2:-1], off[:, -1:], off[:, : len(AGO)]
        trust = -2 * torch.log(torch.cat([middle, last, last, middle, seasons], 1) + 1e-2)
        weights = torch.softmax(self.weights(hidden) + trust, 1)
        return (weights * guesses).sum(1) + 0.1 * self.shift(hidden)[:, 0]

    def forward(self, frame: torch.Tensor) -> torch.Tensor:
        """Forecasts (batch,) of frames (batch, 13, 32)."""
        return self.guess(frame, self.hidden(frame))


def made_up(draw: np.random.Generator) -> np.ndarray:
    """A series (rows,) in some unit."""
    t, x = np.arange(ROWS), np.zeros(ROWS)
    if draw.random() < 0.75:  # a day of 24, 48, 144 or 288 rows
        day = int(draw.choice([24, 48, 144, 288]))
        for k in range(1, int(draw.integers(2, 7))):
            tone = np.cos(2 * np.pi * (k * t / day + draw.random()))
            x += draw.normal() / k ** draw.uniform(0.3, 1.5) * tone
        if draw.random() < 0.3:  # on and off
            x = np.sign(x - 0.3 * draw.normal()) * draw.uniform(0.5, 1.5)
        if draw.random() < 0.4:  # weekends
            week = (t // day + draw.integers(7)) % 7 < 5
            x *= np.where(week, 1, draw.uniform(0.2, 1))
        if draw.random() < 0.3:
            x = np.exp(x * draw.uniform(0.3, 1))
        x *= draw.uniform(0.5, 3)
    memory = draw.choice([0, 0.5, 0.8, 0.95, 0.99])
    noise = draw.standard_t(2.5, ROWS) if draw.random() < 0.3 else draw.normal(size=ROWS)
    x += draw.choice([0.02, 0.1, 0.3, 1]) * lfilter([np.sqrt(1 - memory**2)], [1, -memory], noise)
    if draw.random() < 0.3:  # it wanders
        x += np.cumsum(draw.normal(size=ROWS)) * draw.uniform(0, 0.03)
    if draw.random() < 0.4:  # steps
        for _ in range(int(draw.integers(1, 5))):
            x[draw.integers(ROWS) :] += 2 * draw.normal()
    if draw.random() < 0.4:  # bursts
        burst = draw.random(ROWS) < draw.uniform(0.001, 0.05)
        x += burst * draw.gamma(1, draw.uniform(1, 8), ROWS) * draw.choice([1, 1, -1])
    if draw.random() < 0.2:
        grid = draw.uniform(0.05, 0.5)
        x = np.round(x / grid) * grid
    if draw.random() < 0.2:
        x = np.maximum(x, np.quantile(x, draw.uniform(0.05, 0.6)))
    return x * 10 ** draw.uniform(-2, 5) + draw.choice([0, 1]) * 10 * draw.normal()


def first_half() -> flowedge.Plan:
    """The pipeline up to its model; the sink has what a frame is made of, and the value that is to be foretold."""
    text = PIPELINE.read_text("utf-8").split("\nmodel ")[0]
    text += f"\nsink scaled | select {', '.join((*INPUTS, 'x'))} to console"
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "series.csv"  # the check asks for one; rows are pushed
        file.write_text("timestamp,value\n2020-01-01 00:00:00,0\n", "utf-8")
        return flowedge.compile(text=text, params={"data": str(file)}, use_cache=False)


def channels(plan: flowedge.Plan, values: np.ndarray) -> np.ndarray:
    """A series (rows,) as the pipeline shows it: (13 + 1, rows), the last is what is to be foretold."""
    minutes = np.datetime_as_string(
        np.datetime64("2020-01-01T00:00:00") + 300 * np.arange(len(values))
    )
    times = np.char.replace(minutes, "T", " ")
    (table,) = plan.run(
        {"series": pa.table({"timestamp": times.tolist(), "value": values})}
    ).values()
    return np.stack([table[name].to_numpy() for name in (*INPUTS, "x")]).astype(np.float32)


def learning_parts(data: Path) -> list[np.ndarray]:
    """The first values of each series of NAB, which are not judged."""
    series = [pa.csv.read_csv(path)["value"].to_numpy() for path in sorted(data.glob("*/*.csv"))]
    return [x[: min(int(0.15 * len(x)), 750)].astype(np.float64) for x in series]


def train(series: list[np.ndarray], often: np.ndarray, draw: np.random.Generator) -> Forecaster:
    """The trained network.

    The loss is that of a Laplace distribution whose width the network foretells too, so that noise that
    nobody can foretell weighs little. The width is only for training.

    Parameters
    ----------
    series : each (13 + 1, rows)
    often : how often frames are taken from each, in proportion
    """
    net, width = Forecaster(), nn.Linear(64, 1)
    weights = [*net.parameters(), *width.parameters()]
    optimiser = torch.optim.Adam(weights)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-3, total_steps=STEPS)
    before, total = np.arange(1 - LENGTH, 1), 0.0
    for step in range(1, STEPS + 1):
        frames = []
        for k in draw.choice(len(series), 16, p=often / often.sum()):
            ends = draw.integers(LENGTH, series[k].shape[1], BATCH // 16)
            frames.append(series[k][:, ends[:, None] + before].transpose(1, 0, 2))
        whole = torch.from_numpy(np.concatenate(frames))
        frame, truth = whole[:, :-1], whole[:, -1, -1]
        hidden = net.hidden(frame)
        best = frame[:, 1 + len(AGO) : -1, -1].amin(1)
        wide = nn.functional.softplus(width(hidden)[:, 0]) * (best + 0.1) + 1e-2
        loss = ((truth - net.guess(frame, hidden)).abs() / wide + torch.log(wide)).mean()
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(weights, 1.0)
        optimiser.step()
        schedule.step()
        total += loss.item()
        if step % 1000 == 0:
            print(f"step {step}: loss {total / 1000:.3f}")
            total = 0.0
    return net.eval()


def export(net: Forecaster, path: Path) -> None:
    """Write the archive of the network, for batches of any size."""
    frame = (torch.zeros(16, len(INPUTS), LENGTH),)
    batch = torch.export.Dim("batch", min=1, max=4096)
    write(torch.export.export(net, frame, dynamic_shapes=({0: batch},)), path)


def main() -> None:
    """Make the series, train, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data", type=Path, help="the folder `data` of NAB, to learn from its beginnings too"
    )
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--seed", type=int, default=7)
    given = parser.parse_args()
    start = time.perf_counter()
    torch.manual_seed(given.seed)
    torch.set_num_threads(1)
    draw = np.random.default_rng(given.seed)
    plan = first_half()
    series = [channels(plan, made_up(draw)) for _ in range(SERIES)]
    real = learning_parts(given.data) if given.data else []
    series += [channels(plan, x) for x in real]
    often = np.array([1.0] * SERIES + [6.0] * len(real))
    export(train(series, often, draw), given.out)
    took = time.perf_counter() - start
    print(f"wrote {given.out}, {given.out.stat().st_size} bytes, after {took:.0f} s")


if __name__ == "__main__":
    main()
