"""Functions and aggregates by name: those that run, and those that are planned."""

from functools import lru_cache

from flowedge.graph.place import Place
from flowedge.lang import statements as st
from flowedge.lang import tree as t
from flowedge.operators import discover
from flowedge.operators.contract import Aggregate, Function
from flowedge.types.schema import F64, I64, Type

PLANNED: dict[str, Type | None] = {
    "bits": I64, **{f"{s}{w}{e}": I64 for s in "ui" for w in (16, 32, 64) for e in ("be", "le")}, "u8": I64, "i8": I64,
    **{f"f{w}{e}": F64 for w in (32, 64) for e in ("be", "le")}, "detrend": F64,
    "parse": None, "resize": None, "transpose": None,
}  # fmt: skip
"""Functions of the language that cannot run yet, with the type they give; None: none that is known."""
PLANNED_FILTERS = ("detrend",)
"""Those of them that are also written `filter F(…)`."""


@lru_cache(maxsize=1)
def functions() -> dict[str, type[Function]]:
    """Functions by name, filters among them."""
    return {
        n: cls
        for (kind, n), cls in discover().items()
        if kind == "function" and issubclass(cls, Function)
    }


@lru_cache(maxsize=1)
def aggregates() -> dict[str, type[Aggregate]]:
    """Aggregates by name."""
    return {
        n: cls
        for (kind, n), cls in discover().items()
        if kind == "aggregate" and issubclass(cls, Aggregate)
    }


def span_of_inputs(cls: type[Function] | type[Aggregate]) -> tuple[int, int]:
    """How many leading arguments are values, at least and at most."""
    return cls.inputs if isinstance(cls.inputs, tuple) else (cls.inputs, cls.inputs)


def is_aggregate(tree: t.Call, place: Place) -> bool:
    """Whether a call means the aggregate of its name, rather than a function."""
    name = tree.name.name
    if name in place.scope.module.of(st.Fn) or name not in aggregates():
        return False
    if name not in functions():
        return True
    given = sum(1 for a in tree.arguments if a.keyword is None)
    least, most = span_of_inputs(aggregates()[name])
    return least <= given <= most + len(aggregates()[name].parameters)
