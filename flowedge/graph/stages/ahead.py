"""`lead`: rows to come are fetched by a stage of their own, before the expressions that look at them."""

from dataclasses import replace

from flowedge.graph import nodes as g
from flowedge.graph.checker import Checker, Flow
from flowedge.graph.expressions import Expr, Lead, Read, parts, rebuilt
from flowedge.graph.stages.frames import with_values
from flowedge.lang import tree as t
from flowedge.types.schema import Column


def has_lead(expr: Expr) -> bool:
    """Whether an expression looks at rows to come."""
    return isinstance(expr, Lead) or any(has_lead(p) for p in parts(expr))


def take_leads(c: Checker, flow: Flow, exprs: list[Expr], tree: t.Tree) -> tuple[Flow, list[Expr]]:
    """Put an `Ahead` stage before expressions that look at rows to come; they read its columns."""
    if not any(has_lead(e) for e in exprs):
        return flow, exprs
    found: dict[Lead, str] = {}

    def swap(expr: Expr) -> Expr:
        if isinstance(expr, Lead):
            return Read(found.setdefault(expr, c.hidden("lead")), expr.type)
        return rebuilt(expr, swap)

    out_exprs = [swap(e) for e in exprs]
    rate = flow.type.rate_hz if flow.type.shape == "signal" else None
    most = max(e.rows for e in found)
    wait = None if rate is None or flow.type.wait_s is None else flow.type.wait_s + most / rate
    columns = [Column(name, e.type) for e, name in found.items()]
    out = replace(
        with_values(flow.type, columns),
        wait_s=wait,
        in_order=flow.type.in_order and not flow.type.keys,
    )
    values = tuple((name, e.value, e.rows) for e, name in found.items())
    ahead = c.stage(g.Ahead, flow, out, tree, f"lead {most} rows", values=values)
    return ahead, out_exprs
