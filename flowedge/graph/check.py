"""From the text of a pipeline to its graph, or to everything that is wrong with it."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from flowedge.graph import nodes as g
from flowedge.graph import stages
from flowedge.graph.catalog import Catalog
from flowedge.graph.checker import Checker, Flow
from flowedge.graph.models import Declared, declare
from flowedge.graph.modules import load, params
from flowedge.graph.names import Cycle, Decl, Scope, UnknownName, UnknownStream, Unused
from flowedge.graph.sinks import Sinks, normal
from flowedge.graph.sources import source
from flowedge.graph.stages.meeting import union
from flowedge.graph.strings import resolve
from flowedge.graph.training import Pipelines, Wanted, frames
from flowedge.lang import statements as st
from flowedge.lang import tree as t
from flowedge.lang.diagnostics import FlowError, did_you_mean
from flowedge.lang.errors import InternalError
from flowedge.lang.parse import parse
from flowedge.lang.span import Span
from flowedge.types.schema import BOOL, Column, Stream


def check(
    text: str,
    file: str,
    *,
    params: Mapping[str, str],
    catalog: Catalog,
    imports: Callable[[str], str],
    wanted: Wanted | None = None,
) -> g.Graph:
    """Check a pipeline.

    Parameters
    ----------
    text, file : the pipeline, and what its file is called in messages
    params : texts of parameters from outside, read with the default's type and unit
    catalog : connectors, schemas of files, models
    imports : the text of an imported file; raises OSError where there is none
    wanted : frames for a model that shall be written; they take the place of all sinks, and only what they need is
        checked

    Raises
    ------
    FlowError
        all independent mistakes in the order of the text, warnings among them
    InternalError
        a sink could not be built, though nothing is wrong with the text
    """
    tree = parse(text, file)
    c = Checker(catalog=catalog, given=params, imports=imports)
    checked = Checked(c, tree, file)
    graph = checked.graph() if wanted is None else checked.training(wanted)
    if c.has_errors:
        raise FlowError(c.problems)
    built = sum(isinstance(n, g.Sink) for n in graph.nodes)
    expected = len(checked.module.sinks) if wanted is None else 1
    if built != expected:  # nobody may lose rows in silence
        raise InternalError(
            "a pipeline without mistakes whose sinks cannot all be built",
            expected=f"{expected} sinks",
            seen=f"{built}",
        )
    return graph


class Checked:
    """A pipeline under way: streams are resolved when something asks for them, in any order."""

    def __init__(self, c: Checker, tree: st.Flow, file: str) -> None:
        self.c = c
        self.module = load(c, tree, file)
        self.models: dict[int, Declared | None] = {}
        self.stack: list[Decl] = []
        self.world = stages.World(self.ref, self.model, self.lives)
        self.sinks = Sinks(c)

    def graph(self) -> g.Graph:
        """Check everything; the graph of what sinks need."""
        c = self.c
        told = params(c, self.module)
        # As a value, or by its bare name in `select` and `unnest`.
        trees = [*(d.tree for d in self.module.names.values()), *self.module.sinks]
        c.uses_probs = any(
            isinstance(x, t.Name | t.Ident) and x.name.endswith("probs")
            for r in trees
            for x in _walk(r)
        )
        self._reads()
        for sink in self.module.sinks:
            scope = Scope(self.module)
            flows = self.pipeline(sink.pipeline, scope, _first_name(sink.pipeline))
            flow = None
            if flows is not None:
                flow = flows.get("")
                if len(flows) > 1:
                    last = sink.pipeline.stages[-1]
                    c.report(
                        stages.splits.BranchesEndAStream.at(
                            last.span,
                            "`split into` in a sink",
                            fix="name the stream, and write a sink for each branch",
                        )
                    )
                    flow = None
            self.sinks.add(sink, flow, scope)
        self._tests()
        for decl in [d for d in self.module.names.values() if d.module is self.module]:
            self._rest(decl)
        self._unused({d.name for d in self.module.names.values() if d.used})
        return self._made(told)

    def training(self, wanted: Wanted) -> g.Graph:
        """The graph of the frames that a model would see, and of nothing else."""
        told = params(self.c, self.module)
        self._reads()
        how = Pipelines(self._joined, self.ref, self.world)
        frames(self.c, self.module, self.sinks, wanted, how)
        return self._made(told)

    def _made(self, told: tuple[tuple[str, str], ...]) -> g.Graph:
        c = self.c
        c.problems.sort(key=lambda p: p.place)
        return g.Graph(
            nodes=tuple(c.nodes),
            models=tuple(c.models.values()),
            params=told,
            zones=tuple(sorted(c.zones)),
            warnings=tuple(p for p in c.problems if p.severity == "warning"),
        )

    # ---- what the text declares

    def _reads(self) -> None:
        """Paths that sources read, as far as they are plain texts."""
        for decl in self.module.of(st.Source).values():
            assert isinstance(decl.tree, st.Source)
            first = (
                decl.tree.connector.arguments[0].value if decl.tree.connector.arguments else None
            )
            if isinstance(first, t.Text) and "://" not in first.value:
                self.c.quiet += 1
                used = {n: d.used for n, d in self.module.names.items()}
                told = resolve(self.c, first, Scope(decl.module), (), wild=True)
                for n, was in used.items():
                    self.module.names[n].used = was
                self.c.quiet -= 1
                if told:
                    self.sinks.reads.append((normal(told), first.span))

    def _unused(self, needed: set[str]) -> None:
        """Warn of what no sink needs."""
        meant = " ".join(
            p.fix for p in self.c.problems if p.code in ("FE201", "FE202", "FE205", "FE207")
        )
        endless = any(p.code == "FE213" for p in self.c.problems)
        for decl in self.module.names.values():
            if endless and isinstance(decl.tree, st.Def | st.Fn):
                continue
            if (
                decl.module is not self.module
                or decl.name in needed
                or f"mean `{decl.name}`" in meant
            ):
                continue
            fix = (
                "use it in a sink, or leave it away"
                if isinstance(decl.tree, st.Stream | st.Source)
                else "leave it away"
            )
            self.c.report(Unused.at(decl.span, f"{decl.word} `{decl.name}` is never used", fix=fix))
        for (file, name), span in self.c.branch_spans.items():
            stream, _, branch = name.partition(".")
            if (file, name) not in self.c.branches_used and stream in needed:
                self.c.report(
                    Unused.at(
                        span,
                        f"branch `{branch}` of `{stream}` is never used",
                        why="its rows are thrown away",
                        fix=f"add a sink for `{name}`, or leave it away",
                    )
                )

    def _rest(self, decl: Decl) -> None:
        """Check also what no sink needs."""
        if isinstance(decl.tree, st.Stream | st.Source):
            self.flow(decl)
        elif isinstance(decl.tree, st.Model) and id(decl.tree) not in self.models:
            self.models[id(decl.tree)] = declare(self.c, decl)

    def _tests(self) -> None:
        """Streams that tests name exist."""
        for test in self.module.tests:
            self.c.not_yet(test.name.span, "`test`", "run the pipeline and compare its output")
            for given in test.given:
                if given.name.name not in self.module.of(st.Source):
                    self.c.report(
                        UnknownStream.at(
                            given.name.span,
                            f"unknown source `{given.name}`",
                            fix=did_you_mean(given.name.name, self.module.of(st.Source)),
                        )
                    )
            for expect in test.expect:
                self.ref(expect.ref, Scope(self.module))

    # ---- streams

    def ref(self, ref: t.Ref, scope: Scope) -> Flow | None:
        """The flow that a reference means; None: reported, or silent."""
        ref, scope = scope.stream_ref(ref)
        name, part = ref.name.name, ref.part.name if ref.part is not None else None
        decl = self.c.lookup(scope.module, name, st.Stream, st.Source)
        if decl is None and part is not None:
            decl = self.c.lookup(scope.module, f"{name}.{part}", st.Stream, st.Source)
            part = None if decl is not None else part
        if decl is None:
            known = scope.module.of(st.Stream, st.Source)
            other = scope.module.names.get(name)
            if other is not None:
                other.used = True
                message = f"`{name}` is a {other.word}, no stream"
            else:
                message = f"unknown stream `{name}`"
            self.c.report(UnknownStream.at(ref.name.span, message, fix=did_you_mean(name, known)))
            return None
        flows = self.flow(decl, ref.span)
        if flows is None:
            return None
        if part is None:
            return flows.get("")
        if isinstance(decl.tree, st.Source):
            return self._part(decl, flows, part, ref)
        self.c.branches_used.add((decl.module.file, f"{decl.name}.{part}"))
        if part in flows:
            return flows[part]
        whole = flows.get("")
        if whole is not None and whole.wild and whole.node < 0 and _has_split(decl.tree):
            return whole
        branches = [f"{name}.{b}" for b in flows if b]
        message = (
            f"`{name}` has no branch `{part}`"
            if branches
            else f"`{name}` is a stream without branches"
        )
        if part in ("late", "silent"):
            message = f"`{name}` is a stream: only a source has `{part}` rows"
        self.c.report(
            UnknownStream.at(
                ref.span,
                message,
                fix=did_you_mean(f"{name}.{part}", branches) if branches else f"write `{name}`",
            )
        )
        return None

    def flow(self, decl: Decl, span: Span | None = None) -> dict[str, Flow] | None:
        """The flows of a declared source or stream, made at the first use."""
        key = (decl.module.file, decl.name)
        if key in self.c.flows:
            return self.c.flows[key]
        if any(d is decl for d in self.stack):
            at = next(n for n, d in enumerate(self.stack) if d is decl)
            names = [d.name for d in self.stack[at:]]
            others = [
                (d.span, f"`{d.name}` needs `{names[(n + 1) % len(names)]}`")
                for n, d in enumerate(self.stack[at:])
            ]
            self.c.report(Cycle.at(span or decl.span, "a cycle: " + " -> ".join([*names, names[0]]), others=others, why="a stream cannot be made from itself",
                                   fix="take the past of a column with `prev`, `lag` or `latch`"))  # fmt: skip
            return None
        self.stack.append(decl)
        found: dict[str, Flow] | None
        if isinstance(decl.tree, st.Source):
            found = {"": source(self.c, decl)}
        else:
            assert isinstance(decl.tree, st.Stream)
            found = self.pipeline(decl.tree.pipeline, Scope(decl.module), decl.name)
            last = decl.tree.pipeline.stages[-1] if decl.tree.pipeline.stages else None
            if isinstance(last, t.SplitInto) and decl.module is self.module:
                for branch in last.branches:
                    self.c.branch_spans[(decl.module.file, f"{decl.name}.{branch.name}")] = (
                        branch.name.span
                    )
        self.stack.pop()
        self.c.flows[key] = found
        return found

    def pipeline(self, tree: st.Pipeline, scope: Scope, name: str) -> dict[str, Flow] | None:
        """References and stages of a stream or a sink."""
        flow = self._joined(tree, scope, name)
        if flow is None:
            stages.flatten(self.c, tree.stages, scope)
            return None
        return stages.run(self.c, flow, tree.stages, scope, self.world)

    def _joined(self, tree: st.Pipeline, scope: Scope, name: str) -> Flow | None:
        """What a pipeline begins with: a stream, or the union of several."""
        flows = [(self.ref(r, scope), r) for r in tree.refs]
        good = [(f, r) for f, r in flows if f is not None]
        if len(good) != len(flows):
            return None
        flow = (
            good[0][0]
            if len(good) == 1
            else union(self.c, good, name, tree.refs[0].span.to(tree.refs[-1].span))
        )
        return replace(flow, name=name)

    def _part(self, decl: Decl, flows: dict[str, Flow], part: str, ref: t.Ref) -> Flow | None:
        """``S.late`` or ``S.silent``."""
        flow = flows[""]
        assert ref.part is not None
        assert isinstance(decl.tree, st.Source)
        if part not in ("late", "silent"):
            self.c.report(
                UnknownStream.at(
                    ref.part.span,
                    f"source `{decl.name}` has no `{part}`",
                    fix=did_you_mean(part, ("late", "silent")),
                )
            )
            return None
        if part in flows:
            return flows[part]
        if part == "silent" and not any(x.word == "on_silence" for x in decl.tree.clauses):
            self.c.report(
                UnknownStream.at(
                    ref.part.span,
                    f"`{decl.name}` does not watch for silence",
                    others=[(decl.span, "declared here")],
                    fix="add `on silence 10 s` to the source",
                )
            )
            return None
        type_ = replace(flow.type, shape="rows", rate_hz=None)
        wild = flow.wild
        if part == "silent":
            type_ = Stream(
                columns=(Column("silent", BOOL),),
                keys=flow.type.keys,
                wait_s=flow.type.wait_s,
                is_live=flow.type.is_live,
            )
            wild = False
        else:
            type_ = replace(type_, in_order=False, strays=True)
            limit = next((x for x in decl.tree.clauses if x.word == "max_keys"), None)
            if limit is not None:  # which keys are the first N would depend on how rows are pushed
                self.c.not_yet(
                    limit.span, f"`max keys` beside `{decl.name}.late`", "leave one of them away"
                )
        node = self.c.put(
            g.SourcePart,
            (flow,),
            type_,
            name=f"{decl.name}.{part}",
            label=part,
            span=ref.span,
            part=part,
        )
        flows[part] = replace(
            flow, node=node, type=type_, name=f"{decl.name}.{part}", wild=wild, per_key=flow.per_key
        )
        return flows[part]

    # ---- models and live sources

    def model(self, ident: t.Ident, scope: Scope) -> Declared | None:
        """A declared model; None: reported, or silent."""
        name = ident.name
        bound = scope.formals.get(name)
        if bound is not None and isinstance(bound.tree, t.Name):
            name, scope = bound.tree.name, bound.scope
        decl = self.c.lookup(scope.module, name, st.Model)
        if decl is None:
            self.c.report(
                UnknownName.at(
                    ident.span,
                    f"unknown model `{name}`",
                    fix=did_you_mean(name, scope.module.of(st.Model)),
                )
            )
            return None
        if id(decl.tree) not in self.models:
            self.models[id(decl.tree)] = declare(self.c, decl)
        return self.models[id(decl.tree)]

    def lives(self, ref: t.Ref, scope: Scope) -> list[tuple[str, Span]]:
        """Live sources behind a stream that never fall idle."""
        out: dict[str, Span] = {}
        seen: set[int] = set()

        def look(ref: t.Ref, scope: Scope) -> None:
            ref, scope = scope.stream_ref(ref)
            decl = scope.module.names.get(ref.name.name)
            if decl is None or id(decl) in seen:
                return
            seen.add(id(decl))
            if isinstance(decl.tree, st.Source):
                info = self.c.catalog.source(decl.tree.connector.name.name)
                always = any(
                    isinstance(x.exprs[0], t.Name) and x.exprs[0].name == "always"
                    for x in decl.tree.clauses
                    if x.word == "time"
                )
                if (
                    info is not None
                    and info.is_live
                    and not always
                    and not any(x.word == "idle" for x in decl.tree.clauses)
                ):
                    out[decl.name] = decl.span
            elif isinstance(decl.tree, st.Stream):
                for r in decl.tree.pipeline.refs:
                    look(r, Scope(decl.module))

        look(ref, scope)
        return list(out.items())


def _first_name(tree: st.Pipeline) -> str:
    return str(tree.refs[0])


def _has_split(tree: t.Tree) -> bool:
    return isinstance(tree, st.Stream) and any(
        isinstance(s, t.SplitInto | t.Apply) for s in tree.pipeline.stages
    )


def _walk(tree: t.Tree) -> Iterator[t.Tree]:
    yield tree
    for child in t.children(tree):
        yield from _walk(child)
