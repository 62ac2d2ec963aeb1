"""Models as they are declared: the file, what it takes, and the labels that it gives."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from flowedge.graph import constants as k
from flowedge.graph import nodes as g
from flowedge.graph.calls.arguments import WrongArguments
from flowedge.graph.catalog import CatalogError, ModelShape
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
OPTIONS = {"path": "a path", "sha256": "a digest"}
HEADS = ("softmax", "sigmoid", "raw")


@dataclass(frozen=True)
class Declared:
    """A model as the text declares it, and what its file says."""

    file: g.ModelFile
    inputs: tuple[t.Ident, ...] = ()
    head: str = "raw"
    head_span: Span | None = None
    labels: tuple[str, ...] = ()
    columns: tuple[Column, ...] = ()
    batch: int = 16
    shape: ModelShape | None = None
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
    runs = kind in ("torch", "onnx")
    if not runs:
        c.not_yet(tree.op.name.span, f"a model of `{kind}`", "export it for `torch`")
    path, digest = _path_and_digest(c, tree.op, place)
    if path is None:
        return None
    inputs: tuple[t.Ident, ...] = ()
    head, batch = "raw", 16
    head_span: Span | None = None
    labels: tuple[str, ...] = ()
    columns: tuple[Column, ...] = ()
    for clause in tree.clauses:
        match clause.word:
            case "input":
                inputs = clause.names
            case "output":
                head, head_span = clause.names[0].name, clause.names[0].span
                if head not in HEADS:
                    c.report(
                        UnknownCall.at(
                            head_span, f"unknown output `{head}`", fix=did_you_mean(head, HEADS)
                        )
                    )
                    return None
                found = [k.text(c, e, place, "a label") for e in clause.exprs]
                labels = tuple(x for x in found if x is not None)
            case "output_columns":
                head, head_span = "columns", clause.span
                made = [column_type(c, x) for x in clause.columns]
                columns = tuple(
                    Column(x.name.name, ty)
                    for x, ty in zip(clause.columns, made, strict=True)
                    if ty is not None
                )
            case "batch":
                batch = clause.number or 0
                if batch < 1:
                    c.report(
                        k.ValueOutOfRange.at(
                            clause.span, f"a batch of {batch} frames", fix="give 1 or more"
                        )
                    )
            case "on":
                if clause.names[0].name != "cpu":
                    c.not_yet(
                        clause.span,
                        f"a model on `{clause.names[0].name}`",
                        "leave it away: `cpu` is the default",
                    )
            case "signed":
                c.not_yet(clause.span, "`signed by`", 'give its digest: `sha256="…"`')
            case "isolated":
                c.not_yet(clause.span, "`isolated`", "leave it away")
    file = g.ModelFile(name=tree.name.name, kind=kind, path=path, sha256=digest, span=tree.span)
    out = Declared(file, inputs, head, head_span, labels, columns, batch, None, runs)
    if runs:
        try:
            out = replace(out, shape=c.catalog.model(path, kind))
        except CatalogError as error:
            c.report(ModelUnreadable.at(tree.op.span, error.message, fix=error.fix))
            out = replace(out, runs=False)
    told = out.shape
    if told is not None and head_span is None and told.head:
        out = replace(out, head=told.head)
    if out.head in ("softmax", "sigmoid") and not labels:
        out = replace(out, labels=told.labels if told is not None else ())
        if not out.labels:
            c.report(
                WrongArguments.at(
                    head_span or tree.span,
                    f"`output {out.head}` lacks its labels",
                    fix=f'write `output {out.head} ["a", "b"]`',
                )
            )
    _labels_fit(c, out)
    _batch_fits(c, out, tree)
    return out


def _path_and_digest(c: Checker, op: t.Call, place: Place) -> tuple[str | None, str | None]:
    """Where the model lies, and its SHA-256 if it is given; no path: reported."""
    kind = op.name.name
    given: dict[str, str | None] = {}
    for a in op.arguments:
        free = [x for x in OPTIONS if x not in given]
        key = a.keyword.name if a.keyword is not None else free[0] if free else ""
        if key in free:
            given[key] = k.text(c, a.value, place, OPTIONS[key])
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
    return given.get("path"), given.get("sha256")


def _labels_fit(c: Checker, m: Declared) -> None:
    shape = m.shape
    if shape is None or not shape.outputs:
        return
    span = m.head_span or m.file.span
    assert span is not None
    if m.head in ("softmax", "sigmoid") and m.labels:
        given = shape.outputs[0].shape[-1] if len(shape.outputs[0].shape) > 1 else None
        if given is not None and given != len(m.labels):
            c.report(LabelsDoNotFit.at(span, f"{len(m.labels)} labels for {given} outputs", why=f"`{m.file.path}` gives {given} numbers for each frame",
                                       fix=f"name {given} labels, in the order of training"))  # fmt: skip
        elif shape.labels and tuple(shape.labels) != m.labels:
            c.report(LabelsDoNotFit.at(span, "the labels are not those of the model", why="it was trained with " + ", ".join(f'"{x}"' for x in shape.labels),
                                       fix="name them in the order of training"))  # fmt: skip
    if m.head == "columns":
        if len(shape.outputs) != len(m.columns):
            c.report(LabelsDoNotFit.at(span, f"{len(m.columns)} output columns for {len(shape.outputs)} outputs",
                                       fix=f"name {len(shape.outputs)} columns, in the order of the model"))  # fmt: skip
            return
        for column, tensor in zip(m.columns, shape.outputs, strict=True):
            if not agrees(tensor.shape[1:], column.type.shape):
                c.report(LabelsDoNotFit.at(span, f"column `{column.name}` has shape {shape_text(column.type.shape)}, the model gives {shape_text(tensor.shape[1:])}",
                                           fix="declare the shape that the model gives"))  # fmt: skip


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
