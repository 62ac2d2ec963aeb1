"""`classify with` a model: label and score, or the columns that it gives."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from flowedge.graph import constants as k
from flowedge.graph import nodes as g
from flowedge.graph.calls.arguments import WrongArguments
from flowedge.graph.catalog import Tensor
from flowedge.graph.checker import Checker, Flow
from flowedge.graph.deadlines import UnknownPolicy, policy
from flowedge.graph.models import Declared
from flowedge.graph.names import Scope
from flowedge.graph.place import Place
from flowedge.graph.stages.frames import with_values
from flowedge.graph.stages.model_inputs import DTYPES, inputs_fit, scaling
from flowedge.lang import tree as t
from flowedge.lang.diagnostics import Rule
from flowedge.lang.span import Span
from flowedge.types.schema import LATE, TEXT, Column, Type


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


class OtherModelDoesNotFit(Rule):
    """A model that stands in for another, or is compared with it, gives what the other gives.

    Wrong::

        source s (time, v: f32) at 100 Hz from arrow("in.arrow")
        model m = torch("two.pt2") input (v) output softmax ["a", "b"]
        model quick = torch("two.pt2") input (v) output softmax ["b", "c"]
        sink s | window 64 samples | classify with m deadline 20 ms else with quick to console

    Right::

        source s (time, v: f32) at 100 Hz from arrow("in.arrow")
        model m = torch("two.pt2") input (v) output softmax ["a", "b"]
        model quick = torch("two.pt2") input (v) output softmax ["a", "b"]
        sink s | window 64 samples | classify with m deadline 20 ms else with quick to console
    """

    code = "FE610"


Models = Callable[[t.Ident, Scope], Declared | None]
"""What a name of a model stands for; None: reported."""


def classify_model(
    c: Checker, flow: Flow, stage: t.ClassifyModel, scope: Scope, models: Models
) -> Flow:
    """Label and score, or the columns that a model gives."""
    place = Place(flow, scope)
    m = models(stage.model, scope)
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
    named = (
        stage.deadline.policy if stage.deadline is not None and stage.deadline.is_model else None
    )
    other = None if named is None else models(named, scope)
    shadow = None if stage.shadow is None else models(stage.shadow, scope)
    if stage.deadline is not None and limit is not None:
        lead = next((n for n in c.upstream(flow.node) if isinstance(n, g.Ahead)), None)
        if lead is not None and lead.span is not None:
            c.report(LeadBeforeDeadline.at(stage.deadline.span, "a deadline behind `lead`", others=[(lead.span, "waits for rows to come")],
                                           why="the deadline counts computing only, and would hide that wait", fix="use `lag`, or put the deadline on the sink"))  # fmt: skip
    if m is None:
        return replace(flow.to(flow.type, -1), wild=True)
    scores = scores or c.uses_probs
    text = otherwise[1] if otherwise is not None and otherwise[0] == "label" else None
    made = _made(m, flow, scores, text)
    out = with_values(flow.type, [x for x, what, _ in made if what != "samples"])
    out = with_values(out, [x for x, what, _ in made if what == "samples"], whole=False)
    if otherwise is not None and otherwise[0] == "keep":
        out = with_values(out, [Column(LATE, Type("bool"))])
    if (
        text is not None
        and stage.deadline is not None
        and not any(x == "label" for _, x, _ in made)
    ):
        c.report(UnknownPolicy.at(stage.deadline.policy.span, "`else label` behind a model that gives no label", why=f"`{m.file.name}` gives numbers",
                                  fix="write `else missing`, or `else drop`"))  # fmt: skip
    call = _call(c, flow, stage.model.span, m, made)
    calls = [call]
    for ident, one in ((named, other), (stage.shadow, shadow)):
        found = None
        if one is not None and ident is not None:
            theirs = _made(one, flow, scores, text)
            if one.states and ident is named:
                c.report(OtherModelDoesNotFit.at(ident.span, f"`{one.file.name}` remembers, and would see some frames only", others=[(stage.model.span, "the model that is asked first")],
                                                 fix="let a model stand in that has no `state`"))  # fmt: skip
            elif _stands_in(theirs, made):
                found = _call(c, flow, ident.span, one, theirs)
            else:
                given = [", ".join(_told(x) for x, _, _ in these) for these in (theirs, made)]
                c.report(OtherModelDoesNotFit.at(ident.span, f"`{one.file.name}` does not give what `{m.file.name}` gives", others=[(stage.model.span, "the model that is asked first")],
                                                 why=f"`{one.file.name}` gives {given[0]}; `{m.file.name}` gives {given[1]}", fix="declare the same outputs, with labels that both have"))  # fmt: skip
        calls.append(found)
    if calls[0] is None:
        return flow.to(out, -1)
    return c.stage(g.Classify, flow, out, stage, f"classify with {m.file.name}", call=calls[0], other=calls[1], shadow=calls[2],
                   deadline_s=limit, otherwise=otherwise or ("missing", ""), breaker=m.breaker)  # fmt: skip


def _stands_in(theirs: Sequence["Made"], made: Sequence["Made"]) -> bool:
    """Whether a model gives the columns of another, and no label that the other does not have."""
    if [(x.name, replace(x.type, labels=None), what) for x, what, _ in theirs] != [
        (x.name, replace(x.type, labels=None), what) for x, what, _ in made
    ]:
        return False
    pairs = [(x.type.labels, y.type.labels) for (x, _, _), (y, _, _) in zip(theirs, made, strict=True)]  # fmt: skip
    if any(what == "probs" for _, what, _ in made):
        return all(a == b for a, b in pairs)
    return all(set(a or ()) <= set(b or ()) for a, b in pairs)


def _told(column: Column) -> str:
    labels = ", ".join(f'"{x}"' for x in column.type.labels or ())
    return f"{column} [{labels}]" if labels else str(column)


Made = tuple[Column, str, int]
"""A column that a model adds, what it is (label, score, probs, raw, samples), and the output that it comes from."""


def _call(
    c: Checker, flow: Flow, span: Span, m: Declared, made: Sequence[Made]
) -> g.ModelCall | None:
    """How a model is called at a stage; None: it does not fit, which is reported, or cannot run."""
    fits = inputs_fit(c, flow, span, m)
    if fits is None or not m.runs:
        return None
    c.models[m.file.name] = m.file
    return g.ModelCall(
        model=m.file.name, inputs_by_name=fits, batch=m.batch, scaling=scaling(flow, m, fits),
        heads=tuple((x.kind, x.labels, x.at) for x in m.outputs if x.kind in ("softmax", "sigmoid")),
        made=tuple((column.name, what, at) for column, what, at in made),
        states=tuple((x.name, x.type.shape) for x in m.states),
    )  # fmt: skip


def _made(m: Declared, flow: Flow, scores: bool, text: str | None) -> list[Made]:
    """The columns that a model adds; `text` is the label of frames that get no answer.

    An output that is as long as the frame, in its last length, has a value for each sample of it.
    """
    out: list[Made] = []
    length = flow.type.frame.length if flow.type.frame is not None else None
    for one in m.outputs:
        if one.kind in ("softmax", "sigmoid"):
            front = f"{one.name}_" if one.name else ""
            labels = one.labels if text is None or text in one.labels else (*one.labels, text)
            out.append((Column(one.name or "label", replace(TEXT, labels=labels)), "label", one.at))
            out.append((Column(f"{front}score", Type("f32")), "score", one.at))
            if scores:
                probs = Type("f32", shape=(len(one.labels),))
                out.append((Column(f"{front}probs", probs), "probs", one.at))
        elif one.kind == "columns":
            out += [(column, "raw", one.at + n) for n, column in enumerate(one.columns)]
        else:
            tensors = m.shape.outputs if m.shape is not None else (Tensor("output", (None,)),)
            out += [(_raw(n, x, len(tensors)), "raw", n) for n, x in enumerate(tensors) if n >= one.at]  # fmt: skip
    return [_by_sample(*each, length) if each[1] == "raw" else each for each in out]


def _by_sample(column: Column, what: str, at: int, length: int | None) -> Made:
    """A column of the frame, or of its samples where it has a value for each."""
    shape = column.type.shape
    if length is None or length == 1 or not shape or shape[-1] != length:
        return column, what, at
    return Column(column.name, replace(column.type, shape=shape[:-1])), "samples", at


def _raw(n: int, tensor: Tensor, among: int) -> Column:
    """An output as it comes, called ``output``, or ``output_N`` among several."""
    stores = {v: x for x, v in DTYPES.items()}
    shape = tuple(x for x in tensor.shape[1:] if x is not None)
    shape = () if shape == (1,) else shape
    name = "output" if among == 1 else f"output_{n}"
    return Column(name, Type(stores.get(tensor.dtype, "f32"), shape=shape))  # type: ignore[arg-type]
