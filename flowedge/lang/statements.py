"""Statements of the syntax tree: what a file declares, and the file as a whole."""

from dataclasses import dataclass, field

from flowedge.lang.span import Span
from flowedge.lang.tree import Call, Deadline, Expr, Ident, Ref, Stage, Text, Tree, Value


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipeline(Tree):
    """``ref, ref | stage | stage``."""

    refs: tuple[Ref, ...]
    stages: tuple[Stage, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnType(Tree):
    """``f32<3> [mV]`` or ``key string``."""

    name: Ident | None
    is_key: bool = False
    shape: tuple[int, ...] = ()
    unit: str | None = None
    unit_span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Column(Tree):
    """``name: type [unit] = EXPR``."""

    name: Ident
    type: ColumnType | None
    expr: Expr | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Valid(Tree):
    """``name [in low .. high] else policy``; without a range `low` and `high` are None."""

    name: Ident
    low: Expr | None
    high: Expr | None
    policy: Ident


@dataclass(frozen=True, slots=True, kw_only=True)
class Clause(Tree):
    """A clause of a source, model or sink.

    Attributes
    ----------
    word : its first words joined by ``_``: ``time key unit late ahead order_time duplicates jitter gaps
        valid on_error on_silence idle expire max_keys`` · ``input output output_columns state on batch
        breaker signed isolated`` · ``as priority durability buffer signed``
    names, exprs, texts, number, columns, units, flag, valid : what stands in it, empty where nothing does
    """

    word: str
    names: tuple[Ident, ...] = ()
    exprs: tuple[Expr, ...] = ()
    texts: tuple[Text, ...] = ()
    number: int | None = None
    columns: tuple[Column, ...] = ()
    units: tuple[Text, ...] = ()
    flag: bool = False
    valid: tuple[Valid, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Param(Tree):
    """``param name = value``."""

    name: Ident
    value: Value


@dataclass(frozen=True, slots=True, kw_only=True)
class Import(Tree):
    """``import "file.flow" [as name]``."""

    path: Text
    alias: Ident | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Formal(Tree):
    """A formal of a `def`, perhaps with a default."""

    name: Ident
    default: Value | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Def(Tree):
    """``def name(formals) = stage | stage``."""

    name: Ident
    formals: tuple[Formal, ...]
    stages: tuple[Stage, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fn(Tree):
    """``fn name(a, b) = EXPR``."""

    name: Ident
    formals: tuple[Ident, ...]
    body: Expr


@dataclass(frozen=True, slots=True, kw_only=True)
class Source(Tree):
    """``source name (schema) at RATE from connector(…) clauses``; `at_most` for ``at up to RATE``."""

    name: Ident
    columns: tuple[Column, ...] | None
    rate: Expr | None
    at_most: bool
    connector: Call
    clauses: tuple[Clause, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Model(Tree):
    """``model name = torch(…) clauses``."""

    name: Ident
    op: Call
    clauses: tuple[Clause, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream(Tree):
    """``stream name = pipeline``."""

    name: Ident
    pipeline: Pipeline


@dataclass(frozen=True, slots=True, kw_only=True)
class Sink(Tree):
    """``sink pipeline deadline … to connector(…) clauses``."""

    pipeline: Pipeline
    deadline: Deadline | None
    connector: Call
    clauses: tuple[Clause, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Given(Tree):
    """``given S = "rows.csv"``."""

    name: Ident
    path: Text


@dataclass(frozen=True, slots=True, kw_only=True)
class Expect(Tree):
    """``expect S = "rows.csv" within E``."""

    ref: Ref
    path: Text
    within: Expr | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Test(Tree):
    """``test "name" { given … expect … }``."""

    name: Text
    given: tuple[Given, ...]
    expect: tuple[Expect, ...]


Statement = Param | Import | Def | Fn | Source | Model | Stream | Sink | Test


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow(Tree):
    """A whole file."""

    version: int | None
    statements: tuple[Statement, ...]
