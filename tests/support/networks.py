"""Small networks of many kinds, with fixed weights, and their export: what tests and benchmarks load."""

import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  # as all who use Torch call it


class Residual(nn.Module):
    """Two convolutions with batch norm, and a way around them."""

    def __init__(self):
        super().__init__()
        self.inward = nn.Conv1d(6, 16, 3, padding=1)
        self.one, self.two = (nn.Conv1d(16, 16, 3, padding=1, bias=False) for _ in range(2))
        self.norms = nn.ModuleList(nn.BatchNorm1d(16) for _ in range(2))
        self.last = nn.Linear(16, 4)

    def forward(self, x):
        x = self.inward(x)
        y = self.norms[1](self.two(F.relu(self.norms[0](self.one(x)))))
        return self.last(F.relu(x + y).mean(-1))


class Causal(nn.Module):
    """A temporal convolutional network: dilated, padded on the left only, gated."""

    def __init__(self):
        super().__init__()
        self.inward = nn.Conv1d(6, 16, 1)
        self.layers = nn.ModuleList(nn.Conv1d(16, 32, 3, dilation=2**k) for k in range(4))
        self.last = nn.Linear(16, 3)

    def forward(self, x):
        x = self.inward(x)
        for k, layer in enumerate(self.layers):
            value, gate = layer(F.pad(x, (2 ** (k + 1), 0))).chunk(2, dim=1)
            x = x + torch.tanh(value) * torch.sigmoid(gate)
        return self.last(x[:, :, -1])


class Recurrent(nn.Module):
    """A recurrent layer over the samples of a frame, and its last answer."""

    def __init__(self, kind, **more):
        super().__init__()
        self.cell = kind(6, 16, batch_first=True, **more)
        self.last = nn.Linear(32 if more.get("bidirectional") else 16, 4)

    def forward(self, x):
        y, _ = self.cell(x)
        return self.last(y[:, -1])


class Stateful(nn.Module):
    """A recurrent layer whose state comes from outside, and goes there: one output of the frame, one of the state."""

    def __init__(self):
        super().__init__()
        self.cell, self.last = nn.GRU(6, 12, batch_first=True), nn.Linear(12, 3)

    def forward(self, x, h):
        y, h = self.cell(x, h.unsqueeze(0))
        return self.last(y[:, -1]), h.squeeze(0)


class Cells(nn.Module):
    """A recurrent cell, turned by the network's own loop."""

    def __init__(self):
        super().__init__()
        self.cell, self.last = nn.LSTMCell(6, 12), nn.Linear(12, 3)

    def forward(self, x):
        h = c = x.new_zeros(x.shape[0], 12)
        for t in range(8):
            h, c = self.cell(x[:, t], (h, c))
        return self.last(h)


class Attention(nn.Module):
    """Attention of every sample to every other."""

    def __init__(self):
        super().__init__()
        self.inward, self.attend = nn.Linear(6, 16), nn.MultiheadAttention(16, 4, batch_first=True)
        self.last = nn.Linear(16, 4)

    def forward(self, x):
        x = self.inward(x)
        y, weights = self.attend(x, x, x)
        return self.last((x + y).mean(1)), weights


class OwnAttention(nn.Module):
    """Attention written out: heads are made and undone with lengths of the graph."""

    def __init__(self):
        super().__init__()
        self.three, self.last = nn.Linear(6, 48), nn.Linear(16, 4)

    def forward(self, x):
        n, t, _ = x.shape
        q, k, v = self.three(x).reshape(n, t, 3, 4, 4).permute(2, 0, 3, 1, 4).unbind(0)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.last(y.transpose(1, 2).reshape(n, t, 16)).amax(1)


class Transformer(nn.Module):
    """Learned positions, two encoder layers, a token that sums up."""

    def __init__(self):
        super().__init__()
        self.inward, self.position = nn.Linear(6, 16), nn.Parameter(torch.randn(1, 13, 16) * 0.1)
        self.token = nn.Parameter(torch.randn(1, 1, 16))
        layer = nn.TransformerEncoderLayer(
            16, 4, 32, activation="gelu", batch_first=True, norm_first=True
        )
        self.layers, self.last = (
            nn.TransformerEncoder(layer, 2, enable_nested_tensor=False),
            nn.Linear(16, 4),
        )

    def forward(self, x):
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), self.inward(x)], 1) + self.position
        return self.last(self.layers(x)[:, 0])


class Norms(nn.Module):
    """Layer, group and instance norm, and one that is told by mean and deviation."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.InstanceNorm1d(6, affine=True), nn.GroupNorm(4, 16)
        self.conv, self.third = nn.Conv1d(6, 16, 3, padding="same"), nn.LayerNorm(16)
        self.last = nn.Linear(16, 4)

    def forward(self, x):
        x = (x - x.mean(-1, keepdim=True)) / (x.std(-1, keepdim=True) + 1e-5)
        x = self.second(self.conv(self.first(x)))
        x = self.third(x.transpose(1, 2))
        return self.last(x.square().mean(1).sqrt() + torch.var(x, 1, correction=0))


class Lookup(nn.Module):
    """Embeddings of a whole number beside a signal."""

    def __init__(self):
        super().__init__()
        self.kinds, self.conv, self.last = (
            nn.Embedding(10, 8),
            nn.Conv1d(6, 8, 5, stride=2),
            nn.Linear(16, 3),
        )

    def forward(self, x, kind):
        return self.last(torch.cat([self.conv(x).amax(-1), self.kinds(kind)], 1))


class Autoencoder(nn.Module):
    """Down by strides and up by transposed convolutions; the rebuilt frame and how far off it is."""

    def __init__(self):
        super().__init__()
        self.down = nn.Sequential(
            nn.Conv1d(6, 16, 4, 2, 1), nn.LeakyReLU(0.1), nn.Conv1d(16, 4, 4, 2, 1), nn.Tanh()
        )
        self.up = nn.Sequential(
            nn.ConvTranspose1d(4, 16, 4, 2, 1), nn.ELU(), nn.ConvTranspose1d(16, 6, 4, 2, 1)
        )

    def forward(self, x):
        y = self.up(self.down(x))
        return y, (x - y).abs().flatten(1).mean(1), (y - x).pow(2).mean((1, 2))


class UNet(nn.Module):
    """Down and up again with ways across; two kinds of interpolation."""

    def __init__(self):
        super().__init__()
        conv = lambda a, b: nn.Sequential(nn.Conv1d(a, b, 3, padding=1), nn.SiLU())  # noqa: E731
        self.a, self.b, self.c = conv(6, 8), conv(8, 16), conv(16, 16)
        self.d, self.e, self.last = conv(32, 8), conv(16, 8), nn.Conv1d(8, 2, 1)

    def forward(self, x):
        a = self.a(x)
        b = self.b(F.max_pool1d(a, 2))
        c = self.c(F.avg_pool1d(b, 2))
        d = self.d(torch.cat([b, F.interpolate(c, scale_factor=2, mode="nearest")], 1))
        up = F.interpolate(d, size=x.shape[-1], mode="linear", align_corners=False)
        return self.last(self.e(torch.cat([a, up], 1)))


class Squeeze(nn.Module):
    """Depthwise and pointwise convolutions, channels weighed by squeeze and excitation."""

    def __init__(self):
        super().__init__()
        self.deep, self.wide = nn.Conv2d(3, 12, 3, padding=1, groups=3), nn.Conv2d(12, 16, 1)
        self.squeeze, self.excite = nn.Linear(16, 4), nn.Linear(4, 16)
        self.norm, self.last = nn.BatchNorm2d(16), nn.Linear(16, 5)

    def forward(self, x):
        x = F.hardswish(self.norm(self.wide(F.relu6(self.deep(x)))))
        w = F.hardsigmoid(self.excite(F.silu(self.squeeze(F.adaptive_avg_pool2d(x, 1).flatten(1)))))
        x = x * w[:, :, None, None]
        return F.log_softmax(self.last(x.mean((2, 3))), -1)


class Activations(nn.Module):
    """What networks bend with, side by side."""

    def __init__(self):
        super().__init__()
        self.each = nn.ModuleList([
            nn.GELU(), nn.GELU("tanh"), nn.SiLU(), nn.Mish(), nn.Hardswish(), nn.Softplus(), nn.Softsign(), nn.LogSigmoid(),
            nn.CELU(), nn.SELU(), nn.PReLU(), nn.Hardtanh(), nn.GLU(), nn.Threshold(0.1, 0.0), nn.Softmin(-1), nn.Tanhshrink(),
        ])  # fmt: skip

    def forward(self, x):
        return torch.cat([act(x) for act in self.each], -1)


class Heads(nn.Module):
    """One trunk, three heads: labels, a number, an embedding of length one."""

    def __init__(self):
        super().__init__()
        self.trunk = nn.Sequential(nn.Flatten(), nn.Linear(192, 32), nn.ReLU(), nn.Dropout(0.3))
        self.label, self.value, self.place = nn.Linear(32, 4), nn.Linear(32, 1), nn.Linear(32, 8)

    def forward(self, x):
        y = self.trunk(x)
        return self.label(y), self.value(y).squeeze(-1), F.normalize(self.place(y), dim=-1)


class Spectrum(nn.Module):
    """A filter bank by windows of the frame, its logarithm, two-dimensional convolution."""

    def __init__(self):
        super().__init__()
        self.register_buffer("bank", torch.randn(16, 8))
        self.conv, self.last = nn.Conv2d(6, 8, 3), nn.Linear(8, 3)

    def forward(self, x):
        windows = x.unfold(-1, 16, 8) * torch.hann_window(16)
        y = torch.log(torch.matmul(windows, self.bank).abs() + 1e-6)
        return self.last(F.relu(self.conv(y)).amax((2, 3)))


class Integers(nn.Module):
    """Weights of 8 bits, taken up to floats in the graph: scales for each channel, sums in float32."""

    def __init__(self):
        super().__init__()
        for k, (rows, columns) in enumerate(((32, 192), (4, 32))):
            self.register_buffer(
                f"w{k}", torch.randint(-127, 128, (rows, columns), dtype=torch.int8)
            )
            self.register_buffer(f"s{k}", torch.rand(rows, 1) * 0.01)

    def forward(self, x):
        x = F.relu(F.linear(x.flatten(1), self.w0.to(torch.float32) * self.s0))
        return F.linear(x, self.w1.to(torch.float32) * self.s1)


Frames = tuple[Callable[[int], Tensor], ...]


def floats(*shape: int) -> Callable[[int], Tensor]:
    """Frames of normal numbers."""
    return lambda n: torch.randn(n, *shape)


def mlp() -> nn.Module:
    """Dense layers."""
    return nn.Sequential(nn.Flatten(), nn.Linear(192, 64), nn.ReLU(), nn.Linear(64, 32), nn.Tanh(),
                         nn.Linear(32, 5), nn.Softmax(-1))  # fmt: skip


def cnn1d() -> nn.Module:
    """Of the motion kind: two convolutions, one mean over all samples."""
    return nn.Sequential(nn.Conv1d(6, 32, 5), nn.ReLU(), nn.Conv1d(32, 64, 5), nn.ReLU(),
                         nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(64, 6))  # fmt: skip


def cnn2d() -> nn.Module:
    """Of the picture kind."""
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
                         nn.Conv2d(8, 16, 3), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(144, 5))  # fmt: skip


def grouped() -> nn.Module:
    """Depthwise, pointwise, grouped and dilated."""
    return nn.Sequential(nn.Conv1d(6, 12, 5, padding=2, groups=6), nn.ReLU(), nn.Conv1d(12, 16, 1), nn.Hardtanh(),
                         nn.Conv1d(16, 16, 3, dilation=4, groups=4), nn.ReLU6(), nn.AdaptiveMaxPool1d(4), nn.Flatten(), nn.Linear(64, 3))  # fmt: skip


SIGNAL, ROWS, PICTURE = floats(6, 32), floats(12, 6), floats(3, 16, 16)

NETWORKS: dict[str, tuple[Callable[[], nn.Module], Frames]] = {
    "mlp": (mlp, (SIGNAL,)),
    "cnn1d": (cnn1d, (SIGNAL,)),
    "cnn2d": (cnn2d, (PICTURE,)),
    "residual": (Residual, (SIGNAL,)),
    "grouped": (grouped, (SIGNAL,)),
    "causal": (Causal, (SIGNAL,)),
    "rnn": (lambda: Recurrent(nn.RNN), (ROWS,)),
    "gru": (lambda: Recurrent(nn.GRU), (ROWS,)),
    "gru bidirectional": (lambda: Recurrent(nn.GRU, bidirectional=True, num_layers=2), (ROWS,)),
    "lstm": (lambda: Recurrent(nn.LSTM), (ROWS,)),
    "lstm bidirectional": (lambda: Recurrent(nn.LSTM, bidirectional=True), (ROWS,)),
    "lstm cells": (Cells, (ROWS,)),
    "gru with state": (Stateful, (ROWS, floats(12))),
    "attention": (Attention, (ROWS,)),
    "own attention": (OwnAttention, (ROWS,)),
    "transformer": (Transformer, (ROWS,)),
    "norms": (Norms, (SIGNAL,)),
    "lookup": (Lookup, (SIGNAL, lambda n: torch.randint(0, 10, (n,)))),
    "autoencoder": (Autoencoder, (SIGNAL,)),
    "u-net": (UNet, (SIGNAL,)),
    "squeeze": (Squeeze, (PICTURE,)),
    "activations": (Activations, (SIGNAL,)),
    "heads": (Heads, (SIGNAL,)),
    "spectrum": (Spectrum, (floats(6, 128),)),
    "integer weights": (Integers, (SIGNAL,)),
}
"""By name: what builds it, and what draws each of its inputs for so many frames."""


def built(name: str) -> tuple[nn.Module, Frames]:
    """A network for inference, always with the same weights, and what draws its inputs."""
    make, frames = NETWORKS[name]
    torch.manual_seed(20)
    return make().eval(), frames


def export(network: nn.Module, frames: Frames, path: Path, batch: int | None = None) -> Path:
    """Write a network's archive, for any number of frames up to 4096, or for just `batch`."""
    free = torch.export.Dim("batch", min=1, max=4096)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        given = tuple(draw(batch or 3) for draw in frames)
        shapes = None if batch else tuple({0: free} for _ in frames)
        program = torch.export.export(network, given, dynamic_shapes=shapes)
        torch.export.save(program, path)
    return path
