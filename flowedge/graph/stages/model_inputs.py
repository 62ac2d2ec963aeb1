"""Whether a frame has the channels, the length, the numbers and the rate that a model takes."""

from collections.abc import Sequence
from typing import TypeVar

from flowedge.graph.catalog import ModelShape, Tensor
from flowedge.graph.checker import Checker, Flow
from flowedge.graph.models import Declared, agrees, shape_text
from flowedge.graph.names import UnknownName
from flowedge.graph.stages.frames import sample_columns
from flowedge.graph.units import unit
from flowedge.lang.diagnostics import Rule, did_you_mean
from flowedge.lang.span import Span
from flowedge.types.schema import Column


class TimeWindowForModel(Rule):
    """A model takes frames of one length; a time window has as many samples as came.

    Wrong::

        source s (time, v: f32) at 64 Hz from arrow("in.arrow")
        model m = torch("two.pt2") input (v) output softmax ["a", "b"]
        sink s | window 1 s | classify with m to console

    Right::

        source s (time, v: f32) at 64 Hz from arrow("in.arrow")
        model m = torch("two.pt2") input (v) output softmax ["a", "b"]
        sink s | window 64 samples | classify with m to console
    """

    code = "FE602"


class ChannelUnits(Rule):
    """A model says in which unit it was trained; a channel in another unit would be misread.

    Wrong::

        source s (time, v: f32 [mV]) at 100 Hz from arrow("in.arrow")
        model m = torch("volts.pt2") input (v) output softmax ["a", "b"]
        sink s | window 64 samples | classify with m to console

    Right::

        source s (time, v: f32 [V]) at 100 Hz from arrow("in.arrow")
        model m = torch("volts.pt2") input (v) output softmax ["a", "b"]
        sink s | window 64 samples | classify with m to console
    """

    code = "FE603"


class InputDoesNotFit(Rule):
    """The frame's channels, its length or its numbers are not those that the model takes.

    Wrong::

        source s (time, v: f32) at 100 Hz from arrow("in.arrow")
        model m = torch("two.pt2") input (v) output softmax ["a", "b"]
        sink s | window 100 samples | classify with m to console

    Right::

        source s (time, v: f32) at 100 Hz from arrow("in.arrow")
        model m = torch("two.pt2") input (v) output softmax ["a", "b"]
        sink s | window 64 samples | classify with m to console
    """

    code = "FE604"


class RateDoesNotFit(Rule):
    """A model was trained at one sample rate and sees another.

    Wrong::

        source s (time, v: f32) at 50 Hz from arrow("in.arrow")
        model m = torch("at100.pt2") input (v) output softmax ["a", "b"]
        sink s | window 64 samples | classify with m to console

    Right::

        source s (time, v: f32) at 50 Hz from arrow("in.arrow")
        model m = torch("at100.pt2") input (v) output softmax ["a", "b"]
        sink s | resample 100 Hz linear | window 64 samples | classify with m to console
    """

    code = "FE605"


class FrameForModel(Rule):
    """A model of a signal needs a frame: a count window, or `split at`.

    Wrong::

        source s (time, v: f32) at 100 Hz from arrow("in.arrow")
        model m = torch("two.pt2") input (v) output softmax ["a", "b"]
        sink s | classify with m to console

    Right::

        source s (time, v: f32) at 100 Hz from arrow("in.arrow")
        model m = torch("two.pt2") input (v) output softmax ["a", "b"]
        sink s | window 64 samples | classify with m to console
    """

    code = "FE606"


_T = TypeVar("_T")
DTYPES = {
    "f32": "float32",
    "f64": "float64",
    "i64": "int64",
    "i32": "int32",
    "u8": "uint8",
    "bool": "bool",
    "i16": "int16",
    "i8": "int8",
}


def inputs_fit(c: Checker, flow: Flow, span: Span, m: Declared) -> tuple[str, ...] | None:
    """Whether the frame has the channels, length, numbers and units that the model takes."""
    type_ = flow.type
    if type_.shape == "signal" and not flow.wild:
        names = [x.type.shape for x in type_.columns if x.name in {i.name for i in m.inputs}]
        if not any(len(s) > 1 for s in names):
            c.report(FrameForModel.at(span, f"model `{m.file.name}` behind a signal without frames", label="which samples belong together?",
                                      fix="put `| window N samples` or `| split at …` before it"))  # fmt: skip
            return None
    frame = type_.frame if type_.shape == "frames" else None
    samples = sample_columns(type_)
    found: list[Column] = []
    for ident in m.inputs:
        column = type_.column(ident.name)
        if column is None:
            if not flow.wild and ident.name not in flow.broken:
                c.report(UnknownName.at(span, f"model `{m.file.name}` takes `{ident.name}`, which `{flow.name}` does not have",
                                        others=[(ident.span, "declared here")], fix=did_you_mean(ident.name, type_.names())))  # fmt: skip
            return None
        if not column.type.is_number and column.type.store != "bool":
            c.report(
                InputDoesNotFit.at(
                    span,
                    f"input `{ident.name}` is {column.type}, no number",
                    others=[(ident.span, "declared here")],
                    fix="give a column of numbers",
                )
            )
            return None
        if frame is not None and ident.name not in samples:
            c.report(
                InputDoesNotFit.at(
                    span,
                    f"input `{ident.name}` belongs to the frame, not to its samples",
                    fix="give columns of samples",
                )
            )
            return None
        found.append(column)
    if not m.inputs:
        c.report(
            InputDoesNotFit.at(
                span,
                f"model `{m.file.name}` says nothing of its inputs",
                fix="add `input (columns)` to the model",
            )
        )
        return None
    shape = m.shape
    good = True
    if flow.wild:
        return None
    if shape is not None and shape.inputs:
        good = _shapes_fit(c, flow, span, m, found, shape)
    if shape is not None and shape.rate_hz is not None:
        rate = frame.rate_hz if frame is not None else type_.rate_hz
        if rate is not None and abs(rate - shape.rate_hz) > 0.01 * shape.rate_hz:
            c.report(RateDoesNotFit.at(span, f"model `{m.file.name}` was trained at {shape.rate_hz:g} Hz, this is sampled at {rate:g} Hz",
                                       others=[(flow.rate_at, "the rate of the signal")] if flow.rate_at else [],
                                       why="its filters see other frequencies", fix=f"put `| resample {shape.rate_hz:g} Hz linear` before the window"))  # fmt: skip
            good = False
    return tuple(x.name for x in found) if good else None


def _shapes_fit(
    c: Checker,
    flow: Flow,
    span: Span,
    m: Declared,
    columns: Sequence[Column],
    shape: ModelShape,
) -> bool:
    frame = flow.type.frame if flow.type.shape == "frames" else None
    length = frame.length if frame is not None else None
    groups = groups_of(columns, shape)
    if groups is None:
        c.report(InputDoesNotFit.at(span, f"model `{m.file.name}` takes {len(shape.inputs)} inputs, {len(columns)} columns are given",
                                    others=[(m.inputs[0].span, "declared here")] if m.inputs else [], fix="name one column for each input"))  # fmt: skip
        return False
    good = True
    for given, tensor in zip(groups, shape.inputs, strict=True):
        options = _laid_out(given, length)
        if tensor.shape and not any(agrees(tensor.shape[1:], o) for o in options):
            what = ", ".join(f"`{x.name}`" for x in given)
            c.report(InputDoesNotFit.at(span, f"{what} comes as {shape_text(options[0])}, model `{m.file.name}` takes {shape_text(tensor.shape[1:])}",
                                        why="channels and samples of a frame, the batch left out", fix=_cure(tensor, options[0], length)))  # fmt: skip
            good = False
        size = sum(x.type.size for x in given)
        for what, told in (
            ("units", tensor.units),
            ("means", tensor.mean),
            ("deviations", tensor.std),
        ):
            if len(told) > 1 and len(told) != size:
                c.report(InputDoesNotFit.at(span, f"the manifest of model `{m.file.name}` tells {len(told)} {what} for {size} channels",
                                            fix="give one for all channels, or one for each"))  # fmt: skip
                return False
        parts = {x.name: part for x, part in zip(given, spread(tensor.units, given), strict=True)}
        names = tuple(x.name for x in given)
        if tensor.channels and names != tensor.channels and set(names) == set(tensor.channels):
            c.report(InputDoesNotFit.at(span, f"model `{m.file.name}` takes its channels in another order",
                                        why="it was trained with " + ", ".join(f"`{x}`" for x in tensor.channels), fix=f"write `input ({', '.join(tensor.channels)})`"))  # fmt: skip
            good = False
        for x in given:
            if not x.type.is_float and tensor.dtype.startswith("float"):
                continue
            if not tensor.dtype.startswith("float") and DTYPES.get(x.type.store) != tensor.dtype:
                c.report(
                    InputDoesNotFit.at(
                        span,
                        f"`{x.name}` is {x.type}, model `{m.file.name}` takes {tensor.dtype}",
                        fix=f"declare the column as {tensor.dtype}",
                    )
                )
                good = False
            for text in dict.fromkeys(parts[x.name]):
                wanted = unit(c, text, None)
                if wanted is not None and x.type.unit != wanted:
                    c.report(ChannelUnits.at(span, f"`{x.name}` is in {x.type.unit or 'no unit'}, model `{m.file.name}` was trained in {wanted}",
                                             why="it would see other numbers", fix=f"convert it before the window, or declare the source in {wanted}"))  # fmt: skip
                    good = False
    return good


def groups_of(columns: Sequence[Column], shape: ModelShape) -> list[Sequence[Column]] | None:
    """The columns of each input of a model: one each, or all of the only one; None: they do not fit."""
    if len(shape.inputs) == len(columns):
        return [(x,) for x in columns]
    return [columns] if len(shape.inputs) == 1 else None


def spread(values: Sequence[_T], columns: Sequence[Column]) -> list[tuple[_T, ...]]:
    """Values that are told once for all channels, or for each, as those of each column; empty where none is."""
    if len(values) <= 1:
        return [tuple(values)] * len(columns)
    out: list[tuple[_T, ...]] = []
    at = 0
    for x in columns:
        out.append(tuple(values[at : at + x.type.size]))
        at += x.type.size
    return out


def scaling(
    flow: Flow, m: Declared, names: Sequence[str]
) -> tuple[tuple[tuple[float, ...], tuple[float, ...]], ...]:
    """Means and standard deviations of each column, where the model's manifest tells them."""
    if m.shape is None or not any(x.mean for x in m.shape.inputs):
        return ()
    columns = [column for name in names if (column := flow.type.column(name)) is not None]
    out: list[tuple[tuple[float, ...], tuple[float, ...]]] = []
    for given, tensor in zip(groups_of(columns, m.shape) or (), m.shape.inputs, strict=True):
        out += zip(spread(tensor.mean, given), spread(tensor.std, given), strict=True)
    return tuple(out)


def _laid_out(columns: Sequence[Column], length: int | None) -> list[tuple[int, ...]]:
    """The shapes in which columns can be laid before a model: channels first as Torch has them, or last as TensorFlow does."""
    tail = () if length is None else (length,)
    if len(columns) == 1:
        shape = columns[0].type.shape
        if shape:
            return [(*shape, *tail), (*tail, *shape)]
        return [(1, *tail), tail, (*tail, 1)] if tail else [(1,), ()]
    channels = sum(x.type.size for x in columns)
    return [(channels, *tail), (*tail, channels)]


def _cure(tensor: Tensor, given: Sequence[int], length: int | None) -> str:
    wanted = tensor.shape[1:]
    if (
        length is not None
        and wanted
        and len(wanted) == len(given)
        and wanted[:-1] == tuple(given[:-1])
        and wanted[-1] is not None
    ):
        return f"write `window {wanted[-1]} samples`"
    return "give the channels that the model was trained with"
