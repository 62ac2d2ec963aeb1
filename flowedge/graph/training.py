"""The frames in front of a model, with labels joined: what `flowedge windows` writes."""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from flowedge.graph import nodes as g
from flowedge.graph import stages
from flowedge.graph.calls.arguments import WrongArguments
from flowedge.graph.catalog import Catalog, ModelShape
from flowedge.graph.checker import Checker, Flow
from flowedge.graph.models import Declared
from flowedge.graph.names import Module, Scope, UnknownName, UnknownStream
from flowedge.graph.quantities import WrongType
from flowedge.graph.sinks import Sinks, name_of
from flowedge.graph.stages.aggregates import Item
from flowedge.graph.stages.frames import as_rows, sample_columns, with_values
from flowedge.graph.stages.meeting import KeysDoNotMatch, join
from flowedge.graph.stages.model_inputs import FrameForModel, inputs_fit, scaling
from flowedge.graph.stages.rows import where
from flowedge.lang import statements as st
from flowedge.lang import tree as t
from flowedge.lang.diagnostics import did_you_mean
from flowedge.lang.parse import parse
from flowedge.lang.span import Span
from flowedge.types.metadata import FRAMES
from flowedge.types.schema import I64, Column, Stream, Type

ECHO = "what the model would see"
"""Name of the model that stands in for the real one: it gives back what it is asked about, and a 1 for each frame."""

_BATCH = 256
_NAME = r"(?:[^\W\d]\w*|`[^`]+`)"
_COLUMN = re.compile(rf"({_NAME}(?:\.{_NAME})?)\.({_NAME})")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What shall be written, in the words of the command line.

    Attributes
    ----------
    stream : a stream or a sink; what is written stands in front of the last `classify with` of its chain
    connector, address : where to
    model : what is known of the model of a path and a kind; None: nothing yet
    labels : ``STREAM.column``; None: no labels are joined
    within : a duration: the labels are of events, and the nearest one counts, so far away at most. Without it a
        label holds until the next row of its stream, or until the ``end`` that its row has
    inputs : columns that a model is going to take, where the chain has no `classify with`; by default the samples
        of frames, the floats of rows
    """

    stream: str
    connector: str
    address: str
    model: Callable[[str, str], ModelShape | None]
    labels: str | None = None
    within: str | None = None
    inputs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Pipelines:
    """How references, pipelines and models of a file are resolved."""

    flows: Callable[[st.Pipeline, Scope, str], Flow | None]
    branch: Callable[[t.Ref, Scope], Flow | None]
    world: stages.World


class _Knows:
    """A catalogue that has been told what there is to know of one model."""

    def __init__(self, catalog: Catalog, model: Callable[[str, str], ModelShape | None]) -> None:
        self._catalog, self.model = catalog, model

    def __getattr__(self, name: str) -> object:
        return getattr(self._catalog, name)


def frames(c: Checker, module: Module, sinks: Sinks, said: Wanted, how: Pipelines) -> None:
    """Make the nodes from the sources to the file of frames; mistakes are reported where they stand."""
    scope = Scope(module)
    found = _found(c, module, said, how)
    if found is None:
        return
    flow, names, model, stage = found
    if flow.broken:
        return
    if len(set(names)) < len(names):
        assert stage is not None
        c.not_yet(stage.span, "frames of a model that takes a column twice", "name it once")
        return
    shown = _shown(c, flow, names, model, stage)
    joined: tuple[str, ...] = ()
    frame = {x.name for x in shown.type.columns if not x.name.startswith("_")} - set(names)
    if said.labels is not None and shown.node >= 0:
        found_labels = _labelled(c, module, flow, shown, said, how)
        if found_labels is None:
            return
        shown, joined = found_labels
    order: list[str] = [n for n in ("start", "end") if n in frame]
    order += [
        *names,
        *(x.name for x in shown.type.columns if x.name in frame - {"start", "end"}),
        *joined,
    ]
    columns = [x for n in order if (x := shown.type.column(n)) is not None]
    picked = replace(shown.type, columns=tuple(columns))
    about = _about(picked, flow, said, names, joined, model)
    ident = t.Ident(name="frames", span=_span("-o", said.address))
    tree = st.Sink(
        pipeline=st.Pipeline(refs=(t.Ref(name=ident, span=ident.span),), stages=()), deadline=None,
        connector=t.Call(name=t.Ident(name=said.connector, span=ident.span), span=ident.span,
                         arguments=(t.Argument(keyword=None, value=t.Text(value=_plain(said.address), span=ident.span), span=ident.span),)),
        clauses=(), span=ident.span,
    )  # fmt: skip
    sinks.add(
        tree,
        shown.to(picked),
        scope,
        about=((FRAMES.decode(), json.dumps(about, ensure_ascii=False)),),
    )


def _about(
    type_: Stream,
    flow: Flow,
    said: Wanted,
    names: Sequence[str],
    joined: Sequence[str],
    model: Declared | None,
) -> dict[str, object]:
    """What the file tells of its frames: see `flowedge.types.metadata.FRAMES`."""
    label = type_.column(joined[0]) if joined else None
    return {
        "stream": said.stream,
        "inputs": [_told(type_.column(n)) for n in names],
        "rate": None if flow.type.frame is None else flow.type.frame.rate_hz,
        "model": "" if model is None else model.file.name,
        "classes": [] if model is None else _classes(model),
        "scaling": () if model is None else scaling(flow, model, names),
        "label": None if label is None else label.name,
        "share": joined[1] if len(joined) > 1 else None,
        "is_class": label is not None and (len(joined) > 1 or not label.type.is_float),
    }


def _classes(model: Declared) -> list[str]:
    """The labels of a model's first head, in its order."""
    return next((list(x.labels) for x in model.outputs if x.labels), [])


def _told(column: Column | None) -> dict[str, object]:
    assert column is not None
    return {"name": column.name, "shape": list(column.type.shape), "store": column.type.store}


def _plain(path: str) -> str:
    """A path as a text of the language that means just this path."""
    return path.replace("{", "{{").replace("}", "}}")


def _span(option: str, text: str) -> Span:
    """What was said in an option of the command line, as a place that a message can show."""
    return Span(0, len(text), option, text)


def _ref(text: str, span: Span) -> t.Ref:
    name, _, part = text.replace("`", "").partition(".")
    return t.Ref(
        name=t.Ident(name=name, span=span),
        part=t.Ident(name=part, span=span) if part else None,
        span=span,
    )


# ---- in front of the model


Found = tuple[Flow, Sequence[str], Declared | None, t.ClassifyModel | None]


def _found(c: Checker, module: Module, said: Wanted, how: Pipelines) -> Found | None:
    """The frames that are meant, the columns that a model takes of them, and that model if there is one."""
    span = _span("--stream", said.stream)
    scope = Scope(module)
    chain = _chain(module, said.stream)
    if chain is None:
        ref = _ref(said.stream, span)
        streams, named = module.of(st.Stream, st.Source), _sinks(module)
        if ref.name.name not in streams and said.stream not in streams:
            c.report(UnknownStream.at(span, f"unknown stream `{said.stream}`", fix=did_you_mean(said.stream, {*streams, *named})))  # fmt: skip
            return None
        flow = how.branch(ref, scope)
        return None if flow is None or flow.wild else _without_model(c, flow, said)
    tree, scope = chain
    items = stages.flatten(c, tree.stages, scope)
    before = None if items is None else how.flows(tree, scope, said.stream)
    if items is None or before is None:
        return None
    last = max(
        (n for n, (x, _) in enumerate(items) if isinstance(x, t.ClassifyModel)), default=None
    )
    branches = stages.through(c, before, items, how.world, stop=last)
    if branches is None:
        return None
    if len(branches) > 1:
        names = sorted(f"{said.stream}.{n}" for n in branches if n)
        c.report(UnknownStream.at(span, f"`{said.stream}` ends in branches", fix="name one: " + ", ".join(f"`{n}`" for n in names)))  # fmt: skip
        return None
    flow = branches[""]
    if last is None:
        return None if flow.wild or flow.node < 0 else _without_model(c, flow, said)
    stage, here = items[last]
    assert isinstance(stage, t.ClassifyModel)
    if said.inputs:
        c.report(WrongArguments.at(_span("--input", ",".join(said.inputs)), f"`{said.stream}` has a model, whose `input` says what it takes",
                                   others=[(stage.span, "here")], fix="leave `--input` away"))  # fmt: skip
        return None
    outside, c.catalog = c.catalog, _Knows(c.catalog, said.model)  # type: ignore[assignment]
    model = how.world.models(stage.model, here)
    c.catalog = outside
    if model is None:
        return None
    fits = inputs_fit(c, flow, stage.model.span, model)
    return None if fits is None or flow.node < 0 else (flow, fits, model, stage)


def _sinks(module: Module) -> dict[str, st.Sink]:
    out: dict[str, st.Sink] = {}
    for sink in module.sinks:
        out.setdefault(name_of(sink), sink)
    return out


def _chain(module: Module, name: str) -> tuple[st.Pipeline, Scope] | None:
    """The chain of a stream, or of a sink: of one without a model that of the stream before it that has one."""
    decl = module.names.get(name)
    if decl is not None and isinstance(decl.tree, st.Stream):
        return decl.tree.pipeline, Scope(decl.module)
    sink = _sinks(module).get(name) if decl is None else None
    if sink is None:
        return None
    at, scope, seen = sink.pipeline, Scope(module), {name}
    while not any(isinstance(x, t.ClassifyModel | t.Apply) for x in at.stages):
        above = scope.module.names.get(str(at.refs[0])) if len(at.refs) == 1 else None
        if above is None or not isinstance(above.tree, st.Stream) or above.name in seen:
            return sink.pipeline, Scope(module)
        seen.add(above.name)
        at, scope = above.tree.pipeline, Scope(above.module)
    return at, scope


def _without_model(c: Checker, flow: Flow, said: Wanted) -> Found | None:
    """What a model that is yet to be written would take of frames or rows."""
    span = _span("--stream", said.stream)
    type_ = flow.type
    samples = sample_columns(type_)
    numbers = [x for x in type_.columns if x.type.is_number or x.type.store == "bool"]
    if said.inputs:
        option = _span("--input", ",".join(said.inputs))
        known = [x.name for x in numbers if type_.shape != "frames" or x.name in samples]
        for name in said.inputs:
            if name not in known:
                c.report(UnknownName.at(option, f"`{said.stream}` has no numbers `{name}` for a model", fix=did_you_mean(name, known)))  # fmt: skip
                return None
        chosen = list(dict.fromkeys(said.inputs))
    elif type_.shape == "frames":
        chosen = [x.name for x in numbers if x.name in samples]
    else:
        chosen = [x.name for x in numbers if x.type.is_float]
    if type_.shape == "signal" and not any(
        len(x.type.shape) > 1 for x in type_.columns if x.name in chosen
    ):
        c.report(FrameForModel.at(span, f"`{said.stream}` is a signal without frames", label="which samples belong together?",
                                                fix="put `| window N samples` or `| split at …` behind it"))  # fmt: skip
        return None
    if not chosen:
        c.report(WrongType.at(span, f"`{said.stream}` has no numbers for a model", fix="name columns with `--input`"))  # fmt: skip
        return None
    return flow, chosen, None, None


def _shown(
    c: Checker, flow: Flow, names: Sequence[str], model: Declared | None, stage: t.Tree | None
) -> Flow:
    """What the model node hands to its model, as columns; frames that it would not ask about are left out.

    It is the model node itself that is asked, with a model that gives back what it gets.
    """
    scales = () if model is None else scaling(flow, model, names)
    stored = {x.name: x.type for x in flow.type.stored()}
    made = [
        Column(n, Type("f32", shape=stored[n].shape) if scales and scales[k][0] else stored[n])
        for k, n in enumerate(names)
    ]
    asked = Column(c.hidden("asked"), I64)
    out = with_values(flow.type, [*made, asked])
    one = t.Number(value=Fraction(1), is_integer=True)
    is_asked = t.Compare(op="==", left=t.Name(name=asked.name), right=one)
    keep = t.Where(condition=is_asked, span=Span(0, 0) if stage is None else stage.span)
    call = g.ModelCall(
        model=ECHO, inputs_by_name=tuple(names), heads=(), batch=_BATCH, scaling=scales,
        made=tuple((x.name, "raw", k) for k, x in enumerate((*made, asked))),
    )  # fmt: skip
    seen = c.stage(g.Classify, flow, out, keep, "frames for a model", call=call)
    return where(c, as_rows(seen), keep, Scope(Module("")))


# ---- labels


def _labelled(
    c: Checker, module: Module, flow: Flow, shown: Flow, said: Wanted, how: Pipelines
) -> tuple[Flow, tuple[str, ...]] | None:
    """The frames with their label, the column that has it, and perhaps the one that has its share of the frame."""
    assert said.labels is not None
    span = _span("--labels", said.labels)
    scope = Scope(module)
    found = _COLUMN.fullmatch(said.labels)
    if found is None:
        c.report(WrongArguments.at(span, f"`{said.labels}` is no STREAM.column", fix="write it as `truth.label`"))  # fmt: skip
        return None
    ref, column = _ref(found[1], span), found[2].strip("`")
    streams = module.of(st.Stream, st.Source)
    if ref.name.name not in streams and str(ref) not in streams:
        c.report(
            UnknownStream.at(span, f"unknown stream `{ref}`", fix=did_you_mean(str(ref), streams))
        )
        return None
    truth = how.branch(ref, scope)
    if truth is None or truth.wild or truth.node < 0:
        return None
    truth = as_rows(truth)
    given = truth.type.column(column)
    if given is None or column in ("time", *(x.name for x in truth.type.keys)):
        known = [x.name for x in truth.type.columns]
        c.report(UnknownName.at(span, f"`{ref}` has no column `{column}`", fix=did_you_mean(column, known)))  # fmt: skip
        return None
    lacking = [x.name for x in truth.type.keys if shown.type.column(x.name) is None]
    if lacking:
        c.report(KeysDoNotMatch.at(span, f"`{lacking[0]}` is a key of `{ref}`, and the frames of `{said.stream}` have none of that name",
                                   why="a frame would have a label of each", fix="give both streams the same keys"))  # fmt: skip
        return None
    meet = _Meeting(c, how, ref, truth, column, span)
    if said.within is not None:
        within = _duration(c, said.within)
        return None if within is None else meet.nearest(shown, within)
    if truth.type.spans:
        c.report(WrongArguments.at(span, f"rows of `{ref}` end what they label", why="a label holds from the time of its row on",
                                   fix="take a stream whose rows stand at the start, or give `--within D` for the nearest row"))  # fmt: skip
        return None
    return meet.holding(flow, shown)


def _duration(c: Checker, text: str) -> t.Expr | None:
    """What `--within` says."""
    tree = parse(f"param within = {text}", "--within")
    one = tree.statements[0] if len(tree.statements) == 1 else None
    if isinstance(one, st.Param) and isinstance(one.value, t.Number):
        span = _span("--within", text)
        return replace(one.value, span=span, unit_span=span)
    c.report(WrongArguments.at(_span("--within", text), f"`{text}` is no duration", fix="give one such as `150 ms`"))  # fmt: skip
    return None


@dataclass(frozen=True)
class _Meeting:
    """A stream of labels that meets frames: all by the joins of the language."""

    c: Checker
    how: Pipelines
    ref: t.Ref
    truth: Flow
    column: str
    span: Span

    def nearest(self, shown: Flow, within: t.Expr) -> tuple[Flow, tuple[str, ...]] | None:
        """Of each frame the label nearest in time."""
        times = self._run(shown, [self._select()])
        method = t.Ident(name="nearest", span=self.span)
        near = self._join(times, self._only(self.truth), within, method)
        return None if near is None else self._back(shown, *near)

    def holding(self, flow: Flow, shown: Flow) -> tuple[Flow, tuple[str, ...]] | None:
        """Of each frame the label that most of its samples have, and their share; of a row the one at its time."""
        ending = self.truth.type.column("end")
        ends = ending is not None and ending.type.store == "time" and self.column != "end"
        known = self._only(self.truth, *(["end"] if ends else []))
        made = _maker(self.c, flow.node)
        before = self._run(shown if made is None else as_rows(made[0]), [self._select()])
        found = self._join(before, known, None, None)
        if found is None:
            return None
        joined, (label, *until) = found
        if until:
            still = t.Compare(op="<", left=t.Name(name="time"), right=t.Name(name=until[0]))
            value = _call("if", still, t.Name(name=label), t.Name(name="missing"))
            joined = self._run(
                joined, [t.Derive(bindings=(self._bind(label, value),), span=self.span)]
            )
        joined = self._run(joined, [self._select(label)])
        if made is None:
            return self._back(shown, joined, [label])
        return self._back(shown, *self._folded(joined, label, *made[1:]))

    def _folded(
        self, labels: Flow, label: str, stage: t.Stage, scope: Scope
    ) -> tuple[Flow, list[str]]:
        """The label of most rows of each frame, and their share; of numbers with a fraction the mean."""
        given = self.truth.type.column(self.column)
        assert given is not None
        name, here = t.Name(name=label), Scope(Module(""))
        if given.type.is_float:
            fold = t.Aggregate(bindings=(self._bind(label, _call("mean", name)),), span=self.span)
            items: list[Item] = [(stage, scope), (fold, here)]
            names = [label]
        else:
            share, same = f"{label}_share", "same" if label != "same" else "alike"
            alike = t.Compare(op="==", left=name, right=_call("mode", name))
            one, none = (t.Number(value=Fraction(n), is_integer=True) for n in (1, 0))
            first = t.Derive(
                bindings=(self._bind(same, _call("if", alike, one, none)),), span=self.span
            )
            folds = (
                self._bind(label, _call("mode", name)),
                self._bind(share, _call("mean", t.Name(name=same))),
            )
            items = [(stage, scope), (first, here), (t.Aggregate(bindings=folds, span=self.span), here)]  # fmt: skip
            names = [label, share]
        made = stages.through(self.c, labels, items, self.how.world)
        assert made is not None
        return made[""], names

    def _back(
        self, shown: Flow, labels: Flow, names: Sequence[str]
    ) -> tuple[Flow, tuple[str, ...]] | None:
        """Labels of the frames' own times, beside the frames."""
        zero = t.Number(value=Fraction(0), is_integer=True, unit="s")
        out = self._join(shown, self._run(labels, [self._select(*names)]), zero, None)
        if out is None:
            return None
        return out[0], tuple(out[1][-len(names) :])

    def _only(self, flow: Flow, *more: str) -> Flow:
        return self._run(flow, [self._select(self.column, *more)])

    def _run(self, flow: Flow, made: Sequence[t.Stage]) -> Flow:
        found = stages.through(self.c, flow, [(x, Scope(Module(""))) for x in made], self.how.world)
        assert found is not None
        return found[""]

    def _join(
        self, left: Flow, right: Flow, within: t.Expr | None, method: t.Ident | None
    ) -> tuple[Flow, list[str]] | None:
        """A join, and what the columns of the right side are called behind it, its time left out."""
        tree = t.Join(stream=self.ref, within=within, method=method, span=self.span)
        out = join(self.c, left, tree, Scope(Module("")), right, [])
        if out.node < 0:
            return None
        own = len(left.type.columns) + right.type.has_time
        return out, [x.name for x in out.type.columns[own:]]

    def _select(self, *names: str) -> t.Select:
        return t.Select(bindings=tuple(self._bind(n, None) for n in names), span=self.span)

    def _bind(self, name: str, expr: t.Expr | None) -> t.Binding:
        return t.Binding(name=t.Ident(name=name, span=self.span), expr=expr, span=self.span)


def _call(name: str, *arguments: t.Expr) -> t.Call:
    return t.Call(
        name=t.Ident(name=name),
        arguments=tuple(t.Argument(keyword=None, value=x) for x in arguments),
    )


_PASSING = (g.Where, g.Derive, g.Select, g.Rules, g.FrameDerive, g.Classify, g.InOrder, g.Branch, g.Route, g.Ahead, g.FrameAggregate)  # fmt: skip


def _maker(c: Checker, node: int) -> tuple[Flow, t.Stage, Scope] | None:
    """The rows that frames were made of, and the stage that made them; None: they came as they are."""
    while node >= 0 and node not in c.framed:
        one = c.nodes[node]
        if not (isinstance(one, _PASSING) or (isinstance(one, g.Join) and not one.has_more_keys)):
            return None
        node = one.inputs[0]
    return c.framed.get(node)
