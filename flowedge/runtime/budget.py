"""`check --budget`: whether a pipeline's bounds on state and delay keep within what is asked."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from flowedge.compile import program as p
from flowedge.graph import nodes as g
from flowedge.graph.budget import Budget, OverBudget, too_slow
from flowedge.types.sizes import shown_bytes

if TYPE_CHECKING:
    from flowedge.compile.lower import Lowering
    from flowedge.lang.diagnostics import Diagnostic
    from flowedge.lang.span import Span

_KEY_BYTES = 96
"""Of a key, besides its values: its place in the table and in the order, and its last time."""
_VALUE_BYTES = 16
"""Of each value of a key: arrays double as they grow."""


@dataclass
class State:
    """The bound on the state, as far as there is one.

    Attributes
    ----------
    known : bytes of what has a bound
    unbounded : what has none: (place, what it keeps, how to give it a bound)
    """

    known: float = 0.0
    unbounded: list[tuple["Span", str, str]] = field(default_factory=list)


def over_budget(graph: g.Graph, budget: Budget) -> "list[Diagnostic]":
    """What is above the budget, as diagnostics; compiles nothing."""
    from flowedge.compile.lower import Lowering  # noqa: PLC0415  # only those who ask
    from flowedge.graph.passes import optimise  # noqa: PLC0415

    graph = optimise(graph)
    out = list(too_slow(graph.nodes, budget))
    if budget.state_bytes is None:
        return out
    lowering = Lowering(graph, lambda _source, _names: "")
    lowering.run()
    state = bound_of(graph, lowering)
    for span, what, fix in state.unbounded:
        out.append(
            OverBudget.at(
                span, f"{what} has no bound, the budget is {shown_bytes(budget.state_bytes)}",
                why="the memory of a pipeline must be known before it runs", fix=fix,
            )
        )  # fmt: skip
    first = next((n.span for n in graph.nodes if n.span is not None), None)
    if state.known > budget.state_bytes and first is not None:
        least = " at least" if state.unbounded else ""
        out.append(
            OverBudget.at(
                first, f"the state may take{least} {shown_bytes(state.known)}, the budget is {shown_bytes(budget.state_bytes)}",
                fix="allow fewer keys, or shorten what stages remember; `explain` tells what each takes",
            )
        )  # fmt: skip
    return out


def bound_of(graph: g.Graph, lowering: "Lowering") -> State:
    """Add up what sources and kernels may keep."""
    state = State()
    spans = {
        lowering.places[n.id].id: n.span
        for n in graph.nodes
        if n.id in lowering.places and n.span is not None
    }
    keys: dict[int, int | None] = {-1: 1}
    for node in graph.nodes:
        if isinstance(node, g.Source) and node.span is not None:
            spec = lowering.nodes[lowering.places[node.id].id]
            _source(state, node, spec, node.span, keys)
    for spec in lowering.nodes:
        if isinstance(spec, p.KernelSpec) and spec.id in spans:
            _kernel(state, spec, lowering, spans[spec.id], keys)
        elif isinstance(spec, p.MergeSpec | p.OrderSpec) and spec.id in spans:
            state.unbounded.append(
                (spans[spec.id], f"what waits in `{spec.label}`", "look at each stream by itself")
            )
    return state


def _source(
    state: State, node: g.Source, spec: p.NodeSpec, span: "Span", keys: dict[int, int | None]
) -> None:
    count = 1
    if node.keys:
        if node.max_keys is None:
            state.unbounded.append(
                (span, f"the number of keys of `{node.name}`", "add `max keys N`")
            )
        count = node.max_keys or 0
        keys[spec.table] = node.max_keys
        state.known += count * (_KEY_BYTES + _VALUE_BYTES * len(node.keys))
    if any(f.store in ("string", "binary") for f in spec.fields) or any(
        c.type.store in ("string", "binary") for c in node.out.keys
    ):
        state.unbounded.append((span, f"the length of the texts of `{node.name}`", "take numbers"))
    if node.sort_first:
        state.unbounded.append((span, f"what `order time` sorts of `{node.name}`", "say `late D`"))
    elif node.late_s > 0:
        row = 8 * (3 + len(spec.fields))
        if node.out.rate_hz is None:
            fix = "say `at RATE`, or leave `late` out"
            state.unbounded.append((span, f"what `late` holds of `{node.name}`", fix))
        else:
            state.known += count * row * (node.out.rate_hz * node.late_s + 1)


def _kernel(
    state: State,
    spec: p.KernelSpec,
    lowering: "Lowering",
    span: "Span",
    keys: dict[int, int | None],
) -> None:
    what = f"what `{spec.label or spec.name}` keeps"
    state.known += len(spec.globals_init) + 8 * spec.scratch
    if spec.has_arena:
        fix = "take aggregates that need no rows, or count samples of a signal"
        state.unbounded.append((span, what, fix))
    if len(spec.inputs) > 1:
        fix = "look at each stream by itself"
        state.unbounded.append((span, f"what waits in `{spec.label or spec.name}`", fix))
    per_key = spec.record + spec.block + 4 * spec.has_touched
    if not per_key:
        return
    table = spec.join[2] if spec.join is not None else lowering.nodes[spec.inputs[0]].table
    count = keys.get(table)
    if count is not None:
        state.known += count * per_key
    elif table not in keys:  # keys of a source have been told of
        state.unbounded.append((span, what, "keep the keys of the source, and bound them"))
