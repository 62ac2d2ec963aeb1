"""Train the networks of `heartbeats.flow` on the MIT-BIH Arrhythmia Database, from a fixed seed.

They learn from what the model node of the pipeline would see (`flowedge windows`), each beat with the annotation that
stands nearest, within 150 ms. Six small networks vote, each on both leads: three that see the shape of a beat, and three that
see beside it in which parts it differs from the usual one. While learning, either lead takes the place of the first, beats
are moved, scaled and disturbed, and some are put into rhythms that are made up.

Run:  python pipelines/train_heartbeats.py --data DIRECTORY      (minutes; writes pipelines/models/heartbeats.pt2)
"""

import argparse
import functools
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from export import write as write_archive
from torch import nn

import flowedge
from flowedge.runtime.run import Run
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
MADE_UP = """
import "PIPELINE" as beats
source found (time, patient: key i32, early: i32) from arrow("FOLDER/found.arrow")
stream rhythm = found | beats.rhythm()
sink found | join rhythm within 1 ms to arrow("FOLDER/rhythm.arrow")
"""
LEANING = (0.0, -1.9, -1.6, 0.0)
"""Added to the logits of N, S, V and F: weights and made-up beats let rare ones be told too often without."""
LEADS = ("lead", "second")
RATE_HZ, SAMPLES, BEFORE_MS = 60, 54, 400
PARTS_MS = ((-400, -240), (-240, -70), (-70, 90), (90, 200), (200, 420))
"""Parts of a beat: before it, P wave, QRS complex, ST segment and T wave, from the beat."""
RHYTHM, DIFFERENCES = 34, 5 * len(PARTS_MS) + 3
"""Numbers that tell of the rhythm (`r1` to `r34` of the pipeline), and of how a beat differs from the usual one."""
MEMBERS = 6
FIBRILLATING = {"N": 0.2, "V": 0.2}
"""Shares of the beats of these classes that are put, in each round, into a rhythm of atrial fibrillation."""
STEADY, ON_TIME, EARLY, EARLIER = 0.2, 0.15, 0.02, 0.3
"""Shares of the N and of the V that are put, in each round, among the steady beats of a made-up patient, of the N that come
as S into the place of an early one, and of the S that come into the place of another early one."""
JUNCTIONAL, P_WAVE = 0.3, slice(9, 19)
"""The share of the S whose P wave, from 250 to 85 ms before the beat, is taken away or turned over."""
ROUNDS, BATCH, KEPT = 12, 256, 1 / 3
"""A round sees a third of the beats of class N, and all others."""


def differences(beat: torch.Tensor, usual: torch.Tensor) -> torch.Tensor:
    """How beats (beats, 54) differ from usual ones (beats, 54) in each part and in width and height: (beats, 28)."""
    beat = beat - beat.mean(1, keepdim=True)
    usual = usual - usual.mean(1, keepdim=True)
    cuts = [[round((ms + BEFORE_MS) * RATE_HZ / 1000) for ms in part] for part in PARTS_MS]
    height = usual[:, slice(*cuts[2])].std(1) + 0.05
    columns = []
    for first, last in cuts:
        x, u = beat[:, first:last], usual[:, first:last]
        level = (x.mean(1) - u.mean(1)) / height
        x, u = x - x.mean(1, keepdim=True), u - u.mean(1, keepdim=True)
        columns += [
            (x * u).mean(1) / ((x * x).mean(1) * (u * u).mean(1) + 1e-6).sqrt(),
            ((x.std(1) + 0.01) / (u.std(1) + 0.01)).log(),
            ((x - u).std(1) / height + 0.02).log(),
            (u.std(1) / height + 0.02).log(),
            level,
        ]
    x, u = (v[:, cuts[2][0] - 5 : cuts[3][1]] for v in (beat, usual))
    wide = [(v.abs() / (v.abs().amax(1, keepdim=True) + 0.01)).mean(1) for v in (x, u)]
    tall = [v.amax(1) - v.amin(1) + 0.05 for v in (x, u)]
    columns += [wide[0], wide[0] - wide[1], (tall[0] / tall[1]).log()]
    return torch.stack(columns, 1).clamp(-6, 6)


class Member(nn.Module):
    """Two layers on the shape of a beat beside the usual one, and three on that with the rhythm, and maybe the differences."""

    def __init__(self, *, differs: bool) -> None:
        super().__init__()
        self.differs = differs
        self.shape, self.shorter = nn.Linear(3 * SAMPLES, 32), nn.Linear(32, 24)
        self.both = nn.Linear(24 + RHYTHM + DIFFERENCES * differs, 48)
        self.narrower, self.last = nn.Linear(48, 32), nn.Linear(32, len(LABELS))
        self.drop, self.drop_less = nn.Dropout(0.5), nn.Dropout(0.3)

    def forward(
        self, beat: torch.Tensor, usual: torch.Tensor, numbers: torch.Tensor
    ) -> torch.Tensor:
        """Logits (beats, 4) of beats and usual beats (beats, 54) in mV, and scaled rhythm and differences (beats, 62)."""
        beat = beat - beat.mean(1, keepdim=True)
        usual = usual - usual.mean(1, keepdim=True)
        height = usual.std(1, keepdim=True) + 0.05
        beat, usual = beat / height, usual / height
        x = self.drop(torch.relu(self.shape(torch.cat([beat, usual, beat - usual], 1))))
        x = self.drop(torch.relu(self.shorter(x)))
        seen = numbers if self.differs else numbers[:, :RHYTHM]
        x = self.drop_less(torch.relu(self.both(torch.cat([x, seen], 1))))
        return self.last(self.drop_less(torch.relu(self.narrower(x))))


class Heartbeats(nn.Module):
    """Networks that vote, each on two leads: means of what they take the logarithms of probabilities to be."""

    def __init__(self, members: Sequence[Member], mean: torch.Tensor, std: torch.Tensor) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)
        self.register_buffer("leaning", torch.tensor(LEANING))

    def forward(
        self,
        lead: torch.Tensor,
        lead_usual: torch.Tensor,
        second: torch.Tensor,
        second_usual: torch.Tensor,
        rhythm: Sequence[torch.Tensor],
    ) -> torch.Tensor:
        """Logits (beats, 4) of beats (beats, 54) of two leads in mV, and of 34 numbers (beats, 1) of the rhythm."""
        told = torch.cat(list(rhythm), 1)
        votes = []
        for share, beat, usual in ((0.6, lead, lead_usual), (0.4, second, second_usual)):
            numbers = torch.cat([told, differences(beat, usual)], 1)
            numbers = (numbers - self.mean) / self.std
            votes += [share * m(beat, usual, numbers).log_softmax(1) for m in self.members]
        return torch.stack(votes).sum(0) / len(self.members) + self.leaning


@dataclass(frozen=True)
class Beats:
    """Beats as the model node sees them: shapes and usual shapes (beats, 2, 54), rhythm (beats, 34), classes (beats)."""

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


@dataclass(frozen=True)
class MadeUp:
    """Rhythm (beats, 34) of beats that are made up: in atrial fibrillation, and steady and early ones of sinus rhythm."""

    fibrillating: torch.Tensor
    steady: torch.Tensor
    early: torch.Tensor


@functools.cache
def made_up() -> MadeUp:
    """The rhythm of beats that are made up, out of the pipeline's own `rhythm`, from fixed seeds.

    Few of the records have much of what is rare, and each has it at its own pace; so there are 80 patients in atrial
    fibrillation and 150 in sinus rhythm with early beats.
    """
    draw, intervals, early = np.random.default_rng(3), [], []
    for _ in range(80):
        intervals.append(_fibrillation(draw))
        early.append(np.full(len(intervals[-1]), -1))
    draw = np.random.default_rng(5)
    for _ in range(150):
        rr, which = _sinus(draw)
        intervals.append(rr)
        early.append(which)
    numbers, kind = _rhythm(intervals, early)
    return MadeUp(*(numbers[kind == k] for k in (-1, 0, 1)))


def _fibrillation(draw: np.random.Generator) -> np.ndarray:
    """Intervals (300) [s] that do not depend on the ones before.

    They are gamma distributed around 0.45 to 1.2 s, with a coefficient of variation of 0.12 to 0.35.
    """
    mean, spread = np.exp(draw.uniform(np.log(0.45), np.log(1.2))), draw.uniform(0.12, 0.35)
    return mean * draw.gamma(1 / spread**2, spread**2, 300)


def _sinus(draw: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Intervals (500) [s] around 0.55 to 1.3 s that drift, and swing by up to 15 % with the breath; and which beats are early.

    Early beats come alone or in runs of 2 to 100, after 0.5 to 0.85 of the interval, from 5 to 60 in a thousand beats.
    """
    count, mean = 500, np.exp(draw.uniform(np.log(0.55), np.log(1.3)))
    wander = np.cumsum(draw.normal(0, 1, count))
    wander -= np.linspace(0, wander[-1], count)
    wander *= draw.uniform(0.02, 0.2) / (np.abs(wander).max() + 1e-9)
    breath = 2 * np.pi * np.arange(count) / draw.uniform(3, 7) + np.cumsum(
        draw.normal(0, 0.3, count)
    )
    pace = mean * np.exp(wander)
    jitter = draw.normal(0, draw.uniform(0.005, 0.03), count)
    rr = pace * np.exp(draw.random() ** 2 * 0.15 * np.sin(breath) + jitter)
    early = np.zeros(count, int)
    often, in_runs = draw.uniform(0.005, 0.06), draw.uniform(0, 0.25)
    k = 30
    while k < count - 5:
        if draw.random() < often:
            run = (
                int(np.exp(draw.uniform(np.log(2), np.log(100)))) if draw.random() < in_runs else 1
            )
            run = min(run, count - k - 3)
            share = draw.uniform(0.5, 0.85)
            first = share * draw.uniform(0.9, 1.1) if run > 1 else share
            rr[k : k + run] = (
                pace[k] * share * np.exp(draw.normal(0, draw.uniform(0.01, 0.06), run))
            )
            rr[k] = pace[k] * min(0.9, first)
            early[k : k + run] = 1
            rr[k + run] *= draw.uniform(1, 1.35)
            k += run + 1
        k += 1
    return rr, early


def _rhythm(
    intervals: Sequence[np.ndarray], early: Sequence[np.ndarray]
) -> tuple[torch.Tensor, np.ndarray]:
    """The rhythm (beats, 34) of patients with these intervals [s], and the kind of each beat; the first 25 are left out."""
    seconds = [np.cumsum(np.maximum(0.25, rr)) for rr in intervals]
    patient = np.repeat(np.arange(len(intervals), dtype=np.int32), [len(s) for s in seconds])
    row = np.concatenate([np.arange(len(s)) for s in seconds])
    last = np.concatenate([np.arange(len(s)) >= len(s) - 3 for s in seconds])
    kind = np.where((row < 25) | last, 9, np.concatenate(early)).astype(np.int32)
    time_ns = (np.concatenate(seconds) * 1e9).astype(np.int64)
    order = np.argsort(time_ns, kind="stable")
    times = pa.array(time_ns[order]).cast(pa.timestamp("ns", "UTC"))
    found = pa.table({"time": times, "patient": patient[order], "early": kind[order]})
    with tempfile.TemporaryDirectory() as folder:
        with pa.OSFile(f"{folder}/found.arrow", "wb") as file, pa.ipc.new_file(file, found.schema) as writer:  # fmt: skip
            writer.write_table(found)
        text = MADE_UP.replace("PIPELINE", str(PIPELINE)).replace("FOLDER", folder)
        Run(flowedge.compile(text=text))()
        with pa.memory_map(f"{folder}/rhythm.arrow") as file:
            rows = pa.ipc.open_file(file).read_all()
            numbers = np.stack([rows[f"r{k + 1}"].to_numpy() for k in range(RHYTHM)], 1)
            return torch.from_numpy(numbers.astype(np.float32)), rows["early"].to_numpy()


def train(parts: Sequence[Beats]) -> Heartbeats:
    """The networks, trained on the beats of some records."""
    torch.set_num_threads(1)
    whole = Beats(
        torch.cat([p.shape for p in parts]), torch.cat([p.usual for p in parts]),
        torch.cat([p.rhythm for p in parts]), torch.cat([p.label for p in parts]),
    )  # fmt: skip
    numbers = [
        torch.cat([whole.rhythm, differences(whole.shape[:, k], whole.usual[:, k])], 1)
        for k in range(len(LEADS))
    ]
    mean = torch.cat(numbers).mean(0)
    std = torch.cat(numbers).std(0) + 1e-3
    scaled = torch.stack([(x - mean) / std for x in numbers], 1)
    rhythms = made_up()
    scale = (mean[:RHYTHM], std[:RHYTHM])
    rhythms = MadeUp(*((x - scale[0]) / scale[1] for x in vars(rhythms).values()))
    scale = (mean[RHYTHM:], std[RHYTHM:])
    members = [_member(whole, scaled, rhythms, scale, seed) for seed in range(MEMBERS)]
    return Heartbeats(members, mean, std).eval()


def _member(
    beats: Beats,
    scaled: torch.Tensor,
    rhythms: MadeUp,
    scale: tuple[torch.Tensor, torch.Tensor],
    seed: int,
) -> Member:
    """One network, from one seed; `scaled` are rhythm and differences (beats, 2, 62) of both leads.

    `scale` is what the differences were scaled by, their mean and their standard deviation.
    """
    torch.manual_seed(seed)
    draw = np.random.default_rng(seed)
    label, seen = beats.label.numpy(), scaled.numpy()
    shape, usual = beats.shape.numpy(), beats.usual.numpy()
    counts = np.bincount(label, minlength=len(LABELS))
    weights = (counts.sum() / len(LABELS) / np.maximum(counts, 1)) ** 0.4
    weights[LABELS.index("F")] *= 0.25  # nearly all fusions are of one patient
    weigh = torch.tensor(weights, dtype=torch.float32)
    normal, rare = np.flatnonzero(label == 0), np.flatnonzero(label > 0)
    kept = int(len(normal) * KEPT)
    net = Member(differs=seed % 2 == 1)
    steps = (kept + len(rare)) // BATCH
    optimiser = torch.optim.AdamW(net.parameters(), lr=4e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 4e-3, total_steps=steps * ROUNDS)
    net.train()
    for _ in range(ROUNDS):
        chosen = draw.permutation(np.concatenate([draw.choice(normal, kept, replace=False), rare]))
        which = (draw.random(len(chosen)) < 0.4).astype(int)
        x, t = shape[chosen, which], usual[chosen, which]
        r, wanted = seen[chosen, which], label[chosen]
        _put_into(r, wanted, rhythms, draw)
        _without_p_wave(x, t, r, wanted, scale, draw)
        x, t = _varied(x, t, draw)
        r = r + draw.normal(0, 0.1, r.shape)
        given = [torch.from_numpy(v.astype(np.float32)) for v in (x, t, r)]
        answers = torch.from_numpy(wanted)
        for k in range(steps):
            part = slice(k * BATCH, (k + 1) * BATCH)
            answer = net(*(v[part] for v in given))
            loss = nn.functional.cross_entropy(answer, answers[part], weight=weigh)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    return net.eval()


def _put_into(r: np.ndarray, label: np.ndarray, rhythms: MadeUp, draw: np.random.Generator) -> None:
    """Put some beats into rhythms that are made up; a steady beat in the place of an early one becomes an S."""
    n, s = LABELS.index("N"), LABELS.index("S")
    known = label.copy()

    def put(of: int, share: float, rhythm: torch.Tensor) -> np.ndarray:
        rows = np.flatnonzero((known == of) & (draw.random(len(known)) < share))
        r[rows, :RHYTHM] = rhythm.numpy()[draw.integers(0, len(rhythm), len(rows))]
        return rows

    for name, share in FIBRILLATING.items():
        put(LABELS.index(name), share, rhythms.fibrillating)
    put(n, STEADY, rhythms.steady)
    put(LABELS.index("V"), ON_TIME, rhythms.steady)
    put(s, EARLIER, rhythms.early)
    label[put(n, EARLY, rhythms.early)] = s


def _without_p_wave(
    x: np.ndarray,
    usual: np.ndarray,
    r: np.ndarray,
    label: np.ndarray,
    scale: tuple[torch.Tensor, torch.Tensor],
    draw: np.random.Generator,
) -> None:
    """Make some S junctional: a line, or the half of it upside down, in the place of the P wave; `r` tells so, too."""
    rows = np.flatnonzero((label == LABELS.index("S")) & (draw.random(len(label)) < JUNCTIONAL))
    wave = x[rows, P_WAVE]
    line = np.linspace(wave[:, 0], wave[:, -1], wave.shape[1], axis=1)
    x[rows, P_WAVE] = line + draw.uniform(-0.5, 0, (len(rows), 1)) * (wave - line)
    now = differences(torch.from_numpy(x[rows]), torch.from_numpy(usual[rows]))
    r[rows, RHYTHM:] = ((now - scale[0]) / scale[1]).numpy()


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
