"""Train the two networks of `room_occupied.flow` on `datatraining.txt`, from a fixed seed.

What they learn from comes from the engine: the rows that the model nodes of the pipeline would see, each with its
label. They leave as ONNX, with a manifest that tells how rows are scaled. Nothing of `datatest.txt` is looked at;
whole days are left out, one after the other, to tell how well the networks do on a day that they do not know.

Run:  python pipelines/train_room.py --data DIRECTORY      (a minute; writes models/room_lit.onnx and room_dark.onnx)
"""

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from flowedge.runtime.windows import write
from flowedge.torch import FrameDataset

PIPELINE = Path(__file__).parent / "room_occupied.flow"
TRUTH = """
source truth (date: string, occupied: i64 = Occupancy) from csv("{data}", index=true)
    time parse(date, "%Y-%m-%d %H:%M:%S", "UTC")
stream known = truth | classify rules { "occupied" when occupied == 1 otherwise "empty" }
"""
"""What the pipeline lacks, for nobody tells it in life: whether somebody was there."""
UNITS = {
    "lit": ("degC", "lx"),
    "dark": ("ppm", "ppm/s", "ppm/s", "ppm", "K/s", "K/s"),
}
"""Of the inputs of each network, in their order."""
STREAMS = {"lit": "seen", "dark": "felt"}
HIDDEN = {"lit": 0, "dark": 8}
"""Units of the hidden layer; 0: there is none, and the network is a logistic regression."""
STEPS = 400


class Net(nn.Module):
    """Scores of "empty" and "occupied" for a row, scaled by the means and deviations of training."""

    def __init__(self, mean: torch.Tensor, std: torch.Tensor, hidden: int) -> None:
        super().__init__()
        self.mean, self.std = mean, std
        wide = hidden or len(mean)
        first = [nn.Linear(len(mean), hidden), nn.Tanh()] if hidden else []
        self.layers = nn.Sequential(*first, nn.Linear(wide, 2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits (rows, 2) of rows (rows, channels) in their own units."""
        return self.layers((x - self.mean) / self.std)


def rows(name: str, csv: Path) -> tuple[FrameDataset, torch.Tensor]:
    """What the network of this name sees of a recording, with its labels; and all inputs, (rows, channels)."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "rows.parquet"
        write(
            None,
            text=PIPELINE.read_text("utf-8") + TRUTH,
            stream=STREAMS[name],
            out=out,
            params={"data": str(csv)},
            labels="known.label",
            fresh=True,
        )
        found = FrameDataset(out)
    return found, torch.stack([x for x, _ in found])


def train(x: torch.Tensor, y: torch.Tensor, hidden: int) -> Net:
    """A network for rows and the numbers of their labels; noise of a tenth of a deviation stands for other rooms."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    net = Net(x.mean(0), x.std(0), hidden)
    optimiser = torch.optim.AdamW(net.parameters(), lr=2e-2, weight_decay=1e-2)
    for _ in range(STEPS):
        noisy = x + 0.1 * net.std * torch.randn_like(x)
        loss = nn.functional.cross_entropy(net(noisy), y)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return net.eval()


def right(net: Net, x: torch.Tensor, y: torch.Tensor) -> int:
    """How many rows are told right."""
    with torch.inference_mode():
        return int((net(x).argmax(1) == y).sum())


def by_day(seen: FrameDataset, x: torch.Tensor, hidden: int) -> float:
    """Share of rows that are told right by a network that has not seen their day; NaN: there is one day only."""
    days = torch.from_numpy(seen.groups("time").astype("datetime64[D]").astype(np.int64))
    if len(days.unique()) < 2:
        return float("nan")
    y, found = seen.targets, 0
    for day in days.unique():
        out = days == day
        found += right(train(x[~out], y[~out], hidden), x[out], y[out])
    return found / len(y)


def export(net: Net, name: str, channels: list[str], path: Path) -> None:
    """Write the network as ONNX, and beside it what there is to know of it.

    The graph has the layers alone: scaling is said in the manifest, and done by the engine.
    """
    nodes, weights, last = [], [], "x"
    for k, layer in enumerate(net.layers):
        out = "logits" if k == len(net.layers) - 1 else f"h{k}"
        if isinstance(layer, nn.Linear):
            for what, values in (("w", layer.weight), ("b", layer.bias)):
                weights.append(numpy_helper.from_array(values.detach().numpy(), f"{what}{k}"))
            nodes.append(helper.make_node("Gemm", [last, f"w{k}", f"b{k}"], [out], transB=1))
        else:
            nodes.append(helper.make_node("Tanh", [last], [out]))
        last = out
    graph = helper.make_graph(
        nodes,
        name,
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", len(channels)])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 2])],
        weights,
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(made)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(made.SerializeToString())
    manifest = {
        "file": path.name,
        "labels": ["empty", "occupied"],
        "output": "softmax",
        "inputs": [
            {
                "channels": channels,
                "unit": list(UNITS[name]),
                "mean": net.mean.tolist(),
                "std": net.std.tolist(),
            }
        ],
    }
    path.with_suffix(".model.json").write_text(json.dumps(manifest, indent=1) + "\n", "utf-8")


def make(data: Path, out: Path) -> None:
    """Train both networks on the recording for training, and write them; says how well they do."""
    for name in STREAMS:
        seen, x = rows(name, data / "datatraining.txt")
        net = train(x, seen.targets, HIDDEN[name])
        path = out / f"room_{name}.onnx"
        export(net, name, [i["name"] for i in seen.about["inputs"]], path)
        known = right(net, x, seen.targets) / len(x)
        print(
            f"room_{name}: {known:.1%} of the rows of training, {by_day(seen, x, HIDDEN[name]):.1%} of those of days "
            f"left out; wrote {path}, {path.stat().st_size:,} bytes"
        )


def main() -> None:
    """Read the command line, train, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="where datatraining.txt lies")
    parser.add_argument("--out", type=Path, default=Path("models"), help="where the models go")
    given = parser.parse_args()
    if not (given.data / "datatraining.txt").exists():
        parser.error(f"there is no datatraining.txt in {given.data}; docs/examples/room.md says where to get it")  # fmt: skip
    make(given.data, given.out)


if __name__ == "__main__":
    main()
