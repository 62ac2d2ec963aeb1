"""Typed expressions: what is left of a user's expression once names, units and missing words are settled.

Numbers only: conversions of units have become multiplications and additions, a quantity is a
constant in the unit that its neighbours have, a parameter is its value, a `fn` is its body.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

from flowedge.operators.contract import Aggregate, Extent, Function
from flowedge.types.schema import Type

Binary = Literal["+", "-", "*", "/", "%", "^"]
Comparison = Literal["==", "!=", "<", "<=", ">", ">="]


@dataclass(frozen=True, slots=True)
class Const:
    """A constant; None is missing. A time constant is int64 ns, a text is the text itself."""

    value: float | int | bool | str | None
    type: Type


@dataclass(frozen=True, slots=True)
class Read:
    """The value of a column of the row; ``time`` is the event time [ns]."""

    name: str
    type: Type


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """``left op right`` on numbers; lists are taken element by element, a scalar beside a list serves all.

    Floats compute in f64. Integers stay i64 for ``+ - * %``; ``/`` and ``^`` give floats.
    time - time is a float [s]; time ± float [s] is a time.
    """

    op: Binary
    left: "Expr"
    right: "Expr"
    type: Type


@dataclass(frozen=True, slots=True)
class Negative:
    """``-value``."""

    value: "Expr"
    type: Type


@dataclass(frozen=True, slots=True)
class Compare:
    """``left op right``; false where a side is missing, also for ``!=``. Text knows == and != only."""

    op: Comparison
    left: "Expr"
    right: "Expr"
    type: Type


@dataclass(frozen=True, slots=True)
class Logic:
    """``and``, ``or`` over conditions; a missing condition is false."""

    op: Literal["and", "or"]
    values: "tuple[Expr, ...]"
    type: Type


@dataclass(frozen=True, slots=True)
class Not:
    """``not value``."""

    value: "Expr"
    type: Type


@dataclass(frozen=True, slots=True)
class Choose:
    """``if(condition, then, otherwise)``; both sides step their state on every row."""

    condition: "Expr"
    then: "Expr"
    otherwise: "Expr"
    type: Type


@dataclass(frozen=True, slots=True)
class IsMissing:
    """Whether a value is NaN or null."""

    value: "Expr"
    type: Type


@dataclass(frozen=True, slots=True)
class Cast:
    """A number in another store (``f32``, ``i32``, ``bool`` …), or an integer read as a float."""

    value: "Expr"
    type: Type


@dataclass(frozen=True, slots=True)
class Element:
    """``value[i]`` of a list, i counted from 0 over the flattened value."""

    value: "Expr"
    index: int
    type: Type


@dataclass(frozen=True, slots=True)
class Vector:
    """A list made of scalars."""

    values: "tuple[Expr, ...]"
    type: Type


@dataclass(frozen=True, slots=True)
class Apply:
    """A `Function` on values of the row: stateless, or with state per key. On lists: per element."""

    function: Function
    args: "tuple[Expr, ...]"
    type: Type
    rate_hz: float | None = None


@dataclass(frozen=True, slots=True)
class Previous:
    """``prev(x, init)``: what `name` was after the row before; also of the column being defined."""

    name: str
    initial: "Expr"
    type: Type


@dataclass(frozen=True, slots=True)
class Lead:
    """``lead(x, n)``: the value n rows later; the graph turns it into a `graph.nodes.Ahead` stage."""

    value: "Expr"
    rows: int
    type: Type


@dataclass(frozen=True, slots=True)
class Rolling:
    """``AGG(x) over extent``: an aggregate at every row, over (t - D, t] or the last N rows.

    `count` is the number of rows where that is fixed (a signal, or ``over N samples``); else
    `extent.seconds` counts by time.
    """

    aggregate: Aggregate
    args: "tuple[Expr, ...]"
    extent: Extent
    count: int | None
    type: Type
    rate_hz: float | None = None


@dataclass(frozen=True, slots=True)
class Fold:
    """An aggregate over the window or the frame that the stage makes."""

    aggregate: Aggregate
    args: "tuple[Expr, ...]"
    type: Type
    rate_hz: float | None = None


Expr = (
    Const | Read | Arithmetic | Negative | Compare | Logic | Not | Choose | IsMissing | Cast | Element
    | Vector | Apply | Previous | Lead | Rolling | Fold
)  # fmt: skip


def parts(expr: Expr) -> Iterator[Expr]:
    """The expressions directly inside one, from left to right."""
    for field in fields(expr):
        value = getattr(expr, field.name)
        if isinstance(value, tuple):
            yield from (v for v in value if isinstance(v, Expr))
        elif isinstance(value, Expr):
            yield value


def rebuilt(expr: Expr, change: Callable[[Expr], Expr]) -> Expr:
    """An expression with each direct part changed; itself where nothing changes."""
    new: dict[str, Any] = {}
    for each in fields(expr):
        value = getattr(expr, each.name)
        if isinstance(value, Expr):
            inner: Any = change(value)
        elif isinstance(value, tuple) and value and all(isinstance(v, Expr) for v in value):
            inner = tuple(change(v) for v in value)
            inner = value if all(a is b for a, b in zip(inner, value, strict=True)) else inner
        else:
            continue
        if inner is not value:
            new[each.name] = inner
    return replace(expr, **new) if new else expr


LONGEST_LIST = 64
"""Elements of a list that expressions take apart; longer ones are only handed on."""


def taken_apart(expr: Expr) -> "Read | None":
    """A list too long for what the expression does with it, if there is one."""
    inside = (e for e in walk(expr) if e is not expr and isinstance(e, Read))
    return next((e for e in inside if e.type.size > LONGEST_LIST), None)


def walk(expr: Expr) -> Iterator[Expr]:
    """An expression and all that is inside it, outermost first."""
    yield expr
    for part in parts(expr):
        yield from walk(part)


def reads(expr: Expr) -> frozenset[str]:
    """Names of the columns that an expression looks at, those of ``prev`` included."""
    return frozenset(e.name for e in walk(expr) if isinstance(e, Read | Previous))


def is_stateful(expr: Expr) -> bool:
    """Whether an expression remembers rows: then it may not move past a filter."""
    return any(
        isinstance(e, Previous | Rolling | Lead) or (isinstance(e, Apply) and e.function.stateful)
        for e in walk(expr)
    )
