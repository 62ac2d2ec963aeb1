"""Frames for training: what a model node would hand to its model, written to a file."""

import json
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from flowedge.compile import program as p
from flowedge.graph.catalog import CatalogError, ModelShape, Tensor
from flowedge.graph.training import ECHO, Wanted
from flowedge.lang.errors import ModelError
from flowedge.models.load import read
from flowedge.models.manifest import beside, read_beside
from flowedge.runtime.catalog import describe_model, shape_of
from flowedge.runtime.models import Allowed
from flowedge.runtime.plan import Plan, compile_flow
from flowedge.runtime.report import Report
from flowedge.runtime.run import Run
from flowedge.types.metadata import FRAMES

Array = np.ndarray[Any, Any]

KINDS = {".arrow": "arrow", ".parquet": "parquet"}
"""Sinks by the end of a file's name."""


class Echo:
    """Stands in for a model: it gives back what it is asked about, and a 1 for each frame."""

    def infer(self, inputs: Sequence[Array]) -> list[Array]:
        """The inputs as they came, and who was asked about."""
        return [*inputs, np.ones(len(inputs[0]), np.int64)]


MODELS: Mapping[str, Any] = {ECHO: Echo()}
"""What a plan of frames is opened with."""


def nfc(name: str) -> str:
    """A name as the language has it."""
    return unicodedata.normalize("NFC", name)


def known_of(path: str, kind: str) -> ModelShape | None:
    """What is known of a model that may not have been trained yet; raises `CatalogError`.

    Where its file is there, it is looked at as always. Where it is not, a manifest beside its place tells of channels,
    rate and normalisation, and without one nothing is known.
    """
    if Path(path).exists():
        return shape_of(describe_model(path, kind).info)
    found = beside(path)
    if found is None:
        return None
    try:
        told = read_beside(read(found)[0], found, Path(path).name)
    except ModelError as error:
        raise CatalogError(str(error)) from None
    if told is None:
        return None
    inputs = tuple(
        Tensor("", (), units=x.units, channels=x.channels, mean=x.mean, std=x.std)
        for x in told.inputs
    )
    return ModelShape(inputs or (Tensor("", ()),), (), told.rate_hz, told.labels, told.output)


def plan_windows(
    path: str | Path | None = None,
    *,
    stream: str,
    out: str | Path,
    text: str | None = None,
    params: Mapping[str, object] | None = None,
    labels: str | None = None,
    within: str | None = None,
    inputs: Sequence[str] = (),
    fresh: bool = False,
    **more: Any,  # noqa: ANN401  # as `compile_flow` takes it
) -> Plan:
    """A plan whose one sink has the frames that a model would see.

    Parameters
    ----------
    path, text, params : the pipeline, as in `compile_flow`
    stream : whose frames; where its chain has a `classify with`, those in front of it
    out : a file that ends in ``.arrow`` or ``.parquet``
    labels, within, inputs : as in `flowedge.graph.training.Wanted`
    fresh : leave the model's file and its manifest aside, as if it was not trained yet

    Returns
    -------
    Plan
        to be opened, or run, with the models `MODELS`

    Raises
    ------
    FlowError
        the pipeline is wrong, or what is asked of it
    KeyError
        `out` ends in another way
    """
    wanted = Wanted(
        nfc(stream), KINDS[Path(out).suffix.lower()], str(out), (lambda _path, _kind: None) if fresh else known_of,
        None if labels is None else nfc(labels), within, tuple(nfc(x) for x in inputs),
    )  # fmt: skip
    return compile_flow(path, text=text, params=params, wanted=wanted, **more)


@dataclass(frozen=True, slots=True)
class Written:
    """What became of the frames.

    Attributes
    ----------
    path : the file
    about : what it tells of them, see `flowedge.types.metadata.FRAMES`
    frames : as many are in it
    left_out : as many had missing values, and would not be shown to a model
    counts : how many have which class; None stands for those without a label
    """

    path: str
    about: dict[str, Any]
    frames: int
    left_out: int
    counts: dict[Any, int]


def write(
    path: str | Path,
    *,
    trusted: Allowed | None = None,
    **wanted: Any,  # noqa: ANN401  # as `plan_windows`
) -> tuple[Report, Written]:
    """Run a pipeline up to the frames in front of a model, and write these; raises as a run does."""
    plan = plan_windows(path, **wanted)
    report = Run(plan, trusted or Allowed(), models=MODELS, name=str(path))()
    (sink,) = (n for n in plan.program.nodes if isinstance(n, p.SinkSpec))
    about = json.loads(dict(sink.about)[FRAMES.decode()])
    frames = report.sinks[sink.name].rows
    seen = sum(
        report.streams[n.label]["rows_in"]
        for n in plan.program.nodes
        if isinstance(n, p.ModelSpec) and n.call.model == ECHO
    )
    files = report.sinks[sink.name].files
    counts = _tally(files, about, sink) if about["label"] else {}
    return report, Written(str(wanted["out"]), about, frames, seen - frames, counts)


def _tally(files: Sequence[str], about: Mapping[str, Any], sink: p.SinkSpec) -> dict[Any, int]:
    """How many frames have which class, the most frequent first; of numbers only how many lack one."""
    import pyarrow as pa  # noqa: PLC0415

    counts: Counter[Any] = Counter()
    label = about["label"]
    for file in files:
        if sink.connector == "parquet":
            from pyarrow import parquet  # noqa: PLC0415

            table = parquet.read_table(file, columns=[label])
        else:
            with pa.memory_map(file) as held:
                table = pa.ipc.open_file(held).read_all().select([label])
        for one in table.column(label).value_counts().to_pylist():
            if about["is_class"] or one["values"] is None:
                counts[one["values"]] += one["counts"]
    return dict(counts.most_common())
