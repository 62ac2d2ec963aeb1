"""What the checker holds while it works: problems found, nodes made, streams on their way."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from flowedge.graph import nodes as g
from flowedge.graph.catalog import Catalog
from flowedge.graph.expressions import LONGEST_LIST, taken_apart
from flowedge.graph.names import Decl, Module, NotYet, Scope
from flowedge.lang import tree as t
from flowedge.lang.diagnostics import Diagnostic
from flowedge.lang.span import Span
from flowedge.types.schema import Stream

N = TypeVar("N", bound=g.Node)


@dataclass(frozen=True)
class Packed:
    """What `expand` must know of the `compress` before it."""

    method: str
    columns: tuple[str, ...]
    bounds: tuple[float, ...]
    before: Stream


@dataclass(frozen=True)
class Flow:
    """A stream while it is being checked.

    Attributes
    ----------
    node : id of the node that gives it; -1 where a mistake keeps it from being built
    type : as far as it is known
    broken : columns whose definition is wrong: what reads them is silent
    wild : its columns are not known, so no name is
    per_key : where `late … per key` was said, if a source behind it has it
    packed : it comes right out of a `compress`
    rate_at : where its rate was said
    """

    node: int
    type: Stream
    name: str
    broken: frozenset[str] = frozenset()
    wild: bool = False
    per_key: Span | None = None
    packed: Packed | None = None
    rate_at: Span | None = None

    def to(self, type_: Stream, node: int | None = None) -> "Flow":
        """The flow behind one more stage."""
        return replace(self, type=type_, node=self.node if node is None else node, packed=None)

    def breaks(self, *names: str) -> "Flow":
        """The same with columns that are not to be trusted."""
        return replace(self, broken=self.broken | frozenset(names))


WILD = Stream(columns=())


_KEEPS_ROWS = (
    g.Ahead, g.Expand, g.Join, g.Peaks, g.Resample, g.SplitAt, g.SplitNext, g.SplitRows,
)  # fmt: skip
"""Nodes whose kernels keep rows of their input word by word."""


@dataclass
class Checker:
    """State of one check.

    Attributes
    ----------
    given : texts of parameters from outside, by name
    imports : gives the text of an imported file; raises OSError where it cannot
    values : parameters by their declaration, as trees (the given text, or the default)
    flows : streams that are done, by (file, name); None while one is being made
    zones : names of the time zones that the text speaks of
    uses_probs : the text asks for the probabilities of a model somewhere
    framed : of each node that makes frames the rows that it makes them of, and the stage that says so
    """

    catalog: Catalog
    given: Mapping[str, str]
    imports: Callable[[str], str]
    problems: list[Diagnostic] = field(default_factory=list)
    nodes: list[g.Node] = field(default_factory=list)
    values: dict[int, t.Value] = field(default_factory=dict)
    flows: dict[tuple[str, str], dict[str, Flow] | None] = field(default_factory=dict)
    models: dict[str, g.ModelFile] = field(default_factory=dict)
    branches_used: set[tuple[str, str]] = field(default_factory=set)
    branch_spans: dict[tuple[str, str], Span] = field(default_factory=dict)
    zones: set[str] = field(default_factory=set)
    framed: dict[int, tuple[Flow, t.Stage, Scope]] = field(default_factory=dict)
    quiet: int = 0
    uses_probs: bool = False
    _hidden: int = 0

    def report(self, problem: Diagnostic) -> None:
        """Keep a problem, once each."""
        if self.quiet:
            return
        for known in self.problems:
            if (
                known.code == problem.code
                and known.place == problem.place
                and known.labels == problem.labels
            ):
                return
        self.problems.append(problem)

    def not_yet(self, span: Span, what: str, fix: str = "") -> None:
        """Report a part of the language that cannot run yet."""
        self.report(
            NotYet.at(
                span, f"{what} is part of the language, but this version cannot run it yet", fix=fix
            )
        )

    def hidden(self, stem: str) -> str:
        """A fresh name for a column that only the engine sees."""
        self._hidden += 1
        return f"_{stem}{self._hidden}"

    def put(
        self,
        kind: type[N],
        flows: tuple[Flow, ...],
        out: Stream,
        *,
        name: str,
        label: str,
        span: Span | None,
        **rest: Any,  # noqa: ANN401  # each node has its own fields
    ) -> int:
        """Make a node; -1 where an input could not be built."""
        inputs = tuple(f.node for f in flows)
        if any(i < 0 for i in inputs):
            return -1
        node = kind(
            id=len(self.nodes), inputs=inputs, out=out, name=name, label=label, span=span, **rest
        )
        self.nodes.append(node)
        if isinstance(node, _KEEPS_ROWS) and span is not None:
            self._rows_are_narrow(node, span)
        return node.id

    def stage(
        self,
        kind: type[N],
        flow: Flow,
        out: Stream,
        tree: t.Tree,
        label: str,
        **rest: Any,  # noqa: ANN401
    ) -> Flow:
        """Make the node of a stage with one input; the flow behind it."""
        node = self.put(kind, (flow,), out, name=flow.name, label=label, span=tree.span, **rest)
        if node >= 0 and flow.type.shape != "frames":
            self._lists_are_short(self.nodes[node], tree.span)
        return flow.to(out, node)

    def _rows_are_narrow(self, node: g.Node, span: Span) -> None:
        """Whether a stage that keeps whole rows keeps no picture, or another list of many elements."""
        passed: set[str] = set()
        if isinstance(node, g.Join) and node.method == "before":
            # Rows of the left side do not wait.
            passed = set(node.out.names()) - {name for _, name in node.names}
        for column in node.out.columns:
            if column.type.size > LONGEST_LIST and column.name not in passed:
                self.not_yet(span, f"`{node.label}` of rows with `{column.name}`, which has {column.type.size} values,",
                             fix="`select` the columns that are needed before it")  # fmt: skip
                return

    def _lists_are_short(self, node: g.Node, span: Span) -> None:
        """Whether no expression takes apart a picture, or another list of many elements."""
        for expr in g.expressions_of(node):
            if (found := taken_apart(expr)) is not None:
                self.not_yet(span, f"an expression of `{found.name}`, which has {found.type.size} values,",
                             fix=f"lists of up to {LONGEST_LIST} can be computed with; give longer ones to a model, as they are")  # fmt: skip
                return

    def upstream(self, node: int) -> list[g.Node]:
        """A node and all that it takes from, sources first; none of a node that could not be built."""
        seen: set[int] = set()
        todo = [node]
        while todo:
            n = todo.pop()
            if n >= 0 and n not in seen:
                seen.add(n)
                todo.extend(self.nodes[n].inputs)
        return [self.nodes[n] for n in sorted(seen)]

    @property
    def has_errors(self) -> bool:
        """Whether something is wrong, warnings aside."""
        return any(p.severity == "error" for p in self.problems)

    def lookup(self, module: Module, name: str, *kinds: type[t.Tree]) -> Decl | None:
        """A declaration of some kinds, marked as used."""
        found = module.names.get(name)
        if found is None or not isinstance(found.tree, kinds):
            return None
        found.used = True
        return found
