"""A source as it takes shape: columns, keys and time, and the raw fields that they come from."""

from dataclasses import dataclass, field
from typing import Any

from flowedge.graph import nodes as g
from flowedge.graph.checker import Flow
from flowedge.graph.expressions import Expr
from flowedge.graph.names import Decl, Scope
from flowedge.graph.place import Place
from flowedge.lang.diagnostics import Rule
from flowedge.types.schema import Column, Stream, Type


class ColumnNotInFile(Rule):
    """A declared column that the file does not have, or has with another kind of value.

    Wrong::

        source s (time, w: f64) from arrow("typed.arrow")
        sink s to console

    Right::

        source s (time, v: f64) from arrow("typed.arrow")
        sink s to console
    """

    code = "FE709"


@dataclass
class Draft:
    """A source as it takes shape."""

    columns: list[Column] = field(default_factory=list)
    raws: list[g.RawColumn] = field(default_factory=list)
    keys: list[Column] = field(default_factory=list)
    key_raws: list[g.RawColumn] = field(default_factory=list)
    fields: dict[str, Type] = field(default_factory=dict)
    time: Expr | None = None
    parse: tuple[str, str] | None = None
    always: bool = False
    start_ns: int = 0
    has_time: bool = False
    broken: set[str] = field(default_factory=set)
    rest: dict[str, Any] = field(default_factory=dict)
    converts: bool = False
    """The connector reads text, and gives each field the type that is declared."""


def raw_place(d: Draft, scope: Scope, decl: Decl) -> Place:
    """Where expressions over raw fields stand."""
    fields = Stream(columns=tuple(Column(n, ty) for n, ty in d.fields.items()), has_time=False)
    return Place(Flow(-1, fields, decl.name), scope, raw=True)
