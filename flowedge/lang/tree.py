"""The syntax tree up to stages: frozen nodes that keep the span of the text they came from."""

from dataclasses import dataclass, field, fields
from fractions import Fraction
from typing import Any

from flowedge.lang.span import Span


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """Any node; equality ignores spans."""

    span: Span = field(default=Span(0, 0), compare=False, repr=False)


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
    """``split gap D up to D``."""

    gap: Expr
    up_to: Expr | None


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
