"""Models: what is declared, and `classify with` one."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from flowedge.graph import constants as k
from flowedge.graph import nodes as g
from flowedge.graph.calls import WrongArguments
from flowedge.graph.catalog import CatalogError, ModelShape, Tensor
from flowedge.graph.checker import Checker, Flow
from flowedge.graph.columns import column_type
from flowedge.graph.names import Decl, Scope, UnknownCall, UnknownName
from flowedge.graph.stages.common import sample_columns, with_values
from flowedge.graph.values import Place, unit
from flowedge.lang import tree as t
from flowedge.lang.diagnostics import Rule, did_you_mean
from flowedge.types.schema import TEXT, Column, Stream, Type


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


class LeadBeforeDeadline(Rule):
    """A deadline runs from the moment a frame is whole, but `lead` holds its rows back before.

    Wrong::

        source s (time, v: f32) at 100 Hz from arrow("in.arrow")
        model m = torch("two.pt2") input (v) output softmax ["a", "b"]
        sink s
            | derive v = lead(v, 5)
            | window 64 samples
            | classify with m deadline 20 ms else drop
            to console

    Right::

        source s (time, v: f32) at 100 Hz from arrow("in.arrow")
        model m = torch("two.pt2") input (v) output softmax ["a", "b"]
        sink s
            | derive v = lag(v, 5)
            | window 64 samples
            | classify with m deadline 20 ms else drop
            to console
    """

    code = "FE412"


class UnknownPolicy(Rule):
    """What happens at a missed deadline is one of a few words.

    Wrong::

        source s (time, v: f64) from arrow("in.arrow")
        sink s deadline 1 s else forget to console

    Right::

        source s (time, v: f64) from arrow("in.arrow")
        sink s deadline 1 s else drop to console
    """

    code = "FE216"


KINDS = ("torch", "onnx", "litert")
HEADS = ("softmax", "sigmoid", "raw")
POLICIES = ("keep", "drop", "hold", "missing", "label")
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


@dataclass(frozen=True)
class Declared:
    """A model as the text declares it, and what its file says."""

    file: g.ModelFile
    inputs: tuple[t.Ident, ...] = ()
    head: str = "raw"
    head_span: t.Span | None = None
    labels: tuple[str, ...] = ()
    columns: tuple[Column, ...] = ()
    batch: int = 16
    shape: ModelShape | None = None
    runs: bool = True


def declare(c: Checker, decl: Decl) -> Declared | None:
    """Read a `model` statement; mistakes are reported where they stand."""
    tree = decl.tree
    assert isinstance(tree, t.Model)
    place = k.place_of(Scope(decl.module))
    kind = tree.op.name.name
    if kind not in KINDS:
        c.report(
            UnknownCall.at(
                tree.op.name.span, f"unknown kind of model `{kind}`", fix=did_you_mean(kind, KINDS)
            )
        )
        return None
    runs = kind == "torch"
    if not runs:
        c.not_yet(tree.op.name.span, f"a model of `{kind}`", "export it for `torch`")
    path, digest = None, None
    for a in tree.op.arguments:
        key = a.keyword.name if a.keyword is not None else "path" if path is None else "sha256"
        if key == "path":
            path = k.text(c, a.value, place, "a path")
        elif key == "sha256":
            digest = k.text(c, a.value, place, "a digest")
        else:
            c.report(
                WrongArguments.at(
                    a.span,
                    f"`{kind}` has no option `{key}`",
                    fix=did_you_mean(key, ("path", "sha256")),
                )
            )
    if path is None:
        if not tree.op.arguments:
            c.report(
                WrongArguments.at(
                    tree.op.span,
                    f"`{kind}` lacks the path of the model",
                    fix=f'write `{kind}("model.pt2", sha256="…")`',
                )
            )
        return None
    inputs: tuple[t.Ident, ...] = ()
    head, batch = "raw", 16
    head_span: t.Span | None = None
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
    if head in ("softmax", "sigmoid") and not labels:
        c.report(
            WrongArguments.at(
                head_span or tree.span,
                f"`output {head}` lacks its labels",
                fix=f'write `output {head} ["a", "b"]`',
            )
        )
    file = g.ModelFile(name=tree.name.name, kind=kind, path=path, sha256=digest, span=tree.span)
    out = Declared(file, inputs, head, head_span, labels, columns, batch, None, runs)
    if runs:
        try:
            out = replace(out, shape=c.catalog.model(path))
        except CatalogError as error:
            c.report(ModelUnreadable.at(tree.op.span, error.message, fix=error.fix))
            out = replace(out, runs=False)
    _labels_fit(c, out)
    return out


def _labels_fit(c: Checker, m: Declared) -> None:
    shape = m.shape
    if shape is None or not shape.outputs or m.head_span is None:
        return
    if m.head in ("softmax", "sigmoid") and m.labels:
        given = shape.outputs[0].shape[-1] if len(shape.outputs[0].shape) > 1 else None
        if given is not None and given != len(m.labels):
            c.report(LabelsDoNotFit.at(m.head_span, f"{len(m.labels)} labels for {given} outputs", why=f"`{m.file.path}` gives {given} numbers for each frame",
                                       fix=f"name {given} labels, in the order of training"))  # fmt: skip
        elif shape.labels and tuple(shape.labels) != m.labels:
            c.report(LabelsDoNotFit.at(m.head_span, "the labels are not those of the model", why="it was trained with " + ", ".join(f'"{x}"' for x in shape.labels),
                                       fix="name them in the order of training"))  # fmt: skip
    if m.head == "columns":
        if len(shape.outputs) != len(m.columns):
            c.report(LabelsDoNotFit.at(m.head_span, f"{len(m.columns)} output columns for {len(shape.outputs)} outputs",
                                       fix=f"name {len(shape.outputs)} columns, in the order of the model"))  # fmt: skip
            return
        for column, tensor in zip(m.columns, shape.outputs, strict=True):
            if not _agrees(tensor.shape[1:], column.type.shape):
                c.report(LabelsDoNotFit.at(m.head_span, f"column `{column.name}` has shape {_shown(column.type.shape)}, the model gives {_shown(tensor.shape[1:])}",
                                           fix="declare the shape that the model gives"))  # fmt: skip


def _agrees(wanted: Sequence[int | None], given: Sequence[int]) -> bool:
    return len(wanted) == len(given) and all(
        w is None or w == x for w, x in zip(wanted, given, strict=True)
    )


def _shown(shape: Sequence[int | None]) -> str:
    return "(" + ", ".join("any" if n is None else str(n) for n in shape) + ")"


def classify_model(
    c: Checker, flow: Flow, stage: t.ClassifyModel, scope: Scope, m: Declared | None
) -> Flow:
    """Label and score, or the columns that a model gives."""
    place = Place(flow, scope)
    scores = False
    for a in stage.arguments:
        if a.keyword is None or a.keyword.name != "scores":
            c.report(
                WrongArguments.at(
                    a.span, "`classify with` knows `scores` only", fix="write `scores=true`"
                )
            )
            continue
        scores = bool(k.flag(c, a.value, place))
    limit, otherwise = policy(c, stage.deadline, place, "classify")
    if stage.shadow is not None:
        c.not_yet(stage.shadow.span, "`shadow`", "leave it away")
        decl = c.lookup(scope.module, stage.shadow.name, t.Model)
        if decl is None:
            c.report(
                UnknownName.at(
                    stage.shadow.span,
                    f"unknown model `{stage.shadow.name}`",
                    fix=did_you_mean(stage.shadow.name, scope.module.of(t.Model)),
                )
            )
    if stage.deadline is not None and limit is not None:
        lead = next((n for n in _upstream(c, flow.node) if isinstance(n, g.Ahead)), None)
        if lead is not None and lead.span is not None:
            c.report(LeadBeforeDeadline.at(stage.deadline.span, "a deadline behind `lead`", others=[(lead.span, "waits for rows to come")],
                                           why="the deadline counts computing only, and would hide that wait", fix="use `lag`, or put the deadline on the sink"))  # fmt: skip
    if m is None:
        return replace(flow.to(flow.type, -1), wild=True)
    fits = inputs_fit(c, flow, stage, m)
    scores = scores or c.uses_probs
    out, raw = outputs_of(flow, m, scores)
    if fits is None or not m.runs:
        return flow.to(out, -1)
    c.models[m.file.name] = m.file
    return c.stage(g.Classify, flow, out, stage, f"classify with {m.file.name}", model=m.file.name, inputs_by_name=fits, head=m.head,
                   labels=m.labels, output_columns=m.columns or raw, scores=scores, batch=m.batch,
                   deadline_s=limit, otherwise=otherwise)  # fmt: skip


def outputs_of(flow: Flow, m: Declared, scores: bool) -> tuple[Stream, tuple[Column, ...]]:
    """The stream behind a model, and the raw columns that it adds."""
    raw: tuple[Column, ...] = ()
    if m.head in ("softmax", "sigmoid"):
        columns = [Column("label", replace(TEXT, labels=m.labels)), Column("score", Type("f32"))]
        if scores:
            columns.append(Column("probs", Type("f32", shape=(len(m.labels),))))
    elif m.head == "columns":
        columns = list(m.columns)
    else:
        tensors = m.shape.outputs if m.shape is not None else (Tensor("output", (None,)),)
        stores = {v: x for x, v in DTYPES.items()}
        for n, tensor in enumerate(tensors):
            shape = tuple(x for x in tensor.shape[1:] if x is not None)
            shape = () if shape == (1,) else shape
            name = "output" if len(tensors) == 1 else f"output_{n}"
            raw = (*raw, Column(name, Type(stores.get(tensor.dtype, "f32"), shape=shape)))  # type: ignore[arg-type]
        columns = list(raw)
    return with_values(flow.type, columns), raw


def inputs_fit(
    c: Checker, flow: Flow, stage: t.ClassifyModel, m: Declared
) -> tuple[str, ...] | None:
    """Whether the frame has the channels, length, numbers and units that the model takes."""
    type_ = flow.type
    if type_.shape == "signal" and not flow.wild:
        names = [x.type.shape for x in type_.columns if x.name in {i.name for i in m.inputs}]
        if not any(len(s) > 1 for s in names):
            c.report(FrameForModel.at(stage.span, f"model `{m.file.name}` behind a signal without frames", label="which samples belong together?",
                                      fix="put `| window N samples` or `| split at …` before it"))  # fmt: skip
            return None
    frame = type_.frame if type_.shape == "frames" else None
    samples = sample_columns(type_)
    found: list[Column] = []
    for ident in m.inputs:
        column = type_.column(ident.name)
        if column is None:
            if not flow.wild and ident.name not in flow.broken:
                c.report(UnknownName.at(stage.model.span, f"model `{m.file.name}` takes `{ident.name}`, which `{flow.name}` does not have",
                                        others=[(ident.span, "declared here")], fix=did_you_mean(ident.name, type_.names())))  # fmt: skip
            return None
        if not column.type.is_number and column.type.store != "bool":
            c.report(
                InputDoesNotFit.at(
                    stage.model.span,
                    f"input `{ident.name}` is {column.type}, no number",
                    others=[(ident.span, "declared here")],
                    fix="give a column of numbers",
                )
            )
            return None
        if frame is not None and ident.name not in samples:
            c.report(
                InputDoesNotFit.at(
                    stage.model.span,
                    f"input `{ident.name}` belongs to the frame, not to its samples",
                    fix="give columns of samples",
                )
            )
            return None
        found.append(column)
    if not m.inputs:
        c.report(
            InputDoesNotFit.at(
                stage.model.span,
                f"model `{m.file.name}` says nothing of its inputs",
                fix="add `input (columns)` to the model",
            )
        )
        return None
    shape = m.shape
    good = True
    if flow.wild:
        return None
    if shape is not None:
        good = _shapes_fit(c, flow, stage, m, found, shape)
    if shape is not None and shape.rate_hz is not None:
        rate = frame.rate_hz if frame is not None else type_.rate_hz
        if rate is not None and abs(rate - shape.rate_hz) > 0.01 * shape.rate_hz:
            c.report(RateDoesNotFit.at(stage.model.span, f"model `{m.file.name}` was trained at {shape.rate_hz:g} Hz, this is sampled at {rate:g} Hz",
                                       others=[(flow.rate_at, "the rate of the signal")] if flow.rate_at else [],
                                       why="its filters see other frequencies", fix=f"put `| resample {shape.rate_hz:g} Hz linear` before the window"))  # fmt: skip
            good = False
    return tuple(x.name for x in found) if good else None


def _shapes_fit(
    c: Checker,
    flow: Flow,
    stage: t.ClassifyModel,
    m: Declared,
    columns: Sequence[Column],
    shape: ModelShape,
) -> bool:
    frame = flow.type.frame if flow.type.shape == "frames" else None
    length = frame.length if frame is not None else None
    groups: list[tuple[Sequence[Column], Tensor]] = []
    if len(shape.inputs) == len(columns):
        groups = [((x,), tensor) for x, tensor in zip(columns, shape.inputs, strict=True)]
    elif len(shape.inputs) == 1:
        groups = [(columns, shape.inputs[0])]
    else:
        c.report(InputDoesNotFit.at(stage.model.span, f"model `{m.file.name}` takes {len(shape.inputs)} inputs, {len(columns)} columns are given",
                                    others=[(m.inputs[0].span, "declared here")] if m.inputs else [], fix="name one column for each input"))  # fmt: skip
        return False
    good = True
    for given, tensor in groups:
        options = _laid_out(given, length)
        if not any(_agrees(tensor.shape[1:], o) for o in options):
            what = ", ".join(f"`{x.name}`" for x in given)
            c.report(InputDoesNotFit.at(stage.model.span, f"{what} comes as {_shown(options[0])}, model `{m.file.name}` takes {_shown(tensor.shape[1:])}",
                                        why="channels and samples of a frame, the batch left out", fix=_cure(tensor, options[0], length)))  # fmt: skip
            good = False
        for x in given:
            if not x.type.is_float and tensor.dtype.startswith("float"):
                continue
            if not tensor.dtype.startswith("float") and DTYPES.get(x.type.store) != tensor.dtype:
                c.report(
                    InputDoesNotFit.at(
                        stage.model.span,
                        f"`{x.name}` is {x.type}, model `{m.file.name}` takes {tensor.dtype}",
                        fix=f"declare the column as {tensor.dtype}",
                    )
                )
                good = False
            if tensor.unit is not None:
                wanted = unit(c, tensor.unit, None)
                if wanted is not None and x.type.unit != wanted:
                    c.report(ChannelUnits.at(stage.model.span, f"`{x.name}` is in {x.type.unit or 'no unit'}, model `{m.file.name}` was trained in {wanted}",
                                             why="it would see other numbers", fix=f"convert it before the window, or declare the source in {wanted}"))  # fmt: skip
                    good = False
    return good


def _laid_out(columns: Sequence[Column], length: int | None) -> list[tuple[int, ...]]:
    """The shapes in which columns can be laid before a model, the likeliest first."""
    tail = () if length is None else (length,)
    if len(columns) == 1:
        shape = columns[0].type.shape
        if shape:
            return [(*shape, *tail)]
        return [(1, *tail), tail] if tail else [(1,), ()]
    return [(sum(x.type.size for x in columns), *tail)]


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


def policy(
    c: Checker, deadline: t.Deadline | None, place: Place, where: str
) -> tuple[float | None, tuple[str, str] | None]:
    """A deadline in seconds, and what happens when it is missed."""
    if deadline is None:
        return None, None
    limit = k.duration(c, deadline.limit, place, "a deadline", positive=True)
    word = deadline.policy.name
    text = "" if deadline.text is None else deadline.text.value
    if deadline.is_model:
        c.not_yet(
            deadline.span,
            "`else with` another model",
            'write `else drop`, or `else label "unknown"`',
        )
        if c.lookup(place.scope.module, word, t.Model) is None:
            c.report(
                UnknownName.at(
                    deadline.policy.span,
                    f"unknown model `{word}`",
                    fix=did_you_mean(word, place.scope.module.of(t.Model)),
                )
            )
        return None if limit is None else float(limit), ("with", word)
    allowed = POLICIES if where == "classify" else ("keep", "drop")
    if word not in allowed:
        c.report(
            UnknownPolicy.at(
                deadline.policy.span,
                f"unknown policy `{word}` for a missed deadline",
                fix=did_you_mean(word, allowed),
            )
        )
    elif word == "label" and deadline.text is None:
        c.report(
            WrongArguments.at(
                deadline.policy.span,
                "`else label` lacks its text",
                fix='write `else label "unknown"`',
            )
        )
    return None if limit is None else float(limit), (word, text)


def _upstream(c: Checker, node: int) -> list[g.Node]:
    """All nodes that a node takes from."""
    seen: set[int] = set()
    todo = [node]
    while todo:
        n = todo.pop()
        if n >= 0 and n not in seen:
            seen.add(n)
            todo.extend(c.nodes[n].inputs)
    return [c.nodes[n] for n in sorted(seen)]
