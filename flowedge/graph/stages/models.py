"""`classify with` a model: label and score, or the columns that it gives."""

from dataclasses import replace

from flowedge.graph import constants as k
from flowedge.graph import nodes as g
from flowedge.graph.calls.arguments import WrongArguments
from flowedge.graph.catalog import Tensor
from flowedge.graph.checker import Checker, Flow
from flowedge.graph.deadlines import policy
from flowedge.graph.models import Declared
from flowedge.graph.names import Scope, UnknownName
from flowedge.graph.place import Place
from flowedge.graph.stages.frames import with_values
from flowedge.graph.stages.model_inputs import DTYPES, inputs_fit, scaling
from flowedge.lang import statements as st
from flowedge.lang import tree as t
from flowedge.lang.diagnostics import Rule, did_you_mean
from flowedge.types.schema import TEXT, Column, Stream, Type


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
        decl = c.lookup(scope.module, stage.shadow.name, st.Model)
        if decl is None:
            c.report(
                UnknownName.at(
                    stage.shadow.span,
                    f"unknown model `{stage.shadow.name}`",
                    fix=did_you_mean(stage.shadow.name, scope.module.of(st.Model)),
                )
            )
    if stage.deadline is not None and limit is not None:
        lead = next((n for n in c.upstream(flow.node) if isinstance(n, g.Ahead)), None)
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
                   scaling=scaling(flow, m, fits), deadline_s=limit, otherwise=otherwise)  # fmt: skip


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
