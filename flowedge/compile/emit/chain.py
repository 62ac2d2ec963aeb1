"""A chain of stages that give at most one row for each row, fused into one kernel."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

from flowedge.compile.emit.grid import WIDE, Bounds
from flowedge.compile.emit.kernel import Kernel
from flowedge.compile.emit.values import Value
from flowedge.graph.expressions import Apply, Expr, Read, Rolling, is_stateful, walk
from flowedge.graph.nodes import Branch, Compress, Derive, Edges, Node, Route, Rules, Select, Where
from flowedge.lang.errors import InternalError
from flowedge.operators.contract import Context
from flowedge.operators.functions.lag import REGISTERS
from flowedge.types.schema import I64, Column, Type

FUSABLE = (Where, Derive, Select, Rules, Branch, Route, Edges)
FILTERS = (Where, Route, Edges, Compress)


def is_fusable(node: Node) -> bool:
    """Whether a node gives at most one row for each row, at once."""
    return isinstance(node, FUSABLE) or (isinstance(node, Compress) and node.is_at_once)


def has_long_memory(expr: Expr) -> bool:
    """Whether an expression has steps that get a pass of their own: filters, rolling aggregates."""
    return any(
        (isinstance(e, Rolling) and e.count is not None)
        or (
            isinstance(e, Apply)
            and e.function.stateful
            and any(
                s.skips_missing
                for s in e.function.steps(
                    tuple(a.type.element() for a in e.args), Context(rate_hz=e.rate_hz)
                )
            )
        )
        for e in walk(expr)
    )


def looks_at_one_row(node: Node) -> bool:
    """Whether a stage works on each row by itself, without a memory of others."""
    if isinstance(node, Where):
        exprs = [node.condition]
    elif isinstance(node, Derive | Select) and not node.out.spans:
        exprs = [e for _, e in node.bindings]
    else:
        return False
    return not any(is_stateful(e) for e in exprs)


@dataclass
class Chain:
    """The row as it passes through stages: which columns are still the input's own.

    Attributes
    ----------
    alias : column here -> input column that it is a plain copy of
    """

    kernel: Kernel
    alias: dict[str, str] = field(default_factory=dict)

    def column(self, name: str, type_: Type) -> Value:
        """The texts of a column as it stands; a renamed one is read by the input's name."""
        if name not in self.kernel.values.bound and name in self.alias:
            return self.kernel.values.column(self.alias[name], type_)
        return self.kernel.values.column(name, type_)

    def run(self, nodes: Sequence[Node], end: "ExitStack") -> None:
        """Write the stages; filters leave blocks open on `end`."""
        for node in nodes:
            match node:
                case Where(condition=condition):
                    self._filter(self.kernel.values.condition(condition), end)
                case Route(branch=branch):
                    number = self.kernel.values.column("_branch", I64)
                    self._filter(f"{number[0]} == {branch}", end)
                case Derive(bindings=bindings):
                    self._derive(bindings)
                case Select(bindings=bindings):
                    self._select(bindings)
                case Rules():
                    self._rules(node)
                case Branch():
                    self._branch(node)
                case Edges():
                    self._edges(node, end)
                case Compress(method="decimate", every=every):
                    self._decimate(every, end)
                case Compress(method="deadband"):
                    self._deadband(node, end)
                case Compress(method="quantize"):
                    self._quantize(node, end)
                case _:
                    raise InternalError(
                        "a stage in a chain", expected="a fusable one", seen=str(node)
                    )

    def _filter(self, condition: str, end: ExitStack) -> None:
        if self.kernel.tail is not None:
            self.kernel.counts_dropped = True
            held = self.kernel.values.hold(condition, "keep")
            self.kernel.sheet(f"dropped += 1 - {held}")
            condition = held
        end.enter_context(self.kernel.sheet.block(f"if {condition}"))

    def _derive(self, bindings: Sequence[tuple[str, "object"]]) -> None:
        values = self.kernel.values
        values.lags = shared_lags([e for _, e in bindings])  # type: ignore[misc]
        final: dict[str, Value] = {}
        for name, expr in bindings:
            if isinstance(expr, Read) and expr.name in self.alias:
                source = self.alias[expr.name]
                if expr.type.size == 1:
                    values.bound[name] = values.value(expr)
                self.alias[name] = source
                continue
            held = values.named(expr, name)  # type: ignore[arg-type]
            values.bound[name] = final[name] = held
            self.alias.pop(name, None)
        values.settle(final)

    def _select(self, bindings: Sequence[tuple[str, "object"]]) -> None:
        values, alias, bound = self.kernel.values, {}, {}
        for name, expr in bindings:
            if isinstance(expr, Read) and expr.name in self.alias:
                alias[name] = self.alias[expr.name]
                if expr.name in values.bound:
                    bound[name] = values.bound[expr.name]
                elif name != alias[name] and expr.type.size == 1:
                    bound[name] = values.value(expr)
            else:
                bound[name] = values.named(expr, name)  # type: ignore[arg-type]
        values.settle(bound)
        keys = {k: v for k, v in values.bound.items() if k not in self.alias}
        values.bound.clear()
        values.bound.update({**keys, **bound})
        self.alias = alias

    def _rules(self, node: Rules) -> None:
        values = self.kernel.values
        conditions = [values.hold(values.condition(c), "rule") for _, c in node.rules]
        text = "-1" if node.otherwise is None else str(self.kernel.text_id(node.otherwise))
        for (label, _), condition in zip(reversed(node.rules), reversed(conditions), strict=True):
            text = f"({self.kernel.text_id(label)} if {condition} else {text})"
        values.bound["label"] = (values.hold(text, "label"),)
        self.alias.pop("label", None)
        values.settle({})

    def _branch(self, node: Branch) -> None:
        values = self.kernel.values
        conditions = [values.hold(values.condition(c), "branch") for c in node.conditions]
        text = str(len(conditions))
        for k, condition in reversed(list(enumerate(conditions))):
            text = f"({k} if {condition} else {text})"
        values.bound["_branch"] = (values.hold(text, "branch"),)
        values.settle({})

    def _edges(self, node: Edges, end: ExitStack) -> None:
        """Rows where the condition turns; its first value makes no edge unless it holds."""
        kernel, state, values = self.kernel, self.kernel.state, self.kernel.values
        was, at = state.cell("was", 0), state.cell("edge_at", -(2**63))
        now = values.hold(f"(1 if {values.condition(node.condition)} else 0)", "holds")
        values.settle({})
        turn = kernel.sheet.fresh("turns")
        kernel.sheet(f"{turn} = {now} - {state.get(was)}")
        state.put(was, now)
        test = {"rise": f"{turn} == 1", "fall": f"{turn} == -1", "both": f"{turn} != 0"}[
            node.direction
        ]
        if node.apart_ns > 0:
            test = (
                f"{test} and ({state.get(at)} == MISSING or t - {state.get(at)} >= {node.apart_ns})"
            )
        self._filter(f"({test})", end)
        state.put(at, "t")
        rise, fall = kernel.text_id("rise"), kernel.text_id("fall")
        values.bound["edge"] = (values.hold(f"({rise} if {turn} == 1 else {fall})", "edge"),)
        self.alias.pop("edge", None)

    def _decimate(self, every: int, end: ExitStack) -> None:
        """Every n-th row of each key, from its first."""
        state = self.kernel.state
        place, now = state.cell("place", 0), self.kernel.sheet.fresh("place_now")
        self.kernel.sheet(f"{now} = {state.get(place)}")
        state.put(place, f"({now} + 1) % {every}")
        self._filter(f"{now} == 0", end)

    def _deadband(self, node: Compress, end: ExitStack) -> None:
        """Rows in which a column has left the band around its value in the last row kept."""
        state = self.kernel.state
        tests, puts = [], []
        started = state.cell("kept_any", 0)
        values, bounds = self._bounded(node)
        for name in node.columns:
            cell, (x,) = state.cell(f"kept_{name}", 0.0), values[name]
            old = state.get(cell)
            # Written so that a value that is missing, or was, counts as a change unless both are.
            tests.append(
                f"(not (abs({x} - {old}) <= {bounds.of(name)}) and not ({x} != {x} and {old} != {old}))"
            )
            puts.append((cell, x))
        self._filter(f"({state.get(started)} == 0 or {' or '.join(tests)})", end)
        state.put(started, "1")
        for cell, x in puts:
            state.put(cell, x)

    def _quantize(self, node: Compress, end: ExitStack) -> None:
        """Values on a grid; rows in which one is another than in the last row kept."""
        kernel, state = self.kernel, self.kernel.state
        started = state.cell("kept_any", 0)
        types = {c.name: c.type for c in node.out.columns}
        tests, puts = [], []
        values, bounds = self._bounded(node)
        for name in node.columns:
            text = bounds.on_grid(name, values[name][0], WIDE, exactly=True)
            new = kernel.values.hold(text, "point")
            cell = state.cell(f"kept_{name}", 0.0 if types[name].is_float else -(2**63))
            old = state.get(cell)
            tests.append(f"({new} != {old} and not ({new} != {new} and {old} != {old}))")
            puts.append((name, cell, new))
        self._filter(f"({state.get(started)} == 0 or {' or '.join(tests)})", end)
        state.put(started, "1")
        for name, cell, new in puts:
            state.put(cell, new)
            kernel.values.bound[name] = (new,)
            self.alias.pop(name, None)

    def _bounded(self, node: Compress) -> tuple[dict[str, Value], Bounds]:
        """The columns that have a bound, and their bounds."""
        types = {c.name: c.type for c in node.out.columns}
        values: dict[str, Value] = {
            name: (self.kernel.values.hold(self.column(name, types[name])[0]),)
            for name in node.columns
        }
        bounds = Bounds(self.kernel, node, types)
        bounds.look(values)
        return values, bounds

    def write(self, columns: Sequence[Column], *, dense: bool) -> tuple[str, ...]:
        """Write the row to the output; returns the names that are the input's own arrays."""
        passed = []
        for column in columns:
            source = self.alias.get(column.name)
            if source is not None and dense and source == column.name:
                passed.append(column.name)
            elif source is not None and column.type.size > 1:
                self.kernel.copy_column_as(column.name, source, column.type)
            else:
                self.kernel.write(column.name, column.type, self.column(column.name, column.type))
        return tuple(passed)


def shared_lags(exprs: Sequence[Expr]) -> dict[Expr, int]:
    """Values that several `lag` look back at, a few rows each, and how far the furthest does."""
    spans: dict[Expr, list[int]] = {}
    for expr in exprs:
        for part in walk(expr):
            if (
                isinstance(part, Apply)
                and part.function.name == "lag"
                and part.args[0].type.is_number
                and part.type.size == 1
            ):
                spans.setdefault(part.args[0], []).append(part.function.n)  # type: ignore[attr-defined]  # it is a Lag
    return {
        value: max(rows)
        for value, rows in spans.items()
        if len(set(rows)) > 1 and max(rows) <= REGISTERS
    }
