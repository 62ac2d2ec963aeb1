"""A network learns from what it will see: the bits of FrameDataset are those that the model node hands over."""

import json
import pickle
import warnings

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch.utils.data import DataLoader

from flowedge.lang.diagnostics import FlowError
from flowedge.models.info import TensorInfo
from flowedge.models.load import arrange
from flowedge.runtime.plan import compile_flow
from flowedge.runtime.run import Run
from flowedge.runtime.windows import known_of, write
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


def test_what_the_manifest_normalises_is_written_normalised(here, monkeypatch):
    told = {"inputs": [{"channels": ["v"], "unit": "mV", "mean": 0.25, "std": 1.5}, {"mean": [1, 2], "std": [3, 4]}]}  # fmt: skip
    flow = flow_of(here / "p.flow", CHAINS["window"], "v, w", manifest=told)
    _, made = write(flow, stream="made", out="t.arrow")
    assert made.about["scaling"] == [[[0.25], [1.5]], [[1.0, 2.0], [3.0, 4.0]]]
    monkeypatch.setattr("flowedge.runtime.catalog.FileCatalog.model", lambda _, path, kind: known_of(path, kind))  # fmt: skip
    whole = asked(flow)
    assert whole[0].dtype == np.float32
    ds = FrameDataset("t.arrow", each=True)
    for i in range(len(ds)):
        v, w = ds[i]
        assert v.numpy().tobytes() == whole[0][i].T.tobytes()
        assert w.numpy().tobytes() == np.ascontiguousarray(whole[1][i].T).tobytes()
    write(flow, stream="made", out="raw.arrow", fresh=True)
    raw = FrameDataset("raw.arrow")
    assert raw.about["scaling"] == []
    assert not torch.equal(raw[0][0], FrameDataset("t.arrow")[0][0])


def test_a_manifest_alone_tells_classes_and_is_checked(here):
    told = {"labels": ["c", "b", "a"], "output": "softmax", "rate": 100}
    flow = flow_of(here / "p.flow", CHAINS["window"], "v, w", manifest=told)
    flow.write_text(flow.read_text("utf-8").replace(' output softmax ["a", "b", "c"]', ""), "utf-8")
    write(flow, stream="made", out="t.arrow", labels="truth.label")
    assert FrameDataset("t.arrow").labels == ("c", "b", "a")
    for change, code in (
        ({"rate": 50}, "FE605"),
        ({"inputs": [{"unit": "V"}, {}]}, "FE603"),
        ({"inputs": [{"channels": ["w", "v"]}]}, "FE604"),
        ({"inputs": [{"mean": [0, 0, 0], "std": [1, 1, 1]}, {}]}, "FE604"),
        ({"inputs": [{}, {}, {}]}, "FE604"),
        ({"labels": 3}, "FE608"),
    ):
        (here / "m.model.json").write_text(json.dumps({**told, **change}))
        with pytest.raises(FlowError, match=code):
            write(flow, stream="made", out="t.arrow")
    (here / "m.model.json").write_text(json.dumps({"file": "other.pt2"}))
    with pytest.raises(FlowError, match=r"about 'other\.pt2'"):
        write(flow, stream="made", out="t.arrow")


class Net(torch.nn.Module):
    """Scores of three classes for frames of 3 channels and 20 samples."""

    def __init__(self):
        super().__init__()
        self.last = torch.nn.Linear(60, 3)

    def forward(self, x):
        return self.last(x.flatten(1))


def exported(path):
    """A network in an archive of torch.export."""
    torch.manual_seed(0)
    net, batch = Net().eval(), torch.export.Dim("batch", min=1, max=512)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.export(net, (torch.zeros(16, 3, 20),), dynamic_shapes=({0: batch},))
        torch.export.save(program, path)
    return net


def test_a_network_answers_in_training_as_in_production(here):
    flow = flow_of(here / "p.flow", CHAINS["window"], "w, v")
    write(flow, stream="made", out="t.arrow")
    net = exported(here / "m.pt2")
    Run(compile_flow(flow))()
    with pa.memory_map("x.arrow") as file:
        found = pa.ipc.open_file(file).read_all()
    ds = FrameDataset("t.arrow")
    with torch.inference_mode():
        best = net(torch.stack([ds[i] for i in range(len(ds))])).argmax(1).tolist()
    labels = [x for x in found["label"].to_pylist() if x is not None]
    assert labels == [ds.about["classes"][k] for k in best]
    assert len(set(labels)) > 1
    write(flow, stream="made", out="again.arrow")  # with the model there
    assert (here / "again.arrow").stat().st_size == (here / "t.arrow").stat().st_size
    longer = flow_of(here / "q.flow", "| window 30 samples", "w, v")
    with pytest.raises(FlowError, match="FE604"):  # the old weights do not fit
        write(longer, stream="made", out="u.arrow")
    write(longer, stream="made", out="u.arrow", fresh=True)
    (here / "m.pt2").write_bytes(b"half a model")
    with pytest.raises(FlowError, match="FE608"):
        write(longer, stream="made", out="v.arrow")
    write(longer, stream="made", out="v.arrow", fresh=True)
    assert (here / "u.arrow").read_bytes() == (here / "v.arrow").read_bytes()


def nearest(times, labels, t, within):
    """The label nearest in time; None where none is near."""
    k = np.abs(times - t).argmin()
    return labels[k] if abs(times[k] - t) <= within else None


def rows_of(path):
    with pa.memory_map(str(path)) as file:
        table = pa.ipc.open_file(file).read_all()
    return {n: table[n].cast(pa.int64()).to_numpy() if n in ("time", "start") else table[n].to_pylist() for n in table.column_names}  # fmt: skip


@pytest.mark.parametrize("chain", ["window", "split", "rows"])
def test_of_events_the_nearest_label_counts(here, chain):
    flow = flow_of(here / "p.flow", CHAINS[chain], "v")
    _, made = write(flow, stream="made", out="t.arrow", labels="truth.label", within="100 ms")
    found, truth = rows_of("t.arrow"), rows_of("truth.arrow")
    who = np.array(truth["who"])
    want = [
        nearest(truth["time"][who == w], np.array(truth["label"])[who == w].tolist(), t, 10**8)
        for w, t in zip(found["who"], found["time"], strict=True)
    ]
    assert found["label"] == want
    assert None in want
    assert sum(made.counts.values()) == made.frames == len(want)
    assert made.about["is_class"]


@pytest.mark.parametrize("ends", [False, True])
def test_of_labels_that_hold_the_one_of_most_samples_counts(here, ends):
    flow = flow_of(here / "p.flow", CHAINS["window"], "v")
    truth = rows_of("truth.arrow")
    end = truth["time"] + 200_000_000
    if ends:
        with pa.memory_map("truth.arrow") as file:
            table = pa.ipc.open_file(file).read_all()
        store("truth2.arrow", table.append_column("end", instants(end)))
        text = flow.read_text("utf-8").replace("label: string) from arrow(\"truth.arrow", "label: string, end: time) from arrow(\"truth2.arrow")  # fmt: skip
        flow.write_text(text, "utf-8")
    write(flow, stream="made", out="t.arrow", labels="truth.label")
    found, who = rows_of("t.arrow"), np.array(truth["who"])
    for w, start, label, share in zip(found["who"], found["start"], found["label"], found["label_share"], strict=True):  # fmt: skip
        mine = who == w
        held = []
        for t in start + np.arange(20) * 10_000_000:
            k = np.searchsorted(truth["time"][mine], t, side="right") - 1
            gone = k < 0 or (ends and t >= end[mine][k])
            held.append(None if gone else np.array(truth["label"])[mine][k])
        there = [x for x in held if x is not None]
        most = max(there, key=lambda x: (there.count(x), -there.index(x)), default=None)
        assert (label, share) == (most, pytest.approx(held.count(most) / 20 if most else 0))


def test_mixed_frames_may_be_left_out(here):
    flow = flow_of(here / "p.flow", CHAINS["window"], "v")
    write(flow, stream="made", out="t.arrow", labels="truth.label")
    whole, pure = FrameDataset("t.arrow"), FrameDataset("t.arrow", min_share=0.99)
    assert len(whole) > len(pure) > 0
    assert pure.left_out["mixed"] == len(whole) - len(pure)
    assert set(pure.groups("label_share")) == {1.0}


@pytest.mark.parametrize("kind", ["arrow", "parquet"])
def test_people_are_held_out_as_a_whole(here, kind):
    flow = flow_of(here / "p.flow", CHAINS["window"], "w, v")
    write(flow, stream="made", out=f"t.{kind}", labels="truth.label")
    ds = FrameDataset(f"t.{kind}")
    assert ds.labels == ("a", "b", "c")
    train, test = ds.split(by="who", hold_out=["bo"])
    assert (set(train.groups("who")), set(test.groups("who"))) == ({"ann"}, {"bo"})
    assert len(train) + len(test) == len(ds)
    x, y = train[0]
    assert (x.shape, x.dtype, ds.labels[y]) == ((3, 20), torch.float32, train.groups("label")[0])
    assert torch.equal(test[-1][0], test[len(test) - 1][0])
    with pytest.raises(IndexError):
        test[len(test)]
    with pytest.raises(ValueError, match="did you mean `ann`"):
        ds.split(by="who", hold_out=["anna"])
    with pytest.raises(ValueError, match="did you mean `who`"):
        ds.split(by="whom", hold_out=["ann"])


def test_loaders_read_it_in_processes_of_their_own(here):
    flow = flow_of(here / "p.flow", CHAINS["window"], "w, v")
    write(flow, stream="made", out="t.arrow", labels="truth.label")
    ds = FrameDataset("t.arrow", each=True)
    alone = list(DataLoader(ds, batch_size=32))
    others = list(DataLoader(ds, batch_size=32, num_workers=1, multiprocessing_context="spawn"))
    for (x, y), (u, v) in zip(alone, others, strict=True):
        assert all(torch.equal(a, b) for a, b in zip((*x, y), (*u, v), strict=True))
    assert len(pickle.dumps(ds)) < 20_000 + 8 * 3 * len(ds)


def test_labels_that_are_no_class_are_told(here):
    flow = flow_of(here / "p.flow", CHAINS["window"], "v")
    flow.write_text(flow.read_text("utf-8").replace('["a", "b", "c"]', '["c", "a"]'), "utf-8")
    write(flow, stream="made", out="t.arrow", labels="truth.label")
    with pytest.raises(ValueError, match="labelled 'b', which is none of the classes 'c', 'a'"):
        FrameDataset("t.arrow")
    ds = FrameDataset("t.arrow", others="drop")
    assert ds.labels == ("c", "a")
    assert ds.left_out["others"] > 0
    assert set(ds.groups("label")) == {"a", "c"}
    assert FrameDataset("t.arrow", labels=["b", "a", "c"]).labels == ("b", "a", "c")
    with pytest.raises(ValueError, match="refuse"):
        FrameDataset("t.arrow", others="ignore")


def test_a_number_to_be_estimated_has_no_classes(here):
    flow = flow_of(here / "p.flow", CHAINS["window"], "w")
    _, made = write(flow, stream="made", out="t.arrow", labels="s.v")
    assert (made.about["is_class"], made.about["share"], made.counts) == (False, None, {})
    ds = FrameDataset("t.arrow")
    assert ds.labels == ()
    assert ds.targets.dtype == torch.float32
    means = np.array([np.nanmean(x) for x in rows_of("t.arrow")["v"]])  # frames of `w` alone
    np.testing.assert_allclose(ds.targets.numpy(), means, rtol=1e-5, atol=1e-6)


def test_a_signal_may_be_what_a_network_shall_give(here):
    flow = flow_of(here / "p.flow", "| derive clean = v * 2 | window 20 samples", "v")
    write(flow, stream="made", out="t.arrow")
    for label, shape in (("clean", (20,)), ("w", (2, 20))):
        ds = FrameDataset("t.arrow", label=label)
        x, y = ds[7]
        assert (y.shape, ds.targets.dtype, ds.labels) == (shape, torch.float32, ())
        if label == "clean":
            assert torch.equal(2 * x[0], y)
    flow = flow_of(here / "p.flow", CHAINS["rows"], "v")
    write(flow, stream="made", out="t.arrow")
    ds = FrameDataset("t.arrow", label="v")
    assert torch.equal(ds.targets, torch.stack([ds[i][0][0] for i in range(len(ds))]))


def test_whole_numbers_are_classes(here):
    flow = flow_of(here / "p.flow", CHAINS["window"], "v")
    flow.write_text(flow.read_text("utf-8").replace(' output softmax ["a", "b", "c"]', ""), "utf-8")
    write(flow, stream="made", out="t.arrow", labels="s.n")
    ds = FrameDataset("t.arrow")
    assert set(ds.labels) <= {str(n) for n in range(-9, 9)}
    assert sorted(ds.labels, key=int) == list(ds.labels)
    assert ds.targets.dtype == torch.int64


def test_files_are_put_together_and_others_refused(here):
    flow = flow_of(here / "p.flow", CHAINS["window"], "w, v")
    for name in ("one.arrow", "two.parquet"):
        write(flow, stream="made", out=name, labels="truth.label")
    both, one = FrameDataset(["one.arrow", "two.parquet"]), FrameDataset("one.arrow")
    assert len(both) == 2 * len(one)
    assert torch.equal(both[len(one) + 3][0], one[3][0])
    write(flow_of(here / "q.flow", CHAINS["window"], "v"), stream="made", out="v.arrow")
    for path, words in (
        (["one.arrow", "v.arrow"], "other inputs"),
        ("s.arrow", "no frames in it"),
        ("p.flow", "no Arrow file"),
        ([], "at least one file"),
    ):
        with pytest.raises(ValueError, match=words):
            FrameDataset(path)
    with pytest.raises(FileNotFoundError):
        FrameDataset("none.arrow")
    with pytest.raises(ValueError, match="no column `lable`; did you mean `label`"):
        FrameDataset("one.arrow", label="lable")
    assert FrameDataset("one.arrow", shapes=[(20, 3)])[0][0].shape == (20, 3)
    with pytest.raises(ValueError, match="3 shapes for 2 columns"):
        FrameDataset("one.arrow", shapes=[(20,), (20,), (20,)])


def test_models_further_up_are_asked(here):
    exported(here / "m.pt2")
    (here / "p.flow").write_text(
        SOURCES
        + """
        model m = torch("m.pt2") input (w, v) output softmax ["a", "b", "c"]
        model n = torch("n.pt2") input (v) output softmax ["yes", "no"]
        stream made = s | window 20 samples | classify with m | where label == "b" | classify with n
        sink made to arrow("x.arrow")
        """,
        "utf-8",
    )
    _, made = write("p.flow", stream="made", out="t.arrow")
    ds = FrameDataset("t.arrow")
    assert (ds.about["model"], ds.about["classes"]) == ("n", ["yes", "no"])
    with pa.memory_map("t.arrow") as file:
        table = pa.ipc.open_file(file).read_all()
    assert set(table["label"].to_pylist()) == {"b"}
    assert 0 < made.frames < 300
    (here / "m.pt2").unlink()
    with pytest.raises(FlowError, match="FE608"):
        write("p.flow", stream="made", out="t.arrow")


def test_imported_streams_have_their_own_names(here):
    text = flow_of(here / "p.flow", CHAINS["window"], "v").read_text("utf-8")
    (here / "lib.flow").write_text(text[: text.index("sink made")], "utf-8")
    (here / "q.flow").write_text('import "lib.flow" as lib\nsink lib.s to console\n', "utf-8")
    write("q.flow", stream="lib.made", out="t.arrow", labels="lib.truth.label")
    write("p.flow", stream="made", out="u.arrow", labels="truth.label")
    one, two = FrameDataset("t.arrow"), FrameDataset("u.arrow")
    assert len(one) == len(two) > 100
    assert torch.equal(one.targets, two.targets)
    assert all(torch.equal(one[i][0], two[i][0]) for i in range(len(one)))


def test_no_rows_are_no_frames(here):
    flow = flow_of(here / "p.flow", CHAINS["window"], "w, v")
    with pa.memory_map("s.arrow") as file:
        whole = pa.ipc.open_file(file).read_all()
        store("none.arrow", whole.slice(0, 0))
    (here / "none.flow").write_text(flow.read_text("utf-8").replace('"s.arrow"', '"none.arrow"'), "utf-8")  # fmt: skip
    for kind in ("arrow", "parquet"):
        report, made = write(here / "none.flow", stream="made", out=f"t.{kind}", labels="truth.label")  # fmt: skip
        assert (made.frames, made.left_out, made.counts) == (0, 0, {})
        assert any("no row reached it" in hint for hint in report.hints)
        ds = FrameDataset(f"t.{kind}")
        assert (len(ds), ds.labels, len(ds.groups("who"))) == (0, ("a", "b", "c"), 0)
        assert list(DataLoader(ds, 4)) == []
