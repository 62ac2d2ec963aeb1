"""Lists of many elements, such as pictures: handed on as they are, through windows into a model, and refused where they cannot be."""

import numpy as np
import pyarrow as pa
import pytest

import flowedge
from flowedge.graph.catalog import PlainCatalog
from flowedge.lang.diagnostics import FlowError
from flowedge.types.connectors import ConnectorInfo

SHAPE = (1, 12, 16)
SIZE = 192
PLAIN = PlainCatalog(
    {"given": ConnectorInfo("given", "source", needs_address=False, describes_itself=False, writes_files=False)},
    {"kept": ConnectorInfo("kept", "sink", needs_address=False, writes_files=False)},
    {"net.pt2": None},
)  # fmt: skip
HEAD = "source s (time, {key}v: f64, f: {store}<1, 12, 16>) at 10 Hz from given()\n"


class Net:
    """Keeps what it is asked."""

    def __init__(self):
        self.seen = []

    def infer(self, inputs):
        self.seen += list(inputs[0].copy())
        return [np.tile([0.0, 1.0], (len(inputs[0]), 1))]


def pictures(rows, store, devices=1):
    values = (np.arange(rows * SIZE) * 7 % 251).astype({"f32": "f4", "f64": "f8", "u8": "u1"}[store])  # fmt: skip
    time = np.arange(rows) // devices * 10**8
    columns = {
        "time": pa.array(time, pa.timestamp("ns", "UTC")),
        "v": np.arange(rows, dtype=float),
        "f": pa.FixedSizeListArray.from_arrays(pa.array(values), SIZE),
    }
    if devices > 1:
        columns["k"] = [f"d{q}" for q in np.arange(rows) % devices]
    return pa.record_batch(columns), values.reshape(rows, *SHAPE)


@pytest.mark.parametrize("store", ["f32", "u8"])
@pytest.mark.parametrize(("size", "hop"), [(4, 4), (3, 1), (2, 3)])
def test_windows_of_pictures_reach_a_model_as_they_are(store, size, hop):
    batch, drawn = pictures(12, store)
    text = HEAD.format(key="", store=store) + f"""
model net = torch("net.pt2") input (f) output softmax ["no", "yes"] batch 1
sink s | derive w = v * 2 | where w >= 0 | window {size} samples every {hop} samples | classify with net | select label to kept()
"""  # fmt: skip
    net = Net()
    session = flowedge.compile(text=text, catalog=PLAIN).open({"net": net})
    out = [session.push("s", batch.slice(at, 5)) for at in (0, 5, 10)]
    rows = sum(b.num_rows for one in (*out, session.finish()) for b in one.values())
    wanted = [drawn[at : at + size] for at in range(0, 13 - size, hop)]
    assert rows == len(wanted)
    assert np.array_equal(np.array(net.seen[:rows]), np.array(wanted, np.float32))


def test_windows_of_pictures_are_those_of_each_key():
    batch, drawn = pictures(12, "f32", devices=3)
    text = (
        HEAD.format(key="k: key, ", store="f32") + "sink s | window 2 samples to kept() as frames\n"
    )
    out = flowedge.compile(text=text, catalog=PLAIN).open().run({"s": batch})["frames"]
    found = {}
    for device, frame in zip(out["k"].to_pylist(), out["f"].to_pylist(), strict=True):
        found.setdefault(device, []).append(np.array(frame, np.float32).reshape(2, *SHAPE))
    for number, device in enumerate(("d0", "d1", "d2")):
        mine = drawn[number::3]
        assert np.array_equal(np.array(found[device]), mine.reshape(2, 2, *SHAPE))


def test_a_picture_passes_a_join_that_looks_back():
    """It is the right side whose rows are kept."""
    batch, drawn = pictures(6, "u8")
    text = (
        HEAD.format(key="", store="u8")
        + """
source r (time, w: f64) from given()
sink s | join r latest to kept()
"""
    )
    session = flowedge.compile(text=text, catalog=PLAIN).open()
    out = session.run({"r": pa.record_batch({"time": batch["time"][:1], "w": [7.0]}), "s": batch})
    ((rows,),) = (list(out.values()),)
    assert np.array_equal(np.array(rows["f"].to_pylist(), np.uint8).reshape(drawn.shape), drawn)
    assert rows["w"].to_pylist() == [7.0] * 6


def test_a_picture_that_would_wait_for_a_join_is_refused():
    text = HEAD.format(key="", store="u8") + "source r (time, w: f64) from given()\n"
    for stage in ("sink s | join r within 1 s nearest", "sink r | join s latest"):
        with pytest.raises(FlowError) as caught:
            flowedge.compile(text=f"{text}{stage} to kept()\n", catalog=PLAIN)
        assert "FE290" in [d.code for d in caught.value.diagnostics]


@pytest.mark.parametrize("stage", [
    "resample 5 Hz hold", "resample 5 Hz linear", "derive l = lead(v, 1)", "derive l = lag(f, 1)", "window 4 samples | aggregate last(f) as f",
])  # fmt: skip
def test_what_cannot_keep_pictures_yet_says_so(stage):
    with pytest.raises(FlowError) as caught:
        flowedge.compile(
            text=HEAD.format(key="", store="u8") + f"sink s | {stage} to kept()\n", catalog=PLAIN
        )
    assert [d.code for d in caught.value.diagnostics if d.severity == "error"] == ["FE290"]
