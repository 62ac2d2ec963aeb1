"""Functions and aggregates by name: those that run, and those that the language has planned."""

from functools import lru_cache

from flowedge.graph.checker import Checker
from flowedge.graph.place import Place
from flowedge.lang import statements as st
from flowedge.lang import tree as t
from flowedge.operators import discover
from flowedge.operators.contract import Aggregate, Function
from flowedge.types import units
from flowedge.types.schema import F64, I64, TEXT, Type

PLANNED: dict[str, Type | None] = {
    "clock": Type("f64", units.SECOND), "weekday": I64, "date": TEXT, "parse": None, "bits": I64,
    **{f"{s}{w}{e}": I64 for s in "ui" for w in (16, 32, 64) for e in ("be", "le")}, "u8": I64, "i8": I64,
    **{f"f{w}{e}": F64 for w in (32, 64) for e in ("be", "le")},
    "resize": None, "transpose": None, "lowpass": F64, "highpass": F64, "bandpass": F64, "bandstop": F64, "notch": F64,
    "ema": F64, "fir": F64, "savgol": F64, "kalman": F64, "despike": F64, "detrend": F64, "sinh": F64, "cosh": F64,
}  # fmt: skip
"""Functions of the language, with the type they give: what is not registered cannot run yet."""
PLANNED_AGGREGATES: dict[str, Type | None] = {
    "band": F64, "psd": None, "mel": None, "peak_frequency": Type("f64", units.HERTZ), "centroid": Type("f64", units.HERTZ),
}  # fmt: skip


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


def is_aggregate(c: Checker, tree: t.Call, place: Place) -> bool:
    """Whether a call means the aggregate of its name, rather than a function."""
    name = tree.name.name
    if name in place.scope.module.of(st.Fn):
        return False
    if name not in aggregates():
        return name in PLANNED_AGGREGATES and name not in functions()
    if name not in functions():
        return True
    given = sum(1 for a in tree.arguments if a.keyword is None)
    least, most = span_of_inputs(aggregates()[name])
    return least <= given <= most + len(aggregates()[name].parameters)
