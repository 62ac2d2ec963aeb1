"""A network learns from what it will see: the bits of FrameDataset are those that the model node hands over."""

import json

import numpy as np
import pyarrow as pa
import pytest
import torch

from flowedge.models.info import TensorInfo
from flowedge.models.load import arrange
from flowedge.runtime.plan import compile_flow
from flowedge.runtime.windows import write
from flowedge.torch import FrameDataset

SOURCES = """
source s (time, who: key string, v: f64 [mV], w: f32<2>, n: i16) at 100 Hz from arrow("s.arrow")
source truth (time, who: key string, label: string) from arrow("truth.arrow")
stream beats = s | detect peaks(v, threshold=0.5 mV, apart=100 ms)
"""
CHAINS = {
    "window": "| window 20 samples every 10 samples",
    "split": "| filter lowpass(20 Hz, order=2) on v | split at beats from -50 ms to 70 ms",
    "derived": "| window 16 samples | derive v = (v - mean(v)) / std(v), more = rms(v)",
    "rows": "| window 25 samples | aggregate rms(v) as v, max(n) as n",
}


def instants(ns):
    return pa.array(np.asarray(ns, np.int64)).cast(pa.timestamp("ns", "UTC"))


def store(path, table):
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Two people at 100 Hz, with a hole in the values of one, and labels now and then."""
    monkeypatch.chdir(tmp_path)
    draw, n = np.random.default_rng(3), 3000
    time = np.arange(n) * 10_000_000
    v = np.sin(np.arange(n) / 8) + 0.1 * draw.normal(size=n)
    v = np.stack([v, v + 0.01 * draw.normal(size=n)], 1)
    v[1500:1503, 0] = np.nan
    store("s.arrow", pa.table({
        "time": instants(np.repeat(time, 2)), "who": ["ann", "bo"] * n, "v": v.ravel(),
        "w": pa.FixedSizeListArray.from_arrays(pa.array(draw.normal(size=4 * n).astype(np.float32)), 2),
        "n": pa.array(draw.integers(-9, 9, 2 * n), pa.int16()),
    }))  # fmt: skip
    at = np.arange(0, n, 37) * 10_000_000 + 3_000_000
    label = np.array(["a", "b", "c"])[draw.integers(0, 3, 2 * len(at))]
    store("truth.arrow", pa.table({"time": instants(np.repeat(at, 2)), "who": ["ann", "bo"] * len(at), "label": label}))  # fmt: skip
    return tmp_path


class Recorder:
    """Remembers what it is asked."""

    def __init__(self):
        self.calls = []

    def infer(self, inputs):
        self.calls.append([x.copy() for x in inputs])
        return [np.zeros((len(inputs[0]), 3), np.float32)]


def asked(flow):
    """Every frame that the model node of a pipeline asks its model about, in order."""
    plan, model = compile_flow(flow), Recorder()
    tables = {}
    for name in [c[0] for c in plan.program.connectors]:
        with pa.memory_map(f"{name}.arrow") as file:
            tables[name] = pa.ipc.open_file(file).read_all()
    (made,) = plan.run(tables, {"m": model}).values()
    whole = [np.concatenate(x) for x in zip(*model.calls, strict=True)]
    assert len(whole[0]) == sum(x is not None for x in made["label"].to_pylist())
    return whole


def flow_of(path, chain, inputs, manifest=None):
    """A pipeline with a model that is not there yet; its manifest may be."""
    path.write_text(
        SOURCES
        + f'model m = torch("m.pt2") input ({inputs}) output softmax ["a", "b", "c"] batch 1\n'
        + f"stream made = s {chain} | classify with m\nsink made | select label to arrow('x.arrow')\n".replace("'", '"'),
        "utf-8",
    )  # fmt: skip
    if manifest is not None:
        (path.parent / "m.model.json").write_text(json.dumps(manifest))
    return path


@pytest.mark.parametrize("kind", ["arrow", "parquet"])
@pytest.mark.parametrize(
    ("chain", "inputs"),
    [("window", "w, v"), ("window", "v"), ("split", "v, w, n"), ("derived", "w, v"), ("rows", "v, n")],
)  # fmt: skip
def test_the_data_set_has_the_bits_that_the_model_is_called_with(
    here, monkeypatch, chain, inputs, kind
):
    flow = flow_of(here / "p.flow", CHAINS[chain], inputs)
    _, made = write(flow, stream="made", out=f"t.{kind}", labels="truth.label")
    monkeypatch.setattr("flowedge.runtime.catalog.FileCatalog.model", lambda *_: None)
    whole = asked(flow)
    assert made.frames == len(whole[0]) > 50
    assert (made.left_out > 0) == (chain in ("window", "derived"))
    ds = FrameDataset(f"t.{kind}", others="drop")
    channels = sum(int(np.prod(x.shape[2:])) for x in whole)
    spec = TensorInfo("x", (None, channels, *whole[0].shape[1:2]), "float32")
    (want,) = arrange(whole, [spec])
    got = torch.stack([ds[i][0] for i in range(len(ds))]).numpy()
    assert got.tobytes() == want[ds.rows].tobytes()
    assert got.shape == want[ds.rows].shape
