"""The syntax tree: frozen nodes that keep the span of the text they came from."""

from dataclasses import dataclass, field, fields
from fractions import Fraction
from typing import Any, ClassVar


@dataclass(frozen=True, slots=True)
class Span:
    """A piece of text: [start, end) in characters of the file `file`.

    Attributes
    ----------
    text : the whole text of the file, shared by all its spans
    """

    start: int
    end: int
    file: str = "<text>"
    text: str = field(default="", repr=False, compare=False, hash=False)

    @property
    def line(self) -> int:
        """Line number of the start, from 1."""
        return self.text.count("\n", 0, self.start) + 1

    @property
    def column(self) -> int:
        """Character column of the start, from 1."""
        return self.start - (self.text.rfind("\n", 0, self.start) + 1) + 1

    @property
    def source(self) -> str:
        """The text itself."""
        return self.text[self.start : self.end]

    def to(self, other: "Span") -> "Span":
        """From the start of this to the end of the other."""
        return Span(min(self.start, other.start), max(self.end, other.end), self.file, self.text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """Any node; equality ignores spans."""

    span: Span = field(default=Span(0, 0), compare=False, repr=False)
    is_tree: ClassVar[bool] = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Ident(Tree):
    """A name as it is written (NFC, without backticks)."""

    name: str

    def __str__(self) -> str:
        """The name."""
        return self.name


# ---- expressions


@dataclass(frozen=True, slots=True, kw_only=True)
class Number(Tree):
    """A number, perhaps with a unit: ``5``, ``0xAA``, ``2.5e3``, ``150 ms``, ``9.81 [m/s^2]``."""

    value: Fraction
    is_integer: bool
    unit: str | None = None
    is_bracketed: bool = False
    unit_span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Text(Tree):
    """A string with its escapes resolved; braces are left to the checker."""

    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Constant(Tree):
    """``true``, ``false``, ``nan``, ``inf``."""

    word: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Name(Tree):
    """A name standing for a value."""

    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class List(Tree):
    """``[a, b, …]``."""

    values: "tuple[Value, ...]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Argument(Tree):
    """One argument of a call, perhaps with a keyword."""

    keyword: Ident | None
    value: "Value"


@dataclass(frozen=True, slots=True, kw_only=True)
class Call(Tree):
    """``name(arguments)``; an operator without brackets has `has_brackets` False.

    The name may have two parts, ``simulate.ecg`` or ``lib.norm`` after ``import "…" as lib``, joined by a point.
    """

    name: Ident
    arguments: tuple[Argument, ...] = ()
    has_brackets: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Index(Tree):
    """``value[index]``."""

    value: "Expr"
    index: "Expr"


@dataclass(frozen=True, slots=True, kw_only=True)
class Over(Tree):
    """``AGG(x) over extent``."""

    call: Call
    extent: "Expr"


@dataclass(frozen=True, slots=True, kw_only=True)
class Binary(Tree):
    """``left op right`` with one of ``+ - * / % ^``."""

    op: str
    left: "Expr"
    right: "Expr"
    op_span: Span = field(default=Span(0, 0), compare=False, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Negate(Tree):
    """``-value``."""

    value: "Expr"


@dataclass(frozen=True, slots=True, kw_only=True)
class Not(Tree):
    """``not value``."""

    value: "Expr"


@dataclass(frozen=True, slots=True, kw_only=True)
class Logic(Tree):
    """``a and b and …`` or ``a or b or …``."""

    op: str
    values: "tuple[Expr, ...]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Compare(Tree):
    """``left op right`` with one of ``== != <= >= < >``."""

    op: str
    left: "Expr"
    right: "Expr"


@dataclass(frozen=True, slots=True, kw_only=True)
class IsIn(Tree):
    """``value in [ … ]``."""

    value: "Expr"
    choices: List


@dataclass(frozen=True, slots=True, kw_only=True)
class Range(Tree):
    """``low .. high``."""

    low: "Expr"
    high: "Expr"


Expr = (
    Number
    | Text
    | Constant
    | Name
    | List
    | Call
    | Index
    | Over
    | Binary
    | Negate
    | Not
    | Logic
    | Compare
    | IsIn
)
Value = Expr | Range


# ---- stages


@dataclass(frozen=True, slots=True, kw_only=True)
class Ref(Tree):
    """``stream`` or ``stream.branch``."""

    name: Ident
    part: Ident | None = None

    def __str__(self) -> str:
        """As it is written."""
        return self.name.name if self.part is None else f"{self.name.name}.{self.part.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Binding(Tree):
    """``name = expr``; in `select` without an expression, in `aggregate` without a name."""

    name: Ident | None
    expr: Expr | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Deadline(Tree):
    """``deadline D else policy``: a word with its text, or ``with MODEL``."""

    limit: Expr
    policy: Ident
    text: Text | None = None
    is_model: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Where(Tree):
    """``where E``."""

    condition: Expr


@dataclass(frozen=True, slots=True, kw_only=True)
class Derive(Tree):
    """``derive a = E, …``."""

    bindings: tuple[Binding, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Select(Tree):
    """``select a, b = E, …``."""

    bindings: tuple[Binding, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rekey(Tree):
    """``key a, b``; ``key none`` has the one name ``none``."""

    names: tuple[Ident, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter(Tree):
    """``filter F(…) on cols``."""

    op: Call
    on: tuple[Ident, ...] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Compress(Tree):
    """``compress M(…) on cols``."""

    op: Call
    on: tuple[Ident, ...] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Spectrum(Tree):
    """``spectrum F(…) on cols``."""

    op: Call
    on: tuple[Ident, ...] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Resample(Tree):
    """``resample RATE|DURATION method up to D in zone``."""

    grid: Expr
    method: Ident | None
    up_to: Expr | None
    zone: Expr | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Window(Tree):
    """``window D every S in zone``."""

    size: Expr
    every: Expr | None
    zone: Expr | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Unnest(Tree):
    """``unnest a, b at RATE``."""

    names: tuple[Ident, ...]
    rate: Expr | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Aggregate(Tree):
    """``aggregate E as n, …``."""

    bindings: tuple[Binding, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitAt(Tree):
    """``split at S from A to B``."""

    events: Ref
    begin: Expr
    end: Expr


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitNext(Tree):
    """``split at S to next up to D``."""

    events: Ref
    up_to: Expr | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitGap(Tree):
    """``split gap D``."""

    gap: Expr


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitOn(Tree):
    """``split on E up to D``."""

    condition: Expr
    up_to: Expr | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitWhile(Tree):
    """``split while E up to D``."""

    condition: Expr
    up_to: Expr | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Branch(Tree):
    """``a when E`` or ``a otherwise`` (condition None)."""

    name: Ident
    condition: Expr | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitInto(Tree):
    """``split into a when E, …, z otherwise``."""

    branches: tuple[Branch, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Join(Tree):
    """``join S within D method`` or ``join S latest`` (within None)."""

    stream: Ref
    within: Expr | None
    method: Ident | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Detect(Tree):
    """``detect peaks(…)``."""

    op: Call


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassifyModel(Tree):
    """``classify with M(args) shadow with N deadline D else …``."""

    model: Ident
    arguments: tuple[Argument, ...]
    shadow: Ident | None
    deadline: Deadline | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule(Tree):
    """``"label" when E for D``; ``otherwise "label"`` has neither."""

    label: Text
    condition: Expr | None
    hold: Expr | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassifyRules(Tree):
    """``classify rules { … }``."""

    rules: tuple[Rule, ...]
    deadline: Deadline | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassifyScorer(Tree):
    """``classify anomaly(…)``."""

    op: Call
    deadline: Deadline | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Apply(Tree):
    """The user's own stage, or one by its bare name (``expand``)."""

    op: Call


Stage = (
    Where | Derive | Select | Rekey | Filter | Compress | Spectrum | Resample | Window | Unnest | Aggregate | SplitAt
    | SplitNext | SplitGap | SplitOn | SplitWhile | SplitInto | Join | Detect | ClassifyModel | ClassifyRules
    | ClassifyScorer | Apply
)  # fmt: skip


# ---- statements


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
class Clause(Tree):
    """A clause of a source, model or sink.

    Attributes
    ----------
    word : its first words joined by ``_``: ``time key unit late ahead order_time duplicates jitter gaps
        on_error on_silence idle expire max_keys`` · ``input output output_columns on batch signed
        isolated`` · ``as priority durability buffer signed``
    names, exprs, texts, number, columns, units, flag : what stands in it, empty where nothing does
    """

    word: str
    names: tuple[Ident, ...] = ()
    exprs: tuple[Expr, ...] = ()
    texts: tuple[Text, ...] = ()
    number: int | None = None
    columns: tuple[Column, ...] = ()
    units: tuple[Text, ...] = ()
    flag: bool = False


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


def children(tree: Tree) -> "list[Tree]":
    """The nodes directly inside one, in the order of its fields."""
    out: list[Tree] = []

    def look(value: Any) -> None:  # noqa: ANN401
        if isinstance(value, Tree):
            out.append(value)
        elif isinstance(value, tuple):
            for part in value:
                look(part)

    for each in fields(tree):
        look(getattr(tree, each.name))
    return out
