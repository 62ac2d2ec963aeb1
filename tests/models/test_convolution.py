"""Convolutions by our own kernel: close to Torch's, and the same bits wherever a frame stands in a batch."""

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import event, example, given, settings
from hypothesis import strategies as st
from support.networks import built, export, floats
from torch import nn

import flowedge
from flowedge.compile.kernels import convolution as k
from flowedge.compile.kernels.network import infer
from flowedge.graph.catalog import PlainCatalog
from flowedge.lang.diagnostics import FlowError
from flowedge.models.chain import Chain
from flowedge.models.convolution import Convolution, convolution_of
from flowedge.models.load import load
from flowedge.runtime.models import load_models
from flowedge.types.connectors import ConnectorInfo


def tensors(seed, frames, channels, samples, results, taps):
    draw = torch.Generator().manual_seed(seed)
    x = torch.randn(frames, channels, samples, generator=draw)
    weight = torch.randn(results, channels, taps, generator=draw) / (channels * taps) ** 0.5
    return x, weight, torch.randn(results, generator=draw)


def made(x, weight, bias, pad=0, dilation=1):
    with torch.inference_mode():
        result = torch.conv1d(x, weight, bias, 1, pad, dilation)
        return convolution_of(torch, (x, weight, bias, 1, pad, dilation), result), result


shapes = st.tuples(
    st.integers(1, 3), st.integers(1, 7), st.integers(1, 70), st.integers(1, 9), st.integers(1, 6), st.integers(0, 5), st.integers(1, 4)
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(shapes)
@example((1, 1, 1, 1, 1, 0, 1))
@example((2, 6, 128, 32, 5, 0, 1))
@example((1, 3, 24, 4, 1, 0, 1))
@example((1, 3, 25, 5, 2, 1, 1))
def test_it_is_close_to_torch(shape):
    frames, channels, samples, results, taps, pad, dilation = shape
    if samples + 2 * pad - (taps - 1) * dilation < 1:
        return
    x, weight, bias = tensors(1, frames, channels, samples, results, taps)
    found, result = made(x, weight, bias, pad, dilation)
    assert found is not None
    with torch.inference_mode():
        ours = found(x)
        assert ours.shape == result.shape
        assert torch.allclose(ours, result, rtol=1e-5, atol=1e-5)
        assert torch.equal(found.rectified()(x), torch.relu(ours))


@pytest.mark.parametrize("samples", [5, 12, 30, 61])
@pytest.mark.parametrize("pad", [0, 2])
def test_bits_do_not_depend_on_the_batch(samples, pad):
    x, weight, bias = tensors(2, 17, 3, samples, 6, 5)
    found, _ = made(x, weight, bias, pad)
    with torch.inference_mode():
        whole = found(x)
        for order in (torch.arange(16, -1, -1), torch.tensor([3]), torch.tensor([5, 5, 2])):
            assert torch.equal(found(x[order]), whole[order])
        assert torch.equal(found(x.transpose(1, 2).contiguous().transpose(1, 2)), whole)


def test_a_number_is_one_sum_wherever_it_stands():
    """Tiles of 24, of 8, and those that overlap add in one order."""
    x, weight, bias = tensors(3, 1, 4, 70, 5, 3)
    found, _ = made(x, weight, bias)
    with torch.inference_mode():
        whole = found(x)
        for first in range(0, 60, 7):
            for size in (3, 4, 9, 12, 26):
                part = found(x[:, :, first : first + size])
                assert torch.equal(part, whole[:, :, first : first + size - 2])


def test_missing_numbers_and_infinite_ones_pass():
    x, weight, bias = tensors(4, 1, 2, 40, 4, 3)
    x[0, 0, 10], x[0, 1, 30] = float("nan"), float("inf")
    found, result = made(x, weight, bias)
    assert found is None, "of numbers that are none nobody can say that they are close"
    found, _ = made(torch.nan_to_num(x, posinf=0.0), weight, bias)
    with torch.inference_mode():
        assert torch.equal(found(x).isnan(), result.isnan())
        assert torch.equal(found.rectified()(x).isnan(), result.isnan())


def test_other_convolutions_are_torchs():
    x, weight, bias = tensors(5, 1, 4, 30, 4, 3)
    with torch.inference_mode():
        for given_ in (
            (x, weight, bias, 2),
            (x, weight[:, :2], bias, 1, 0, 1, 2),
            (x.double(), weight.double(), bias.double()),
        ):
            assert convolution_of(torch, given_, torch.conv1d(*given_)) is None
        for padding in ("same", "valid"):
            given_ = (x, weight, bias, 1, padding)
            assert convolution_of(torch, given_, torch.conv1d(*given_)) is not None
        none = (x, weight, None, [1], [1], [1])
        assert convolution_of(torch, none, torch.conv1d(x, weight, None, 1, 1)) is not None
        assert convolution_of(torch, (x, weight, bias), torch.conv1d(x, weight, bias) + 1) is None


def test_the_kernel_is_a_plain_function(monkeypatch):
    x, weight, bias = tensors(6, 2, 2, 30, 6, 3)
    with torch.inference_mode():
        for pad, samples in ((0, 30), (2, 30), (0, 9), (1, 14)):
            part = x[:, :, :samples].contiguous()
            compiled = Convolution(weight.numpy(), bias.numpy(), pad, 1, rectified=False)
            plain = Convolution(weight.numpy(), bias.numpy(), pad, 1, rectified=False)
            plain = Chain([plain.layer(samples)])
            plain._kernel = infer
            np.testing.assert_allclose(plain(part), compiled(part), rtol=1e-5, atol=1e-5)


# ---- several results at once


def made_fast(seed, channels, samples, results, taps, pad=0, frames=1):
    x, weight, bias = tensors(seed, frames, channels, samples, results, taps)
    layer = Convolution(weight.numpy(), bias.numpy(), pad, 1, rectified=False).layer(samples)
    return x, weight, bias, layer


@settings(max_examples=60, deadline=None)
@given(
    st.tuples(st.integers(17, 40), st.integers(7, 60), st.integers(20, 70), st.integers(2, 7), st.integers(0, 3), st.integers(1, 3))
)  # fmt: skip
@example((32, 124, 64, 5, 0, 2))
@example((17, 9, 49, 2, 0, 1))
def test_several_results_at_once_are_close_to_torch(shape):
    channels, samples, results, taps, pad, frames = shape
    x, weight, bias, layer = made_fast(7, channels, samples, results, taps, pad, frames)
    size = samples + 2 * pad - taps + 1
    event(f"{layer.words[k.FAST]} at once")
    assert layer.words[k.FAST] in (0, 9 - taps)
    assert size >= layer.words[k.FAST]
    with torch.inference_mode():
        wanted = torch.conv1d(x, weight, bias, 1, pad)
        for rectified in (0, 1):
            layer.words[k.RECTIFIED] = rectified
            ours = Chain([layer])(x)
            assert torch.allclose(
                ours, wanted.relu() if rectified else wanted, rtol=1e-4, atol=5e-5
            )


@pytest.mark.parametrize("taps", [2, 3, 4, 5, 6])
def test_all_counts_of_taps_that_pay_are_fast(taps):
    *_, layer = made_fast(8, 32, 120, 64, taps)
    assert layer.words[k.FAST] == 9 - taps


def test_few_channels_and_holes_are_summed_one_by_one():
    for channels, taps, dilation in ((2, 5, 1), (32, 1, 1), (32, 8, 1), (32, 5, 2)):
        _, weight, bias = tensors(9, 1, channels, 100, 32, taps)
        call = Convolution(weight.numpy(), bias.numpy(), 0, dilation, rectified=False)
        assert call.layer(100).words[k.FAST] == 0
    assert made_fast(9, 32, 7, 64, 5)[-1].words[k.FAST] == 0, "fewer samples than results at once"


@pytest.mark.parametrize("samples", [8, 30, 61])
def test_bits_of_several_results_do_not_depend_on_the_batch(samples):
    x, _, _, layer = made_fast(10, 24, samples, 48, 5, frames=9)
    assert layer.words[k.FAST]
    chain = Chain([layer])
    with torch.inference_mode():
        whole = chain(x)
        for order in (torch.arange(8, -1, -1), torch.tensor([3]), torch.tensor([5, 5, 2])):
            assert torch.equal(chain(x[order]), whole[order])


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf"), 1e35])
def test_a_number_that_is_none_reaches_only_its_own_results(number):
    x, weight, bias, layer = made_fast(11, 32, 60, 32, 5, frames=3)
    assert layer.words[k.FAST]
    x[1, 4, 30] = number
    with torch.inference_mode():
        ours, wanted = Chain([layer])(x), torch.conv1d(x, weight, bias)
        assert torch.equal(ours.isnan(), wanted.isnan())
        assert torch.equal(ours.isinf(), wanted.isinf())
        assert torch.allclose(ours[::2], wanted[::2], rtol=1e-4, atol=5e-5)
        near = wanted.isfinite()
        assert torch.allclose(ours[near], wanted[near], rtol=1e-4, atol=5e-5)


def test_several_results_at_once_are_a_plain_function():
    x, _, _, layer = made_fast(12, 20, 21, 36, 4)
    assert layer.words[k.FAST]
    compiled, plain = Chain([layer]), Chain([layer])
    plain._kernel = infer
    with torch.inference_mode():
        np.testing.assert_allclose(plain(x), compiled(x), rtol=1e-4, atol=2e-5)


# ---- in networks


@pytest.mark.parametrize("name", ["cnn1d", "residual", "grouped", "causal", "norms", "autoencoder", "mlp"])  # fmt: skip
def test_networks_that_need_not_be_exact_are_close(name, tmp_path):
    network, frames = built(name)
    path = export(network, frames, tmp_path / "net.pt2")
    exact, close = load(path), load(path, exact=False)
    for batch in (16, 1, 5):
        torch.manual_seed(batch)
        given = [draw(batch).numpy() for draw in frames]
        for a, b in zip(exact.answer(given), close.answer(given), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    is_ours = bool(calls_of(close) & {"Convolution", "Chain"})
    assert is_ours == (name not in ("autoencoder", "mlp"))
    assert not calls_of(exact) & {"Convolution", "Chain"}


def calls_of(model):
    """Names of what a model calls for the shapes that it has seen."""
    found = [call for calls in model.network._calls.values() for call, *_ in calls._calls]
    return {getattr(call, "__name__", type(call).__name__) for call in found}


def test_a_rectifier_is_one_call_with_its_convolution(tmp_path):
    network, frames = built("residual")
    model = load(export(network, frames, tmp_path / "net.pt2"), exact=False)
    model.answer([frames[0](4).numpy()])
    assert "Convolution" in calls_of(model)


CHAINS = {
    "padded": (nn.Conv1d(6, 9, 5, padding=2), nn.ReLU(), nn.Conv1d(9, 5, 3, dilation=2), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(5, 3)),
    "dense": (nn.Conv1d(6, 8, 3), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(8, 7), nn.ReLU(), nn.Linear(7, 4, bias=False)),
    "flat": (nn.Conv1d(6, 5, 5), nn.ReLU(), nn.MaxPool1d(2), nn.Conv1d(5, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(56, 3)),
    "normed": (nn.BatchNorm1d(6), nn.Conv1d(6, 8, 3), nn.BatchNorm1d(8), nn.ReLU(), nn.Conv1d(8, 4, 3), nn.ReLU(), nn.BatchNorm1d(4), nn.MaxPool1d(3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(52, 2)),
    "wide": (nn.Conv1d(6, 20, 3), nn.ReLU(), nn.Conv1d(20, 40, 5, padding=2), nn.BatchNorm1d(40), nn.ReLU(), nn.Conv1d(40, 33, 3), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(33, 17)),
    "pooled first": (nn.MaxPool1d(2), nn.Conv1d(6, 4, 3)),
    "mean of the input": (nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(6, 2)),
    "flat input": (nn.Flatten(), nn.Linear(192, 2)),
    "no end": (nn.Conv1d(6, 4, 30), nn.ReLU(), nn.Conv1d(4, 2, 2)),
}  # fmt: skip


@pytest.mark.parametrize("name", CHAINS)
def test_a_chain_of_layers_is_one_call(name, tmp_path):
    torch.manual_seed(1)
    net = nn.Sequential(*CHAINS[name])
    net(torch.randn(64, 6, 32) * 2 + 1)  # norms learn
    net.eval()
    path = export(net, (floats(6, 32),), tmp_path / "net.pt2")
    exact, close = load(path), load(path, exact=False)
    for batch in (1, 3, 16):
        x = torch.randn(batch, 6, 32).numpy()
        (a,), (b,) = exact.answer([x]), close.answer([x])
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
        assert calls_of(close) == {"Chain"}
        for place in range(batch):
            np.testing.assert_array_equal(close.answer([x[place : place + 1]])[0][0], b[place])


@pytest.mark.parametrize("name", ["padded", "normed", "flat"])
def test_the_kernel_of_a_chain_is_a_plain_function(tmp_path, name):
    net = nn.Sequential(*CHAINS[name]).eval()
    model = load(export(net, (floats(6, 32),), tmp_path / "net.pt2"), exact=False)
    x = torch.randn(2, 6, 32)
    (wanted,) = model.answer([x.numpy()])
    (calls,) = model.network._calls.values()
    ((network, *_),) = calls._calls
    network._kernel = infer
    np.testing.assert_allclose(network(x), wanted, rtol=1e-4, atol=1e-5)


def test_what_branches_is_no_chain(tmp_path):
    class Branches(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Conv1d(6, 4, 3), nn.Conv1d(6, 4, 3)

        def forward(self, x):
            return self.a(x) + self.b(x)

    model = load(export(Branches().eval(), (floats(6, 32),), tmp_path / "net.pt2"), exact=False)
    model.answer([torch.randn(2, 6, 32).numpy()])
    assert "Chain" not in calls_of(model)
    assert "Convolution" in calls_of(model)


FLOW = """
source s (time, device: key i32, {columns}) from given()
    max keys 10
model net = torch("{model}", exact={exact}{more}) input ({names}) output softmax ["a", "b", "c", "d", "e", "f"] batch 4 {isolated}
sink s | window 128 samples every 64 samples | classify with net | select label, score to kept()
"""


@pytest.mark.parametrize("isolated", ["", "isolated"])
def test_a_pipeline_says_that_a_model_need_not_be_exact(tmp_path, isolated):
    network, frames = built("cnn1d")
    path = export(network, frames, tmp_path / "net.pt2")
    names = [f"c{k}" for k in range(6)]
    catalog = PlainCatalog(
        {"given": ConnectorInfo("given", "source", needs_address=False, describes_itself=False, writes_files=False)},
        {"kept": ConnectorInfo("kept", "sink", needs_address=False, writes_files=False)},
    )  # fmt: skip
    draw = np.random.default_rng(1)
    rows = pa.record_batch({
        "time": pa.array(np.arange(640) * 20_000_000, pa.timestamp("ns", "UTC")),
        "device": pa.array(np.zeros(640, np.int32)),
        **{n: draw.normal(size=640).astype(np.float32) for n in names},
    })  # fmt: skip
    told = {}
    for exact in ("true", "false"):
        text = FLOW.format(
            columns=", ".join(f"{n}: f32" for n in names), names=", ".join(names), model=path, exact=exact, more="", isolated=isolated,
        )  # fmt: skip
        plan = flowedge.compile(text=text, catalog=catalog)
        models = load_models(plan.program)
        session = plan.open(models=models)
        (out,) = (session.push("s", rows) | session.finish()).values()
        told[exact] = out
        for model in models.values():
            getattr(model, "close", lambda: None)()
    a, b = told["true"].to_pydict(), told["false"].to_pydict()
    assert a["label"] == b["label"]
    np.testing.assert_allclose(a["score"], b["score"], rtol=1e-4)


def test_only_a_graph_of_our_reader_may_differ(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = FLOW.format(
        columns="c0: f32", names="c0", model="net.pt", exact="false", more="", isolated=""
    ).replace("given()", 'csv("x.csv")')
    with pytest.raises(FlowError, match="is run by Torch as a whole"):
        flowedge.compile(text=text)
