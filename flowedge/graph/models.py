"""Models as they are declared: the file, what it takes, and the labels that it gives."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from flowedge.graph import constants as k
from flowedge.graph import nodes as g
from flowedge.graph.calls.arguments import WrongArguments
from flowedge.graph.catalog import CatalogError, ModelShape, Tensor
from flowedge.graph.checker import Checker
from flowedge.graph.columns import column_type
from flowedge.graph.names import Decl, Scope, UnknownCall
from flowedge.graph.place import Place
from flowedge.lang import statements as st
from flowedge.lang import tree as t
from flowedge.lang.diagnostics import Rule, did_you_mean
from flowedge.lang.span import Span
from flowedge.types.schema import Column


class LabelsDoNotFit(Rule):
    """A model gives one number for each label, no more and no fewer.

    Wrong::

        source s (time, v: f32) at 100 Hz from arrow("in.arrow")
        model m = torch("two.pt2") input (v) output softmax ["a", "b", "c"]
        sink s | window 64 samples | classify with m to console

    Right::

        source s (time, v: f32) at 100 Hz from arrow("in.arrow")
        model m = torch("two.pt2") input (v) output softmax ["a", "b"]
        sink s | window 64 samples | classify with m to console
    """

    code = "FE601"


class BatchDoesNotFit(Rule):
    """A model that was exported for a fixed number of frames is called with as many each time.

    Wrong::

        source s (time, v: f32) at 100 Hz from arrow("in.arrow")
        model m = torch("single.pt2") input (v) output softmax ["a", "b"]
        sink s | window 64 samples | classify with m to console

    Right::

        source s (time, v: f32) at 100 Hz from arrow("in.arrow")
        model m = torch("single.pt2") input (v) output softmax ["a", "b"] batch 1
        sink s | window 64 samples | classify with m to console
    """

    code = "FE607"


class StateDoesNotFit(Rule):
    """What a recurrent model remembers comes out in the shape in which it goes in.

    States are the last inputs and the last outputs of the model; each key has its own, zero at first.

    Wrong::

        source s (time, v: f32) at 100 Hz from arrow("in.arrow")
        model m = torch("recurrent.pt2") input (v) output softmax ["a", "b"] state (h: f32<4>)
        sink s | window 64 samples | classify with m to console

    Right::

        source s (time, v: f32) at 100 Hz from arrow("in.arrow")
        model m = torch("recurrent.pt2") input (v) output softmax ["a", "b"] state (h: f32<8>)
        sink s | window 64 samples | classify with m to console
    """

    code = "FE609"


class ModelUnreadable(Rule):
    """A model file that is missing or cannot be read.

    Wrong::

        source s (time, v: f32) at 100 Hz from arrow("in.arrow")
        model m = torch("missing.pt2") input (v) output softmax ["a", "b"]
        sink s | window 64 samples | classify with m to console

    Right::

        source s (time, v: f32) at 100 Hz from arrow("in.arrow")
        model m = torch("two.pt2") input (v) output softmax ["a", "b"]
        sink s | window 64 samples | classify with m to console
    """

    code = "FE608"


KINDS = ("torch", "onnx", "litert")
OPTIONS = {"path": "a path", "sha256": "a digest", "arch": "a class", "exact": "`true` or `false`"}
LIBRARY = {"onnx": "ONNX Runtime", "litert": "LiteRT"}
DEVICES = ("cpu", "cuda")
HEADS = ("softmax", "sigmoid", "raw")


@dataclass(frozen=True)
class Output:
    """One `output` clause: what becomes of the next outputs of a model.

    Attributes
    ----------
    kind : softmax, sigmoid (label, score and probabilities), columns (as declared), or raw (as they come)
    at : number of the first output that it is about
    name : of the column with the label; its score is ``NAME_score``. Empty: ``label``, ``score``, ``probs``
    """

    kind: str
    span: Span | None = None
    labels: tuple[str, ...] = ()
    columns: tuple[Column, ...] = ()
    at: int = 0
    name: str = ""

    @property
    def takes(self) -> int:
        """How many outputs it is about; of `raw`, all that are left."""
        return len(self.columns) if self.kind == "columns" else 1


@dataclass(frozen=True)
class Declared:
    """A model as the text declares it, and what its file says.

    Attributes
    ----------
    shape : without what it remembers
    states : what it remembers of each key from frame to frame: the last inputs and the last outputs
    breaker : so many failures in a row let it rest, and so long [s]
    """

    file: g.ModelFile
    inputs: tuple[t.Ident, ...] = ()
    outputs: tuple[Output, ...] = ()
    batch: int = 16
    shape: ModelShape | None = None
    states: tuple[Column, ...] = ()
    breaker: tuple[int, float] = (10, 30.0)
    runs: bool = True


def declare(c: Checker, decl: Decl) -> Declared | None:
    """Read a `model` statement; mistakes are reported where they stand."""
    tree = decl.tree
    assert isinstance(tree, st.Model)
    place = k.place_of(Scope(decl.module))
    kind = tree.op.name.name
    if kind not in KINDS:
        c.report(
            UnknownCall.at(
                tree.op.name.span, f"unknown kind of model `{kind}`", fix=did_you_mean(kind, KINDS)
            )
        )
        return None
    path, digest, arch, exact = _file(c, tree.op, place)
    if path is None or not _class_fits(c, tree.op, path, arch) or not _may_differ(c, tree.op, path, exact=exact):  # fmt: skip
        return None
    inputs: tuple[t.Ident, ...] = ()
    outputs: list[Output] = []
    states: tuple[Column, ...] = ()
    breaker = Declared.breaker
    batch = 16
    device, isolated, signed_by = "cpu", False, ""
    for clause in tree.clauses:
        match clause.word:
            case "input":
                inputs = clause.names
            case "output" | "output_columns":
                made = _output(c, clause, place, sum(x.takes for x in outputs))
                if made is None:
                    return None
                outputs.append(made)
            case "state":
                states = _columns(c, clause)
            case "breaker":
                breaker = _breaker(c, clause, place)
            case "batch":
                batch = clause.number or 0
                if batch < 1:
                    c.report(
                        k.ValueOutOfRange.at(
                            clause.span, f"a batch of {batch} frames", fix="give 1 or more"
                        )
                    )
            case "on":
                device = _device(c, clause, kind)
            case "signed":
                signed_by = clause.texts[0].value
            case "isolated":
                isolated = True
    file = g.ModelFile(name=tree.name.name, kind=kind, path=path, sha256=digest, device=device, isolated=isolated, arch=arch or "", exact=exact, signed_by=signed_by, span=tree.span)  # fmt: skip
    out = Declared(file, inputs, tuple(outputs), batch, None, states, breaker)
    try:
        out = replace(out, shape=c.catalog.model(path, kind))
    except CatalogError as error:
        c.report(ModelUnreadable.at(tree.op.span, error.message, fix=error.fix))
        out = replace(out, runs=False)
    if states and out.shape is not None and out.shape.inputs:
        out = replace(out, shape=_without_states(c, out, tree))
    out = replace(out, outputs=_with_labels(c, out, tree))
    _outputs_fit(c, out)
    _batch_fits(c, out, tree)
    return out


def _output(c: Checker, clause: st.Clause, place: Place, at: int) -> Output | None:
    """An `output` clause; None: reported."""
    if clause.word == "output_columns":
        return Output("columns", clause.span, columns=_columns(c, clause), at=at)
    kind, name = clause.names[0], clause.names[1:]
    if kind.name not in HEADS:
        fix = did_you_mean(kind.name, HEADS)
        c.report(UnknownCall.at(kind.span, f"unknown output `{kind.name}`", fix=fix))
        return None
    found = [k.text(c, e, place, "a label") for e in clause.exprs]
    labels = tuple(x for x in found if x is not None)
    return Output(kind.name, kind.span, labels, at=at, name=name[0].name if name else "")


def _device(c: Checker, clause: st.Clause, kind: str) -> str:
    """Where a model runs."""
    name = clause.names[0]
    allowed = DEVICES if kind != "litert" else ("cpu",)
    if name.name not in allowed:
        fix = did_you_mean(name.name, allowed)
        what = f"unknown device `{name.name}`"
        if name.name in DEVICES:
            what, fix = f"a model of `{kind}` on `{name.name}`", "leave it away: it runs on the CPU"
        c.report(UnknownCall.at(name.span, what, fix=fix))
    return name.name


def _columns(c: Checker, clause: st.Clause) -> tuple[Column, ...]:
    made = [(x.name.name, column_type(c, x)) for x in clause.columns]
    return tuple(Column(name, type_) for name, type_ in made if type_ is not None)


def _breaker(c: Checker, clause: st.Clause, place: Place) -> tuple[int, float]:
    """After how many failures in a row a model rests, and how long [s]."""
    most, rest_s = Declared.breaker
    if clause.exprs:
        found = k.duration(c, clause.exprs[0], place, "a rest", positive=True)
        rest_s = rest_s if found is None else float(found)
    if clause.number is not None and clause.number < 1:
        what = f"a breaker after {clause.number} failures"
        c.report(k.ValueOutOfRange.at(clause.span, what, fix="give 1 or more"))
    return clause.number or most, rest_s


def _with_labels(c: Checker, m: Declared, tree: st.Model) -> tuple[Output, ...]:
    """The outputs of a model; what the text does not say is as its manifest tells, or raw."""
    told = m.shape
    outputs = m.outputs or (Output(told.head if told is not None and told.head else "raw"),)
    out = []
    for one in outputs:
        labels = one.labels
        if one.kind in ("softmax", "sigmoid") and not labels:
            labels = told.labels if told is not None and not one.at else ()
            if not labels:
                c.report(
                    WrongArguments.at(
                        one.span or tree.span,
                        f"`output {one.kind}` lacks its labels",
                        fix=f'write `output {one.kind} ["a", "b"]`',
                    )
                )
        out.append(replace(one, labels=labels))
    return tuple(out)


def _without_states(c: Checker, m: Declared, tree: st.Model) -> ModelShape:
    """What a model takes and gives besides what it remembers, which must come out as it goes in."""
    shape, n = m.shape, len(m.states)
    assert shape is not None
    span = next(x.span for x in tree.clauses if x.word == "state")
    before, after = shape.inputs[-n:], shape.outputs[-n:]
    if len(shape.inputs) <= n or len(shape.outputs) <= n:
        c.report(StateDoesNotFit.at(span, f"{n} states for a model of {len(shape.inputs)} inputs and {len(shape.outputs)} outputs",
                                    why="states are the last inputs and the last outputs, in the same order", fix="export a model that takes its state, and gives it back"))  # fmt: skip
        return shape
    for column, old, new in zip(m.states, before, after, strict=True):
        wanted = [x.shape[1:] for x in (old, new) if not agrees(x.shape[1:], column.type.shape)]
        if wanted or {old.dtype, new.dtype} != {"float32"} or column.type.store != "f32":
            shapes = [f"{x.dtype}{shape_text(x.shape[1:])}" for x in (old, new)]
            c.report(StateDoesNotFit.at(span, f"state `{column.name}` is {column.type}, the model takes {shapes[0]} and gives {shapes[1]}",
                                        why="what comes out goes in again with the next frame of the same key", fix="declare it as an f32 of the shape that the model takes and gives"))  # fmt: skip
    return replace(shape, inputs=shape.inputs[:-n], outputs=shape.outputs[:-n])


def _file(c: Checker, op: t.Call, place: Place) -> tuple[str | None, str | None, str | None, bool]:
    """Where the model lies, its SHA-256 and its class if they are given, and whether it is to be exact; no path: reported."""
    kind = op.name.name
    given: dict[str, Any] = {}
    for a in op.arguments:
        free = [x for x in OPTIONS if x not in given]
        key = a.keyword.name if a.keyword is not None else free[0] if free else ""
        if key in free:
            read = k.flag if key == "exact" else k.text
            given[key] = read(c, a.value, place, OPTIONS[key])
        elif key in given or not key:
            what = f"`{key}` is given twice" if key else f"`{kind}` takes a path and a digest"
            c.report(WrongArguments.at(a.span, what, fix="leave one away"))
        else:
            c.report(
                WrongArguments.at(
                    a.span,
                    f"`{kind}` has no option `{key}`",
                    fix=did_you_mean(key, OPTIONS),
                )
            )
    if "path" not in given:
        c.report(
            WrongArguments.at(
                op.span,
                f"`{kind}` lacks the path of the model",
                fix=f'write `{kind}("model.pt2", sha256="…")`',
            )
        )
    return (
        given.get("path"),
        given.get("sha256"),
        given.get("arch"),
        given.get("exact") is not False,
    )


def _may_differ(c: Checker, op: t.Call, path: str, *, exact: bool) -> bool:
    """Only of a graph that our reader runs can convolutions be computed otherwise."""
    kind = op.name.name
    if exact or (kind == "torch" and path.lower().endswith(".pt2")):
        return True
    what = f"`{path}` is run by {'Torch' if kind == 'torch' else LIBRARY[kind]} as a whole"
    c.report(WrongArguments.at(op.span, what, why="`exact=false` is for the graph of a `.pt2`, whose convolutions a kernel of FlowEdge then computes", fix="leave `exact` away"))  # fmt: skip
    return False


def _class_fits(c: Checker, op: t.Call, path: str, arch: str | None) -> bool:
    """Weights alone want a class, and nothing else takes one."""
    kind, wants = op.name.name, path.lower().endswith(".safetensors")
    what = ""
    if wants and kind != "torch":
        what, fix = f"`{kind}` does not read weights alone", "export the whole model"
    elif wants and not arch:
        what, fix = f"`{path}` holds weights alone, without what they belong to", f'name the class: `torch("{path}", arch="module:Class")`, and allow it: --allow-class'  # fmt: skip
    elif arch and not wants:
        what, fix = f"`{path}` needs no class", "leave `arch` away"
    elif arch and not re.fullmatch(r"\w+(\.\w+)*:\w+", arch):
        what, fix = f"`{arch}` names no class", 'write it as "module:Class"'
    if what:
        c.report(WrongArguments.at(op.span, what, fix=fix))
    return not what


def _outputs_fit(c: Checker, m: Declared) -> None:
    """Each output clause names what the model gives; outputs behind the last may be left alone, but for columns."""
    shape = m.shape
    if shape is None or not shape.outputs:
        return
    taken = sum(x.takes for x in m.outputs)
    for one in m.outputs:
        span = one.span or m.file.span
        assert span is not None
        given = shape.outputs[one.at : one.at + one.takes]
        exact = one.kind == "columns" and one is m.outputs[-1]
        if len(given) < one.takes or (exact and taken != len(shape.outputs)):
            what = "columns" if one.kind == "columns" else "clauses"
            c.report(LabelsDoNotFit.at(span, f"{taken} output {what} for {len(shape.outputs)} outputs",
                                       fix=f"name {len(shape.outputs)} {what}, in the order of the model"))  # fmt: skip
            return
        if one.kind in ("softmax", "sigmoid") and one.labels:
            _labels_fit(c, m, one, given[0], span)
        for column, tensor in zip(one.columns, given, strict=one.kind == "columns"):
            if not agrees(tensor.shape[1:], column.type.shape) and not (
                column.type.shape == () and agrees(tensor.shape[1:], (1,))
            ):
                c.report(LabelsDoNotFit.at(span, f"column `{column.name}` has shape {shape_text(column.type.shape)}, the model gives {shape_text(tensor.shape[1:])}",
                                           fix="declare the shape that the model gives"))  # fmt: skip


def _labels_fit(c: Checker, m: Declared, one: Output, tensor: Tensor, span: Span) -> None:
    """As many labels as the output has numbers, and those of the training."""
    given = tensor.shape[-1] if len(tensor.shape) > 1 else None
    trained = m.shape.labels if m.shape is not None and not one.at else ()
    is_one_of_two = one.kind == "sigmoid" and given == 1 and len(one.labels) == 2
    if given is not None and given != len(one.labels) and not is_one_of_two:
        c.report(LabelsDoNotFit.at(span, f"{len(one.labels)} labels for {given} outputs", why=f"`{m.file.path}` gives {given} numbers for each frame",
                                   fix=f"name {given} labels, in the order of training"))  # fmt: skip
    elif trained and tuple(trained) != one.labels:
        c.report(LabelsDoNotFit.at(span, "the labels are not those of the model", why="it was trained with " + ", ".join(f'"{x}"' for x in trained),
                                   fix="name them in the order of training"))  # fmt: skip


def _batch_fits(c: Checker, m: Declared, tree: st.Model) -> None:
    """A first length that is fixed is the number of frames in a call."""
    lengths = [x.shape[0] for x in m.shape.inputs if x.shape] if m.shape is not None else []
    wanted = next((n for n in lengths if n not in (None, m.batch)), None)
    if wanted is None:
        return
    span = next((x.span for x in tree.clauses if x.word == "batch"), tree.op.span)
    c.report(BatchDoesNotFit.at(span, f"a batch of {m.batch} frames for a model of {wanted}", why=f"`{m.file.path}` was exported for {wanted} at a time",
                                fix=f"write `batch {wanted}`, or export it with a free batch"))  # fmt: skip


def agrees(wanted: Sequence[int | None], given: Sequence[int]) -> bool:
    """Whether a shape is one that a tensor takes; None stands for any length."""
    return len(wanted) == len(given) and all(
        w is None or w == x for w, x in zip(wanted, given, strict=True)
    )


def shape_text(shape: Sequence[int | None]) -> str:
    """A shape in a message."""
    return "(" + ", ".join("any" if n is None else str(n) for n in shape) + ")"
