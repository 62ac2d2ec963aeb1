"""Names: what is declared where, what a formal stands for, and the diagnostics of names."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from flowedge.lang import statements as st
from flowedge.lang import tree as t
from flowedge.lang.diagnostics import Diagnostic, Rule, did_you_mean
from flowedge.lang.span import Span


class UnknownName(Rule):
    """A name that is neither a formal, nor a column of the stream, nor a parameter.

    Wrong::

        source s (time, speed: f64) from arrow("in.arrow")
        sink s | where sped > 3 to console

    Right::

        source s (time, speed: f64) from arrow("in.arrow")
        sink s | where speed > 3 to console
    """

    code = "FE201"


class UnknownStream(Rule):
    """A reference to a source, stream, branch or side stream that does not exist.

    Wrong::

        source fleet (time, v: f64) from arrow("in.arrow")
        sink fleat to console

    Right::

        source fleet (time, v: f64) from arrow("in.arrow")
        sink fleet to console
    """

    code = "FE202"


class DeclaredTwice(Rule):
    """Two statements, columns or branches have one name.

    Wrong::

        source s (time, v: f64) from arrow("in.arrow")
        stream s = s | where v > 3
        sink s to console

    Right::

        source s (time, v: f64) from arrow("in.arrow")
        stream high = s | where v > 3
        sink high to console
    """

    code = "FE203"


class NameClash(Rule):
    """A name means a formal, a column or a parameter; one that is two of these is ambiguous.

    Wrong::

        param limit = 3
        source s (time, limit: f64) from arrow("in.arrow")
        sink s | where limit > 2 to console

    Right::

        param most = 3
        source s (time, limit: f64) from arrow("in.arrow")
        sink s | where limit > most to console
    """

    code = "FE204"


class UnknownCall(Rule):
    """A function, aggregate, filter, stage or detector that does not exist.

    Wrong::

        source s (time, v: f64) from arrow("in.arrow")
        sink s | derive w = sqr(v) to console

    Right::

        source s (time, v: f64) from arrow("in.arrow")
        sink s | derive w = sqrt(v) to console
    """

    code = "FE207"


class Unused(Rule):
    """Something is declared, and nothing that reaches a sink needs it.

    Wrong::

        param limit = 3
        source s (time, v: f64) from arrow("in.arrow")
        sink s to console

    Right::

        param limit = 3
        source s (time, v: f64) from arrow("in.arrow")
        sink s | where v > limit to console
    """

    code = "FE209"
    severity = "warning"


class Cycle(Rule):
    """A stream is made from itself.

    Wrong::

        source s (time, v: f64) from arrow("in.arrow")
        stream a = s, b
        stream b = a | where v > 3
        sink b to console

    Right::

        source s (time, v: f64) from arrow("in.arrow")
        stream a = s
        stream b = a | where v > 3
        sink b to console
    """

    code = "FE211"


class EndlessExpansion(Rule):
    """A `def` or `fn` that uses itself, or definitions nested more than 100 deep, never end.

    Wrong::

        source s (time, v: f64) from arrow("in.arrow")
        fn twice(x) = 2 * twice(x)
        sink s | derive w = twice(v) to console

    Right::

        source s (time, v: f64) from arrow("in.arrow")
        fn twice(x) = 2 * x
        sink s | derive w = twice(v) to console
    """

    code = "FE213"


class NotYet(Rule):
    """A part of the language that this version cannot run yet.

    The rest of the file is checked all the same.

    Wrong::

        source s (time, v: f64) at 100 Hz from arrow("in.arrow")
        sink s | resample 50 Hz sinc to console

    Right::

        source s (time, v: f64) at 100 Hz from arrow("in.arrow")
        sink s | resample 50 Hz linear to console
    """

    code = "FE290"


def unknown_column(span: Span, name: str, of: str, known: Iterable[str]) -> Diagnostic:
    """The diagnostic of a name that no column of the stream `of` has."""
    return UnknownName.at(span, f"unknown column `{name}` in `{of}`", fix=did_you_mean(name, known))


Declaration = st.Param | st.Def | st.Fn | st.Source | st.Model | st.Stream
WORDS: dict[type[t.Tree], str] = {
    st.Param: "param", st.Def: "def", st.Fn: "fn", st.Source: "source", st.Model: "model", st.Stream: "stream",
}  # fmt: skip


@dataclass
class Decl:
    """One declared name, in the module that declares it."""

    name: str
    tree: Declaration
    module: "Module"
    used: bool = False

    @property
    def span(self) -> Span:
        """The name where it is declared."""
        return self.tree.name.span

    @property
    def word(self) -> str:
        """The statement's word."""
        return WORDS[type(self.tree)]


@dataclass
class Module:
    """The names of one file; imported ones stand under their prefix, or bare without one."""

    file: str
    names: dict[str, Decl] = field(default_factory=dict)
    tests: list[st.Test] = field(default_factory=list)
    sinks: list[st.Sink] = field(default_factory=list)

    def of(self, *kinds: type[t.Tree]) -> dict[str, Decl]:
        """The declarations of some kinds."""
        return {n: d for n, d in self.names.items() if isinstance(d.tree, kinds)}


@dataclass(frozen=True)
class Bound:
    """What a formal stands for: a piece of text, to be read where the call stands."""

    tree: t.Value
    scope: "Scope"


@dataclass(frozen=True)
class Scope:
    """Where a piece of text stands: its file's names, and the formals of the definition it is in.

    Attributes
    ----------
    via : definitions that are being expanded, innermost last
    """

    module: Module
    formals: Mapping[str, Bound] = field(default_factory=dict)
    via: tuple[str, ...] = ()

    def column_name(self, ident: t.Ident) -> str:
        """The column that a name stands for, where a formal may stand for a column."""
        name, scope = ident.name, self
        for _ in range(100):
            bound = scope.formals.get(name)
            if bound is None or not isinstance(bound.tree, t.Name):
                return name
            name, scope = bound.tree.name, bound.scope
        return name

    def stream_ref(self, ref: t.Ref) -> "tuple[t.Ref, Scope]":
        """The stream that a reference stands for, where a formal may stand for a stream."""
        scope = self
        for _ in range(100):
            bound = scope.formals.get(ref.name.name)
            if bound is None or not isinstance(bound.tree, t.Name):
                return ref, scope
            name = t.Ident(name=bound.tree.name, span=bound.tree.span)
            ref, scope = t.Ref(name=name, part=ref.part, span=bound.tree.span), bound.scope
        return ref, scope


def names_in(tree: t.Tree, scope: Scope) -> Iterator[str]:
    """Names that an expression may read, formals followed to what they stand for."""
    for child in t.children(tree) if not isinstance(tree, t.Name) else []:
        yield from names_in(child, scope)
    if isinstance(tree, t.Name):
        bound = scope.formals.get(tree.name)
        if bound is None:
            yield tree.name
        else:
            yield from names_in(bound.tree, bound.scope)
