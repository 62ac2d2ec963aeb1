"""What a model was trained on, told beside it: `model.json`, checked before a pipeline runs.

The manifest lies inside a ``.pt2`` (``torch.export.save(…, extra_files={"model.json": …})``), or beside the model as
``NAME.model.json``, or as ``model.json`` where there is one model in the folder. All of it is optional::

    {"file": "beats.pt2",
     "rate": 360, "labels": ["normal", "ectopic"], "output": "softmax",
     "inputs": [{"channels": ["ecg"], "unit": "mV", "mean": 0.01, "std": 0.4}]}

`channels`, `unit`, `mean` and `std` have one value for all channels, or one for each. Where `mean` and `std` are
given the engine hands ``(x - mean) / std`` to the model, in float32.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flowedge.lang.errors import ModelError

LARGEST = 2**20
"""Bytes of a manifest, at most."""
SHARED = "model.json"
INSIDE = "extra/model.json"
_LEAST, _MOST = 2.0**-126, 2.0**127
"""What float32 holds in full precision."""
OUTPUTS = ("softmax", "sigmoid", "raw")


@dataclass(frozen=True, slots=True)
class InputNote:
    """What is said of one input; one value for all channels, or one for each; empty: nothing is said."""

    channels: tuple[str, ...] = ()
    units: tuple[str, ...] = ()
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a model says of itself beyond its graph.

    Attributes
    ----------
    rate_hz : samples per second that it was trained at; None: any
    labels : of its first output, in the order of training
    output : softmax, sigmoid or raw; empty: it does not say
    inputs : in the order of the model's
    file : name of the file that it is about; empty: it does not say
    """

    rate_hz: float | None = None
    labels: tuple[str, ...] = ()
    output: str = ""
    inputs: tuple[InputNote, ...] = field(default=())
    file: str = ""


def beside(path: str | Path) -> Path | None:
    """The file that would tell of a model, if there is one."""
    if not Path(path).name:
        return None
    own = Path(path).with_suffix(".model.json")
    if own.exists():
        return own
    shared = Path(path).with_name(SHARED)
    return shared if shared.exists() else None


def read_beside(data: bytes, found: Path, model: str) -> Manifest | None:
    """What a file beside a model says of it; None: it is the folder's, and about another model. Raises ModelError."""
    told = parse(data, str(found))
    if told.file in ("", model):
        return told
    if found.name == SHARED:
        return None
    raise ModelError(f"`{found}` is about {told.file!r}, not about `{model}`")


def parse(data: bytes, name: str) -> Manifest:
    """A manifest out of its bytes.

    Parameters
    ----------
    data : JSON
    name : what to call it in errors

    Raises
    ------
    ModelError
        it is no manifest: what is wrong, and where
    """
    if len(data) > LARGEST:
        raise ModelError(f"`{name}` is larger than {LARGEST >> 20} MiB, and no manifest of a model")
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        raise ModelError(f"`{name}` is no JSON") from None
    reader = _Reader(name)
    known = reader.members(value, ("file", "rate", "labels", "output", "inputs"), "the manifest")
    about = known.get("file", "")
    if not isinstance(about, str):
        reader.refuse("`file` is no text")
    rate = known.get("rate")
    output = known.get("output", "")
    if output not in ("", *OUTPUTS):
        reader.refuse(f"`output` is {output!r}, not one of {', '.join(OUTPUTS)}")
    inputs = known.get("inputs", [])
    if not isinstance(inputs, list):
        reader.refuse("`inputs` is no list")
    labels = reader.texts(known.get("labels", []), "labels")
    if len(set(labels)) < len(labels):
        reader.refuse("two of the `labels` are the same")
    return Manifest(
        None if rate is None else reader.number(rate, "rate", above_zero=True),
        labels,
        output,
        tuple(reader.input(one) for one in inputs),
        about,
    )


class _Reader:
    """Takes JSON apart, and says what does not fit."""

    def __init__(self, name: str) -> None:
        self._name = name

    def refuse(self, what: str) -> None:
        raise ModelError(f"`{self._name}`: {what}")

    def members(self, value: Any, names: tuple[str, ...], what: str) -> dict[str, Any]:  # noqa: ANN401
        if not isinstance(value, dict):
            self.refuse(f"{what} is no object")
        unknown = sorted(set(value) - set(names))
        if unknown:
            self.refuse(f"{what} has `{unknown[0]}`; it may have {', '.join(names)}")
        return dict(value)

    def texts(self, value: Any, what: str) -> tuple[str, ...]:  # noqa: ANN401
        if not isinstance(value, list) or not all(isinstance(x, str) for x in value):
            self.refuse(f"`{what}` is no list of texts")
        return tuple(value)

    def number(self, value: Any, what: str, *, above_zero: bool = False) -> float:  # noqa: ANN401
        """A number that stays one in 32 bits, and above zero there where it must be."""
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if (
            not is_number
            or (not _LEAST <= abs(value) <= _MOST and value != 0)
            or (above_zero and value <= 0)
        ):
            more = " above 0" if above_zero else ""
            self.refuse(f"`{what}` is {str(value)[:40]}, no number of 32 bits{more}")
        return float(value)

    def numbers(self, value: Any, what: str, *, above_zero: bool = False) -> tuple[float, ...]:  # noqa: ANN401
        given = value if isinstance(value, list) else [value]
        return tuple(self.number(x, what, above_zero=above_zero) for x in given)

    def input(self, value: Any) -> InputNote:  # noqa: ANN401
        known = self.members(value, ("channels", "unit", "mean", "std"), "an input")
        units = known.get("unit", [])
        note = InputNote(
            self.texts(known.get("channels", []), "channels"),
            self.texts(units if isinstance(units, list) else [units], "unit"),
            self.numbers(known.get("mean", []), "mean"),
            self.numbers(known.get("std", []), "std", above_zero=True),
        )
        if bool(note.mean) != bool(note.std):
            self.refuse("an input has `mean` without `std`, or `std` without `mean`")
        return note
