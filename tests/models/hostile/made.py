"""What hostile files are made of."""

import io
import json
import os
import warnings
import zipfile
from typing import NamedTuple

import torch
from torch import nn

MODULE = "hostile_module"
"""Writes the marker when it is imported; it lies beside the files."""


class Case(NamedTuple):
    """A file, and what is said of it.

    Attributes
    ----------
    what : which attack it is
    data : the bytes
    words : of its own sentence
    reader : who opens it so that its code runs; empty: it has none
    """

    what: str
    data: bytes
    words: str
    reader: str = ""


class Evil:
    """A pickle of it writes a file when it is opened."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


class Net(nn.Module):
    """Dense layers and a constant."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.shift = nn.Linear(4, 3), nn.Linear(3, 2), torch.ones(2)

    def forward(self, x):
        return self.b(torch.relu(self.a(x))) + self.shift


def good(folder):
    """A plain `.pt2` for any number of frames, as its members."""
    torch.manual_seed(1)
    path, free = folder / "good.pt2", torch.export.Dim("batch", min=1, max=64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.export(
            Net().eval(), (torch.zeros(8, 4),), dynamic_shapes=({0: free},)
        )
        torch.export.save(program, path)
    with zipfile.ZipFile(path) as held:
        return {name: held.read(name) for name in held.namelist()}


def archive(members, *, method=zipfile.ZIP_STORED):
    """An archive of names and bytes."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as made:
        for name, data in members.items() if isinstance(members, dict) else members:
            made.writestr(name, data)
    return out.getvalue()


def with_parts(members, parts):
    """The archive with parts more, or others in their place, by their paths below its folder."""
    root = next(iter(members)).split("/")[0]
    return archive({**members, **{f"{root}/{k}": v for k, v in parts.items()}})


def named(members, end):
    """The name of a member by its end."""
    return next(n for n in members if n.endswith(end))


def changed(members, end, change):
    """The members with one of JSON changed in its place."""
    name = named(members, end)
    told = json.loads(members[name])
    change(told)
    return {**members, name: json.dumps(told).encode()}
