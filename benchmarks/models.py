"""W3: windows of many devices through a small network, beside plain Torch; and our reader of `.pt2` beside eager modules.

Everything on one thread. The network of W3: Conv1d 6→32 k5, ReLU, Conv1d 32→64 k5, ReLU, mean over time, Linear 64→6.

Run:  python benchmarks/models.py [--rows 640000] [--rounds 5] [--parts networks,stream,latency]
"""

import argparse
import gc
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pyarrow as pa
import torch
from common import machine, rounds, table

sys.path.append(
    str(Path(__file__).parents[1] / "tests")
)  # the networks that the tests compare bit for bit
from support.networks import NETWORKS, built, export, floats

import flowedge
from flowedge.models.load import load
from flowedge.runtime.run import Run

DEVICES, CHANNELS, LENGTH, HOP, BATCH = 64, 6, 128, 64, 256
NAMES = ["ax", "ay", "az", "gx", "gy", "gz"]
LABELS = ["lie", "sit", "stand", "walk", "run", "jump"]
STEP_NS = 20_000_000
SIZES = (1, 16, 256)
TEXT = """
source fleet (time, device: key i32, {columns}) at 50 Hz from arrow("{path}") time time
model net = torch("{model}"{exact}) input ({names}) output softmax [{labels}] batch {batch}
sink fleet
    | window 128 samples every 64 samples
    | derive {scaled}
    | classify with net
    | select label, score
    to arrow("{out}")
"""


def text(model: Path, path: Path, out: Path, batch: int, *, exact: bool = True) -> str:
    """The pipeline of W3."""
    return TEXT.format(
        exact="" if exact else ", exact=false",
        columns=", ".join(f"{c}: f32" for c in NAMES),
        names=", ".join(NAMES),
        scaled=", ".join(f"{c} = ({c} - mean({c})) / (std({c}) + 0.000001)" for c in NAMES),
        labels=", ".join(f'"{x}"' for x in LABELS),
        model=model,
        path=path,
        out=out,
        batch=batch,
    )


def generate(path: Path, rows: int) -> None:
    """The recording: devices in turn, each at 50 Hz, swinging at a rate and height of its own for 10 s at a time."""
    draw = np.random.default_rng(7)
    ticks = rows // DEVICES
    kinds = draw.integers(0, 6, (ticks // 500 + 1, DEVICES))
    rate = np.array([0.2, 1.0, 1.6, 2.2, 2.9, 0.6])
    height = np.array([0.05, 0.4, 0.9, 1.5, 2.2, 0.7])
    phases = np.cos(draw.uniform(0, 6.28, (DEVICES, CHANNELS)))
    with pa.OSFile(str(path), "wb") as file:
        writer = None
        for start in range(0, ticks, 1024):
            tick = np.arange(start, min(start + 1024, ticks))
            kind = kinds[tick // 500]
            swing = np.sin(2 * np.pi * rate[kind] * tick[:, None] / 50) * height[kind]
            x = swing[:, :, None] * phases + 0.1 * draw.standard_normal(
                (len(tick), DEVICES, CHANNELS)
            )
            time_ns = tick[:, None] * STEP_NS + np.arange(DEVICES) * (STEP_NS // DEVICES)
            batch = pa.record_batch({
                "time": pa.array(time_ns.ravel()).cast(pa.timestamp("ns", "UTC")),
                "device": np.tile(np.arange(DEVICES, dtype=np.int32), len(tick)),
                **{c: x[:, :, k].ravel().astype(np.float32) for k, c in enumerate(NAMES)},
            })  # fmt: skip
            writer = writer or pa.ipc.new_file(file, batch.schema)
            writer.write_batch(batch)
        if writer is not None:
            writer.close()


def network() -> torch.nn.Module:
    """The network of W3, with fixed weights."""
    return built("cnn1d")[0]


def windows(path: Path) -> np.ndarray:
    """All windows of the recording by hand, z-normalised, shape (windows, channels, samples)."""
    rows = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
    x = np.stack([rows[c].to_numpy() for c in NAMES]).reshape(CHANNELS, -1, DEVICES)
    cut = np.lib.stride_tricks.sliding_window_view(x, LENGTH, axis=1)[:, ::HOP]
    return scaled(cut.transpose(1, 2, 0, 3).reshape(-1, CHANNELS, LENGTH))


def scaled(x: np.ndarray) -> np.ndarray:
    """Each channel of each window with mean 0 and deviation 1."""
    deviation = x.std(-1, keepdims=True, dtype=np.float64)
    return ((x - x.mean(-1, keepdims=True, dtype=np.float64)) / (deviation + 1e-6)).astype(
        np.float32
    )


def by_batches(net: torch.nn.Module, ready: list[torch.Tensor]) -> list[torch.Tensor]:
    """The model alone, on batches that are there already."""
    with torch.inference_mode():
        return [net(x) for x in ready]


def onnx_session(net: torch.nn.Module) -> onnxruntime.InferenceSession:
    """The same network in ONNX Runtime, on one thread."""
    first, second, last = (layer for layer in net.modules() if hasattr(layer, "weight"))
    weights = [t.detach().numpy() for layer in (first, second, last) for t in (layer.weight, layer.bias)]  # fmt: skip
    names = ["w1", "b1", "w2", "b2", "w3", "b3"]
    node = onnx.helper.make_node
    graph = onnx.helper.make_graph(
        [
            node("Conv", ["x", "w1", "b1"], ["c1"]),
            node("Relu", ["c1"], ["r1"]),
            node("Conv", ["r1", "w2", "b2"], ["c2"]),
            node("Relu", ["c2"], ["r2"]),
            node("GlobalAveragePool", ["r2"], ["p"]),
            node("Flatten", ["p"], ["f"]),
            node("Gemm", ["f", "w3", "b3"], ["y"], transB=1),
        ],
        "w3",
        [
            onnx.helper.make_tensor_value_info(
                "x", onnx.TensorProto.FLOAT, ["batch", CHANNELS, LENGTH]
            )
        ],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["batch", len(LABELS)])],
        [onnx.numpy_helper.from_array(w, name) for w, name in zip(weights, names, strict=True)],
    )
    opset = [onnx.helper.make_opsetid("", 17)]
    data = onnx.helper.make_model(graph, opset_imports=opset, ir_version=9).SerializeToString()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])


def one_by_one(net: torch.nn.Module, path: Path) -> list[tuple[int, float]]:
    """What one writes first: a list of rows for each device, and a call for each window."""
    held: list[list[tuple[float, ...]]] = [[] for _ in range(DEVICES)]
    found = []
    with torch.inference_mode(), pa.memory_map(str(path)) as file:
        reader = pa.ipc.open_file(file)
        for k in range(reader.num_record_batches):
            batch = reader.get_batch(k)
            devices = batch["device"].to_numpy()
            values = np.stack([batch[c].to_numpy() for c in NAMES], 1)
            for device, row in zip(devices.tolist(), values, strict=True):
                rows = held[device]
                rows.append(row)
                if len(rows) == LENGTH:
                    x = torch.from_numpy(scaled(np.stack(rows, 1)))
                    share, label = torch.softmax(net(x[None]), 1).max(1)
                    found.append((int(label), float(share)))
                    del rows[:HOP]
    return found


def stream(folder: Path, rows: int, count: int) -> list[str]:
    """From Arrow to labelled Arrow, beside the model alone and the loop."""
    path, out, net = folder / "har.arrow", folder / "out.arrow", network()
    generate(path, rows)
    model = export(net, (floats(CHANNELS, LENGTH),), folder / "net.pt2")
    plans = [
        flowedge.compile(text=text(model, path, out, BATCH, exact=exact)) for exact in (True, False)
    ]
    all_windows = windows(path)
    ready = [
        torch.from_numpy(x.copy())
        for x in np.split(all_windows, range(BATCH, len(all_windows), BATCH))
    ]
    session = onnx_session(net)
    theirs = session.run(None, {"x": ready[0].numpy()})[0]
    np.testing.assert_allclose(theirs, by_batches(net, ready[:1])[0], atol=1e-4)
    found = rounds(
        {
            "FlowEdge": Run(plans[0]).__call__,
            "FlowEdge, `exact=false`": Run(plans[1]).__call__,
            "the model alone, batches of 256 ready-made": lambda: by_batches(net, ready),
            "ONNX Runtime alone, the same batches": lambda: [
                session.run(None, {"x": x.numpy()}) for x in ready
            ],
            "window by window": lambda: one_by_one(net, path),
        },
        count,
    )
    labels = pa.ipc.open_file(pa.memory_map(str(out))).read_all()["label"].to_pylist()
    wanted = torch.cat(by_batches(net, ready)).argmax(1).tolist()
    ours = sorted(LABELS.index(x) for x in labels)
    same = sum(a == b for a, b in zip(ours, sorted(wanted), strict=False))
    return [
        f"W3, {DEVICES} devices, {rows:,} rows, {len(all_windows):,} windows; {len(labels):,} labels, {same / len(wanted):.2%} of their counts equal",
        "",
        *table(found, rows, "the model alone, batches of 256 ready-made"),
    ]


def interleaved(
    runs: dict[str, Callable[[], object]], count: int, calls: int
) -> dict[str, list[float]]:
    """Microseconds a call, the median of `calls`, for each round; all in turn, there and back."""
    found: dict[str, list[float]] = {name: [] for name in runs}
    for run in runs.values():
        run()
        run()
    for number in range(count):
        for name, run in list(runs.items())[:: -1 if number % 2 else 1]:
            spent = []
            for _ in range(calls):
                start = time.perf_counter()
                run()
                spent.append(time.perf_counter() - start)
            found[name].append(statistics.median(spent) * 1e6)
    return found


def eager(net: torch.nn.Module, inputs: list[np.ndarray]) -> list[np.ndarray]:
    """A module called as it is."""
    with torch.inference_mode():
        found = net(*[torch.from_numpy(x) for x in inputs])
        return [x.numpy() for x in (found if isinstance(found, tuple) else (found,))]


def networks(folder: Path, count: int) -> list[str]:
    """Our reader beside the eager module, arrays in and out."""
    lines = [
        "Arrays in, arrays out; ratio of times, FlowEdge's reader to the eager module: median of rounds (least – most)",
        "",
        "| network | batch 1 | batch 16 | batch 256 | µs at batch 1, FlowEdge / eager |",
        "|---|---|---|---|---|",
    ]
    for name in NETWORKS:
        net, frames = built(name)
        ours = load(export(net, frames, folder / "net.pt2")).network
        cells, at_one = [], ""
        for size in SIZES:
            torch.manual_seed(size)
            inputs = [draw(size).numpy() for draw in frames]

            runs = {
                "ours": partial(ours, inputs),
                "eager": partial(eager, net, inputs),
            }
            found = interleaved(runs, count, {1: 60, 16: 30, 256: 8}[size])
            ratios = [a / b for a, b in zip(found["ours"], found["eager"], strict=True)]
            cells.append(f"{statistics.median(ratios):.2f} ({min(ratios):.2f} – {max(ratios):.2f})")
            at_one = at_one or " / ".join(f"{statistics.median(x):.0f}" for x in found.values())
        lines.append(f"| {name} | {' | '.join(cells)} | {at_one} |")
        print(lines[-1], flush=True)
    return lines


def latency(folder: Path, count: int) -> list[str]:
    """From the push of a window's last sample to its label, and how much of that is not inside the model's own call.

    A stream of one device: without a key, and as the only one of a key. A window every 64 samples finds the caches filled by
    the pushes between, as in life; a window with every sample finds them warm.
    """
    lines = [
        "| one device, `batch 1`, pushed row by row | push to label | inside the model | above it, p50 | p90 | a call right after | Torch's own, eager | push without a label |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for told, is_keyed, hop, exact in (
        ("no key, a window every 64 samples", False, HOP, True),
        ("no key, a window with each sample", False, 1, True),
        ("a key, a window every 64 samples", True, HOP, True),
        ("a key, a window with each sample", True, 1, True),
        ("no key, a window every 64 samples, `exact=false`", False, HOP, False),
        ("no key, a window with each sample, `exact=false`", False, 1, False),
        ("a key, a window every 64 samples, `exact=false`", True, HOP, False),
    ):
        found = one_device(folder, count, is_keyed=is_keyed, hop=hop, exact=exact)
        at = lambda name, q=50: f"{np.percentile(found[name], q):.0f}" if found[name] else "–"  # noqa: B023, E731
        lines.append(
            f"| {told} | {at('whole')} | {at('inside')} | {at('above')} | {at('above', 90)} | {at('alone')} | {at('eager')} | {at('quiet')} |"
        )
        print(lines[-1], flush=True)
    return [*lines, "", "All in µs of the clock, medians but for the p90."]


def one_device(
    folder: Path, count: int, *, is_keyed: bool, hop: int, exact: bool
) -> dict[str, list[float]]:
    """Times of pushes [µs], by what they are of."""
    path, net = folder / "one.arrow", network()
    model = export(net, (floats(CHANNELS, LENGTH),), folder / "net.pt2")
    generate(path, DEVICES)
    pipeline = text(model, path, folder / "none.arrow", 1).replace(f"every {HOP}", f"every {hop}")
    if not is_keyed:
        pipeline = pipeline.replace("device: key i32, ", "")
    ours = load(model, exact=exact)
    call, inside = ours.network, [0.0]

    def timed(inputs: list[np.ndarray]) -> list[np.ndarray]:
        start = time.perf_counter()
        answers = call(inputs)
        inside[0] = (time.perf_counter() - start) * 1e6
        return answers

    ours.network = timed  # type: ignore[assignment]
    session = flowedge.compile(text=pipeline).open(models={"net": ours})
    draw = np.random.default_rng(3)
    frame = draw.standard_normal((1, CHANNELS, LENGTH)).astype(np.float32)
    found: dict[str, list[float]] = {
        name: [] for name in ("whole", "inside", "above", "alone", "eager", "quiet")
    }
    schema = pa.schema([
        ("time", pa.timestamp("ns", "UTC")),
        *([("device", pa.int32())] if is_keyed else []),
        *((c, pa.float32()) for c in NAMES),
    ])  # fmt: skip
    gc.disable()
    for tick in range(LENGTH + count * 12 * max(hop, 8)):
        columns = [
            pa.array([tick * STEP_NS], pa.timestamp("ns", "UTC")),
            *([pa.array([0], pa.int32())] if is_keyed else []),
            *(pa.array(draw.standard_normal(1).astype(np.float32)) for _ in NAMES),
        ]
        batch = pa.record_batch(columns, schema=schema)
        start = time.perf_counter()
        out = session.push("fleet", batch)
        spent = (time.perf_counter() - start) * 1e6
        if tick < 2 * LENGTH:  # what comes first prepares what comes often
            continue
        if not out:
            found["quiet"].append(spent)
            continue
        start = time.perf_counter()
        call([frame])
        found["alone"].append((time.perf_counter() - start) * 1e6)
        start = time.perf_counter()
        eager(net, [frame])
        found["eager"].append((time.perf_counter() - start) * 1e6)
        found["whole"].append(spent)
        found["inside"].append(inside[0])
        found["above"].append(spent - inside[0])
    gc.enable()
    return found


def main() -> list[str]:
    """Print the tables; returns their lines."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=640_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--parts", default="stream,latency,networks")
    given, _ = parser.parse_known_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    lines = [f"Torch {torch.__version__}, one thread."]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for part in given.parts.split(","):
            job = {
                "stream": lambda: stream(folder, given.rows, given.rounds),
                "latency": lambda: latency(folder, given.rounds),
                "networks": lambda: networks(folder, given.rounds),
            }[part]
            lines += ["", *job()]
    print(machine(), *lines, sep="\n")
    return lines


if __name__ == "__main__":
    main()
